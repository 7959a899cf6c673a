package meter

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// guest gives a module that is built with Go once.
var guest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "updraft-meter-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "work.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./testdata/work")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func built(t testing.TB) []byte {
	t.Helper()
	wasm, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestGuest(t *testing.T) {
	wasm := built(t)
	p := rewrite(t, wasm)
	t.Logf("%d -> %d bytes, complexity %d, %d functions", len(wasm), len(p.Wasm), p.Info.Complexity, len(p.Info.Functions))
	fuel := map[string]int64{}
	for name, config := range engines {
		plain := start(t, wasm, config(), tanks{})
		metered := start(t, p.Wasm, config(), tanks{})
		for _, f := range []struct {
			name string
			n    uint64
		}{{"loop", 1000}, {"hash", 1}, {"tree", 12}, {"allocate", 300}} {
			want, err := plain.ExportedFunction(f.name).Call(plain.ctx, f.n)
			if err != nil {
				t.Fatal(err)
			}
			before := metered.tanks.used()
			got, err := metered.ExportedFunction(f.name).Call(metered.ctx, f.n)
			if err != nil {
				t.Fatal(err)
			}
			if got[0] != want[0] {
				t.Errorf("%s %s = %d, want %d", name, f.name, got[0], want[0])
			}
			used := metered.tanks.used() - before
			if fuel[f.name] == 0 {
				fuel[f.name] = used
			}
			t.Logf("%s %s: %d fuel, frames %d", name, f.name, used, metered.tanks.givenFrames)
		}
	}
}

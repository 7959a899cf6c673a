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

// A guest of a real toolchain gives the same results metered, and uses the
// same fuel compiled and interpreted.
func TestGuest(t *testing.T) {
	wasm := built(t)
	p := rewrite(t, wasm)
	t.Logf("%d bytes become %d; complexity %d", len(wasm), len(p.Wasm), p.Info.Complexity)
	type count struct{ fuel, frames int64 }
	counts := map[string]count{}
	for name, config := range engines {
		plain := start(t, wasm, config(), tanks{})
		metered := start(t, p.Wasm, config(), tanks{slice: 100_000})
		for _, f := range []struct {
			name string
			n    uint64
		}{{"loop", 1000}, {"hash", 1}, {"tree", 12}, {"sort", 1}, {"allocate", 300}} {
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
				t.Errorf("%s, %s: result %d, want %d", f.name, name, got[0], want[0])
			}
			c := count{metered.tanks.used() - before, metered.tanks.givenFrames}
			if other, ok := counts[f.name]; ok && c != other {
				t.Errorf("%s, %s: %+v, on the other engine %+v", f.name, name, c, other)
			}
			counts[f.name] = c
		}
	}
	t.Logf("fuel and most frames: %+v", counts)
}

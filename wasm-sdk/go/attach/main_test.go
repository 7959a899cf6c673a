package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func TestAttach(t *testing.T) {
	dir := t.TempDir()
	in, manifest := filepath.Join(dir, "m.wasm"), filepath.Join(dir, "m.json")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(in, "\x00asm\x01\x00\x00\x00")
	write(manifest, `{"name": "m", "version": "1.0.0", "kind": "step", "abi": {"min": "1.0"}, "phases": ["health"]}`)
	for range 2 { // in place, and again
		if err := attach(manifest, in, in); err != nil {
			t.Fatal(err)
		}
	}
	wasm, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := abi.ReadManifest(wasm); err != nil || m.Name != "m" {
		t.Errorf("manifest = %+v, %v", m, err)
	}
	write(manifest, `{"name": "m"}`)
	if err := attach(manifest, in, in); err == nil || !strings.Contains(err.Error(), manifest) {
		t.Errorf("a bad manifest: %v, want an error with its name", err)
	}
	write(manifest, `{"name": "m", "version": "1.0.0", "kind": "step", "abi": {"min": "1.0"}, "phases": ["health"]}`)
	write(in, "text")
	if err := attach(manifest, in, in); err == nil || !strings.Contains(err.Error(), in) {
		t.Errorf("no module: %v, want an error with its name", err)
	}
}

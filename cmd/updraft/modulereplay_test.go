package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// buildGuest builds a module in Go with its manifest.
func buildGuest(t *testing.T, folder string) (wasm []byte, m abi.Manifest) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./"+filepath.ToSlash(folder))
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	text, err := os.ReadFile(filepath.Join(folder, "updraft.json"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = abi.DecodeManifest(text); err != nil {
		t.Fatal(err)
	}
	if wasm, err = os.ReadFile(out); err != nil {
		t.Fatal(err)
	}
	return withManifest(t, wasm, m), m
}

func withManifest(t *testing.T, wasm []byte, m abi.Manifest) []byte {
	t.Helper()
	wasm, err := abi.WithManifest(wasm, m)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

const recordDevice = `apiVersion: updraft/v1
kind: Device
facts: {model: gw-200}
targets: {rootfs: {slots: {a: a.img, b: b.img}, boot: {file: boot.json}}}
trust: {require: none}
modules: {grants: [rootfs]}
`

const recordWorkflow = `apiVersion: updraft/v1
kind: Workflow
name: slot
steps:
  - id: image
    fetch: {url: v2.img}
  - id: write
    install: {module: ab-slot.wasm, artifacts: {image: image}, targets: {out: {target: rootfs@inactive, mode: write}}}
`

// A run is recorded, and its modules run again on a desk.
func TestRecordAndReplay(t *testing.T) {
	wasm, manifest := buildGuest(t, filepath.Join("..", "..", "examples", "install-go"))
	dir := t.TempDir()
	t.Chdir(dir) // a workflow finds v2.img from there
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(in(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// updraft runs a command and gives its output.
	updraft := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(args, strings.NewReader(""), &out, &out, func(string) string { return "" }); code != want {
			t.Fatalf("updraft %q exits %d, want %d: %s", args, code, want, &out)
		}
		return out.String()
	}
	shows := func(text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Errorf("shows %q, want %q", text, want)
		}
	}
	write("device.yaml", []byte(recordDevice))
	write("update.yaml", []byte(recordWorkflow))
	write("ab-slot.wasm", wasm)
	write("v2.img", bytes.Repeat([]byte("new"), 500_000))
	write("a.img", make([]byte, 2<<20))
	write("b.img", make([]byte, 2<<20))
	updraft(0, "run", in("update.yaml"), "--device", in("device.yaml"), "--record", in("run.rec"))
	if info, err := os.Stat(in("run.rec")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want a file of mode 0600", info, err)
	}
	text := updraft(0, "module", "replay", in("run.rec"))
	shows(text, "1 install of ab-slot 1.0.0: ")
	shows(text, "fuel (the same), ended with class 0\n2 phases, all the same\n")

	// Another module of the same name.
	manifest.Version = "1.0.1"
	write("next.wasm", withManifest(t, wasm, manifest))
	shows(updraft(0, "module", "replay", in("run.rec"), "--module", in("next.wasm")), "(not compared)")

	// A difference ends with 4, also as JSON.
	recording, err := os.ReadFile(in("run.rec"))
	if err != nil {
		t.Fatal(err)
	}
	write("other.rec", bytes.Replace(recording, []byte(`"f":"svc_copy","args":[`), []byte(`"f":"svc_copy","args":[1`), 1))
	shows(updraft(4, "module", "replay", in("other.rec")), ", svc_copy: number 1 differs: the recording has 1")
	var result replayResult
	text = updraft(4, "module", "replay", in("other.rec"), "--json")
	if err := json.NewDecoder(strings.NewReader(text[strings.Index(text, "{"):])).Decode(&result); err != nil {
		t.Fatal(err)
	}
	if d := result.Difference; d == nil || d.Function != "svc_copy" || d.What != "number 1" {
		t.Errorf("difference %+v", d)
	}

	// What was cut off is dropped, and what the next run records is added.
	write("run.rec", recording[:len(recording)-7])
	write("v2.img", bytes.Repeat([]byte("abc"), 500_000))
	updraft(0, "run", in("update.yaml"), "--device", in("device.yaml"), "--record", in("run.rec"))
	text = updraft(0, "module", "replay", in("run.rec"))
	shows(text, "the recording ends before the phase")
	shows(text, "\n4 phases, all the same\n")

	// Modules in processes of their own are recorded the same way.
	if runtime.GOOS == "linux" {
		write("device.yaml", []byte(strings.Replace(recordDevice, "modules: {", "modules: {isolation: process, ", 1)))
		write("v2.img", bytes.Repeat([]byte("xyz"), 500_000))
		updraft(0, "run", in("update.yaml"), "--device", in("device.yaml"), "--record", in("apart.rec"))
		if b, err := os.ReadFile(in("apart.rec")); err != nil || bytes.Count(b, []byte(`"process":true`)) != 2 {
			t.Errorf("%v, %d phases in processes, want 2", err, bytes.Count(b, []byte(`"process":true`)))
		}
		shows(updraft(0, "module", "replay", in("apart.rec")), "2 phases, all the same")
	}

	// Files that are no recordings stay as they are.
	shows(updraft(2, "module", "replay", in("v2.img")), "bad recording")
	shows(updraft(2, "run", in("update.yaml"), "--device", in("device.yaml"), "--record", in("v2.img")), "is not a recording")
	shows(updraft(2, "module", "replay", in("nowhere")), "no such file")
	if b, err := os.ReadFile(in("v2.img")); err != nil || len(b) != 1_500_000 {
		t.Errorf("%d bytes, %v; want the file as it was", len(b), err)
	}
}

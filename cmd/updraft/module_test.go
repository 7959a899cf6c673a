package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
)

// TestModuleScript runs testdata/module. Beside code, which TestScript has too,
// the scripts have
//
//	reference FILE        writes the reference guest of the conformance kit
//	example NAME FILE     builds the example with this name, which is in Go
//	printf FILE TEXT      writes text without a line break
//	manifest WASM JSON    gives a module the manifest in a file
//
// and registry, login and edit.
func TestModuleScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "module"),
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "reference": reference, "example": exampleModule, "printf": printf, "data": data,
			"manifest": replaceManifest, "registry": registryCommand, "login": login, "edit": edit,
		},
		Setup: func(e *testscript.Env) error {
			e.Values[registryKey("REGISTRY")] = newRegistry()
			e.Values[registryKey("CLOSED")] = newRegistry()
			e.Setenv("DOCKER_CONFIG", e.WorkDir)
			return nil
		},
	})
}

func reference(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "reference FILE")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), conformance.ReferenceGuest(), 0o644))
}

func printf(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "printf FILE TEXT")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o644))
}

func replaceManifest(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "manifest WASM JSON")
	wasm, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	m, err := abi.DecodeManifest([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	wasm, err = abi.WithManifest(wasm, m)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), wasm, 0o644))
}

// builtExamples are built once, by name.
var builtExamples sync.Map

func exampleModule(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "example NAME FILE")
	build, _ := builtExamples.LoadOrStore(args[0], sync.OnceValues(func() ([]byte, error) { return buildExample(args[0]) }))
	wasm, err := build.(func() ([]byte, error))()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), wasm, 0o644))
}

func buildExample(name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "updraft-example-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	folder, out := filepath.Join("..", "..", "examples", name), filepath.Join(dir, "out.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./"+filepath.ToSlash(folder))
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(folder, "updraft.json"))
	if err != nil {
		return nil, err
	}
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return nil, err
	}
	return abi.WithManifest(wasm, m)
}

func TestPairs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		given []string
		want  string
	}{
		{"a value with an equals sign", []string{"a=b=c"}, ""},
		{"an empty value", []string{"a="}, ""},
		{"all that is wrong at once", []string{"a", "=b", "c=1", "c=2"},
			"--fact a: expected NAME=VALUE; --fact =b: expected NAME=VALUE; --fact c=2: it was given twice"},
	} {
		got := ""
		if _, err := pairs("fact", "VALUE", tt.given); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

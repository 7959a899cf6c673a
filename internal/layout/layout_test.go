package layout

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room finds the drawing's entry for a package.
func room(pkg string) (name string, may []string, ok bool) {
	if may, ok := Rooms[pkg]; ok {
		return pkg, may, true
	}
	for dir := pkg; dir != "."; dir = path.Dir(dir) {
		if may, ok := Rooms[dir+"/..."]; ok {
			return dir + "/...", may, true
		}
	}
	return "", nil, false
}

func allowed(may []string, pkg string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		below, all := strings.CutSuffix(m, "/...")
		return m == Anything || m == pkg || all && strings.HasPrefix(pkg, below)
	})
}

func TestImportsFollowTheArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	files, entered := 0, map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "corpus" || strings.HasPrefix(d.Name(), ".") && file != root) {
			return filepath.SkipDir
		}
		if d.IsDir() && file != root {
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own
			}
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		files++
		checkFile(t, file, filepath.ToSlash(rel), entered)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("found %d Go files, want at least 50: the walk is broken", files)
	}
	for name := range Rooms {
		if !entered[name] {
			t.Errorf("room %s is drawn but has no package", name)
		}
	}
}

func checkFile(t *testing.T, file, pkg string, entered map[string]bool) {
	t.Helper()
	name, may, ok := room(pkg)
	if !ok {
		t.Errorf("%s: package %s is not in the drawing", file, pkg)
		return
	}
	entered[name] = true
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	isTest := strings.HasSuffix(file, "_test.go")
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if ours, ok := strings.CutPrefix(imported, Module+"/"); ok && ours != pkg && !allowed(may, ours) && !isTest {
			t.Errorf("%s imports %s: draw the arrow from %s first", file, ours, name)
		}
		for lib, rooms := range Heavy {
			if (imported == lib || strings.HasPrefix(imported, lib+"/")) && !slices.Contains(rooms, pkg) && !isTest {
				t.Errorf("%s imports %s, which %v hides", file, imported, rooms)
			}
		}
		if isTest && strings.HasPrefix(imported, Module+"/cmd/") {
			t.Errorf("%s imports a command", file)
		}
	}
}

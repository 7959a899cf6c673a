package layout

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryPackageHasAnExample holds each package that others may import to an
// Example of what a newcomer calls first. An Example must run and compare its
// output, but where the first call takes a *testing.T, which no Example has.
func TestEveryPackageHasAnExample(t *testing.T) {
	root := filepath.Join("..", "..")
	checked := 0
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != root && (strings.HasPrefix(d.Name(), ".") || notForUsers[d.Name()]) {
			return filepath.SkipDir
		}
		p := parsePackage(t, dir)
		if p.name == "" || p.name == "main" {
			return nil
		}
		checked++
		if !p.shown {
			t.Errorf("%s: no Example with output shows what to call first", dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 15 {
		t.Errorf("found %d packages, want at least 15: the walk is broken", checked)
	}
}

// notForUsers are folders whose packages nobody imports.
var notForUsers = map[string]bool{"internal": true, "bench": true, "testdata": true, "corpus": true, "node_modules": true}

// shownPackage is a package, and whether an Example shows it.
type shownPackage struct {
	name  string // "" if the folder has no Go files but tests
	shown bool
}

func parsePackage(t *testing.T, dir string) (p shownPackage) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	var tests []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.HasSuffix(e.Name(), "_test.go") {
			tests = append(tests, f)
		} else {
			p.name = f.Name.Name
		}
	}
	for _, e := range doc.Examples(tests...) {
		p.shown = p.shown || e.Output != "" || e.EmptyOutput || takesTest(e.Code)
	}
	return p
}

// takesTest reports whether code names testing.T.
func takesTest(code ast.Node) (found bool) {
	ast.Inspect(code, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := s.X.(*ast.Ident)
		found = found || ok && pkg.Name == "testing" && s.Sel.Name == "T"
		return true
	})
	return found
}

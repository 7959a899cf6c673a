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

// TestEveryExportedNameIsDocumented holds packages and exported names to a
// doc comment. A method that only implements an interface of the standard
// library or of the engine needs none where its name says it all.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	checked := 0
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "corpus") {
			return filepath.SkipDir
		}
		checked += checkPackage(t, dir)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 300 {
		t.Errorf("found %d exported names, want at least 300: the walk is broken", checked)
	}
}

func checkPackage(t *testing.T, dir string) (checked int) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return 0
	}
	p, err := doc.NewFromFiles(fset, files, dir)
	if err != nil {
		t.Error(err)
		return 0
	}
	want := func(name, comment string) {
		checked++
		if strings.TrimSpace(comment) == "" {
			t.Errorf("%s: %s has no doc comment", dir, name)
		}
	}
	want("package "+p.Name, p.Doc)
	if p.Name == "main" {
		return checked
	}
	for _, f := range p.Funcs {
		want(f.Name, f.Doc)
	}
	for _, v := range append(p.Consts, p.Vars...) {
		want(v.Names[0], v.Doc+comments(v.Decl))
	}
	for _, typ := range p.Types {
		want(typ.Name, typ.Doc)
		for _, f := range append(typ.Funcs, typ.Methods...) {
			if !obvious[f.Name] {
				want(typ.Name+"."+f.Name, f.Doc)
			}
		}
		for _, v := range append(typ.Consts, typ.Vars...) {
			want(v.Names[0], v.Doc+comments(v.Decl))
		}
	}
	return checked
}

// comments are those of the single names of a declaration.
func comments(d *ast.GenDecl) (all string) {
	for _, s := range d.Specs {
		if v, ok := s.(*ast.ValueSpec); ok {
			all += v.Doc.Text() + v.Comment.Text()
		}
	}
	return all
}

// obvious are methods whose interface says everything.
var obvious = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "String": true, "GoString": true, "Format": true, "Size": true, "Digest": true, "Open": true,
	"Read": true, "Write": true, "Close": true, "Mark": true, "Cost": true, "Do": true, "Filter": true, "UnmarshalText": true,
}

package reference

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/internal/document"
)

// source is what the Go files say about types: by name, and of structs by
// "Type.Field".
type source map[string]string

// parse reads the comments of the types in all Go files of a folder but tests.
func parse(folder fs.FS) (source, error) {
	names, err := fs.Glob(folder, "*.go")
	if err != nil {
		return nil, fmt.Errorf("list Go files: %w", err)
	}
	s := source{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, fmt.Errorf("read verbs: %w", err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse verbs: %w", err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				s.declare(g)
			}
		}
	}
	return s, nil
}

// declare keeps the comments of the types of one declaration.
func (s source) declare(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		text := t.Doc.Text()
		if text == "" {
			text = g.Doc.Text()
		}
		s[t.Name.Name] = text
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range st.Fields.List {
			text := f.Doc.Text()
			if text == "" {
				text = f.Comment.Text()
			}
			for _, name := range f.Names {
				s[t.Name.Name+"."+name.Name] = text
			}
		}
	}
}

// describe gives the comment of a type or field as paragraphs, without the
// marks of links.
func (s source) describe(name string) (string, error) {
	if s[name] == "" {
		return "", fmt.Errorf("%s has no comment", name)
	}
	printer := comment.Printer{TextWidth: -1}
	var p comment.Parser
	text := link.ReplaceAllString(s[name], "$1")
	return strings.TrimSpace(string(printer.Text(p.Parse(text)))), nil
}

// link is a Go doc link, such as [engine.Retry].
var link = regexp.MustCompile(`\[\*?([A-Za-z]+(?:\.[A-Za-z]+)*)\]`)

// rows are the table rows of a struct's fields, those of inner structs below
// the field that holds them.
func (s source) rows(t reflect.Type, path string) ([]string, error) {
	var rows []string
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("yaml")
		if !ok || tag == "-" {
			continue
		}
		name, words, _ := strings.Cut(tag, ",")
		inner, suffix := element(f.Type)
		if slices.Contains(strings.Split(words, ","), "inline") {
			more, err := s.rows(inner, path)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
			continue
		}
		text, err := s.describe(t.Name() + "." + f.Name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, fmt.Sprintf("| `%s%s` | %s | %s |\n", path, name, takes(f.Type, words), cell(text)))
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			more, err := s.rows(inner, path+name+suffix+".")
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

// element gives what lists and maps hold in the end, and how a path goes there.
func element(t reflect.Type) (reflect.Type, string) {
	switch t.Kind() {
	case reflect.Pointer:
		return element(t.Elem())
	case reflect.Slice:
		e, suffix := element(t.Elem())
		return e, "[]" + suffix
	case reflect.Map:
		e, suffix := element(t.Elem())
		return e, ".NAME" + suffix
	}
	return t, ""
}

// takes says what a field takes.
func takes(t reflect.Type, words string) string {
	list := strings.Split(words, ",")
	said := kind(t, slices.Contains(list, "size"))
	for _, role := range []string{"target", "fact", "file"} {
		if slices.Contains(list, role) {
			said = strings.Replace(said, "text", role, 1)
			list = append(list, "literal")
		}
	}
	if slices.Contains(list, "required") {
		said += ", required"
	}
	if slices.Contains(list, "literal") {
		said += ", no expression"
	}
	return said
}

func kind(t reflect.Type, size bool) string {
	_, own := reflect.New(t).Interface().(encoding.TextUnmarshaler)
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[document.Size](), size && t.Kind() == reflect.Int64:
		return "size"
	case own && t.Kind() == reflect.Struct && t.NumField() > 0:
		return "text or map"
	case own:
		return "text"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem(), size)
	case reflect.Slice:
		return "list of " + kind(t.Elem(), size)
	case reflect.Map:
		return "map of " + kind(t.Elem(), size)
	case reflect.Struct:
		return "map"
	case reflect.Interface:
		return "any value"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "whole number"
}

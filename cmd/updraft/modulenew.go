package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/examples"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// projectFiles are what a project has that is the same in each language.
//
//go:embed moduleproject
var projectFiles embed.FS

// newModule is a project to make.
type newModule struct {
	Name     string // of the module, the last part of dir
	Kind     string // install or compat
	Language toolchain.Language

	// For the README.
	Title, Source, Tests string
	Native               string // command that runs the unit tests, "" for none

	dir string
}

// projectShape is what is particular to a language.
type projectShape struct{ title, source, tests, native string }

var projectShapes = map[toolchain.Language]projectShape{
	toolchain.Go:             {"Go", "main.go", "main_test.go", "go test"},
	toolchain.C:              {"C", "main.c", "main_test.c", "cc -o main_test main_test.c && ./main_test"},
	toolchain.Rust:           {"Rust", "main.rs", "main_test.rs", "rustc --edition 2021 --test -o main_test main.rs && ./main_test"},
	toolchain.AssemblyScript: {"AssemblyScript", "main.ts", "", ""},
	toolchain.Zig:            {"Zig", "main.zig", "main_test.zig", "zig test main.zig"},
}

func (p *program) moduleNewCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Start a module in a folder of its own",
		Long: `Make the folder NAME with a module that works: a source of 40 lines or less, its
manifest, a test file, unit tests where the language has them, and the SDK. The
folder needs nothing from outside but the compiler; a warning says how to install
one that is missing. A folder that exists is not touched.`,
		Example: "  updraft module new ab-slot --lang c && updraft module test ab-slot",
		Args:    arguments("NAME"),
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	var words []string
	for _, l := range toolchain.Languages() {
		words = append(words, string(l))
	}
	language := addChoice(c, "lang", "what it is written in", words...)
	kind := addChoice(c, "kind", "an install step or a compatibility check", abi.KindInstall, abi.KindCompat)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := newProject(args[0], toolchain.Language(language.value), kind.value)
		if err != nil {
			return err
		}
		return p.startModule(cmd.Context(), n)
	}
	return c
}

var projectName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

func newProject(dir string, language toolchain.Language, kind string) (*newModule, error) {
	name := filepath.Base(dir)
	if !projectName.MatchString(name) {
		return nil, usagef("name %q: expected 1 to 64 letters, digits, dots, dashes and underscores, with a letter or digit first and last", name)
	}
	shape := projectShapes[language]
	return &newModule{Name: name, Kind: kind, Language: language, Title: shape.title, Source: shape.source, Tests: shape.tests, Native: shape.native, dir: dir}, nil
}

func (p *program) startModule(ctx context.Context, n *newModule) error {
	files, err := n.files()
	if err != nil {
		return err
	}
	if err := writeProject(n.dir, files); err != nil {
		return err
	}
	if err := p.sayMissing(ctx, n); err != nil {
		return err
	}
	shown := agent.Printable(n.dir)
	if err := p.print("%s: %s step in %s, %d files", shown, n.Kind, n.Title, len(files)); err != nil {
		return err
	}
	if err := p.print("next: updraft module test %s", shown); err != nil || n.Native == "" {
		return err
	}
	return p.print("      cd %s && %s", shown, n.Native)
}

// sayMissing warns if the compiler is not there.
func (p *program) sayMissing(ctx context.Context, n *newModule) error {
	err := toolchain.Check(ctx, n.Language, n.dir)
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		p.say("updraft: warning: %v", missing)
		return nil
	}
	return err
}

// files are those of the project, by path with slashes.
func (n *newModule) files() (map[string][]byte, error) {
	files, err := toolchain.SDK(n.Language, "example.com/"+n.Name)
	if err != nil {
		return nil, err
	}
	example := n.Kind + "-" + string(n.Language)
	for _, name := range []string{toolchain.Manifest, n.Source, n.Tests} {
		if name == "" {
			continue
		}
		if files[name], err = fs.ReadFile(examples.Modules, path.Join(example, name)); err != nil {
			return nil, err
		}
	}
	if files[toolchain.Manifest], err = n.named(files[toolchain.Manifest]); err != nil {
		return nil, err
	}
	for from, to := range map[string]string{n.Kind + ".yaml": "test.yaml", "gitignore": ".gitignore", "README.md": "README.md"} {
		if files[to], err = projectFiles.ReadFile("moduleproject/" + from); err != nil {
			return nil, err
		}
	}
	files["test.yaml"] = bytes.ReplaceAll(files["test.yaml"], []byte("NAME"), []byte(n.Name))
	files["README.md"], err = n.readme(string(files["README.md"]))
	return files, err
}

// named gives the example's manifest the name of the project, and keeps how
// it is laid out.
func (n *newModule) named(text []byte) ([]byte, error) {
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(text, fmt.Appendf(nil, "%q", m.Name), fmt.Appendf(nil, "%q", n.Name), 1), nil
}

func (n *newModule) readme(text string) ([]byte, error) {
	t, err := template.New("README.md").Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, n)
	return out.Bytes(), err
}

// writeProject makes the folder with all files, or nothing.
func writeProject(dir string, files map[string][]byte) error {
	err := os.Mkdir(dir, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return usagef("%s exists already: choose another name", dir)
	case err != nil:
		return inputError(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if strings.Contains(name, "/") {
			err = os.MkdirAll(filepath.Dir(full), 0o755)
		}
		if err == nil {
			err = os.WriteFile(full, files[name], 0o644)
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(dir))
		}
	}
	return nil
}

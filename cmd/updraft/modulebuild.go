package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// builtModule is the result of module build.
type builtModule struct {
	File    string  `json:"file"`
	Name    string  `json:"name"`
	Version string  `json:"version"`
	Size    int64   `json:"size"`   // bytes
	SHA256  string  `json:"sha256"` // hex
	Seconds float64 `json:"seconds"`
}

func (p *program) moduleBuildCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Compile a module",
		Long: `Compile the module in DIR, or in this folder, and write its manifest updraft.json
into it. The language is that of the source main.go, main.c, main.rs, main.ts or
main.zig; the compiler must be installed, and an error says how. The same source
and the same compiler give the same bytes.`,
		Example: "  updraft module build ab-slot -o ab-slot-1.2.0.wasm",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("expected one DIR, have %d arguments", len(args))
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	f := c.Flags()
	out := f.StringP("output", "o", "", "`FILE` to write (default: the module's name and .wasm, in DIR)")
	must(c.MarkFlagFilename("output", "wasm"))
	asJSON := f.Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		j, err := openProject(append(args, ".")[0])
		if err != nil {
			return err
		}
		name := *out
		if name == "" {
			if name, err = j.output(); err != nil {
				return err
			}
		}
		built, err := p.build(cmd.Context(), j, name)
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(built)
		}
		return p.print("%s: %s %s, %s in %.1f s, sha256 %s", agent.Printable(name), agent.Printable(built.Name), built.Version,
			agent.ByteCount(built.Size), built.Seconds, built.SHA256)
	}
	return c
}

// project is the folder of a module's source.
type project struct {
	dir      string
	manifest abi.Manifest
}

// openProject reads the manifest of a folder.
func openProject(dir string) (*project, error) {
	name := filepath.Join(dir, toolchain.Manifest)
	text, err := readSmall(disk.OS(), name, abi.MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("%s is not a module's folder: it has no %s; updraft module new makes one", dir, toolchain.Manifest)
	}
	if err != nil {
		return nil, err
	}
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	return &project{dir, m}, nil
}

// output is where the module goes unless it is said otherwise.
func (j *project) output() (string, error) {
	if !projectName.MatchString(j.manifest.Name) {
		return "", usagef("the module's name %q makes no file name: say -o FILE", j.manifest.Name)
	}
	return filepath.Join(j.dir, j.manifest.Name+".wasm"), nil
}

// build compiles the project to a file. What the compiler says goes to
// standard error.
func (p *program) build(ctx context.Context, j *project, name string) (builtModule, error) {
	began := time.Now()
	err := toolchain.Build(ctx, toolchain.Options{Dir: j.dir, Out: name, Log: p.stderr})
	var path *fs.PathError
	switch {
	case ctx.Err() != nil:
		return builtModule{}, context.Cause(ctx)
	case errors.As(err, &path):
		return builtModule{}, inputError(err)
	case err != nil: // the source does not compile, or what compiles it is missing
		return builtModule{}, usagef("%w", err)
	}
	wasm, err := readSmall(disk.OS(), name, maxModule)
	if err != nil {
		return builtModule{}, err
	}
	sum := sha256.Sum256(wasm)
	return builtModule{File: name, Name: j.manifest.Name, Version: j.manifest.Version, Size: int64(len(wasm)),
		SHA256: hex.EncodeToString(sum[:]), Seconds: time.Since(began).Seconds()}, nil
}

// refresh builds the module of a test file if that lies in the folder of its
// source, and the module is missing or not newer than the source.
func (p *program) refresh(ctx context.Context, f *conformance.File) error {
	dir := filepath.Dir(f.Name)
	if _, err := os.Stat(filepath.Join(dir, toolchain.Manifest)); err != nil {
		return nil // a module that somebody else builds
	}
	j, err := openProject(dir)
	if err != nil {
		return err
	}
	name, err := j.output()
	if err != nil || name != filepath.Clean(f.Path()) {
		return nil
	}
	if stale, err := j.stale(name); err != nil || !stale {
		return err
	}
	p.say("building %s", agent.Printable(name))
	_, err = p.build(ctx, j, name)
	return err
}

// sourceExtensions are those of files that end up in a module.
var sourceExtensions = []string{".go", ".mod", ".sum", ".c", ".h", ".rs", ".ts", ".zig", ".json"}

// stale reports whether a source is as new as the module, or newer.
func (j *project) stale(name string) (bool, error) {
	module, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	stale := false
	err = filepath.WalkDir(j.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != j.dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(sourceExtensions, filepath.Ext(path)) {
			return nil
		}
		source, err := os.Stat(path) // the SDK may be a link
		if err != nil {
			return err
		}
		if !source.ModTime().Before(module.ModTime()) {
			stale = true
			return filepath.SkipAll
		}
		return nil
	})
	return stale, err
}

// Package toolchain builds a vendor's module from its source, in each language
// that there is an SDK for.
//
// A project is a folder with the manifest updraft.json, one source file called
// main.go, main.c, main.rs, main.ts or main.zig, and the SDK beside it.
// [Detect] tells the language, [Check] whether its compiler is there and if
// not how to install it, [Build] compiles the folder and attaches the
// manifest. The same sources and the same compiler give the same bytes, in
// whatever folder they lie. [SDK] gives the files that a new project starts from.
//
// Compilers are looked for in PATH and, where they come from npm, in
// node_modules/.bin of the project, of the folders above it, and of the folder
// that the environment variable UPDRAFT_TOOLS names. Nothing is downloaded.
// No function keeps anything; all may be called at once.
package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Language is what a module is written in.
type Language string

// The languages.
const (
	Go             Language = "go"
	C              Language = "c"
	Rust           Language = "rust"
	AssemblyScript Language = "assemblyscript"
	Zig            Language = "zig"
)

// Languages gives all of them.
func Languages() []Language { return []Language{Go, C, Rust, AssemblyScript, Zig} }

// Manifest is the name of the manifest's file in a project.
const Manifest = "updraft.json"

// Missing says that a compiler is not installed.
type Missing struct {
	Language Language
	Program  string // what was looked for
	Install  string // the command that installs it
	Detail   string // what was found instead, "" for nothing
}

func (m *Missing) Error() string {
	found := ""
	if m.Detail != "" {
		found = " (" + m.Detail + ")"
	}
	return fmt.Sprintf("a module in %s needs %s, which is not installed%s: %s", m.Language, m.Program, found, m.Install)
}

// Options says what to build. Dir and Out are required.
type Options struct {
	Dir      string    // the project
	Out      string    // the module to write
	Language Language  // "" for what [Detect] says
	Log      io.Writer // gets what the compiler says; nil: an error quotes it, and warnings are lost
}

// Build compiles the project and writes the module with its manifest to Out.
// Without the compiler the error is a [*Missing]; a bad manifest is [abi.ErrManifest]
// and is found before anything is compiled. Out is written only if all went well.
func Build(ctx context.Context, o Options) error {
	manifest, err := readManifest(o.Dir)
	if err != nil {
		return err
	}
	if o.Language == "" {
		if o.Language, err = Detect(o.Dir); err != nil {
			return err
		}
	}
	c, err := find(ctx, o.Language, o.Dir)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "updraft-build-")
	if err != nil {
		return err
	}
	wasm, err := c.compile(ctx, o, tmp)
	if err = errors.Join(err, os.RemoveAll(tmp)); err != nil {
		return fmt.Errorf("build %s: %w", o.Dir, err)
	}
	if wasm, err = abi.WithManifest(wasm, manifest); err != nil {
		return fmt.Errorf("build %s: %w", o.Dir, err)
	}
	return os.WriteFile(o.Out, wasm, 0o644)
}

func readManifest(dir string) (abi.Manifest, error) {
	name := filepath.Join(dir, Manifest)
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return abi.Manifest{}, fmt.Errorf("%s is not a module's folder: it has no %s", dir, Manifest)
	}
	if err != nil {
		return abi.Manifest{}, err
	}
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// compile runs the compiler in the project's folder, so that no path gets into
// the module, with tmp for its caches.
func (c compiler) compile(ctx context.Context, o Options, tmp string) ([]byte, error) {
	sources, err := sources(o.Dir, o.Language)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(tmp, "module.wasm")
	cmd := exec.CommandContext(ctx, c.program, c.arguments(sources, out, tmp)...)
	cmd.Dir = o.Dir
	cmd.Env = append(os.Environ(), c.env...)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	if o.Log != nil {
		cmd.Stdout, cmd.Stderr = o.Log, o.Log
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%s: %w%s", filepath.Base(c.program), err, said)
	}
	return os.ReadFile(out)
}

// tail keeps the first bytes that a compiler said: its first error is the one
// that matters.
type tail struct{ bytes.Buffer }

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	if room := tailSize - t.Len(); room > 0 {
		t.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (t *tail) String() string {
	if t.Len() == 0 {
		return ""
	}
	return "\n" + strings.TrimSpace(t.Buffer.String())
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

func (p *program) moduleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "module",
		Short: "Run and test a vendor's WebAssembly modules",
		Long: `Run a module on a desk, run its test file, and try it against everything that an
update may do to it. No device is touched: the module gets one of its own, in
memory or in a folder for temporary files.

Besides the usual exit codes: 2 if the module does not load, 3 if it wants a
capability that is not granted, 4 if it fails, is stopped, or a test fails.`,
		Example: "  updraft module run ab-slot.wasm --artifact image=v2.img --target out=slot-b.img",
	}
	c.AddCommand(p.moduleNewCommand(), p.moduleBuildCommand(), p.moduleRunCommand(), p.moduleTestCommand(), p.moduleInspectCommand(), p.moduleLintCommand(),
		p.moduleConformCommand(), p.moduleDiffCommand(), p.moduleSignCommand(), p.moduleVerifyCommand(),
		p.modulePushCommand(), p.modulePullCommand(), p.moduleReplayCommand())
	return c
}

// moduleMemory is what a module may ask for unless it is said otherwise, as
// on a device.
const moduleMemory = 64 << 20

// bindings are the flags that say what a module finds.
type bindings struct {
	facts, with, artifacts, grants *[]string
	memory                         *sizeFlag
	fuel                           int64
	open                           []io.Closer
}

// addBindings adds those flags to c.
func addBindings(c *cobra.Command) *bindings {
	f := c.Flags()
	b := &bindings{
		facts:     f.StringArray("fact", nil, "`NAME=VALUE` of a fact of the device, repeatable"),
		with:      f.StringArray("with", nil, "`NAME=VALUE` of a setting, as JSON or else as text, repeatable"),
		artifacts: f.StringArray("artifact", nil, "`NAME=FILE` that the module reads in this role, repeatable"),
		grants:    f.StringArray("grant", nil, "`CAPABILITY` to grant: http:HOST, serial:PORT, exec:NAME or reboot, repeatable"),
		memory:    &sizeFlag{bytes: moduleMemory},
	}
	f.Var(b.memory, "memory", "refuse a module that asks for more memory")
	f.Int64Var(&b.fuel, "fuel", 0, "stop a phase that uses up more than `N` (default 2000000000)")
	must(c.RegisterFlagCompletionFunc("fuel", cobra.NoFileCompletions))
	for _, name := range []string{"fact", "with"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	must(c.RegisterFlagCompletionFunc("grant", cobra.FixedCompletions([]cobra.Completion{"http:", "serial:", "exec:", "reboot"},
		cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace)))
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	return b
}

// engineWords are the engines by their words; the first chooses by itself.
var engineWords = []string{"auto", string(wasmhost.Compiler), string(wasmhost.Interpreter)}

func addEngine(c *cobra.Command) *choice {
	return addChoice(c, "engine", "how the module runs; result and fuel are the same", engineWords...)
}

func engineNamed(word string) wasmhost.Engine {
	if word == engineWords[0] {
		return wasmhost.Auto
	}
	return wasmhost.Engine(word)
}

// pairs takes NAME=VALUE apart. All that is wrong is told at once.
func pairs(flag, value string, given []string) (map[string]string, error) {
	all := map[string]string{}
	var wrong []string
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		_, twice := all[name]
		switch {
		case !ok || name == "":
			wrong = append(wrong, fmt.Sprintf("--%s %s: expected NAME=%s", flag, g, value))
		case twice:
			wrong = append(wrong, fmt.Sprintf("--%s %s: it was given twice", flag, g))
		}
		all[name] = text
	}
	if len(wrong) > 0 {
		return nil, usagef("%s", strings.Join(wrong, "; "))
	}
	return all, nil
}

// setup makes what the flags say. The files stay open until close.
func (b *bindings) setup(ctx context.Context, m abi.Manifest) (conformance.Setup, error) {
	var s conformance.Setup
	var err error
	for _, g := range *b.grants {
		s.Grants = append(s.Grants, abi.Capability(g))
	}
	if s.Facts, err = pairs("fact", "VALUE", *b.facts); err != nil {
		return s, err
	}
	with, err := pairs("with", "VALUE", *b.with)
	if err != nil {
		return s, err
	}
	if s.Settings, err = settings(with); err != nil {
		return s, err
	}
	files, err := pairs("artifact", "FILE", *b.artifacts)
	if err != nil {
		return s, err
	}
	s.Artifacts = map[string]*conformance.Blob{}
	for role, name := range files {
		if !slices.Contains(m.Roles.Artifacts, role) {
			return s, usagef("--artifact %s: %s", role, document.Unknown("artifact role of the module", role, m.Roles.Artifacts))
		}
		if s.Artifacts[role], err = b.blob(ctx, name); err != nil {
			return s, err
		}
	}
	return s, nil
}

// settings makes a JSON object; a value that is no JSON is text.
func settings(with map[string]string) ([]byte, error) {
	all := map[string]any{}
	for name, text := range with {
		if json.Valid([]byte(text)) {
			all[name] = json.RawMessage(text)
		} else {
			all[name] = text
		}
	}
	return json.Marshal(all)
}

// blob opens a file that the user named.
func (b *bindings) blob(ctx context.Context, name string) (*conformance.Blob, error) {
	f, section, err := openFile(disk.OS(), name)
	if err != nil {
		return nil, err
	}
	b.open = append(b.open, f)
	return conformance.NewBlob(ctx, f, section.Size())
}

func (b *bindings) close() error {
	var err error
	for _, f := range b.open {
		err = errors.Join(err, f.Close())
	}
	b.open = nil
	return err
}

// granted are the capabilities that the module gets.
func (b *bindings) granted() ([]abi.Capability, error) {
	if b.fuel < 0 {
		return nil, usagef("--fuel %d: expected at least 1", b.fuel)
	}
	granted := conformance.Allowed()
	for _, g := range *b.grants {
		if err := conformance.GrantError(g); err != nil {
			return nil, usagef("--grant: %w", err)
		}
		granted = append(granted, abi.Capability(g))
	}
	return granted, nil
}

func (b *bindings) limits() wasmhost.Limits {
	return wasmhost.Limits{Memory: b.memory.bytes, Fuel: b.fuel}
}

// desk is a module that was read from a file, and a folder for temporary files
// that keeps what was compiled: loading it again with other limits is quick.
type desk struct {
	*conformance.Loader
	dir string
}

// moduleLoader reads a module's file. It is compiled when it is loaded.
func moduleLoader(ctx context.Context, name string, engine wasmhost.Engine) (*desk, error) {
	wasm, err := readSmall(disk.OS(), name, maxModule)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "updraft-module-")
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	host, err := wasmhost.New(ctx, wasmhost.Config{Engine: engine, Cache: filepath.Join(dir, "cache"), CacheKey: key})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &desk{conformance.NewLoader(host, wasm), dir}, nil
}

// close frees the module, also when ctx has ended.
func (d *desk) close(ctx context.Context) error {
	return errors.Join(d.Close(context.WithoutCancel(ctx)), os.RemoveAll(d.dir))
}

// moduleEnd says on one line why a module did not come to its end, and gives
// the error with the exit code. Others stay as they are.
func (p *program) moduleEnd(err error) error {
	var e *wasmhost.Error
	if err == nil || errors.Is(err, errInterrupted) || !errors.As(err, &e) {
		return err
	}
	p.say("updraft: %v", err)
	return ended(moduleExit(e))
}

// moduleExit is the exit code of a module's error.
func moduleExit(e *wasmhost.Error) int {
	switch {
	case e.Code == wasmhost.Denied:
		return exitRefused
	case e.Phase == 0:
		return exitUsage
	}
	return exitRolledBack
}

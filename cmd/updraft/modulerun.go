package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

// allPhases is the word for what an update calls.
const allPhases = "all"

// moduleRun is what module run is to do.
type moduleRun struct {
	file    string
	phases  []abi.Phase // none: all
	with    *bindings
	targets []string
	wall    time.Duration
	engine  wasmhost.Engine
	asJSON  bool
}

// ranModule is the result of module run.
type ranModule struct {
	Module   string                       `json:"module"` // hex SHA-256
	Name     string                       `json:"name"`
	Version  string                       `json:"version"`
	Phase    string                       `json:"phase"` // the last one that was called
	Class    string                       `json:"class,omitempty"`
	Code     string                       `json:"code,omitempty"` // of the error
	Error    string                       `json:"error,omitempty"`
	Stack    string                       `json:"stack,omitempty"` // of the guest
	Report   *abi.Result                  `json:"report,omitempty"`
	Rollback string                       `json:"rollback,omitempty"` // "done", or why it failed
	Log      []conformance.Line           `json:"log"`
	Targets  map[string]conformance.State `json:"targets"`
	Usage    usedByModule                 `json:"usage"`
	Seconds  float64                      `json:"seconds"`
}

// usedByModule is what all phases took together, and what each may take.
type usedByModule struct {
	Fuel        int64 `json:"fuel"`
	FuelLimit   int64 `json:"fuelLimit"`   // of a phase
	Memory      int64 `json:"memory"`      // bytes at the most
	MemoryLimit int64 `json:"memoryLimit"` // bytes
	Frames      int64 `json:"frames"`      // calls within calls at the most
	FramesLimit int64 `json:"framesLimit"`
	Calls       int64 `json:"calls"` // of the host
	Bytes       int64 `json:"bytes"` // that went through them, or were moved by the host
}

func (p *program) moduleRunCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run MODULE",
		Short: "Run phases of a module on a desk",
		Long: `Run a module's phases as an update would: enumerate and compat, then prepare,
install and commit, health and cleanup, as far as the module serves them; or one
phase alone. When it fails, rollback follows. The module's log goes to standard
error, how it ended and what became of the targets to standard output.

--target NAME=FILE gives the module a file target with the content of FILE, if
there is one; when the module commits it, FILE is replaced. With the name of a
folder, or one that ends in /, it is a directory target: what the folder holds is
its current version, and the committed one is written to a folder beside it
whose name ends in .new. Targets are worked on in a folder for temporary files,
which needs the room.

A module that fails or is stopped ends with exit code 4 and its error on one
line, one that wants a capability that is not granted with 3, one that does not
load with 2. One that finds the device incompatible ends with 3, one that asks to
be called later with 6.`,
		Example: `  updraft module run model-check.wasm --fact model=gw-200 --with models='["gw-200"]'
  updraft module run ab-slot.wasm --artifact image=v2.img --target out=slot-b.img`,
		Args: arguments("MODULE"),
	}
	words := []string{allPhases}
	for ph := abi.Compat; ph <= abi.Enumerate; ph++ {
		words = append(words, ph.String())
	}
	phase := addChoice(c, "phase", "phase to run", words...)
	r := moduleRun{with: addBindings(c)}
	f := c.Flags()
	f.StringArrayVar(&r.targets, "target", nil, "`NAME=FILE` that the module writes or reads in this role, repeatable")
	f.DurationVar(&r.wall, "wall", 0, "stop a phase that takes longer than this `TIME` (default 10m, compat 5s)")
	engine := addEngine(c)
	f.BoolVar(&r.asJSON, "json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r.file, r.engine = args[0], engineNamed(engine.value)
		if ph := abi.PhaseNamed(phase.value); ph != 0 {
			r.phases = []abi.Phase{ph}
		}
		if r.wall < 0 {
			return usagef("--wall %s: expected more than 0", r.wall)
		}
		return p.moduleEnd(p.runModule(cmd.Context(), &r))
	}
	return c
}

func (p *program) runModule(ctx context.Context, r *moduleRun) (err error) {
	l, err := moduleLoader(ctx, r.file, r.engine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx), r.with.close()) }()
	granted, err := r.with.granted()
	if err != nil {
		return err
	}
	m, err := l.Load(ctx, r.with.limits(), granted)
	if err != nil {
		return err
	}
	dir := filepath.Join(l.dir, "device")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	setup, files, err := r.setup(ctx, m.Manifest())
	if err != nil {
		return err
	}
	setup.FS, setup.Dir = disk.OS(), filepath.ToSlash(dir)
	if !r.asJSON {
		setup.Log = func(level int, line string) { p.say("%-5s %s", levelName(level), line) }
	}
	return p.runOn(ctx, r, m, setup, files)
}

func levelName(level int) string {
	names := []string{"debug", "info", "warn", "error"}
	return names[min(max(level, 0), len(names)-1)]
}

// setup makes what the flags say, and gives the files of the targets.
func (r *moduleRun) setup(ctx context.Context, m abi.Manifest) (conformance.Setup, map[string]string, error) {
	s, err := r.with.setup(ctx, m)
	if err != nil {
		return s, nil, err
	}
	// Without the proxies of the environment: a granted host is asked itself.
	s.HTTP = &http.Transport{DisableKeepAlives: true}
	s.Clock, s.Wall, s.Targets = disk.Real(), r.wall, map[string]conformance.Target{}
	files, err := pairs("target", "FILE", r.targets)
	if err != nil {
		return s, nil, err
	}
	for role, name := range files {
		if !slices.Contains(m.Roles.Targets, role) {
			return s, nil, usagef("--target %s: %s", role, document.Unknown("target role of the module", role, m.Roles.Targets))
		}
		if s.Targets[role], err = r.target(ctx, name); err != nil {
			return s, nil, err
		}
	}
	return s, files, r.bound(m, s)
}

// bound refuses roles that the phases will want and nothing is bound to.
func (r *moduleRun) bound(m abi.Manifest, s conformance.Setup) error {
	calls := func(p abi.Phase) bool {
		return m.Serves(p) && (len(r.phases) == 0 || slices.Contains(r.phases, p))
	}
	var wrong []string
	for _, role := range m.Roles.Artifacts {
		if s.Artifacts[role] == nil && calls(abi.Install) {
			wrong = append(wrong, fmt.Sprintf("it reads the artifact %q: add --artifact %s=FILE", role, role))
		}
	}
	for _, role := range m.Roles.Targets {
		if s.Targets[role].Type == "" && (calls(abi.Install) || calls(abi.Commit)) {
			wrong = append(wrong, fmt.Sprintf("it uses the target %q: add --target %s=FILE", role, role))
		}
	}
	if len(wrong) > 0 {
		return usagef("module %s: %s", m.Name, strings.Join(wrong, "; "))
	}
	return nil
}

// target makes a target with the content of a file or folder.
func (r *moduleRun) target(ctx context.Context, name string) (conformance.Target, error) {
	info, err := os.Stat(name)
	switch folder := strings.HasSuffix(name, "/"); {
	case errors.Is(err, fs.ErrNotExist) && folder:
		return conformance.Target{Type: device.Directory}, nothingAt(name)
	case errors.Is(err, fs.ErrNotExist):
		return conformance.Target{Type: device.File}, nil
	case err != nil:
		return conformance.Target{}, inputError(err)
	case info.IsDir():
		return r.folder(ctx, name)
	case !info.Mode().IsRegular():
		return conformance.Target{}, usagef("--target %s: expected a file or a folder, it is %v", name, info.Mode().Type())
	}
	b, err := r.with.blob(ctx, name)
	return conformance.Target{Type: device.File, Content: b}, err
}

func (r *moduleRun) folder(ctx context.Context, name string) (conformance.Target, error) {
	t := conformance.Target{Type: device.Directory, Entries: map[string]*conformance.Blob{}}
	if err := nothingAt(name); err != nil {
		return t, err
	}
	err := filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return usagef("--target %s: %s is neither a file nor a folder", name, file)
		}
		if len(t.Entries) >= maxEntries {
			return usagef("--target %s: the folder has more than %d files", name, maxEntries)
		}
		entry, err := filepath.Rel(name, file)
		if err != nil {
			return err
		}
		t.Entries[filepath.ToSlash(entry)], err = r.with.blob(ctx, file)
		return err
	})
	return t, err
}

// maxEntries bounds how many files stay open.
const maxEntries = 512

// nothingAt refuses a folder whose new version would have no place.
func nothingAt(name string) error {
	at := newFolder(name)
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, usagef("--target %s: the new version would be written to %s, which exists: move it away", name, at))
	}
	return nil
}

// newFolder is where the committed version of a folder is written.
func newFolder(name string) string { return filepath.Clean(name) + ".new" }

func (p *program) runOn(ctx context.Context, r *moduleRun, m *wasmhost.Module, s conformance.Setup, files map[string]string) error {
	rig, err := conformance.New(ctx, s)
	if err != nil {
		return err
	}
	for _, ph := range r.phases {
		if manifest := m.Manifest(); !manifest.Serves(ph) {
			return usagef("--phase %s: module %s does not serve it (it serves %s)", ph, manifest.Name, strings.Join(manifest.Phases, ", "))
		}
	}
	began := time.Now()
	o, err := rig.Run(ctx, m, r.phases...)
	if err != nil {
		return err
	}
	took := time.Since(began)
	if o.Err == nil {
		for _, role := range slices.Sorted(maps.Keys(files)) {
			if o.Targets[role].Committed {
				if err := deliver(ctx, rig, role, s.Targets[role], files[role]); err != nil {
					return err
				}
			}
		}
	}
	if err := p.printModuleRun(r, m, o, took, files); err != nil {
		return err
	}
	var e *wasmhost.Error
	switch {
	case r.asJSON && errors.As(o.Err, &e) && !errors.Is(o.Err, errInterrupted):
		return ended(moduleExit(e)) // the result says why
	case o.Err != nil:
		return o.Err
	case o.Class == abi.Incompatible:
		return ended(exitRefused)
	case o.Class == abi.RetryLater:
		return ended(exitWaiting)
	}
	return nil
}

// deliver writes what was committed to where the user wants it.
func deliver(ctx context.Context, rig *conformance.Rig, role string, t conformance.Target, name string) (err error) {
	if t.Type == device.Directory {
		at := newFolder(name)
		return rig.Walk(ctx, role, func(entry string, perm fs.FileMode, b *conformance.Blob) error {
			file := filepath.Join(at, filepath.FromSlash(entry))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			return writeBlob(ctx, file, perm, b)
		})
	}
	b, err := rig.Read(ctx, role, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return writeBlob(ctx, name, 0o644, b)
}

func writeBlob(ctx context.Context, name string, perm fs.FileMode, b *conformance.Blob) error {
	out, err := create(disk.OS(), name, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, cancelReader{ctx, io.NewSectionReader(b, 0, b.Size())})
	return out.finish(err)
}

func (p *program) printModuleRun(r *moduleRun, m *wasmhost.Module, o *conformance.Outcome, took time.Duration, files map[string]string) error {
	manifest := m.Manifest()
	if r.asJSON {
		return p.printJSON(ranModuleOf(r, m, o, took))
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "module\t%s %s, sha256 %.12s\n", manifest.Name, manifest.Version, m.Digest())
	end := conformance.ClassName(o.Class)
	if o.Err != nil {
		end = cmp.Or(string(o.Code()), "failed")
	}
	fmt.Fprintf(w, "result\t%s of %s\n", end, phaseWords(r, o))
	if text := describe(o.Report); text != "" {
		fmt.Fprintf(w, "report\t%s\n", text)
	}
	if o.RolledBack {
		fmt.Fprintf(w, "rollback\t%s\n", rollbackWord(o))
	}
	for _, role := range slices.Sorted(maps.Keys(o.Targets)) {
		fmt.Fprintf(w, "target %s\t%s\n", role, targetWords(o, role, r, files[role]))
	}
	u := r.used(m, o)
	fmt.Fprintf(w, "fuel\t%d, a phase may use %d\n", u.Fuel, u.FuelLimit)
	fmt.Fprintf(w, "memory\t%d bytes at the most, of %d\n", u.Memory, u.MemoryLimit)
	fmt.Fprintf(w, "frames\t%d at the most, of %d\n", u.Frames, u.FramesLimit)
	fmt.Fprintf(w, "host\t%d calls, %d bytes through them\n", u.Calls, u.Bytes)
	fmt.Fprintf(w, "time\t%s, %s\n", took.Round(time.Millisecond), r.wallWords(m))
	return w.Flush()
}

// used is what the phases took, and the limits that this module gets.
func (r *moduleRun) used(m *wasmhost.Module, o *conformance.Outcome) usedByModule {
	wants := m.Manifest().Limits
	return usedByModule{
		Fuel: o.Usage.Fuel, FuelLimit: cmp.Or(wants.Fuel, min(cmp.Or(r.with.fuel, abi.DefaultFuel), abi.DefaultFuel)),
		Memory: o.Usage.Memory, MemoryLimit: cmp.Or(int64(wants.Memory), min(r.with.memory.bytes, abi.DefaultMemory)),
		Frames: o.Usage.Frames, FramesLimit: abi.MaxFrames, Calls: o.Usage.Calls, Bytes: o.Usage.Moved,
	}
}

// wallWords says how long a phase may take.
func (r *moduleRun) wallWords(m *wasmhost.Module) string {
	switch wants := time.Duration(m.Manifest().Limits.Wall) * time.Millisecond; {
	case r.wall > 0:
		return fmt.Sprintf("a phase may take %s", r.wall)
	case wants > 0:
		return fmt.Sprintf("a phase may take %s", wants)
	}
	return "a phase may take 10m, compat 5s"
}

// phaseWords names the phases that led to the end.
func phaseWords(r *moduleRun, o *conformance.Outcome) string {
	if len(r.phases) > 0 || o.Phase != abi.Install {
		return o.Phase.String()
	}
	return "prepare, install and commit"
}

func rollbackWord(o *conformance.Outcome) string {
	if o.RollbackErr != nil {
		return agent.Printable(o.RollbackErr.Error())
	}
	return "done"
}

func targetWords(o *conformance.Outcome, role string, r *moduleRun, name string) string {
	s := o.Targets[role]
	if !s.Committed || o.Err != nil {
		return "not committed, " + name + " is as it was"
	}
	if strings.HasSuffix(name, "/") || isFolder(name) {
		return fmt.Sprintf("committed, sha256 of its listing %s, written to %s", s.SHA256, newFolder(name))
	}
	return fmt.Sprintf("committed, %d bytes, sha256 %s, written to %s", s.Size, s.SHA256, name)
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// describe is what the module said of itself.
func describe(r abi.Result) string {
	var parts []string
	if r.Details != "" {
		parts = append(parts, agent.Printable(r.Details))
	}
	if r.Code != 0 || r.Extended != 0 {
		parts = append(parts, fmt.Sprintf("result code %d, extended %d", r.Code, r.Extended))
	}
	if r.Reboot != "" && r.Reboot != "none" {
		parts = append(parts, "reboot "+r.Reboot)
	}
	if r.RestartAgent {
		parts = append(parts, "restart of the agent")
	}
	if r.Installed != "" {
		parts = append(parts, "installed criteria "+agent.Printable(r.Installed))
	}
	return strings.Join(parts, "; ")
}

func ranModuleOf(r *moduleRun, m *wasmhost.Module, o *conformance.Outcome, took time.Duration) ranModule {
	manifest := m.Manifest()
	ran := ranModule{Module: m.Digest(), Name: manifest.Name, Version: manifest.Version, Phase: o.Phase.String(), Log: o.Log,
		Targets: o.Targets, Usage: r.used(m, o), Seconds: took.Seconds()}
	if ran.Log == nil {
		ran.Log = []conformance.Line{}
	}
	if o.Report != (abi.Result{}) {
		ran.Report = &o.Report
	}
	if o.RolledBack {
		ran.Rollback = rollbackWord(o)
	}
	if o.Err == nil {
		ran.Class = conformance.ClassName(o.Class)
		return ran
	}
	ran.Code, ran.Error = string(o.Code()), o.Err.Error()
	var e *wasmhost.Error
	if errors.As(o.Err, &e) {
		ran.Stack = e.Stack
	}
	return ran
}

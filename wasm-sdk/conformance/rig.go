// Package conformance tries modules on a device of their own, and hosts with a
// module of their own.
//
// A [Rig] is a device in memory with what a [Setup] puts on it: targets,
// artifacts, facts, settings, key-values and a clock that stands still.
// [Rig.Run] calls a module's phases on it as an update would, and gives an
// [Outcome]. [KillSweep] runs a module again and again, ending it at every point
// between module and device, and [FaultSweep] makes each of those points fail;
// both compare what the device ends with. [Load] reads such runs from a YAML
// file, with what is expected of them, and [Conform] is a fixed list of checks
// that any module should pass.
//
// The other way round, [ReferenceGuest] is a module that calls the functions
// of the contract and compares each answer with what the contract says, on the
// device of [ReferenceSetup].
//
// The device is the real one of package device on a disk that forgets what was not
// synced, so that what a module survives here it survives there. What is not
// played: other programs that use the device meanwhile, and slow networks.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Setup is what a module finds. The zero value is a device without anything.
// It is not changed, and may be used for many rigs.
type Setup struct {
	Facts map[string]string
	// Settings is a JSON object; none is {}.
	Settings  []byte
	Artifacts map[string]*Blob  // by role
	Targets   map[string]Target // by role
	KV        map[string]string
	Mark      *string // nil: no mark was made
	// Grants are the effects that the module may reach, such as reboot. The
	// device has no serial ports and no commands.
	Grants []abi.Capability
	// HTTP carries requests to granted hosts; nil: none is answered.
	HTTP http.RoundTripper
	// Run is the id of the run, run-1 if empty.
	Run string
	// Version is that of the update, 2.0.0 if empty.
	Version string
	// Now is where the clock stands, 2030-01-01 if zero. Only sleeping moves it.
	Now time.Time
	// Clock is used in place of that clock if it is set.
	Clock disk.Clock
	// Wall is the real time that a phase may take, 0 for the host's default.
	Wall time.Duration
	// FS and Dir are where the device is kept: a folder that exists and is
	// empty. Without FS it is in memory, which the sweeps need.
	FS  disk.FS
	Dir string
	// Log and Progress hear what the module says while it runs. They may be nil.
	Log      func(level int, line string)
	Progress func(done, total int64, text string)
}

// Target is one target of the device.
type Target struct {
	// Type is that of the device; File if empty.
	Type device.Type
	// Mode is Write if empty. A target to read is the running slot, the
	// current version of a directory, or the file; one to write the other
	// slot, a new version, or the file.
	Mode wasmhost.Mode
	// Quota is how many bytes may be staged, 0 for any number.
	Quota int64
	// Content is what a slot or file holds before; nil: an empty slot, no file.
	Content *Blob
	// Entries are the files of a directory's current version.
	Entries map[string]*Blob
}

const (
	defaultRun     = "run-1"
	defaultVersion = "2.0.0"
	memoryDir      = "/device"
	baseVersion    = "base" // of a directory that has entries before
)

var defaultNow = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// Rig is a device and a run on it. It may not be shared.
type Rig struct {
	setup   Setup
	run     string
	fs      disk.FS
	dir     string
	config  device.Config
	files   *device.Files
	names   map[string]string // target of the device by role
	refs    map[string]device.Target
	undo    map[string]device.Undo
	journal *journal
	clock   disk.Clock
	at      int    // the next of the steps
	steps   []step // of the run
	out     Outcome
	points  points
	said    []Line
}

// New makes a device and puts on it what s says.
func New(ctx context.Context, s Setup) (*Rig, error) {
	r := &Rig{setup: s, run: s.Run, fs: s.FS, dir: s.Dir, journal: &journal{}, undo: map[string]device.Undo{}}
	if r.run == "" {
		r.run = defaultRun
	}
	if r.fs == nil {
		r.fs, r.dir = disk.NewForgetful(), memoryDir
		if err := disk.MkdirAll(r.fs, r.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make device: %w", err)
		}
	}
	r.name()
	for role, name := range r.names {
		if err := r.seed(ctx, name, s.Targets[role]); err != nil {
			return nil, fmt.Errorf("make target %s: %w", role, err)
		}
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	for role, t := range r.refs {
		if s.Targets[role].Mode == wasmhost.Read {
			continue
		}
		var err error
		if r.undo[role], err = r.client().Preserve(ctx, t.Ref); err != nil {
			return nil, fmt.Errorf("preserve target %s: %w", role, err)
		}
	}
	return r, nil
}

var plainName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,50}$`)

// name gives each role a target, by its own name where the device allows that.
func (r *Rig) name() {
	r.config = device.Config{File: path.Join(r.dir, "device.yaml"), Targets: map[string]device.Place{}}
	r.names = map[string]string{}
	for i, role := range slices.Sorted(maps.Keys(r.setup.Targets)) {
		name := role
		if !plainName.MatchString(role) || role == "device" {
			name = fmt.Sprintf("target-%d", i+1)
			for r.setup.Targets[name].Type != "" {
				name += "-"
			}
		}
		r.names[role] = name
		r.config.Targets[name] = r.place(name, r.setup.Targets[role])
	}
	if len(r.names) == 0 { // a device has at least one target
		r.config.Targets["unused"] = device.Place{File: path.Join(r.dir, "unused")}
	}
}

func (r *Rig) place(name string, t Target) device.Place {
	switch at := path.Join(r.dir, name); t.Type {
	case device.Slots:
		return device.Place{Slots: map[string]string{"a": at + "-a.img", "b": at + "-b.img"}, Boot: device.BootState{File: at + "-boot.json"}}
	case device.Directory:
		return device.Place{Directory: at}
	default:
		return device.Place{File: at}
	}
}

// seed makes what is there before.
func (r *Rig) seed(ctx context.Context, name string, t Target) error {
	p := r.config.Targets[name]
	switch {
	case t.Type == device.Slots:
		holds := map[string]*Blob{p.Slots["a"]: nil, p.Slots["b"]: t.Content}
		if t.Mode == wasmhost.Read {
			holds[p.Slots["a"]], holds[p.Slots["b"]] = t.Content, nil
		}
		for file, content := range holds {
			if err := r.write(ctx, file, content); err != nil {
				return err
			}
		}
		return nil
	case t.Type != device.Directory && t.Content != nil:
		return r.write(ctx, p.File, t.Content)
	case len(t.Entries) == 0:
		return nil
	}
	for _, entry := range slices.Sorted(maps.Keys(t.Entries)) {
		file := path.Join(p.Directory, baseVersion, entry)
		if err := disk.MkdirAll(r.fs, path.Dir(file), 0o755); err != nil {
			return err
		}
		if err := r.write(ctx, file, t.Entries[entry]); err != nil {
			return err
		}
	}
	if err := r.fs.Symlink(baseVersion, path.Join(p.Directory, "current")); err != nil {
		return err
	}
	return r.fs.SyncDir(p.Directory)
}

// write makes a durable file.
func (r *Rig) write(ctx context.Context, name string, content *Blob) error {
	f, err := r.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if content != nil {
		_, err = io.Copy(io.NewOffsetWriter(f, 0), &ending{ctx, io.NewSectionReader(content.bytes, 0, content.size)})
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return r.fs.SyncDir(path.Dir(name))
}

// ending is a reader that stops when its context ends.
type ending struct {
	ctx context.Context
	r   io.Reader
}

func (e *ending) Read(p []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.r.Read(p)
}

// open starts the device: the first time, and after a cut.
func (r *Rig) open(ctx context.Context) error {
	r.clock = r.setup.Clock
	if r.clock == nil {
		now := r.setup.Now
		if now.IsZero() {
			now = defaultNow
		}
		r.clock = disk.NewVirtual(now)
	}
	var err error
	if r.files, err = device.New(r.config, device.Env{FS: r.fs, Clock: r.clock, Restart: device.RestartSimulate}); err != nil {
		return err
	}
	r.refs = map[string]device.Target{}
	for role, name := range r.names {
		if r.refs[role], err = r.resolve(ctx, role, name); err != nil {
			return fmt.Errorf("find target %s: %w", role, err)
		}
	}
	return nil
}

func (r *Rig) resolve(ctx context.Context, role, name string) (device.Target, error) {
	t := r.setup.Targets[role]
	c := r.client()
	switch {
	case t.Type == device.Slots && t.Mode != wasmhost.Read:
		name += "@inactive"
	case t.Type == device.Directory && t.Mode == wasmhost.Read:
		c.Run = "" // the current version, not the run's
	}
	return c.Resolve(ctx, name)
}

// client is the device itself, past what counts and fails.
func (r *Rig) client() device.Client { return device.Client{Door: r.files, Run: r.run} }

// grants are what a module may reach, now.
func (r *Rig) grants(m *wasmhost.Module) wasmhost.Grants {
	g := wasmhost.Grants{
		Run: r.run, Door: &door{r}, Journal: &watchedJournal{r}, Clock: r.clock, Wall: r.setup.Wall,
		Allowed: r.setup.Grants, HTTP: r.setup.HTTP,
		Facts: maps.Clone(r.setup.Facts), Settings: r.setup.Settings, Version: r.setup.Version,
		Sources: map[string]wasmhost.Source{}, Targets: map[string]wasmhost.Target{},
		Log: r.log, Progress: r.setup.Progress, Cancelled: r.cancelled, Trace: r.called,
		Random: rand.NewChaCha8([32]byte{}), // the same each time, and so the fuel is
	}
	if g.Version == "" {
		g.Version = defaultVersion
	}
	for role, b := range r.setup.Artifacts {
		s := &source{r: r, role: role, blob: b}
		g.Sources[role] = s
		if m.Manifest().Access == abi.Random {
			g.Sources[role] = stored{s}
		}
		if len(r.setup.Artifacts) == 1 {
			g.Source = b.digest
		}
	}
	for role, t := range r.refs {
		s := r.setup.Targets[role]
		mode := s.Mode
		if mode == "" {
			mode = wasmhost.Write
		}
		g.Targets[role] = wasmhost.Target{Ref: t.Ref, Type: t.Type, Mode: mode, Quota: s.Quota}
	}
	return g
}

// Line is a line of the module's log.
type Line struct {
	Level int    `json:"level"`
	Text  string `json:"text"`
}

func (r *Rig) log(level int, line string) {
	r.said = append(r.said, Line{level, line})
	if r.setup.Log != nil {
		r.setup.Log(level, line)
	}
}

// called is a point after each call of a function of the contract, which has
// its answer already: it can only end the instance. What a language's runtime
// asks for by itself changes nothing and is no point.
func (r *Rig) called(x wasmhost.Exchange) {
	if strings.HasPrefix(x.Function, "wasi.") {
		return
	}
	_ = r.points.reach(point{what: x.Function, after: true})
}

// cancelled is no point: code that runs for long looks at the flag by the
// clock of the machine, and so more often in one run than in another.
func (r *Rig) cancelled() bool { return r.points.cancelled }

// Allowed are the capabilities that an update grants without being asked; the
// others are granted one by one.
func Allowed() []abi.Capability {
	return slices.DeleteFunc(abi.Capabilities(), abi.Capability.Effect)
}

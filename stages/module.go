package stages

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// modules keeps what was compiled, by the name that the workflow gives it, so
// that a module is compiled before the command is accepted and never again. A
// compiled Go module takes about 20 MB, so that what is done with goes.
type modules struct {
	mu       sync.Mutex
	compiled map[string]*kept
}

type kept struct {
	sum    [32]byte // of the module's bytes
	module *wasmhost.Module
}

// loaded is a compiled module of one verb.
type loaded struct{ *wasmhost.Module }

func (l *loaded) wantsRandom() bool { return l.Manifest().Access == abi.Random }

func (l *loaded) serves(p abi.Phase) bool {
	m := l.Manifest()
	return m.Serves(p)
}

// prepare compiles a module, unless the same bytes are compiled already. Judge
// refuses what it wants and is not granted.
func (m *modules) prepare(ctx context.Context, c *Config, name string, files map[string][]byte, judge func(*wasmhost.Module) error) (*loaded, error) {
	if c.Modules == nil {
		return nil, &engine.Refused{Code: "denied", Err: errors.New("this device runs no modules")}
	}
	wasm, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("file %q was not stored with the workflow", name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &kept{sum: sha256.Sum256(wasm)}
	if have := m.compiled[name]; have != nil && have.sum == k.sum {
		return &loaded{have.module}, judge(have.module)
	}
	var err error
	if k.module, err = c.Modules.Load(ctx, wasm, wasmhost.Limits{Memory: c.moduleMemory(), Fuel: c.Module.Fuel, Wall: c.Module.Wall}); err != nil {
		return nil, &engine.Refused{Code: refusalCode(err), Err: fmt.Errorf("module %s: %w", name, err)}
	}
	if old := m.compiled[name]; old != nil {
		_ = old.module.Close(ctx) // it only gives memory back
	}
	m.compiled[name] = k
	debug.FreeOSMemory() // what compiling took is not needed again
	return &loaded{k.module}, judge(k.module)
}

// get gives a compiled module, or compiles it from the files of the run.
func (m *modules) get(ctx context.Context, c *Config, name string, t *engine.Task, judge func(*wasmhost.Module) error) (*loaded, error) {
	m.mu.Lock()
	have := m.compiled[name]
	m.mu.Unlock()
	if have != nil {
		return &loaded{have.module}, judge(have.module)
	}
	wasm, err := t.File(name)
	if err != nil {
		return nil, err
	}
	return m.prepare(ctx, c, name, map[string][]byte{name: wasm}, judge)
}

// drop forgets a module.
func (m *modules) drop(ctx context.Context, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if have := m.compiled[name]; have != nil {
		delete(m.compiled, name)
		_ = have.module.Close(ctx) // it only gives memory back
		debug.FreeOSMemory()
	}
}

func checkGrants(m *wasmhost.Module, name string, granted []abi.Capability) error {
	if err := m.Check(granted); err != nil {
		return &engine.Refused{Code: refusalCode(err), Err: fmt.Errorf("module %s: %w", name, err)}
	}
	return nil
}

func refusalCode(err error) string {
	var e *wasmhost.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return "invalid-module"
}

func (c *Config) moduleMemory() int64 {
	if c.Module.Memory > 0 {
		return c.Module.Memory
	}
	return 64 << 20
}

// installCapabilities are what an install step grants by itself: everything
// that the roles of the step and the run's own bookkeeping need.
var installCapabilities = []abi.Capability{abi.Facts, abi.Artifact, abi.Target, abi.Services, abi.State, abi.Resume, abi.Time}

// compatCapabilities keep a compat module pure.
var compatCapabilities = []abi.Capability{abi.Facts}

func (s *Install) loadModule(ctx context.Context, t *engine.Task) (*loaded, error) {
	return s.c.modules.get(ctx, s.c, s.Module, t, s.judge)
}

// checkRoles refuses roles that the module does not have, roles that it has
// and the step does not bind, and targets that the device grants to no module.
func (s *Install) checkRoles(m *wasmhost.Module) error {
	roles := m.Manifest().Roles
	refuse := func(format string, args ...any) error {
		return &engine.Refused{Code: "denied", Err: fmt.Errorf("module %s: "+format, append([]any{s.Module}, args...)...)}
	}
	for _, pair := range []struct {
		what        string
		bound, want []string
	}{{"artifact", s.artifactRoles(), roles.Artifacts}, {"target", s.targetRoles(), roles.Targets}} {
		for _, r := range pair.bound {
			if !slices.Contains(pair.want, r) {
				return refuse("has no %s role %q (has %q)", pair.what, r, pair.want)
			}
		}
		for _, r := range pair.want {
			if !slices.Contains(pair.bound, r) {
				return refuse("wants the %s role %q, which the step does not bind", pair.what, r)
			}
		}
	}
	for _, role := range s.targetRoles() {
		name, _, _ := strings.Cut(s.Targets[role].Target, "@")
		if !slices.Contains(s.c.Module.Grants, name) {
			return refuse("wants the target %q, which the device file does not grant to modules (modules.grants: %q)", name, s.c.Module.Grants)
		}
	}
	return nil
}

// Prepare compiles the module, so that what it wants is known and refused
// before the command is accepted. The code then waits in the cache, not in
// memory, until the step begins.
func (s *Install) Prepare(ctx context.Context, files map[string][]byte) error {
	if s.Module == "" {
		return nil
	}
	if _, err := s.c.modules.prepare(ctx, s.c, s.Module, files, s.judge); err != nil {
		return err
	}
	if s.c.Modules.Cached() {
		s.c.modules.drop(ctx, s.Module)
	}
	return nil
}

// runModule calls the module's phases up to commit.
func (s *Install) runModule(ctx context.Context, t *engine.Task) error {
	m, err := s.loadModule(ctx, t)
	if err != nil {
		return err
	}
	for _, ref := range s.Touches() {
		if target := t.Targets[ref]; target.Type == device.Slots {
			if err := client(t).Invalidate(ctx, target.Ref); err != nil {
				return fmt.Errorf("invalidate %s: %w", target.Ref, err)
			}
		}
	}
	g, err := s.grants(ctx, t)
	if err != nil {
		return err
	}
	res, err := wasmhost.Install(ctx, m.Module, g)
	return moduleEnd(t, res, err)
}

// moduleEnd turns what a phase returned into what the engine understands.
func moduleEnd(t *engine.Task, res wasmhost.Result, err error) error {
	var cancelled *wasmhost.Error
	switch {
	case errors.As(err, &cancelled) && cancelled.Code == wasmhost.Cancelled:
		return errors.Join(engine.ErrCancelled, err)
	case err != nil:
		return moduleFailure(err)
	case res.Class == abi.RetryLater:
		return &engine.Retry{Err: errors.New("the module asks to be called later: " + res.Report.Details)}
	case res.Class == abi.Incompatible:
		return &engine.Refused{Code: "incompatible", Err: errors.New(res.Report.Details)}
	}
	if res.Report.Details != "" {
		t.Log(res.Report.Details)
	}
	return nil
}

// moduleFailure gives a module's error its code, unless an error of the engine lies
// below it: a download that can be tried again stays one.
func moduleFailure(err error) error {
	var retry *engine.Retry
	var refused *engine.Refused
	var failure *engine.Failure
	var module *wasmhost.Error
	if errors.As(err, &retry) || errors.As(err, &refused) || errors.As(err, &failure) || !errors.As(err, &module) {
		return err
	}
	if disk.IsNoSpace(err) {
		return &engine.Failure{Code: "no_space", Err: err}
	}
	return &engine.Failure{Code: string(module.Code), Err: err}
}

// grants binds the step's roles to what the run resolved.
func (s *Install) grants(ctx context.Context, t *engine.Task) (wasmhost.Grants, error) {
	settings, err := json.Marshal(s.With)
	if err != nil {
		return wasmhost.Grants{}, fmt.Errorf("settings: %w", err)
	}
	facts, err := client(t).Facts(ctx)
	if err != nil {
		return wasmhost.Grants{}, err
	}
	g := wasmhost.Grants{Run: t.Run, Door: t.Door, Sources: map[string]wasmhost.Source{}, Targets: map[string]wasmhost.Target{},
		Facts: facts, Settings: settings, Journal: checkpoints{t}, Clock: t.Clock(), Version: releaseVersion(t)}
	for i, src := range t.In { // none when the step is undone or cleaned up
		g.Sources[s.artifactRoles()[i]] = sourceFor(src)
	}
	if len(t.In) == 1 {
		g.Source = t.In[0].Digest()
	}
	for role, grant := range s.Targets {
		target, ok := t.Targets[grant.Target]
		if !ok {
			if target, err = client(t).Resolve(ctx, grant.Target); err != nil {
				return g, err
			}
		}
		mode := wasmhost.Write
		if grant.Mode == "read" {
			mode = wasmhost.Read
		}
		g.Targets[role] = wasmhost.Target{Ref: target.Ref, Type: target.Type, Mode: mode, Quota: grant.Quota}
	}
	g.Allowed, g.HTTP = s.effects(), s.c.HTTP
	g.Wall = s.wall(t.In)
	g.Log = func(_ int, line string) { t.Log(line) }
	g.Progress = func(done, total int64, _ string) { t.Progress(done, total) }
	g.Cancelled = func() bool { return errors.Is(t.Safe(ctx), engine.ErrCancelled) }
	return g, nil
}

// wall is the time that a phase may take. Waiting for the network counts, so
// that the slowest body that fetch puts up with must fit in; the step's timeout
// and the device file's limit come first.
func (s *Install) wall(in []engine.Source) time.Duration {
	wall := 10 * time.Minute
	for _, src := range in {
		wall += time.Duration(max(src.Size(), 0)/s.c.MinRate) * time.Second
	}
	if most := s.c.Module.Wall; most > 0 {
		return min(wall, most)
	}
	return wall
}

// Undo calls the module's rollback phase, if it has one. The door then puts
// back the targets.
func (s *Install) Undo(ctx context.Context, t *engine.Task) error {
	if s.Module == "" {
		return nil
	}
	m, err := s.loadModule(ctx, t)
	if err != nil || !m.serves(abi.Rollback) {
		return nil // without the module the door's undo is all there is
	}
	g, err := s.grants(ctx, t)
	if err != nil {
		return err
	}
	g.Sources, g.Cancelled = nil, nil
	res, err := m.Call(ctx, abi.Rollback, g)
	if err == nil && res.Class == abi.RetryLater {
		err = errors.New("the module asks for its rollback to be called later: " + res.Report.Details)
	}
	return err
}

// Clean calls the module's cleanup phase, if it has one.
func (s *Install) Clean(ctx context.Context, t *engine.Task) error {
	if s.Module == "" {
		return nil
	}
	m, err := s.loadModule(ctx, t)
	if err != nil || !m.serves(abi.Cleanup) {
		return err
	}
	g, err := s.grants(ctx, t)
	if err != nil {
		return err
	}
	g.Sources = nil
	_, err = m.Call(ctx, abi.Cleanup, g)
	return err
}

// checkpoints keeps a module's checkpoint as the step's.
type checkpoints struct{ t *engine.Task }

func (c checkpoints) Last(context.Context) (p wasmhost.Checkpoint, err error) {
	_, err = c.t.LastCheckpoint(&p)
	return p, err
}

func (c checkpoints) Save(ctx context.Context, p wasmhost.Checkpoint) error {
	return c.t.Checkpoint(ctx, p)
}

// moduleSource lends an engine's source to the module host, which knows no
// engine: the state of a stream becomes opaque bytes.
type moduleSource struct{ engine.Source }

type randomSource struct {
	moduleSource
	io.ReaderAt
}

func sourceFor(src engine.Source) wasmhost.Source {
	if r, ok := src.(engine.Random); ok {
		return randomSource{moduleSource{src}, r}
	}
	return moduleSource{src}
}

func (m moduleSource) Open(ctx context.Context, state []byte) (wasmhost.Stream, error) {
	var at engine.State
	if state != nil {
		if err := json.Unmarshal(state, &at); err != nil {
			return nil, fmt.Errorf("state of the artifact: %w", err)
		}
	}
	s, err := m.Source.Open(ctx, at)
	if err != nil {
		return nil, err
	}
	return moduleStream{s}, nil
}

type moduleStream struct{ engine.Stream }

func (m moduleStream) Mark() ([]byte, error) {
	at, err := m.Stream.Mark()
	if err != nil {
		return nil, err
	}
	return json.Marshal(at)
}

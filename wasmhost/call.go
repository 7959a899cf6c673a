package wasmhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// call is one phase in one instance. It lives for [Module.Call] and is used
// by one goroutine.
type call struct {
	m       *Module
	phase   abi.Phase
	g       *Grants
	point   Checkpoint // durable one, or its successor before it is saved
	dirty   bool       // point differs from the durable one
	handles handles
	sources map[string]*artifact
	targets map[string]*target // by role and mode
	fresh   map[string]bool    // files that this instance opened for writing
	logs    lines
	shown   progress
	result  Result
	buffer  []byte        // of svc_copy and draining
	saved   time.Duration // when the last checkpoint was, by the clock
	moved   int64         // bytes copied since then

	archives  map[origin]*archive
	ports     map[string]int64 // handles of serial ports at the door, by name
	output    []byte           // of the last exec
	httpBytes int64            // of requests and responses

	// serve answers the module: [bound], or what stands in for it or listens.
	serve    func(ctx context.Context, i *entry, a args) int64
	ask      func()       // instead of check, in a process of its own
	record   *phaseRecord // nil: nobody records
	traced   int64        // exchanges
	tank     tank
	usage    Usage
	wall     time.Duration // that the phase may take
	begun    time.Duration // by the clock
	still    time.Duration // slept in compat, where the time stands still
	dice     io.Reader
	out      [2]printed // stdout and stderr
	looked   time.Time  // when the host last asked whether the run is being cancelled
	warned   bool       // it was
	warnedAt time.Duration

	failed   error  // first failure of the host: it wins
	trap     *Error // why a host function ended the instance
	panicked any    // panic of the door, a source or the journal: it goes on in Call
}

// callKey finds the call in the context of a host function. The functions are
// bound once for a module, and a module's calls may overlap.
type callKey struct{}

// errWall is the cause of a context that reached the phase's own limit.
var errWall = errors.New("the phase's time is over")

// Call runs one phase in an instance of its own. It may be called again with
// the same grants after it ended in any way, or after a power cut: what the
// checkpoint in the journal says is done is skipped.
//
// Classes above abi.RetryLater are errors with the codes GuestFailed and
// Cancelled. After install returned well, the rest of every opened artifact
// is read and hashed, and then Sealed is called. A panic of the door, of a
// source or of the journal passes through.
func (m *Module) Call(ctx context.Context, phase abi.Phase, g Grants) (Result, error) {
	c := newCall(m, phase, &g)
	if err := c.admit(); err != nil {
		return Result{}, c.fault(Denied, "", err)
	}
	if err := c.load(ctx); err != nil {
		return Result{}, err
	}
	begin := time.Now()
	err := c.run(ctx)
	err = errors.Join(err, c.close(ctx))
	c.endLog()
	c.shown.end(g.Progress)
	if c.panicked != nil {
		panic(c.panicked)
	}
	c.usage.Wall = time.Since(begin)
	c.result.Usage = c.usage
	var own *Error
	if errors.As(err, &own) {
		own.Usage = c.usage
	}
	return c.result, err
}

func newCall(m *Module, phase abi.Phase, g *Grants) *call {
	c := &call{
		m: m, phase: phase, g: g, sources: map[string]*artifact{}, targets: map[string]*target{}, fresh: map[string]bool{},
		serve: bound, tank: tank{limit: m.fuel}, wall: m.wall(phase, g),
	}
	c.out = [2]printed{{c: c, level: abi.LevelInfo}, {c: c, level: abi.LevelWarn}}
	return c
}

// admit checks that the phase is served and every role bound that it needs.
func (c *call) admit() error {
	if !c.m.manifest.Serves(c.phase) {
		return fmt.Errorf("module %s does not serve the phase %s", c.m.manifest.Name, c.phase)
	}
	if c.g.Clock == nil && c.phase != abi.Compat {
		return errors.New("no clock is granted")
	}
	if c.phase == abi.Install {
		for _, role := range c.m.manifest.Roles.Artifacts {
			s := c.g.Sources[role]
			if s == nil {
				return fmt.Errorf("no artifact is bound to the role %q", role)
			}
			if _, ok := s.(io.ReaderAt); c.m.manifest.Access == abi.Random && !ok {
				return fmt.Errorf("the module reads artifact %q at random, it is a stream", role)
			}
		}
	}
	if c.phase == abi.Install || c.phase == abi.Commit {
		for _, role := range c.m.manifest.Roles.Targets {
			if c.g.Targets[role].Ref == "" {
				return fmt.Errorf("no target is bound to the role %q", role)
			}
		}
	}
	return nil
}

// load reads the checkpoint. One of another module is refused: its offsets
// and keys would mean something else.
func (c *call) load(ctx context.Context) error {
	if c.g.Journal != nil && c.phase != abi.Compat {
		var err error
		if c.point, err = c.g.Journal.Last(ctx); err != nil {
			return c.fault(HostIO, "read checkpoint", err)
		}
	}
	if c.point.Module != "" && c.point.Module != c.m.digest {
		return c.fault(ABI, fmt.Sprintf("the checkpoint is of module %.12s", c.point.Module), nil)
	}
	c.point.Module = c.m.digest
	if c.phase == abi.Install || c.phase == abi.Rollback {
		c.point.Phase = c.phase // what was sealed before no longer counts
	}
	c.point = c.point.clone() // the journal may have handed out maps of its own
	if c.g.Clock != nil {
		c.saved = c.g.Clock.Mono()
		c.begun = c.saved
	}
	return nil
}

// run is the phase and what the host does at its end.
func (c *call) run(ctx context.Context) error {
	class, err := c.attempt(ctx)
	if err != nil {
		return err
	}
	c.result.Class = class
	switch class {
	case abi.OK, abi.OKRestart, abi.AlreadyDone:
		return c.finish(ctx)
	case abi.Incompatible, abi.RetryLater:
		return nil
	case abi.Failed:
		return c.fault(GuestFailed, c.result.Report.Details, nil)
	case abi.Cancelled:
		return c.fault(Cancelled, c.result.Report.Details, nil)
	}
	return c.fault(ABI, fmt.Sprintf("the phase returned %d", class), nil)
}

// finish reads the rest of the artifacts and makes the last checkpoint.
func (c *call) finish(ctx context.Context) error {
	if c.phase == abi.Compat {
		return nil
	}
	if c.phase == abi.Install {
		if err := c.seal(ctx); err != nil {
			return c.broken(ctx, err)
		}
	}
	if !c.dirty {
		return nil
	}
	if err := c.save(ctx); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

func (c *call) seal(ctx context.Context) error {
	for _, role := range slices.Sorted(maps.Keys(c.sources)) {
		if err := c.sources[role].drain(ctx); err != nil {
			return fmt.Errorf("artifact %s: %w", role, err)
		}
	}
	// Durable before Sealed: what Sealed learns must not be ahead of the targets.
	if err := c.save(ctx); err != nil {
		return err
	}
	if c.g.Sealed != nil {
		if err := c.g.Sealed(ctx); err != nil {
			return fmt.Errorf("seal: %w", err)
		}
	}
	c.point.Phase = abi.Commit
	c.dirty = true
	return nil
}

// guest makes the instance, calls the phase and says how it ended.
func (c *call) guest(ctx context.Context) (class abi.Class, err error) {
	memory, err := newArena(&c.m.host.memory, c.m.info.Memory.Granted)
	if err != nil {
		return 0, c.fault(Memory, "", err)
	}
	defer func() {
		c.usage.Fuel, c.usage.Frames, c.usage.Memory = c.tank.used(), c.tank.deep, memory.peak
		memory.Free() // again, for an instance that was never made
	}()
	ctx, stop := context.WithTimeoutCause(context.WithValue(ctx, callKey{}, c), c.wall, errWall)
	defer stop()
	instance, err := c.m.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, memory), c.m.code,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return 0, c.ended(ctx, err)
	}
	defer func() { err = errors.Join(err, instance.Close(ctx)) }()
	if err := c.tank.connect(instance); err != nil {
		return 0, c.fault(HostIO, "", err)
	}
	if f := instance.ExportedFunction(abi.InitExport); f != nil {
		if _, err := f.Call(ctx); err != nil || c.failed != nil {
			return 0, c.ended(ctx, err)
		}
	}
	out, err := instance.ExportedFunction(abi.PhaseExport).Call(ctx, api.EncodeI32(int32(c.phase)))
	if err != nil || c.failed != nil || ctx.Err() != nil {
		return 0, c.ended(ctx, err)
	}
	if c.tank.overdrawn() {
		return 0, c.fault(Fuel, c.tank.spent(), nil)
	}
	return abi.Class(api.DecodeI32(out[0])), nil
}

// ended says why the instance ended: the host's failure first, whatever the
// guest made of it.
func (c *call) ended(ctx context.Context, err error) error {
	if c.panicked != nil {
		return c.trap // Call panics
	}
	if c.failed != nil {
		return c.broken(ctx, c.failed)
	}
	if cause := context.Cause(ctx); cause != nil {
		c.trap = c.fault(stopped(cause), "", cause)
	}
	if c.trap != nil {
		c.trap.Stack = c.m.stack(err)
		return c.trap
	}
	reason, _, _ := strings.Cut(err.Error(), "\n")
	e := c.fault(GuestTrap, reason, nil)
	e.Stack = c.m.stack(err)
	return e
}

// broken is a failure on the host's side; the end of a context is none of its own.
func (c *call) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, cause) || errors.Is(err, ctx.Err())) {
		return c.fault(stopped(cause), "", err)
	}
	var own *Error
	if errors.As(err, &own) && own.Module == c.m.digest {
		return own
	}
	return c.fault(HostIO, "", err)
}

func stopped(cause error) Code {
	if errors.Is(cause, errWall) || errors.Is(cause, context.DeadlineExceeded) {
		return Wall
	}
	return Cancelled
}

func (c *call) fault(code Code, detail string, err error) *Error {
	return &Error{Code: code, Module: c.m.digest, Phase: c.phase, Detail: detail, Err: err}
}

// close frees what the instance held at the host. What was staged stays.
func (c *call) close(ctx context.Context) error {
	var err error
	for _, a := range c.sources {
		err = errors.Join(err, a.close())
	}
	for _, a := range c.archives {
		a.free()
	}
	for i := range c.handles.slots {
		if r, ok := c.handles.slots[i].value.(*response); ok {
			r.close()
		}
	}
	if c.panicked != nil {
		return err // the door is gone
	}
	ctx = context.WithoutCancel(ctx)
	for _, handle := range c.ports {
		_, e := c.g.Door.Do(ctx, device.Op{Kind: device.Close, Run: c.g.Run, Handle: handle})
		err = errors.Join(err, e)
	}
	for i := range c.handles.slots {
		if t, ok := c.handles.slots[i].value.(*target); ok && t.open {
			_, e := c.g.Door.Do(ctx, device.Op{Kind: device.Close, Run: c.g.Run, Target: t.grant.Ref, Handle: t.door})
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return c.fault(HostIO, "close", err)
	}
	return nil
}

// setResult takes the module's JSON for the report.
func (c *call) setResult(text []byte) abi.Errno {
	var r abi.Result
	if len(text) > abi.MaxResult {
		return abi.EQUOTA
	}
	if json.Unmarshal(text, &r) != nil || !slices.Contains([]string{"", "none", "required", "immediate"}, r.Reboot) {
		return abi.EINVAL
	}
	c.result.Report = r
	return 0
}

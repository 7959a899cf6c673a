package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Sweep is what a module did when it was disturbed at every point.
type Sweep struct {
	// Points are the places between module and device in the run that
	// nothing disturbed; Runs is how often it was run in all.
	Points, Runs int
	// Reference is how that run ended.
	Reference *Outcome
	// Violations say where a disturbed run came to another end, in order.
	Violations []string
}

// maxViolations is where a sweep gives up: what follows is the same mistake.
const maxViolations = 20

func (s *Sweep) note(format string, args ...any) {
	s.Violations = append(s.Violations, fmt.Sprintf(format, args...))
}

// sweep is a run that is to be disturbed.
type sweep struct {
	Sweep
	m     *wasmhost.Module
	begin *Rig    // before the first phase
	seen  []point // the places of the reference run
}

// newSweep makes the run that nothing disturbs.
func newSweep(ctx context.Context, m *wasmhost.Module, s Setup, phases []abi.Phase) (*sweep, error) {
	s.Log, s.Progress = nil, nil // told once is enough
	begin, err := New(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := begin.start(m, phases); err != nil {
		return nil, err
	}
	w := &sweep{m: m, begin: begin}
	r, err := begin.clone(ctx)
	if err != nil {
		return nil, err
	}
	r.points.hit = func(_ int, p point) error {
		w.seen = append(w.seen, p)
		return nil
	}
	if w.Reference, err = w.end(ctx, r); err != nil {
		return nil, err
	}
	w.Points = len(w.seen)
	return w, nil
}

// end goes on to the end of the run.
func (w *sweep) end(ctx context.Context, r *Rig) (*Outcome, error) {
	w.Runs++
	return r.look(ctx, r.proceed(ctx, w.m))
}

// KillSweep runs m once for each point between module and device, ends it
// there without any cleanup, starts the device again and runs m to its end,
// which must be that of the run that was not killed: the same result, and the
// same targets. Each point is tried twice: the power goes and what was not
// synced is lost, and the program alone ends and nothing is lost.
func KillSweep(ctx context.Context, m *wasmhost.Module, s Setup, phases ...abi.Phase) (*Sweep, error) {
	w, err := newSweep(ctx, m, s, phases)
	if err != nil {
		return nil, err
	}
	for n := 1; n <= w.Points && len(w.Violations) < maxViolations; n++ {
		for _, mode := range []disk.Cut{disk.Power, disk.Kill} {
			if err := ctx.Err(); err != nil {
				return nil, context.Cause(ctx)
			}
			if err := w.kill(ctx, n, mode); err != nil {
				return nil, err
			}
		}
	}
	return &w.Sweep, nil
}

func (w *sweep) kill(ctx context.Context, n int, mode disk.Cut) error {
	r, err := w.begin.clone(ctx)
	if err != nil {
		return err
	}
	r.points.hit = func(at int, _ point) error {
		if at == n {
			panic(killed{})
		}
		return nil
	}
	at := w.seen[n-1]
	w.Runs++
	if !attempt(func() { r.proceed(ctx, w.m) }) {
		w.note("point %d (%s) of %d was not reached: the module does not do the same each time", n, at, w.Points)
		return nil
	}
	if err := r.cut(ctx, mode); err != nil {
		return err
	}
	got, err := w.end(ctx, r)
	if err != nil {
		return err
	}
	if what := differs(w.Reference, got); what != "" {
		w.note("%s %s (point %d of %d): %s", mode, at, n, w.Points, what)
	}
	return nil
}

// Fault is a way in which a point fails.
type Fault string

// The faults.
const (
	// EIO fails a call of the device, the journal or an artifact's stream.
	EIO Fault = "eio"
	// ENOSPC fails a call that writes: the disk is full.
	ENOSPC Fault = "enospc"
	// ShortRead makes a read of an artifact give one byte.
	ShortRead Fault = "short-read"
	// Cancel sets the cancel flag.
	Cancel Fault = "cancel"
)

// Faults are all of them.
func Faults() []Fault { return []Fault{EIO, ENOSPC, ShortRead, Cancel} }

// concerns says whether the fault can happen at p.
func (f Fault) concerns(p point) bool {
	switch f {
	case EIO:
		return !p.after && (p.effect || p.ask || p.source)
	case ENOSPC:
		return !p.after && p.effect
	case ShortRead:
		return p.read
	}
	return true
}

// FaultSweep runs m once for each point that the fault concerns.
//
// After [EIO] and [ENOSPC], which are over when the next call comes, the run
// must have ended as a failure of the host; called again it must end as the
// run that nothing disturbed, and rolled back instead it must leave the targets as
// they were. [ShortRead] must change nothing. After [Cancel] the run ends
// undisturbed, or as cancelled or failed, and is then rolled back.
func FaultSweep(ctx context.Context, m *wasmhost.Module, s Setup, fault Fault, phases ...abi.Phase) (*Sweep, error) {
	w, err := newSweep(ctx, m, s, phases)
	if err != nil {
		return nil, err
	}
	before, err := w.begin.States(ctx)
	if err != nil {
		return nil, err
	}
	w.Points = 0
	for i, p := range w.seen {
		if !fault.concerns(p) {
			continue
		}
		w.Points++
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := w.fail(ctx, i+1, fault, before); err != nil {
			return nil, err
		}
		if len(w.Violations) >= maxViolations {
			break
		}
	}
	return &w.Sweep, nil
}

// arm makes point n fail.
func (f Fault) arm(p *points, n int) {
	p.hit = func(at int, _ point) error {
		if at != n {
			return nil
		}
		switch f {
		case EIO:
			return syscall.EIO
		case ENOSPC:
			return syscall.ENOSPC
		case ShortRead:
			p.short = true
		case Cancel:
			p.cancelled = true
		}
		return nil
	}
}

func (w *sweep) fail(ctx context.Context, n int, fault Fault, before map[string]State) error {
	r, err := w.begin.clone(ctx)
	if err != nil {
		return err
	}
	fault.arm(&r.points, n)
	got, err := w.end(ctx, r)
	if err != nil {
		return err
	}
	where := fmt.Sprintf("%s %s", fault, w.seen[n-1])
	if got.Well() || fault == ShortRead {
		if what := differs(w.Reference, got); what != "" {
			w.note("%s: %s", where, what)
		}
		return nil
	}
	if w.Reference.Well() && !slices.Contains(fault.ends(), got.Code()) {
		w.note("%s: it ended with %s, want one of %q", where, got.end(), fault.ends())
	}
	if fault != Cancel {
		if err := w.again(ctx, r, where); err != nil {
			return err
		}
	}
	return w.back(ctx, r, where, before)
}

// ends are the codes that a run may end with.
func (f Fault) ends() []wasmhost.Code {
	if f == Cancel {
		return []wasmhost.Code{wasmhost.Cancelled, wasmhost.GuestFailed}
	}
	return []wasmhost.Code{wasmhost.HostIO}
}

// again goes on with a run that failed.
func (w *sweep) again(ctx context.Context, r *Rig, where string) error {
	c, err := r.clone(ctx)
	if err != nil {
		return err
	}
	c.out = Outcome{}
	got, err := w.end(ctx, c)
	if err != nil {
		return err
	}
	if what := differs(w.Reference, got); what != "" {
		w.note("%s, then again: %s", where, what)
	}
	return nil
}

// back rolls a run back that failed.
func (w *sweep) back(ctx context.Context, r *Rig, where string, before map[string]State) error {
	if !r.undoable() || w.Reference.Code() == wasmhost.Denied { // what is refused has not begun
		return nil
	}
	c, err := r.clone(ctx)
	if err != nil {
		return err
	}
	undone := c.undoAll(ctx, w.m)
	states, err := c.States(ctx)
	if err != nil {
		return err
	}
	if what := differ(before, states); undone != nil || what != "" {
		w.note("%s, then rolled back: %v", where, errors.Join(undone, asError(what)))
	}
	return nil
}

func asError(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

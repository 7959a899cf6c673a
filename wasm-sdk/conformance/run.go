package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// step is one call of a phase, or the three phases of an install step.
type step struct {
	phase   abi.Phase
	install bool // prepare, install and commit
}

// Outcome is how a run ended.
type Outcome struct {
	// Class is that of the last phase that was called.
	Class abi.Class
	// Report is what the module said of itself.
	Report abi.Result
	// Err is what ended the run, nil if every phase returned well or with
	// Incompatible or RetryLater.
	Err error
	// Phase is the one that was called last; Install stands for prepare,
	// install and commit.
	Phase abi.Phase
	// RollbackErr is what went wrong while the run was undone.
	RollbackErr error
	RolledBack  bool
	Log         []Line
	Targets     map[string]State
	// Usage is what all phases took together; Memory and Frames are the most
	// of any.
	Usage  wasmhost.Usage
	KV     map[string]string
	Mark   string
	Marked bool
}

// Well reports whether the module came to its end as it should.
func (o *Outcome) Well() bool { return o.Err == nil && o.Class <= abi.AlreadyDone }

// Code is the code of the error, "" if there is none or if it is not of the host.
func (o *Outcome) Code() wasmhost.Code {
	var e *wasmhost.Error
	if errors.As(o.Err, &e) {
		return e.Code
	}
	return ""
}

// Reason is what the module or the host said about the end.
func (o *Outcome) Reason() string {
	if o.Err != nil {
		return o.Err.Error()
	}
	return o.Report.Details
}

// plan lists the calls of a run. Without phases it is what an update calls,
// as far as the module serves it.
func plan(m *wasmhost.Module, phases []abi.Phase) ([]step, error) {
	manifest := m.Manifest()
	var steps []step
	for _, p := range phases {
		if !manifest.Serves(p) {
			return nil, fmt.Errorf("module %s does not serve the phase %s (it serves %q)", manifest.Name, p, manifest.Phases)
		}
		steps = append(steps, step{phase: p})
	}
	if len(phases) > 0 {
		return steps, nil
	}
	whole := manifest.Serves(abi.Install) && manifest.Serves(abi.Commit)
	for _, p := range []abi.Phase{abi.Enumerate, abi.Compat, abi.Prepare, abi.Install, abi.Commit, abi.Health, abi.Cleanup} {
		switch {
		case !manifest.Serves(p):
		case whole && p == abi.Install:
			steps = append(steps, step{p, true})
		case whole && (p == abi.Prepare || p == abi.Commit): // part of it
		default:
			steps = append(steps, step{phase: p})
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("module %s serves %q alone, which no update calls by itself: name the phase", manifest.Name, manifest.Phases)
	}
	return steps, nil
}

// Run calls phases of m in their order, or all that an update calls if none
// is named: enumerate and compat, then prepare, install and commit as
// [wasmhost.Install] does, health and cleanup, as far as m serves them. It stops
// at the first that does not return well. What failed is rolled back if m
// serves that, and the device puts its targets back.
//
// The error is that of the rig: a phase that m does not serve, a device that
// cannot be read. What the module did wrong is in the outcome.
func (r *Rig) Run(ctx context.Context, m *wasmhost.Module, phases ...abi.Phase) (*Outcome, error) {
	if err := r.start(m, phases); err != nil {
		return nil, err
	}
	o := r.proceed(ctx, m)
	if o.Err != nil && o.Code() != wasmhost.Denied && r.undoable() { // what was refused has not begun
		o.RolledBack, o.RollbackErr = true, r.undoAll(ctx, m)
	}
	return r.look(ctx, o)
}

// start makes the plan of the run.
func (r *Rig) start(m *wasmhost.Module, phases []abi.Phase) error {
	var err error
	if r.steps, err = plan(m, phases); err != nil {
		return err
	}
	return r.begin(m)
}

// proceed goes on with the steps that are left. It may be called again after
// it was killed.
func (r *Rig) proceed(ctx context.Context, m *wasmhost.Module) *Outcome {
	o := &r.out
	for ; r.at < len(r.steps); r.at++ {
		s := r.steps[r.at]
		if o.Err != nil && s.phase != abi.Rollback {
			continue // only a rollback that was asked for follows a failure
		}
		var res wasmhost.Result
		var err error
		switch {
		case s.install:
			res, err = wasmhost.Install(ctx, m, r.grants(m))
		case s.phase == abi.Rollback:
			err = r.undoAll(ctx, m)
			if o.Err != nil {
				o.RolledBack, o.RollbackErr = true, err
				continue
			}
		default:
			res, err = m.Call(ctx, s.phase, r.grants(m))
		}
		o.Class, o.Phase, o.Err, o.Usage = res.Class, s.phase, err, sum(o.Usage, res.Usage)
		if res.Report != (abi.Result{}) {
			o.Report = res.Report
		}
		if err == nil && (res.Class > abi.AlreadyDone || s.phase == abi.Compat && res.Class == abi.AlreadyDone) {
			break
		}
		if err != nil && !slices.Contains(r.steps[r.at:], step{phase: abi.Rollback}) {
			break // the failed step is the one to go on with
		}
	}
	return o
}

// sum is what two phases took together.
func sum(u, v wasmhost.Usage) wasmhost.Usage {
	return wasmhost.Usage{
		Fuel: u.Fuel + v.Fuel, Memory: max(u.Memory, v.Memory), Frames: max(u.Frames, v.Frames),
		Calls: u.Calls + v.Calls, Moved: u.Moved + v.Moved, Wall: u.Wall + v.Wall,
	}
}

// undoable says that the run's steps may have changed something.
func (r *Rig) undoable() bool {
	return slices.ContainsFunc(r.steps, func(s step) bool {
		return s.install || s.phase == abi.Install || s.phase == abi.Commit
	}) && !slices.Contains(r.steps, step{phase: abi.Rollback})
}

// undoAll rolls back: first the module, if it can, and then the device.
func (r *Rig) undoAll(ctx context.Context, m *wasmhost.Module) error {
	g := r.grants(m)
	g.Sources, g.Cancelled = nil, nil
	manifest := m.Manifest()
	var err error
	if manifest.Serves(abi.Rollback) {
		_, err = m.Call(ctx, abi.Rollback, g)
	}
	for _, role := range slices.Sorted(maps.Keys(r.undo)) {
		if e := r.client().Restore(ctx, r.undo[role]); e != nil {
			err = errors.Join(err, fmt.Errorf("restore target %s: %w", role, e))
		}
	}
	return err
}

// look adds to o what the device holds now.
func (r *Rig) look(ctx context.Context, o *Outcome) (*Outcome, error) {
	var err error
	if o.Targets, err = r.States(ctx); err != nil {
		return nil, err
	}
	c, err := r.journal.last()
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	o.KV = map[string]string{}
	for k, v := range c.KV {
		o.KV[k] = string(v)
	}
	o.Mark, o.Marked = string(c.Mark), c.Marked
	o.Log = r.said
	return o, nil
}

// differs says what is different between how two runs ended, "" if nothing is.
// What they logged and kept does not count.
func differs(want, got *Outcome) string {
	switch {
	case want.Well() != got.Well() || !want.Well() && (want.Class != got.Class || want.Code() != got.Code()):
		return fmt.Sprintf("it ended with %s, want %s", got.end(), want.end())
	}
	return differ(want.Targets, got.Targets)
}

// end is how it ended, for a message.
func (o *Outcome) end() string {
	if o.Err != nil {
		return o.Err.Error()
	}
	return ClassName(o.Class)
}

func differ(want, got map[string]State) string {
	for _, role := range slices.Sorted(maps.Keys(want)) {
		if w, g := want[role], got[role]; w != g {
			return fmt.Sprintf("target %s is %s, want %s", role, g, w)
		}
	}
	return ""
}

// String describes the state to people.
func (s State) String() string {
	what := "not committed"
	if s.Committed {
		what = "committed"
	}
	if s.SHA256 == "" {
		return what
	}
	return fmt.Sprintf("%s with %d bytes, sha256 %.12s", what, s.Size, s.SHA256)
}

var classNames = []string{"ok", "restart", "already-done", "incompatible", "retry-later", "failed", "cancelled"}

// ClassName gives the word for a class in test files and output.
func ClassName(c abi.Class) string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class %d", c)
	}
	return classNames[c]
}

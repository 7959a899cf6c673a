package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Check is one thing that a module should do, and whether it does.
type Check struct {
	Name string `json:"name"`
	// Failures say what is wrong; none, with no Left, is a pass.
	Failures []string `json:"failures,omitempty"`
	// Left says why the check was left out, "" if it was made.
	Left string `json:"left,omitempty"`
	// Detail is a figure, such as how many points were tried.
	Detail string `json:"detail,omitempty"`
}

// kit is the module under test and what is found out about it on the way.
type kit struct {
	l        *Loader
	limits   wasmhost.Limits
	granted  []abi.Capability
	setup    Setup
	manifest abi.Manifest
	m        *wasmhost.Module
	whole    *Outcome
}

// Conform tries a module that is all of an update's: it loads, its phases end
// as phases do, the same each time, and it survives being killed, failed,
// cancelled, rolled back and short of what it needs. What s does not bind to a
// role of the manifest is made up: 200,000 bytes for an artifact, a pair of slots
// or, for a role with dir or tree in its name, a directory.
//
// The checks come in order; one that needs an earlier one is left out if that
// failed. The error is that of the rig.
func Conform(ctx context.Context, l *Loader, limits wasmhost.Limits, granted []abi.Capability, s Setup, told func(Check)) error {
	k := &kit{l: l, limits: limits, granted: granted, setup: s}
	for _, c := range []struct {
		name string
		run  func(context.Context, *Check) error
	}{
		{"the module loads and wants what is granted", k.loads},
		{"its phases end as phases do", k.ends},
		{"it does the same three times, and for the same fuel", k.repeats},
		{"interpreted, it does the same for the same fuel", k.interpreted},
		{"a phase with nothing bound ends without a trap", k.unbound},
		{"too little memory is a plain refusal", k.cramped},
		{"no time is a plain end", k.hurried},
		{"out of fuel at a quarter, half and three quarters, it ends the same when it is called again", k.starved},
		{"killed at each point, it ends the same when it is called again", k.killed},
		{"an input or output error at each point is survived", k.faulty(EIO)},
		{"a full disk at each point is survived", k.faulty(ENOSPC)},
		{"short reads change nothing", k.faulty(ShortRead)},
		{"cancelled at each point, it ends and leaves the targets as they were", k.faulty(Cancel)},
		{"rolled back, it leaves the targets as they were", k.undone},
	} {
		check := Check{Name: c.name}
		if k.m == nil && len(check.Failures) == 0 && c.name != "the module loads and wants what is granted" {
			check.Left = "the module does not load"
		} else if err := c.run(ctx, &check); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		told(check)
	}
	return nil
}

func (c *Check) fail(format string, args ...any) {
	c.Failures = append(c.Failures, fmt.Sprintf(format, args...))
}

func (k *kit) loads(ctx context.Context, c *Check) error {
	m, err := k.l.Load(ctx, k.limits, k.granted)
	var e *wasmhost.Error
	switch {
	case errors.As(err, &e):
		c.fail("%v", err)
		return nil
	case err != nil:
		return err
	}
	k.m, k.manifest = m, m.Manifest()
	k.fill()
	c.Detail = fmt.Sprintf("%s %s, %s", k.manifest.Name, k.manifest.Version, strings.Join(k.manifest.Phases, ", "))
	return nil
}

const madeUp = 200_000 // bytes of an artifact

// fill binds the roles that nothing is bound to.
func (k *kit) fill() {
	artifacts, targets := maps.Clone(k.setup.Artifacts), maps.Clone(k.setup.Targets)
	if artifacts == nil {
		artifacts = map[string]*Blob{}
	}
	if targets == nil {
		targets = map[string]Target{}
	}
	for i, role := range k.manifest.Roles.Artifacts {
		if artifacts[role] == nil {
			artifacts[role] = Noise(madeUp, uint64(i))
		}
	}
	for _, role := range k.manifest.Roles.Targets {
		if _, bound := targets[role]; !bound {
			t := Target{Type: device.Slots}
			if strings.Contains(role, "dir") || strings.Contains(role, "tree") {
				t.Type = device.Directory
			}
			targets[role] = t
		}
	}
	k.setup.Artifacts, k.setup.Targets = artifacts, targets
}

// run makes a new device and runs the module on it.
func (k *kit) run(ctx context.Context, m *wasmhost.Module, s Setup, phases ...abi.Phase) (*Outcome, error) {
	s.Log, s.Progress = nil, nil
	r, err := New(ctx, s)
	if err != nil {
		return nil, err
	}
	return r.Run(ctx, m, phases...)
}

// ends runs what an update calls, and the other phases by themselves.
func (k *kit) ends(ctx context.Context, c *Check) error {
	if _, err := plan(k.m, nil); err == nil {
		o, err := k.run(ctx, k.m, k.setup)
		if err != nil {
			return err
		}
		switch {
		case k.manifest.Kind == abi.KindCompat && o.Err == nil && o.Class == abi.Incompatible, o.Well():
			k.whole = o
		default:
			why := o.end()
			if o.Err == nil && o.Report.Details != "" {
				why += ": " + o.Report.Details
			}
			c.fail("an update ends in %s with %s; bind what it needs (facts, settings, artifacts, targets)", o.Phase, why)
		}
		if k.whole != nil {
			c.Detail = "an update ends with " + o.end()
		}
	}
	if !k.manifest.Serves(abi.Rollback) {
		return nil
	}
	o, err := k.run(ctx, k.m, k.setup, abi.Rollback)
	if err != nil {
		return err
	}
	if !o.Well() {
		c.fail("rollback when nothing was done ends with %s", o.end())
	}
	return nil
}

// needsWhole leaves a check out if there is no run that ends well.
func (k *kit) needsWhole(c *Check) bool {
	if k.whole == nil {
		c.Left = "no run of it ends well here"
	}
	return k.whole != nil
}

func (k *kit) repeats(ctx context.Context, c *Check) error {
	if !k.needsWhole(c) {
		return nil
	}
	for range 2 {
		o, err := k.run(ctx, k.m, k.setup)
		if err != nil {
			return err
		}
		if what := differs(k.whole, o); what != "" {
			c.fail("%s", what)
			return nil
		}
		if k.another(c, o) {
			return nil
		}
	}
	c.Detail = fmt.Sprintf("%d fuel", k.whole.Usage.Fuel)
	return nil
}

// another notes what a further run did otherwise than the first.
func (k *kit) another(c *Check, o *Outcome) bool {
	switch {
	case differs(k.whole, o) != "":
		c.fail("%s", differs(k.whole, o))
	case o.Report != k.whole.Report:
		c.fail("it reported %+v, and then %+v", k.whole.Report, o.Report)
	case o.Usage.Fuel != k.whole.Usage.Fuel:
		c.fail("it used %d fuel, and then %d", k.whole.Usage.Fuel, o.Usage.Fuel)
	default:
		return false
	}
	return true
}

// unbound calls the phases that the host lets begin without roles. They may
// fail, but say so.
func (k *kit) unbound(ctx context.Context, c *Check) error {
	for _, p := range []abi.Phase{abi.Compat, abi.Prepare, abi.Rollback, abi.Health, abi.Cleanup, abi.Enumerate} {
		if !k.manifest.Serves(p) {
			continue
		}
		o, err := k.run(ctx, k.m, Setup{Wall: k.setup.Wall}, p)
		if err != nil {
			return err
		}
		err = o.Err
		if p == abi.Rollback {
			err = errors.Join(err, o.RollbackErr)
		}
		var e *wasmhost.Error
		if errors.As(err, &e) && e.Code != wasmhost.GuestFailed {
			c.fail("%s: %v", p, err)
		}
	}
	return nil
}

// cramped loads the module with the least memory there is.
func (k *kit) cramped(ctx context.Context, c *Check) error {
	limits := k.limits
	limits.Memory = 64 << 10
	m, err := k.l.Load(ctx, limits, k.granted)
	var e *wasmhost.Error
	switch {
	case err == nil:
		if k.manifest.Limits.Memory > abi.Bytes(limits.Memory) {
			c.fail("it loads with %d bytes, its manifest asks for %d", limits.Memory, k.manifest.Limits.Memory)
		}
		c.Detail = fmt.Sprintf("it loads with %d bytes", limits.Memory)
		return m.Check(k.granted)
	case errors.As(err, &e) && e.Code == wasmhost.Memory:
		c.Detail = e.Error()
		return nil
	}
	c.fail("%v, want the code %s", err, wasmhost.Memory)
	return nil
}

// hurried gives a phase no time at all.
func (k *kit) hurried(ctx context.Context, c *Check) error {
	if !k.needsWhole(c) {
		return nil
	}
	s := k.setup
	s.Wall = time.Nanosecond
	o, err := k.run(ctx, k.m, s)
	if err != nil {
		return err
	}
	if !o.Well() && o.Code() != wasmhost.Wall {
		c.fail("it ended with %s, want the code %s", o.end(), wasmhost.Wall)
	}
	return nil
}

func (k *kit) killed(ctx context.Context, c *Check) error {
	if !k.needsWhole(c) {
		return nil
	}
	w, err := KillSweep(ctx, k.m, k.setup)
	if err != nil {
		return err
	}
	c.swept(w)
	return nil
}

func (k *kit) faulty(fault Fault) func(context.Context, *Check) error {
	return func(ctx context.Context, c *Check) error {
		if !k.needsWhole(c) {
			return nil
		}
		w, err := FaultSweep(ctx, k.m, k.setup, fault)
		if err != nil {
			return err
		}
		c.swept(w)
		return nil
	}
}

func (c *Check) swept(w *Sweep) {
	c.Failures = append(c.Failures, w.Violations...)
	c.Detail = fmt.Sprintf("%d points, %d runs", w.Points, w.Runs)
}

func (k *kit) undone(ctx context.Context, c *Check) error {
	if !k.manifest.Serves(abi.Rollback) || !k.manifest.Serves(abi.Install) {
		c.Left = "it does not serve install and rollback"
		return nil
	}
	if !k.needsWhole(c) {
		return nil
	}
	before, err := New(ctx, k.setup)
	if err != nil {
		return err
	}
	states, err := before.States(ctx)
	if err != nil {
		return err
	}
	for _, phases := range [][]abi.Phase{{abi.Install}, {abi.Install, abi.Commit}} {
		if slices.ContainsFunc(phases, func(p abi.Phase) bool { return !k.manifest.Serves(p) }) {
			continue
		}
		if k.manifest.Serves(abi.Prepare) {
			phases = slices.Concat([]abi.Phase{abi.Prepare}, phases)
		}
		o, err := k.run(ctx, k.m, k.setup, append(phases, abi.Rollback)...)
		if err != nil {
			return err
		}
		if what := differ(states, o.Targets); what != "" || !o.Well() {
			c.fail("after %v and rollback it ended with %s; %s", phases, o.end(), what)
		}
	}
	return nil
}

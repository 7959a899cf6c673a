package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// undoTries is how often an undo is tried before a person must act.
const undoTries = 3

// fail records why the run turns back.
func (d *drive) fail(ctx context.Context, step string, cause error) error {
	f := failing{Code: "failed", Cause: short(cause.Error()), Cancelled: errors.Is(cause, ErrCancelled)}
	var refused *Refused
	var failure *Failure
	switch {
	case f.Cancelled:
		f.Code = "cancelled"
	case errors.As(cause, &refused):
		f.Code, f.Refused = refused.Code, true
	case errors.As(cause, &failure):
		f.Code = failure.Code
	case disk.IsNoSpace(cause):
		f.Code = "no_space"
	}
	var in *StepError
	if errors.As(cause, &in) {
		step = in.Step
		if error(in) == cause {
			f.Cause = short(in.Err.Error())
		}
	}
	d.event(Event{Kind: EventRun, State: "failing", Step: step, Code: f.Code, Text: f.Cause})
	return d.append(ctx, KindFailing, step, f, nil)
}

// undo takes back what the run did: the boot choice first, then the lane that
// failed, then the others, each last step first. It may return a [*Wait].
func (d *drive) undo(ctx context.Context) error {
	if err := d.tryUndo(ctx, "the boot choice", d.back); err != nil {
		return err
	}
	if err := d.load(ctx); err != nil && d.r.lost == nil {
		d.event(Event{Kind: EventLog, Text: "undo without the workflow: " + err.Error()})
	}
	for _, id := range d.undoOrder() {
		state := d.r.step(id)
		s := (*Step)(nil)
		if d.graph != nil {
			s = d.graph.step(id)
		}
		if state.undone || s != nil && s.NoUndo {
			continue
		}
		err := d.tryUndo(ctx, "step "+id, func(ctx context.Context) error { return d.undoStep(ctx, s, state) })
		if err != nil {
			return err
		}
		if err := d.append(ctx, KindUndone, id, nil, nil, checkpointKey(id)); err != nil {
			return err
		}
		d.event(Event{Kind: EventStep, Step: id, State: "undone"})
	}
	d.clean(ctx)
	return nil
}

// tryUndo calls f up to undoTries times.
func (d *drive) tryUndo(ctx context.Context, what string, f func(context.Context) error) error {
	for try := 1; ; try++ {
		err := f(ctx)
		var wait *Wait
		var journal *journalError
		var failure *Failure
		if err == nil || errors.As(err, &wait) || errors.As(err, &journal) || ctx.Err() != nil {
			return err
		}
		if try == undoTries || errors.Is(err, device.ErrConflict) || errors.As(err, &failure) {
			return fmt.Errorf("undo %s: %w", what, err)
		}
		d.event(Event{Kind: EventLog, Text: fmt.Sprintf("undo %s: %v; again", what, err)})
		if err := d.e.c.Clock.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// undoStep lets the verb take back what it did and then has the door restore
// each target. A verb that fails does not keep the door from that.
func (d *drive) undoStep(ctx context.Context, s *Step, state *stepState) error {
	own := d.undoVerb(ctx, s, state)
	var wait *Wait
	var journal *journalError
	if errors.As(own, &wait) || errors.As(own, &journal) || ctx.Err() != nil {
		return own
	}
	return errors.Join(own, d.restore(ctx, state))
}

func (d *drive) undoVerb(ctx context.Context, s *Step, state *stepState) error {
	if s == nil {
		return nil
	}
	t, verb, err := d.bind(ctx, s)
	if err != nil {
		return nil // without its fields the door's undo is all there is
	}
	t.Targets = state.intent.Targets
	if u, ok := verb.(Undoer); ok {
		return d.guarding(ctx, s, func(ctx context.Context) error { return u.Undo(ctx, t) })
	}
	return nil
}

func (d *drive) restore(ctx context.Context, state *stepState) error {
	for _, u := range slices.Backward(state.intent.Undo) {
		if _, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.Restore, Run: d.r.id, Target: u.Target, Undo: u}); err != nil {
			return fmt.Errorf("restore %s: %w", u.Target, err)
		}
	}
	return nil
}

// undoOrder is the order of undo: the failing step's lane, then the others in
// the order of their last intent, each backwards.
func (d *drive) undoOrder() []string {
	lane := func(id string) string {
		if d.graph != nil {
			if s := d.graph.step(id); s != nil {
				return s.Lane
			}
		}
		return ""
	}
	lanes := []string{lane(d.r.failStep)}
	for _, id := range slices.Backward(d.r.intents) {
		if !slices.Contains(lanes, lane(id)) {
			lanes = append(lanes, lane(id))
		}
	}
	var order []string
	for _, l := range lanes {
		for _, id := range slices.Backward(d.r.intents) {
			if lane(id) == l {
				order = append(order, id)
			}
		}
	}
	return order
}

// back undoes the boot choice: a trial that nothing runs from is called off, a
// new version that runs needs a restart of its own.
func (d *drive) back(ctx context.Context) error {
	if d.r.armed == nil {
		return nil
	}
	for {
		a := d.r.armed
		running := false
		for _, c := range a.Choices {
			boot, err := d.ask(ctx, c.Target)
			if err != nil {
				return err
			}
			switch {
			case boot.Nonce != d.r.id: // never chosen, or somebody else chose since
			case boot.Active == c.To && boot.Active != c.From:
				running = true
			case boot.Next != "":
				op := device.Op{Kind: device.Choose, Run: d.r.id, Target: c.Target, To: c.From}
				if _, err := d.e.c.Door.Do(ctx, op); err != nil {
					return fmt.Errorf("go back to %s of %s: %w", c.From, c.Target, err)
				}
			}
		}
		if !running && (a.Direction == forward || a.Scope == "" || a.Scope == "device") {
			return nil
		}
		moved, err := d.moved(ctx)
		if err != nil {
			return err
		}
		if a.Direction == backward && moved && !running {
			return nil // the old program has been started again
		}
		if a.Direction == forward || moved && a.Scope != "" {
			again := *a
			again.Direction = backward
			if err := d.arm(ctx, d.r.armedStep, again); err != nil {
				return err
			}
		}
		if err := d.choose(ctx, d.r.armedStep); err != nil {
			return err
		}
	}
}

// failedEnd says how a run that turned back ended.
func (d *drive) failedEnd(ctx context.Context, undoErr error) ended {
	f := d.r.failing
	end := ended{State: RolledBack, Code: f.Code, Message: f.Cause, Step: d.r.failStep}
	switch {
	case undoErr != nil:
		end.State = Failed
		end.Message = fmt.Sprintf("%s; then %v. Restore the target by hand, then remove the state directory", f.Cause, undoErr)
	case f.Cancelled:
		end.State = Cancelled
	case f.Refused && !d.r.changed():
		end.State = RefusedEnd
	}
	if d.r.lost != nil {
		end.Code = "state_lost"
		if undoErr == nil && !d.bootable(ctx) {
			end.State, end.Message = Failed, "the journal was lost and no slot matches its stamp: write a slot by hand"
		}
	}
	return end
}

// recoverLost ends a run whose journal is gone. A version on trial may still
// prove itself; whatever else was going on is turned back.
func (d *drive) recoverLost(ctx context.Context, graphErr error) error {
	lost := &Failure{"state_lost", errors.New(d.r.lost.Cause)}
	if d.r.armed == nil {
		a, err := d.findTrial(ctx)
		if err != nil {
			return err
		}
		if a == nil && !d.r.lost.Confirmed {
			return lost
		}
		if a != nil {
			if err := d.append(ctx, KindArmed, "", a, nil); err != nil {
				return err
			}
		}
	}
	if d.r.lost.Confirmed {
		if err := d.append(ctx, KindConfirmed, "", nil, nil); err != nil {
			return err
		}
		return d.settle(ctx)
	}
	if d.r.armed.Direction == backward {
		return lost
	}
	at, err := d.standing(ctx)
	if err != nil {
		return err
	}
	if at != isNew || graphErr != nil || !d.r.lost.Trial {
		return lost
	}
	if d.r.booted.IsZero() {
		if err := d.markBooted(ctx, ""); err != nil {
			return err
		}
	}
	for _, s := range d.graph.Steps {
		if _, ok := s.Static.(Confirmer); !ok || d.r.step(s.ID).done != nil {
			continue
		}
		if err := d.attempts(ctx, s, d.do); err != nil {
			return err
		}
	}
	if !d.r.confirmed {
		return lost
	}
	return d.settle(ctx)
}

// findTrial finds in the boot states what the lost run had chosen.
func (d *drive) findTrial(ctx context.Context) (*armed, error) {
	a := armed{Scope: "device", Tries: 1, Direction: forward}
	inc, err := d.incarnation(ctx, "device")
	if err != nil {
		return nil, err
	}
	a.Incarnation = inc
	for _, name := range d.e.c.Targets {
		boot, err := d.ask(ctx, name)
		if err != nil {
			return nil, err
		}
		if boot.Nonce != d.r.id || boot.Next == "" {
			continue
		}
		if slices.Contains(boot.Good, boot.Next) { // it was on its way back
			a.Direction = backward
			a.Choices = append(a.Choices, choice{Target: name, From: boot.Next, To: boot.Active})
			continue
		}
		from := boot.Active
		for _, good := range boot.Good {
			if good != boot.Next {
				from = good
			}
		}
		a.Choices = append(a.Choices, choice{Target: name, From: from, To: boot.Next})
	}
	if len(a.Choices) == 0 {
		return nil, nil
	}
	return &a, nil
}

// bootable reports whether every target runs from something that is what its
// stamp says, as far as it has one.
func (d *drive) bootable(ctx context.Context) bool {
	for _, name := range d.e.c.Targets {
		ref := name + "@active"
		a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: ref})
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, device.ErrUnknown) {
			continue
		}
		if err != nil {
			return false
		}
		if a.Target.Type == device.Slots && a.Target.Stamp.SHA256 != "" {
			sum, err := d.digest(ctx, a.Target.Ref, a.Target.Stamp.Size)
			if err != nil || sum != a.Target.Stamp.SHA256 {
				return false
			}
		}
	}
	return true
}

// digest is the SHA-256 of the first size bytes of a target.
func (d *drive) digest(ctx context.Context, ref string, size int64) (sum string, err error) {
	r, err := device.Client{Door: d.e.c.Door, Run: d.r.id}.OpenReader(ctx, ref, "")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return "", errors.Join(err, r.Close())
	}
	return hex.EncodeToString(h.Sum(nil)), r.Close()
}

package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/device"
)

// restart brings the device to start from what the run wrote: armed, choice,
// restart, booted. It is called again after each power cut and restart.
func (d *drive) restart(ctx context.Context, step, scope string, tries int) error {
	if d.r.confirmed || !d.r.booted.IsZero() {
		return nil
	}
	if d.r.armed == nil {
		choices, err := d.choices(ctx, scope)
		if err != nil || len(choices) == 0 {
			return err
		}
		if err := d.arm(ctx, step, armed{Scope: scope, Choices: choices, Tries: max(tries, 1), Direction: forward}); err != nil {
			return err
		}
	}
	for {
		moved, err := d.moved(ctx)
		if err != nil {
			return err
		}
		if !moved {
			if err := d.choose(ctx, step); err != nil {
				return err
			}
			continue
		}
		switch at, err := d.standing(ctx); {
		case err != nil:
			return err
		case at == isNew:
			return d.markBooted(ctx, step)
		case at == fellBack:
			d.event(Event{Kind: EventRestart, Step: step, State: "fell-back"})
			return &Failure{"fell_back", errors.New("the boot loader went back to the old version: its tries are used up")}
		}
		// The choice was never made, or no boot loader has seen it.
		if err := d.arm(ctx, step, *d.r.armed); err != nil {
			return err
		}
	}
}

// choices are the slots and versions that the run has written, of the targets
// in scope, by the name of the target.
func (d *drive) choices(ctx context.Context, scope string) ([]choice, error) {
	var out []choice
	for _, id := range d.r.intents {
		s := d.r.step(id)
		if s.done == nil {
			continue
		}
		for _, t := range s.intent.Targets {
			if t.Type == device.File || t.Type == device.Slots && scope != "device" || t.Type == device.Directory && scope != "" && scope != "device" && scope != t.Name {
				continue
			}
			boot, err := d.ask(ctx, t.Name)
			if err != nil {
				return nil, err
			}
			now, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: t.Ref})
			if err != nil {
				return nil, err
			}
			at, known := slices.BinarySearchFunc(out, t.Name, func(c choice, name string) int { return cmp.Compare(c.Target, name) })
			if !known {
				out = slices.Insert(out, at, choice{Target: t.Name, From: boot.Active, To: now.Target.Part})
			}
		}
	}
	return out, nil
}

// arm makes durable that a restart is about to be asked for.
func (d *drive) arm(ctx context.Context, step string, a armed) error {
	if g := d.e.guard.now; g.Run == d.r.id && g.Transitions >= MaxTransitions {
		return &Failure{"restart_loop", fmt.Errorf("restarted %d times without an end", g.Transitions)}
	}
	inc, err := d.incarnation(ctx, a.Scope)
	if err != nil {
		return err
	}
	a.Incarnation = inc
	if err := d.append(ctx, KindArmed, step, a, nil); err != nil {
		return err
	}
	d.event(Event{Kind: EventRestart, Step: step, State: "armed", Text: string(a.Direction)})
	return nil
}

func (d *drive) incarnation(ctx context.Context, scope string) (string, error) {
	if scope == "" {
		return "", nil
	}
	a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskIncarnation, Target: scope})
	if err != nil {
		return "", fmt.Errorf("ask whether %s has restarted: %w", scope, err)
	}
	return a.Text, nil
}

// moved reports whether the armed restart has happened. Without a scope there
// is none to happen: the choice alone counts.
func (d *drive) moved(ctx context.Context) (bool, error) {
	a := d.r.armed
	if a.Scope == "" {
		at, err := d.standing(ctx)
		return at != notChosen, err
	}
	inc, err := d.incarnation(ctx, a.Scope)
	return inc != a.Incarnation, err
}

// choose makes the choice of every target and asks for the restart. For the
// whole device it returns a [*Wait]: this process is about to end.
func (d *drive) choose(ctx context.Context, step string) error {
	a := d.r.armed
	for _, c := range a.Choices {
		to := c.To
		if a.Direction == backward {
			to = c.From
		}
		op := device.Op{Kind: device.Choose, Run: d.r.id, Target: c.Target, To: to, Tries: a.Tries}
		if _, err := d.e.c.Door.Do(ctx, op); err != nil {
			return fmt.Errorf("choose %s of %s: %w", to, c.Target, err)
		}
	}
	if a.Scope == "" {
		return nil
	}
	if _, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.Restart, Run: d.r.id, Target: a.Scope}); err != nil {
		return fmt.Errorf("restart %s: %w", a.Scope, err)
	}
	d.event(Event{Kind: EventRestart, Step: step, State: "restarting", Text: a.Scope})
	moved, err := d.moved(ctx)
	if err == nil && (a.Scope == "device" || !moved) {
		return &Wait{For: "restart"}
	}
	return err
}

type standing uint8

const (
	notChosen standing = iota // at least one target has not got the run's choice, or nobody tried it
	isNew                     // every target runs from what the run wrote
	fellBack                  // at least one was tried and given up
)

// standing compares the boot states with the armed choices.
func (d *drive) standing(ctx context.Context) (standing, error) {
	at := isNew
	for _, c := range d.r.armed.Choices {
		boot, err := d.ask(ctx, c.Target)
		if err != nil {
			return 0, err
		}
		switch {
		case boot.Nonce == d.r.id && boot.Active == c.To:
		case boot.Nonce == d.r.id && boot.Next == c.To && boot.Tries == 0:
			return fellBack, nil
		default:
			at = notChosen
		}
	}
	return at, nil
}

func (d *drive) ask(ctx context.Context, target string) (device.Boot, error) {
	a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskBoot, Target: target})
	if err != nil {
		return device.Boot{}, fmt.Errorf("ask what %s starts from: %w", target, err)
	}
	return a.Boot, nil
}

func (d *drive) markBooted(ctx context.Context, step string) error {
	if err := d.append(ctx, KindBooted, step, nil, nil); err != nil {
		return err
	}
	d.event(Event{Kind: EventRestart, Step: step, State: "booted"})
	return nil
}

// settle finishes a confirmed run: the slot is marked good, then the version
// floor rises. A boot loader that ran out of tries between confirmed and
// good has gone back; the proven version is then chosen once more.
func (d *drive) settle(ctx context.Context) error {
	err := d.settleOnce(ctx)
	var wait *Wait
	var journal *journalError
	if err == nil || errors.As(err, &wait) || errors.As(err, &journal) {
		return err
	}
	return &unsettled{err}
}

// unsettled is a failure to mark a proven version good.
type unsettled struct{ err error }

func (u *unsettled) Error() string { return u.err.Error() }
func (u *unsettled) Unwrap() error { return u.err }

func (d *drive) settleOnce(ctx context.Context) error {
	if a := d.r.armed; a != nil && a.Direction == forward {
		switch at, err := d.standing(ctx); {
		case err != nil:
			return err
		case at != isNew:
			if moved, err := d.moved(ctx); err != nil {
				return err
			} else if moved {
				if err := d.arm(ctx, d.r.armedStep, *a); err != nil {
					return err
				}
			}
			if err := d.choose(ctx, d.r.armedStep); err != nil {
				return err
			}
		}
		for _, c := range a.Choices {
			if _, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.Good, Run: d.r.id, Target: c.Target}); err != nil {
				return fmt.Errorf("mark %s good: %w", c.Target, err)
			}
		}
	}
	defer d.lock()()
	g := d.e.guard.now
	if floor := securityVersion(d.r.release); floor > g.Floor && d.r.tookHold() {
		g.Floor = floor
		if err := d.e.guard.write(g); err != nil {
			return &journalError{err}
		}
	}
	return nil
}

// tookHold reports whether the device runs from what the run was asked for: it
// started from it, a file was replaced, or it was there before. A slot that is
// complete and not chosen proves nothing, and must not outlaw what runs.
func (r *run) tookHold() bool {
	if r.armed != nil && r.armed.Direction == forward {
		return true
	}
	for _, s := range r.steps {
		if s.done != nil && s.done.Already {
			return true
		}
		if s.done == nil || s.intent == nil {
			continue
		}
		for _, t := range s.intent.Targets {
			if t.Type == device.File {
				return true
			}
		}
	}
	return false
}

// securityVersion reads the number of a release, which is a json.Number if it
// came from the journal.
func securityVersion(release map[string]any) int64 {
	switch n := release["securityVersion"].(type) {
	case int64:
		return n
	case json.Number:
		v, _ := n.Int64() // what is no number is no version
		return v
	}
	return 0
}

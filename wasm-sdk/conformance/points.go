package conformance

import (
	"context"
	"fmt"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasmhost"
)

// point is a place between module and device where a run can be ended or
// made to fail.
type point struct {
	what   string
	after  bool // what it names has been done
	effect bool // it changes the device or the journal
	source bool // it reads an artifact
	read   bool // it may give fewer bytes than asked for
	ask    bool // a question to the device or the journal
}

// String names the point to people.
func (p point) String() string {
	if p.after {
		return "after " + p.what
	}
	return "before " + p.what
}

// points counts the places of a run and stops at one of them. Zero counts.
type points struct {
	count int
	// hit is asked at each place, with its number from 1. It may panic, which ends
	// the instance without any cleanup; an error is what the module's host gets.
	hit       func(n int, p point) error
	cancelled bool // the run is being cancelled from now on
	short     bool // the next reading gives one byte
}

func (p *points) reach(at point) error {
	p.count++
	p.short = false
	if p.hit == nil {
		return nil
	}
	return p.hit(p.count, at)
}

// killed is the panic that ends an instance.
type killed struct{}

// attempt runs f and reports whether it was killed.
func attempt(f func()) (cut bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != any(killed{}) {
				panic(p)
			}
			cut = true
		}
	}()
	f()
	return false
}

// door is the device with points.
type door struct{ r *Rig }

var _ device.Door = (*door)(nil)

// Do implements [device.Door].
func (d *door) Do(ctx context.Context, op device.Op) (device.Answer, error) {
	at := point{what: d.name(op), effect: op.Kind.Changes(), ask: !op.Kind.Changes() && op.Kind != device.Close}
	if op.Kind != device.Close { // cleanup, not something a module asks for
		if err := d.r.points.reach(at); err != nil {
			return device.Answer{}, fmt.Errorf("%s: %w", at.what, err)
		}
	}
	a, err := d.r.files.Do(ctx, op)
	if err != nil || !at.effect {
		return a, err
	}
	at.after = true
	return a, d.r.points.reach(at)
}

func (d *door) name(op device.Op) string {
	what := op.Kind.String()
	if op.Target != "" {
		what += " " + op.Target
	}
	if op.Entry != "" {
		what += " " + op.Entry
	}
	if op.Kind == device.Write || op.Kind == device.Read {
		what += fmt.Sprintf(" at %d", op.Offset)
	}
	return what
}

// watchedJournal is the rig's journal with points.
type watchedJournal struct{ r *Rig }

var _ wasmhost.Journal = (*watchedJournal)(nil)

// Last implements [wasmhost.Journal].
func (j *watchedJournal) Last(context.Context) (wasmhost.Checkpoint, error) {
	if err := j.r.points.reach(point{what: "read checkpoint", ask: true}); err != nil {
		return wasmhost.Checkpoint{}, err
	}
	return j.r.journal.last()
}

// Save implements [wasmhost.Journal].
func (j *watchedJournal) Save(_ context.Context, c wasmhost.Checkpoint) error {
	at := point{what: "save checkpoint", effect: true}
	if err := j.r.points.reach(at); err != nil {
		return err
	}
	if err := j.r.journal.save(c); err != nil {
		return err
	}
	at.after = true
	return j.r.points.reach(at)
}

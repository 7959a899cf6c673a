// Package crashtest runs one update again and again on a disk that forgets
// what was not synced, and cuts the power at every journal record and every
// effect.
//
// [Sweep] takes a [Rig], which builds an engine on a given disk. A first run
// without a cut shows where the points are and what the device looks like in
// the end; every further run is cut at one of them, once or twice, and then
// must come to the same end: losing power is no reason to give an update up.
//
// The journal is simulated: it keeps a batch whole or not at all. What a real
// store does at a power cut is the matter of engine/storetest.
package crashtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// Rig builds what is tested.
type Rig struct {
	// Disk is the device before the update. It is cloned for each run.
	Disk *disk.Forgetful
	// Device is what it is. Restarts are simulated, and its commands not run.
	Device device.Config
	// Engine completes a configuration that has Store, Door, FS, Clock, Panics
	// and Targets set.
	Engine func(c engine.Config) (*engine.Engine, error)
	// Command is submitted once in each life of the process, as a real one would.
	Command engine.Command
	// Mutate, for tests of the sweep itself, puts a fault between engine and
	// device or journal. It may be nil.
	Mutate func(door device.Door, store engine.Store) (device.Door, engine.Store)
	// LieSync, for tests of the sweep itself, makes syncs do nothing.
	LieSync bool
}

// Options bounds a sweep.
type Options struct {
	// Every cuts only at each n-th point. 0 and 1 mean all.
	Every int
	// Once leaves out the second cut.
	Once bool
	// Progress, if set, is told after each point, one call at a time.
	Progress func(done, total int)
}

// Cut is one way to lose the process.
type Cut struct {
	Mode disk.Cut
	// Rebooted says that the device starts anew, with another boot id; if
	// not, only the process is gone.
	Rebooted bool
}

// Cuts are all ways: a kill, a power cut that loses unsynced bytes and names,
// and one that keeps names but loses bytes, each with the boot id changed and kept.
var Cuts = []Cut{
	{disk.Kill, false}, {disk.Kill, true},
	{disk.Power, false}, {disk.Power, true},
	{disk.PowerKeepNames, false}, {disk.PowerKeepNames, true},
}

func (c Cut) String() string {
	name := map[disk.Cut]string{disk.Kill: "kill", disk.Power: "power", disk.PowerKeepNames: "power, names kept"}[c.Mode]
	if c.Rebooted {
		return name + ", rebooted"
	}
	return name
}

// Point is where a run can be cut.
type Point struct {
	N    int    // from 1
	What string // such as "before write rootfs@b 262144" or "after record done write"
	// Same says that disk and journal are as they were at the point before:
	// a cut would lead to the same.
	Same bool
}

// Violation is a run that did not come to one of its two ends.
type Violation struct {
	Point Point
	Cut   Cut
	// Second is the point of the second cut, counted from the first, or 0.
	Second int
	What   string
}

func (v Violation) String() string {
	s := fmt.Sprintf("point %d (%s), %s", v.Point.N, v.Point.What, v.Cut)
	if v.Second > 0 {
		s += fmt.Sprintf(", cut again %d points later", v.Second)
	}
	return s + ": " + v.What
}

// Result is what a sweep saw.
type Result struct {
	Points     []Point // all of them, those that are the Same included
	Cut        int     // points at which runs were cut
	Runs       int
	Ends       map[engine.EndState]int
	Reference  engine.Result // the end without a cut
	Violations []Violation
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// cutPower is the panic that ends a simulated process.
type cutPower struct{}

// Sweep runs all points. Its error says that the rig itself does not work; what
// the update does wrong is in Violations.
func Sweep(ctx context.Context, rig Rig, o Options) (Result, error) {
	res := Result{Ends: map[engine.EndState]int{}}
	first := newLife(rig, 0)
	end, err := first.finish(ctx)
	if err != nil {
		return res, fmt.Errorf("run without a cut: %w", err)
	}
	after, err := first.look(ctx)
	if err != nil {
		return res, err
	}
	res.Points, res.Reference = first.points, end
	points := distinct(first.points, max(o.Every, 1))
	res.Cut = len(points)
	var mu sync.Mutex
	var wait sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, point := range points {
		if ctx.Err() != nil {
			break
		}
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			for _, cut := range Cuts {
				s := sweeper{rig: rig, after: after, end: end, point: point, cut: cut}
				seconds := []int{0}
				if !o.Once {
					seconds = append(seconds, 1+rand.New(rand.NewPCG(uint64(point.N), uint64(cut.Mode))).IntN(12))
				}
				for _, second := range seconds {
					state, bad := s.run(ctx, second)
					mu.Lock()
					res.Runs++
					res.Ends[state]++
					res.Violations = append(res.Violations, bad...)
					mu.Unlock()
				}
			}
			if o.Progress != nil {
				mu.Lock()
				defer mu.Unlock()
				o.Progress(i+1, len(points))
			}
		})
	}
	wait.Wait()
	slices.SortStableFunc(res.Violations, func(a, b Violation) int { return cmp.Compare(a.Point.N, b.Point.N) })
	return res, ctx.Err()
}

// distinct gives each n-th of the points at which something has changed since
// the one before.
func distinct(all []Point, every int) (some []Point) {
	n := 0
	for _, p := range all {
		if p.Same {
			continue
		}
		if n%every == 0 {
			some = append(some, p)
		}
		n++
	}
	return some
}

type sweeper struct {
	rig   Rig
	after string
	end   engine.Result
	point Point
	cut   Cut
}

// run is one run with one cut, or two. It gives the end and what was wrong.
func (s sweeper) run(ctx context.Context, second int) (state engine.EndState, violations []Violation) {
	l := newLife(s.rig, s.point.N)
	l.cut, l.second = s.cut, second
	bad := func(format string, args ...any) {
		violations = append(violations, Violation{s.point, s.cut, second, fmt.Sprintf(format, args...)})
	}
	end, err := l.finish(ctx)
	if err != nil {
		bad("%v", err)
		return "", violations
	}
	now, err := l.look(ctx)
	switch {
	case err != nil:
		bad("%v", err)
	case end.State != s.end.State:
		bad("ended %s (%s: %s), the run without a cut %s", end.State, end.Code, end.Message, s.end.State)
	case now != s.after:
		bad("ended %s, but the device is\n%s\nand not\n%s", end.State, now, s.after)
	}
	if len(l.delivered) != 1 {
		bad("reports delivered: %v, want one id", l.delivered)
	}
	return end.State, violations
}

// life is one device from the start of an update to its end, over several processes.
type life struct {
	rig       Rig
	disk      *disk.Forgetful
	store     *engine.Memory
	clock     *disk.Virtual
	boots     int
	points    []Point
	n         int // points passed since the last cut
	changes   int // of disk and journal so far
	passed    int // changes at the last point
	stop      int // point to cut at, 0 for none
	second    int
	cut       Cut
	armed     bool // the journal has an armed record
	engine    *engine.Engine
	delivered map[string]int // by id of the report, as its receiver counts
}

func newLife(rig Rig, stop int) *life {
	l := &life{rig: rig, disk: rig.Disk.Clone(), store: engine.NewMemory(), clock: disk.NewVirtual(epoch), boots: 1, stop: stop, delivered: map[string]int{}}
	if rig.LieSync {
		l.disk.LieSync = func(string) bool { return true }
	}
	l.disk.Before = func(c disk.Call) error {
		if !toldToPeople(c.Name) {
			l.changes++
		}
		return nil
	}
	return l
}

// toldToPeople says that a file is for people to read: no run decides by it.
func toldToPeople(name string) bool {
	name = strings.TrimSuffix(path.Base(name), ".new")
	return name == engine.StatusFile || name == engine.EventsFile
}

// maxLives bounds the processes of one life: more is a loop.
const maxLives = 80

// finish starts processes until the run has ended.
func (l *life) finish(ctx context.Context) (engine.Result, error) {
	for range maxLives {
		res, err := l.process(ctx)
		switch {
		case errors.Is(err, errCut):
			if err := l.afterCut(ctx); err != nil {
				return res, err
			}
		case err != nil:
			return res, err
		case res.State != engine.Waiting:
			return res, nil
		}
	}
	return engine.Result{}, fmt.Errorf("no end after %d starts", maxLives)
}

var errCut = errors.New("cut")

// process is one process: it opens everything, submits the command, as every
// start does, and runs.
func (l *life) process(ctx context.Context) (res engine.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(cutPower); !ours {
				err = fmt.Errorf("panic: %v", p)
				return
			}
			err = errCut
		}
	}()
	if err := l.open(); err != nil {
		return res, err
	}
	rec, err := l.engine.Submit(ctx, l.rig.Command)
	if err != nil {
		return res, err
	}
	if res, err = l.engine.Run(ctx, rec.Run); err != nil || res.State == engine.Waiting {
		return res, err
	}
	return res, l.engine.Deliver(ctx, func(_ context.Context, r engine.Report) error {
		l.delivered[r.ID]++
		return nil
	})
}

func (l *life) openDoor() (*device.Files, error) {
	noCommand := func(context.Context, []string, string) ([]byte, error) { return nil, nil }
	return device.New(l.rig.Device, device.Env{FS: l.disk, Clock: l.clock, Exec: noCommand, BootID: l.bootID, Restart: device.RestartSimulate})
}

func (l *life) bootTargets() []string {
	var names []string
	for name, place := range l.rig.Device.Targets {
		if place.Type() != device.File {
			names = append(names, name)
		}
	}
	return names
}

func (l *life) open() error {
	files, err := l.openDoor()
	if err != nil {
		return err
	}
	var door device.Door = files
	l.store.Before = func(b engine.Batch) error { l.pass("before " + describe(b)); return nil }
	l.store.After = func(b engine.Batch) {
		l.changes++
		l.armed = l.armed || strings.Contains(describe(b), "armed")
		l.pass("after " + describe(b))
	}
	var store engine.Store = l.store
	if l.rig.Mutate != nil {
		door, store = l.rig.Mutate(door, store)
	}
	door = device.Crashing(door, func(_ int64, op device.Op, after bool) {
		when := "before "
		if after {
			when = "after "
		}
		l.pass(when + fmt.Sprintf("%v %s %d", op.Kind, op.Target, op.Offset))
	})
	l.engine, err = l.rig.Engine(engine.Config{Store: store, Door: door, FS: l.disk, Clock: l.clock, Targets: l.bootTargets(),
		Panics: func(p any) bool { _, ours := p.(cutPower); return ours }})
	return err
}

// describe names a batch by the kinds of its records.
func describe(b engine.Batch) string {
	var what []string
	for _, e := range b.Append {
		kind, step := engine.KindOf(e.Bytes)
		what = append(what, strings.TrimSpace("record "+string(kind)+" "+step))
	}
	if len(what) == 0 {
		what = append(what, "checkpoint")
	}
	return strings.Join(what, ", ")
}

// pass is called at each point, and cuts at the one that was asked for.
func (l *life) pass(what string) {
	l.n++
	if l.stop == 0 {
		l.points = append(l.points, Point{l.n, what, l.n > 1 && l.changes == l.passed})
		l.passed = l.changes
		return
	}
	if l.n == l.stop {
		l.n, l.stop = 0, -1
		if l.second > 0 {
			l.stop, l.second = l.second, 0
		}
		panic(cutPower{})
	}
}

// afterCut loses what a cut loses and, if the device restarts, boots it.
func (l *life) afterCut(ctx context.Context) error {
	l.disk.Cut(l.cut.Mode)
	door, err := l.openDoor()
	if err != nil {
		return fmt.Errorf("open the device after the cut: %w", err)
	}
	if err := l.trialsAreArmed(ctx, door); err != nil {
		return err
	}
	if !l.cut.Rebooted {
		return nil
	}
	l.boots++
	return door.SimulateBoot(ctx)
}

// trialsAreArmed holds the order of armed and boot choice: a boot loader must
// never try a slot that the journal does not know of.
func (l *life) trialsAreArmed(ctx context.Context, door device.Door) error {
	for name, place := range l.rig.Device.Targets {
		if place.Type() == device.File {
			continue
		}
		a, err := door.Do(ctx, device.Op{Kind: device.AskBoot, Target: name})
		if err != nil {
			return err
		}
		if a.Boot.Next != "" && !l.armed {
			return fmt.Errorf("%s was to start from %s, but the journal has no armed record", name, a.Boot.Next)
		}
	}
	return nil
}

func (l *life) bootID() (string, error) { return fmt.Sprintf("boot-%d", l.boots), nil }

// look describes all targets.
func (l *life) look(ctx context.Context) (string, error) {
	door, err := l.openDoor()
	if err != nil {
		return "", err
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(l.rig.Device.Targets)) {
		text, err := look(ctx, l.disk, l.rig.Device, door, name)
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", name, err)
		}
		out = append(out, name+": "+text)
	}
	return strings.Join(out, "\n"), nil
}

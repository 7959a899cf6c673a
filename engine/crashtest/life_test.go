package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// cutPower ends a process of these tests.
type cutPower struct{}

func powerCut(p any) bool { _, ours := p.(cutPower); return ours }

// until runs until stop says so of an event, and cuts there.
func (m *machine) until(id string, stop func(engine.Event) bool) {
	m.t.Helper()
	m.set = func(c *engine.Config) {
		c.Panics = powerCut
		c.Events = func(e engine.Event) {
			if stop(e) {
				panic(cutPower{})
			}
		}
	}
	defer func() {
		m.set = nil
		if p := recover(); p == nil || !powerCut(p) {
			m.t.Fatalf("the run was not cut: %v", p)
		}
	}()
	_, err := m.run(m.t.Context(), id)
	m.t.Fatalf("the run came to its end: %v", err)
}

func at(kind engine.EventKind, state string) func(engine.Event) bool {
	return func(e engine.Event) bool { return e.Kind == kind && e.State == state }
}

func TestARestartFromOutsideIsWaitedFor(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.mode = device.RestartExit
	for range 3 { // nothing has restarted: it goes on waiting, and does not count
		if res, err := m.run(t.Context(), "x"); err != nil || res.State != engine.Waiting {
			t.Fatalf("run = %+v, %v, want waiting", res, err)
		}
	}
	m.boots++
	if err := m.door().SimulateBoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded {
		t.Fatalf("run = %+v, %v, want succeeded", res, err)
	}
	if b := m.boot("rootfs"); b.Active != "b" || b.Next != "" {
		t.Errorf("boot state %+v, want b active and no trial", b)
	}
}

func TestABackwardRestartIsWaitedFor(t *testing.T) {
	m := newMachine(t, slot("device", true))
	m.mode = device.RestartExit
	for i, want := range []engine.EndState{engine.Waiting, engine.Waiting, engine.RolledBack} {
		res, err := m.run(t.Context(), "x")
		if err != nil || res.State != want {
			t.Fatalf("start %d: %+v, %v, want %s", i+1, res, err, want)
		}
		m.boots++
		if err := m.door().SimulateBoot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b := m.boot("rootfs"); b.Active != "a" || b.Next != "" {
		t.Errorf("boot state %+v, want a active and no trial", b)
	}
}

func TestTheBootLoaderThatGaveUpIsBelieved(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.mode = device.RestartExit
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	for range 4 { // three tries, then the old slot
		m.boots++
		if err := m.door().SimulateBoot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.RolledBack || res.Code != "fell_back" {
		t.Fatalf("run = %+v, %v, want rolled_back fell_back", res, err)
	}
}

// restless restarts for ever: its boot loader never tries the choice.
func TestRestartsAreCapped(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.mode = device.RestartExit
	for start := 1; ; start++ {
		res, err := m.run(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		if res.State != engine.Waiting {
			if res.State != engine.RolledBack || res.Code != "restart_loop" {
				t.Errorf("ended %+v, want rolled_back restart_loop", res)
			}
			if start > engine.MaxTransitions+2 {
				t.Errorf("ended at start %d, the cap is %d", start, engine.MaxTransitions)
			}
			return
		}
		m.boots++ // another boot id, but nobody looked at the boot state
	}
}

func TestCancelTurnsBackUntilConfirmed(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop func(engine.Event) bool
		want engine.EndState
	}{
		{"before the first step", at(engine.EventRun, "accepted"), engine.Cancelled},
		{"while writing", at(engine.EventStep, "begin"), engine.Cancelled},
		{"armed", at(engine.EventRestart, "armed"), engine.Cancelled},
		{"on trial", at(engine.EventRestart, "booted"), engine.Cancelled},
		{"confirmed", at(engine.EventRestart, "confirmed"), engine.Succeeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, slot("device", false))
			m.until("x", tt.stop)
			if err := engine.Cancel(m.disk, "/state/run", "x"); err != nil {
				t.Fatal(err)
			}
			res, err := m.run(t.Context(), "x")
			if err != nil || res.State != tt.want {
				t.Fatalf("run = %+v, %v, want %s", res, err, tt.want)
			}
			if b := m.boot("rootfs"); b.Next != "" || (b.Active == "b") != (tt.want == engine.Succeeded) {
				t.Errorf("boot state %+v after %s", b, tt.want)
			}
			if there, _ := disk.Exists(m.disk, "/state/run/cancel"); there && tt.want == engine.Cancelled {
				t.Error("the cancel file was answered and is still there")
			}
		})
	}
}

func TestAnotherRunIsBusyAndTheSameGoalJoins(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.until("x", at(engine.EventRestart, "armed"))
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	other := *m.graph
	other.Document = []byte("another one")
	for _, tt := range []struct {
		name string
		c    engine.Command
		want engine.Answer
	}{
		{"same command", engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: "x"}, Graph: m.graph}, engine.Joined},
		{"same goal, another plane", engine.Command{CommandRef: engine.CommandRef{Plane: "aws", ID: "7"}, Graph: m.graph}, engine.Joined},
		{"the same again", engine.Command{CommandRef: engine.CommandRef{Plane: "aws", ID: "7"}, Graph: m.graph}, engine.Joined},
		{"another goal", engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: "y"}, Run: "y", Graph: &other}, engine.Busy},
	} {
		got, err := e.Submit(t.Context(), tt.c)
		if err != nil || got.Answer != tt.want || got.Run != "x" {
			t.Errorf("%s: %+v, %v, want %s run x", tt.name, got, err, tt.want)
		}
	}
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	var got []string
	if e, err = m.open(); err != nil {
		t.Fatal(err)
	}
	deliver := func() error {
		return e.Deliver(t.Context(), func(_ context.Context, r engine.Report) error {
			got = append(got, r.ID+" "+r.Plane+" "+string(r.State))
			if len(got) == 1 {
				return errors.New("the acknowledgement is lost")
			}
			return nil
		})
	}
	if err := deliver(); err == nil {
		t.Error("a report that could not be delivered is not told")
	}
	if err := deliver(); err != nil {
		t.Error(err)
	}
	want := "x.0 cli succeeded, x.1 aws succeeded, x.0 cli succeeded"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("delivered %q, want %q", s, want)
	}
}

func TestALostJournalEndsWell(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stop   func(engine.Event) bool
		bad    bool
		want   engine.EndState
		active string
	}{
		{"accepted", at(engine.EventRun, "accepted"), false, engine.RolledBack, "a"},
		{"while writing", at(engine.EventStep, "done"), false, engine.RolledBack, "a"},
		{"armed", at(engine.EventRestart, "armed"), false, engine.RolledBack, "a"},
		{"on trial", at(engine.EventRestart, "booted"), false, engine.Succeeded, "b"},
		{"on trial, a bad one", at(engine.EventRestart, "booted"), true, engine.RolledBack, "a"},
		{"turning back", at(engine.EventRun, "failing"), true, engine.RolledBack, "a"},
		{"confirmed", at(engine.EventRestart, "confirmed"), false, engine.Succeeded, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, slot("device", tt.bad))
			m.until("x", tt.stop)
			m.store = engine.NewMemory()
			m.set = func(c *engine.Config) {
				c.Reset = func(error) (engine.Store, error) { return m.store, nil }
			}
			res, err := m.run(t.Context(), "x")
			if err != nil || res.State != tt.want || res.Code != "state_lost" {
				t.Fatalf("run = %+v, %v, want %s state_lost", res, err, tt.want)
			}
			if b := m.boot("rootfs"); b.Active != tt.active || b.Next != "" {
				t.Errorf("boot state %+v, want %s and no trial", b, tt.active)
			}
		})
	}
}

func TestALostEndIsToldAgain(t *testing.T) {
	m := newMachine(t, slot("device", false))
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	m.store = engine.NewMemory()
	m.set = func(c *engine.Config) { c.Reset = func(error) (engine.Store, error) { return m.store, nil } }
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if open, err := e.Open(t.Context()); open != "" || err != nil {
		t.Errorf("open run %q, %v, want none", open, err)
	}
	n := 0
	if err := e.Deliver(t.Context(), func(_ context.Context, r engine.Report) error {
		if r.ID != "x.0" || r.State != engine.Succeeded || r.Code != "state_lost" {
			t.Errorf("report %+v", r)
		}
		n++
		return nil
	}); err != nil || n != 1 {
		t.Errorf("%d reports, %v, want 1", n, err)
	}
}

// flaky fails n times in a way that may pass.
type flaky struct {
	left *int
	err  error
}

func (f flaky) Do(context.Context, *engine.Task) error {
	if *f.left == 0 {
		return nil
	}
	*f.left--
	return f.err
}

func TestRetries(t *testing.T) {
	later := &engine.Retry{Err: errors.New("not yet")}
	for _, tt := range []struct {
		name   string
		fails  int
		policy engine.RetryPolicy
		err    error
		want   engine.EndState
		waited time.Duration
	}{
		{"within the policy", 3, engine.RetryPolicy{Max: 3, Backoff: 2 * time.Second}, later, engine.Succeeded, 14 * time.Second},
		{"beyond it", 4, engine.RetryPolicy{Max: 3, Backoff: 2 * time.Second}, later, engine.RolledBack, 14 * time.Second},
		{"as long as the cause asks", 1, engine.RetryPolicy{Max: 1, Backoff: time.Second}, &engine.Retry{After: time.Minute, Err: errors.New("busy")}, engine.Succeeded, time.Minute},
		{"not for other errors", 1, engine.RetryPolicy{Max: 3}, errors.New("broken"), engine.RolledBack, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			left := tt.fails
			m := newMachine(t, steps(&engine.Step{ID: "flaky", Static: flaky{&left, tt.err}, Retry: tt.policy}))
			began := m.clock.Mono()
			res, err := m.run(t.Context(), "x")
			if err != nil || res.State != tt.want {
				t.Fatalf("run = %+v, %v, want %s", res, err, tt.want)
			}
			if got := m.clock.Mono() - began; got != tt.waited {
				t.Errorf("waited %v, want %v", got, tt.waited)
			}
		})
	}
}

// sleeper takes its time, by the run's clock.
type sleeper struct{ d time.Duration }

func (s sleeper) Do(ctx context.Context, t *engine.Task) error { return t.Clock().Sleep(ctx, s.d) }

// bug panics.
type bug struct{}

func (bug) Do(context.Context, *engine.Task) error { panic("index out of range") }

func TestAStepThatHangsOrPanicsTurnsTheRunBack(t *testing.T) {
	for _, tt := range []struct {
		name, code string
		step       *engine.Step
	}{
		{"hangs", "timeout", &engine.Step{ID: "s", Static: sleeper{time.Hour}, Timeout: time.Minute}},
		{"panics", "internal", &engine.Step{ID: "s", Static: bug{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, steps(image("image", 100), &engine.Step{ID: "w", Static: &write{"image", "config"}}, tt.step))
			res, err := m.run(t.Context(), "x")
			if err != nil || res.State != engine.RolledBack || res.Code != tt.code || res.Step != "s" {
				t.Fatalf("run = %+v, %v, want rolled_back %s in step s", res, err, tt.code)
			}
			if got := m.read("/d/etc/app.yaml"); got != "old config" {
				t.Errorf("the file is %q, want the old one", got)
			}
		})
	}
}

// intruder changes the file that the run has written, then fails.
type intruder struct{ disk *disk.Forgetful }

func (i intruder) Do(context.Context, *engine.Task) error {
	if err := disk.WriteFile(i.disk, "/d/etc/app.yaml", []byte("by hand"), 0o644); err != nil {
		return err
	}
	return errors.New("broken")
}

func TestAnUndoThatWouldDoDamageNeedsAPerson(t *testing.T) {
	g := steps(image("image", 100), &engine.Step{ID: "w", Static: &write{"image", "config"}}, &engine.Step{ID: "bad", Static: broken{}})
	m := newMachine(t, g)
	g.Steps[2].Bind = func(*engine.Scope) (any, error) { return intruder{m.disk}, nil }
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Failed {
		t.Fatalf("run = %+v, %v, want failed", res, err)
	}
	if got := m.read("/d/etc/app.yaml"); got != "by hand" {
		t.Errorf("the file is %q: the undo has overwritten it", got)
	}
	if !strings.Contains(res.Message, "by hand") || !strings.Contains(res.Message, device.ErrConflict.Error()) {
		t.Errorf("message %q does not say why and what to do", res.Message)
	}
}

func TestProgressNeverGoesBack(t *testing.T) {
	m := newMachine(t, slot("device", false))
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	last, n := int64(0), 0
	for i, e := range m.seen {
		if i > 0 && e.Seq < m.seen[i-1].Seq && e.State != "resumed" {
			t.Errorf("event %d after %d", e.Seq, m.seen[i-1].Seq)
		}
		if e.Kind == engine.EventProgress {
			if e.Done < last {
				t.Errorf("progress %d after %d", e.Done, last)
			}
			last, n = e.Done, n+1
		}
	}
	if n == 0 || last != 3*slotSize/2 {
		t.Errorf("%d progress events, the last at %d", n, last)
	}
	s, err := engine.ReadStatus(m.disk, "/state/run")
	if err != nil || s.State != "succeeded" || s.Run != "x" {
		t.Errorf("status %+v, %v", s, err)
	}
	if n := strings.Count(m.read("/state/run/events.ndjson"), "\n"); n < 5 {
		t.Errorf("%d lines of events", n)
	}
}

func TestTheFloorRisesAfterTheProof(t *testing.T) {
	m := newMachine(t, slot("device", true))
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if floor := m.floor(); floor != 0 {
		t.Errorf("floor %d after a failed update, want 0", floor)
	}
	m.graph = slot("device", false)
	if _, err := m.run(t.Context(), "y"); err != nil {
		t.Fatal(err)
	}
	if floor := m.floor(); floor != 7 {
		t.Errorf("floor %d, want 7", floor)
	}
}

// ask tells the floor.
type ask struct{ floor *int64 }

func (a ask) Do(_ context.Context, t *engine.Task) error { *a.floor = t.Floor(); return nil }

func (m *machine) floor() int64 {
	m.t.Helper()
	keep, floor := m.graph, int64(-1)
	m.graph = steps(&engine.Step{ID: "ask", Static: ask{&floor}})
	m.graph.Document = []byte("ask" + fmt.Sprint(m.boots))
	if _, err := m.run(m.t.Context(), fmt.Sprintf("ask-%d", len(m.seen))); err != nil {
		m.t.Fatal(err)
	}
	m.graph = keep
	return floor
}

package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
	"github.com/updraft-ota/updraft/internal/disk"
)

// TestAVerboseErrorDoesNotStopTheUndo: a record of the journal has a bound, and
// the text of an error comes from modules, servers and programs.
func TestAVerboseErrorDoesNotStopTheUndo(t *testing.T) {
	long := errors.New(strings.Repeat("\xff<é", 50<<10))
	for _, tt := range []struct {
		name string
		err  error
	}{{"failure", long}, {"retry", &engine.Retry{Err: long}}} {
		t.Run(tt.name, func(t *testing.T) {
			left := 10
			m := newMachine(t, steps(image("image", 100), &engine.Step{ID: "w", Static: &write{"image", "config"}},
				&engine.Step{ID: "bad", Static: flaky{&left, tt.err}, Retry: engine.RetryPolicy{Max: 2, Backoff: time.Second}}))
			res, err := m.run(t.Context(), "x")
			if err != nil || res.State != engine.RolledBack {
				t.Fatalf("run = %s, %.200v, want rolled_back", res.State, err)
			}
			if got := m.read("/d/etc/app.yaml"); got != "old config" {
				t.Errorf("the file is %q, want the old one", got)
			}
			if len(res.Message) > 4096 {
				t.Errorf("message of %d bytes", len(res.Message))
			}
			if _, err := engine.ReadStatus(m.disk, "/state/run"); err != nil {
				t.Errorf("status: %v", err)
			}
		})
	}
}

// TestManyCommandsForOneGoalDoNotStopTheEnd: the end and its reports are one
// batch, which has a bound.
func TestManyCommandsForOneGoalDoNotStopTheEnd(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.graph.Report = func(*engine.Scope) (map[string]any, error) {
		return map[string]any{"big": strings.Repeat("x", 50<<10)}, nil
	}
	m.until("x", at(engine.EventRestart, "armed"))
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	joined, busy := 0, 0
	for i := range 300 {
		got, err := e.Submit(t.Context(), engine.Command{CommandRef: engine.CommandRef{Plane: "aws", ID: fmt.Sprint(i)}, Graph: m.graph})
		if err != nil {
			t.Fatal(err)
		}
		switch got.Answer {
		case engine.Joined:
			joined++
		case engine.Busy:
			busy++
		}
	}
	if joined == 0 || busy == 0 {
		t.Errorf("%d joined, %d busy: want some of both", joined, busy)
	}
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded {
		t.Fatalf("run = %+v, %v, want succeeded", res, err)
	}
	if e, err = m.open(); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := e.Deliver(t.Context(), func(context.Context, engine.Report) error { n++; return nil }); err != nil || n != joined+1 {
		t.Errorf("%d reports, %v, want %d", n, err, joined+1)
	}
}

// TestOneDeafReceiverDoesNotSilenceAnother: the reports of a run go to several planes.
func TestOneDeafReceiverDoesNotSilenceAnother(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.until("x", at(engine.EventRestart, "armed"))
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Submit(t.Context(), engine.Command{CommandRef: engine.CommandRef{Plane: "aws", ID: "7"}, Graph: m.graph}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if e, err = m.open(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = e.Deliver(t.Context(), func(_ context.Context, r engine.Report) error {
		if r.Plane == "cli" {
			return errors.New("nobody listens")
		}
		got = append(got, r.ID)
		return nil
	})
	if err == nil || len(got) != 1 || got[0] != "x.1" {
		t.Errorf("delivered %v, %v, want x.1 and the error of the other", got, err)
	}
}

// changing is a filter whose content changes after its first reading: what
// came before then does not fit.
type changing struct {
	bytesOf
	opened *int
}

func (c *changing) Filter(ctx context.Context, t *engine.Task, in []engine.Source) (engine.Source, error) {
	src, err := c.bytesOf.Filter(ctx, t, in)
	return changingSource{src.(memory), c.opened}, err
}

type changingSource struct {
	memory
	opened *int
}

func (c changingSource) Open(ctx context.Context, at engine.State) (engine.Stream, error) {
	*c.opened++
	if at.Offset > 0 {
		return nil, &engine.Retry{Fresh: true, Err: errors.New("it has changed")}
	}
	s, err := c.memory.Open(ctx, at)
	if *c.opened == 1 {
		s = &cutStream{s, 900 << 10}
	}
	return s, err
}

// cutStream loses its connection.
type cutStream struct {
	engine.Stream
	left int
}

func (c *cutStream) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, &engine.Retry{Err: errors.New("connection lost")}
	}
	n, err := c.Stream.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// storing is a write that wants its artifact stored first.
type storing struct{ write }

func (s *storing) Stored(context.Context, *engine.Task) (bool, error) { return true, nil }

func TestAFreshBeginningReachesWhatIsStoredFirst(t *testing.T) {
	opened := 0
	m := newMachine(t, steps(&engine.Step{ID: "image", Static: &changing{bytesOf{seed: 9, n: 2 << 20}, &opened}},
		&engine.Step{ID: "w", Static: &storing{write{"image", "config"}}}))
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded {
		t.Fatalf("run = %+v, %v, want succeeded after a beginning anew", res, err)
	}
	if m.readAll("/d/etc/app.yaml") != string((&bytesOf{seed: 9, n: 2 << 20}).data()) {
		t.Error("the file has other bytes")
	}
}

func (m *machine) readAll(name string) string {
	m.t.Helper()
	b, err := disk.ReadFile(m.disk, name, 8<<20)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// TestNothingIsLeftBehindAfterTheProof: what a run stored goes with it, also if
// a step behind its proof fails.
func TestNothingIsLeftBehindAfterTheProof(t *testing.T) {
	g := steps(&engine.Step{ID: "image", Static: &bytesOf{seed: 9, n: slotSize}, Keep: true}, &engine.Step{ID: "write", Static: &write{"image", "rootfs@inactive"}},
		&engine.Step{ID: "prove", Static: &prove{"device", false}}, &engine.Step{ID: "bad", Static: broken{}})
	m := newMachine(t, g)
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded || res.Code != "after_confirm" {
		t.Fatalf("run = %+v, %v, want succeeded after_confirm", res, err)
	}
	if there, _ := disk.Exists(m.disk, "/state/run/work/x"); there {
		t.Error("the stored artifact is still there")
	}
}

// TestTheGuardKnowsTheCommand also if the power went between the journal and the guard.
func TestTheGuardKnowsTheCommand(t *testing.T) {
	m := newMachine(t, slot("device", false))
	m.store.After = func(engine.Batch) { panic(cutPower{}) } // accepted, and the guard does not know
	func() {
		defer func() { _ = recover() }()
		_, _ = m.run(t.Context(), "x")
	}()
	m.store.After = nil
	m.until("x", at(engine.EventRestart, "booted"))
	m.store = engine.NewMemory()
	m.set = func(c *engine.Config) {
		c.Reset = func(error) (engine.Store, error) { return m.store, nil }
	}
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded || res.Code != "state_lost" {
		t.Fatalf("run = %+v, %v, want succeeded state_lost: the trial proves itself", res, err)
	}
}

// grumpy writes a file and cannot take it back itself.
type grumpy struct{ write }

func (g *grumpy) Undo(context.Context, *engine.Task) error { return errors.New("rollback trapped") }

func TestTheDoorTakesBackWhatAVerbCannot(t *testing.T) {
	m := newMachine(t, steps(image("image", 100), &engine.Step{ID: "w", Static: &grumpy{write{"image", "config"}}}, &engine.Step{ID: "bad", Static: broken{}}))
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Failed || !strings.Contains(res.Message, "rollback trapped") {
		t.Fatalf("run = %+v, %v, want failed, telling of the verb's undo", res, err)
	}
	if got := m.read("/d/etc/app.yaml"); got != "old config" {
		t.Errorf("the file is %.20q, want the old one", got)
	}
}

// TestTheFloorStaysWhenNothingTookHold: a version that nothing runs from proves nothing.
func TestTheFloorStaysWhenNothingTookHold(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   string
		want int64
	}{{"a slot that nobody chose", "rootfs@inactive", 0}, {"a file in its place", "config", 7}} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, steps(image("image", 100), &engine.Step{ID: "w", Static: &write{"image", tt.to}}))
			if res, err := m.run(t.Context(), "x"); err != nil || res.State != engine.Succeeded {
				t.Fatalf("run = %+v, %v", res, err)
			}
			if floor := m.floor(); floor != tt.want {
				t.Errorf("floor %d, want %d", floor, tt.want)
			}
		})
	}
}

// TestWhatComesAfterTheProofIsNotPassedOff: a run is proven once, so that what
// is written afterwards would never take hold, and never be taken back.
func TestWhatComesAfterTheProofIsNotPassedOff(t *testing.T) {
	g := steps(image("i1", 5000), &engine.Step{ID: "w1", Static: &write{"i1", "app"}}, &engine.Step{ID: "p1", Static: &prove{"app", false}},
		&engine.Step{ID: "i2", Static: &bytesOf{seed: 8, n: slotSize}}, &engine.Step{ID: "w2", Static: &write{"i2", "rootfs@inactive"}}, &engine.Step{ID: "p2", Static: &prove{"device", false}})
	for _, tt := range []struct {
		name  string
		graph *engine.Graph
	}{
		{"a second proof", g},
		{"a write", steps(image("i1", 5000), &engine.Step{ID: "w1", Static: &write{"i1", "app"}}, &engine.Step{ID: "p1", Static: &prove{"app", false}},
			image("i2", 100), &engine.Step{ID: "w2", Static: &write{"i2", "config"}})},
	} {
		m := newMachine(t, tt.graph)
		res, err := m.run(t.Context(), "x")
		var in *engine.StepError
		if !errors.Is(err, engine.ErrGraph) || !errors.As(err, &in) || in.Step != "w2" {
			t.Errorf("%s: %+v, %v, want ErrGraph in step w2", tt.name, res, err)
		}
	}
	yes := func(*engine.Scope) (bool, error) { return true, nil }
	g = slot("device", false)
	g = steps(g.Steps[0], g.Steps[1], &engine.Step{ID: "p1", Static: &prove{"device", false}, When: yes}, &engine.Step{ID: "p2", Static: &prove{"device", false}, When: yes})
	m := newMachine(t, g)
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded || res.Code != "after_confirm" || !strings.Contains(res.Message, "p2") {
		t.Errorf("two proofs whose conditions both hold: %+v, %v, want it told of p2", res, err)
	}
}

// TestARunIdIsNotUsedForSomethingElse: who asks for another workflow under the
// id of an earlier run must not be told that run's success.
func TestARunIdIsNotUsedForSomethingElse(t *testing.T) {
	m := newMachine(t, slot("device", false))
	if _, err := m.run(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	ref := engine.CommandRef{Plane: "cli", ID: "x"}
	other := *m.graph
	other.Document = []byte("another workflow")
	for name, c := range map[string]engine.Command{
		"another workflow": {CommandRef: ref, Run: "x", Graph: &other},
		"other inputs":     {CommandRef: ref, Run: "x", Graph: m.graph, Inputs: map[string]any{"a": "b"}},
	} {
		if got, err := e.Submit(t.Context(), c); !errors.Is(err, engine.ErrGoal) {
			t.Errorf("%s: %+v, %v, want ErrGoal", name, got, err)
		}
	}
	if got, err := e.Submit(t.Context(), engine.Command{CommandRef: ref, Run: "x", Graph: m.graph}); err != nil || got.Answer != engine.Joined {
		t.Errorf("the same again: %+v, %v, want joined", got, err)
	}
}

// number tells the input n.
type number struct{ got *string }

func (n number) Do(_ context.Context, t *engine.Task) error {
	*n.got = fmt.Sprint(t.Scope.Inputs["n"])
	return nil
}

func TestLargeNumbersStayWhatTheyAre(t *testing.T) {
	got := ""
	m := newMachine(t, steps(&engine.Step{ID: "n", Static: number{&got}}))
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := e.Submit(t.Context(), engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: "x"}, Run: "x", Graph: m.graph,
		Inputs: map[string]any{"n": int64(1<<53 + 1)}})
	if err == nil {
		_, err = e.Run(t.Context(), rec.Run)
	}
	if err != nil || got != "9007199254740993" {
		t.Errorf("the step saw %s, %v, want 9007199254740993", got, err)
	}
}

// TestABegunFilterIsNotSkipped: a condition may change its mind over a restart.
func TestABegunFilterIsNotSkipped(t *testing.T) {
	calls := 0
	g := slot("device", false)
	g.Steps[0].When = func(*engine.Scope) (bool, error) { calls++; return calls == 1, nil }
	m := newMachine(t, g)
	m.until("x", at(engine.EventProgress, ""))
	res, err := m.run(t.Context(), "x")
	if err != nil || res.State != engine.Succeeded {
		t.Fatalf("run = %+v, %v, want succeeded", res, err)
	}
}

// TestSweepTwoStepsForOneTarget: what the first left must not pass for the
// work of the second.
func TestSweepTwoStepsForOneTarget(t *testing.T) {
	for _, target := range []string{"config", "rootfs@inactive"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			g := steps(image("i1", 5000), &engine.Step{ID: "w1", Static: &write{"i1", target}},
				&engine.Step{ID: "i2", Static: &bytesOf{seed: 8, n: 5000}}, &engine.Step{ID: "w2", Static: &write{"i2", target}},
				&engine.Step{ID: "prove", Static: &prove{"device", false}})
			res, err := crashtest.Sweep(t.Context(), rig(t, g), crashtest.Options{Every: 2})
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range res.Violations {
				if i == 3 {
					t.Errorf("… and %d more", len(res.Violations)-i)
					break
				}
				t.Error(v)
			}
		})
	}
}

// messy panics when it cleans up.
type messy struct{ write }

func (*messy) Clean(context.Context, *engine.Task) error { panic("cleanup trapped") }

// TestABugBesideTheStepsDoesNotStopTheEnd: a panic that comes again at each
// start would keep the run from ever ending.
func TestABugBesideTheStepsDoesNotStopTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func() *engine.Graph
		want engine.EndState
	}{
		{"cleanup", func() *engine.Graph {
			return steps(image("image", 100), &engine.Step{ID: "w", Static: &messy{write{"image", "config"}}})
		}, engine.Succeeded},
		{"report", func() *engine.Graph {
			g := slot("device", false)
			g.Report = func(*engine.Scope) (map[string]any, error) { panic("no such field") }
			return g
		}, engine.Succeeded},
		{"condition", func() *engine.Graph {
			g := slot("device", false)
			g.Steps[2].When = func(*engine.Scope) (bool, error) { panic("no such fact") }
			return g
		}, engine.RolledBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.make())
			if res, err := m.run(t.Context(), "x"); err != nil || res.State != tt.want {
				t.Fatalf("run = %+v, %v, want %s", res, err, tt.want)
			}
		})
	}
}

// TestTheFloorOutlivesTheGuard: the guard is one file of a kilobyte.
func TestTheFloorOutlivesTheGuard(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(d *disk.Forgetful) error
	}{
		{"gone", func(d *disk.Forgetful) error { return d.Remove("/state/guard.bin") }},
		{"both copies torn", func(d *disk.Forgetful) error {
			return disk.WriteFile(d, "/state/guard.bin", make([]byte, 1024), 0o600)
		}},
		{"cut short", func(d *disk.Forgetful) error {
			return disk.WriteFile(d, "/state/guard.bin", make([]byte, 100), 0o600)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, slot("device", false))
			if res, err := m.run(t.Context(), "x"); err != nil || res.State != engine.Succeeded {
				t.Fatalf("run = %+v, %v", res, err)
			}
			if err := tt.spoil(m.disk); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it is written down again, too
				if floor := m.floor(); floor != 7 {
					t.Errorf("floor %d, want 7", floor)
				}
			}
		})
	}
}

// TestOldRunsAreForgotten: thousands of runs cost no more than a few.
func TestOldRunsAreForgotten(t *testing.T) {
	m := newMachine(t, nil)
	const all = 50
	for i := range all {
		m.graph = steps(&engine.Step{ID: "s", Static: flaky{new(int), nil}})
		m.graph.Document = fmt.Appendf(nil, "workflow %d", i)
		id := fmt.Sprintf("r%02d", i)
		m.clock.Advance(time.Second)
		if res, err := m.run(t.Context(), id); err != nil || res.State != engine.Succeeded {
			t.Fatalf("run %s = %+v, %v", id, res, err)
		}
		e, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		deliver := func(_ context.Context, r engine.Report) error {
			if r.Run == "r03" {
				return errors.New("nobody listens")
			}
			return nil
		}
		_ = e.Deliver(t.Context(), deliver)
		if err := e.Prune(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := m.store.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != engine.KeptRuns+1 || runs[0] != "r03" || runs[1] != "r30" {
		t.Errorf("%d runs are kept, %v, want the last %d and the one whose report nobody took", len(runs), runs, engine.KeptRuns)
	}
	files, err := m.disk.ReadDir("/state/run/files")
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * (engine.KeptRuns + 1); len(files) != want { // a document and a command each
		t.Errorf("%d stored files, want %d", len(files), want)
	}
}

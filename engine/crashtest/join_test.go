package crashtest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// TestWhoJoinsHearsTheEnd: others ask for the same while one goroutine drives the run.
// Whatever the moment, an answer "joined" means a report, and "new" a run.
func TestWhoJoinsHearsTheEnd(t *testing.T) {
	reports := map[string]int{} // by the answer that preceded them
	for round := range 20 {
		m := newMachine(t, steps(image("image", 64<<10), &engine.Step{ID: "write", Static: &write{"image", "config"}}))
		moments := make([]chan struct{}, 8) // each is closed by an event of the run, or after it
		for i := range moments {
			moments[i] = make(chan struct{})
		}
		next := 0
		var passing sync.Mutex // events come from Run and from those who began a run of their own
		pass := func() {
			passing.Lock()
			defer passing.Unlock()
			if next < len(moments) {
				close(moments[next])
				next++
			}
		}
		m.set = func(c *engine.Config) { c.Events = func(engine.Event) { pass() } }
		e, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		begin := func(plane string, id int) engine.Receipt {
			c := engine.Command{CommandRef: engine.CommandRef{Plane: plane, ID: fmt.Sprint(id)}, Graph: m.graph}
			receipt, err := e.Submit(t.Context(), c)
			if err != nil {
				t.Error(err)
			}
			return receipt
		}
		first := begin("one", round)
		var all sync.WaitGroup
		var mu sync.Mutex
		joined := map[int]engine.Receipt{}
		for id := range moments {
			all.Go(func() {
				<-moments[id]
				receipt := begin("two", id)
				mu.Lock()
				defer mu.Unlock()
				joined[id] = receipt
			})
		}
		res, err := e.Run(t.Context(), first.Run)
		for range moments {
			pass()
		}
		all.Wait()
		if err != nil || res.State != engine.Succeeded {
			t.Fatalf("run = %+v, %v, want succeeded", res, err)
		}
		outbox, err := e.Outbox(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		for id, receipt := range joined {
			rep, ok, err := e.ReportTo(t.Context(), receipt.Run, engine.CommandRef{Plane: "two", ID: fmt.Sprint(id)})
			switch {
			case err != nil:
				t.Fatal(err)
			case receipt.Answer == engine.Joined && (!ok || receipt.Run != first.Run || rep.State != engine.Succeeded):
				t.Errorf("command %d joined %s, and its report is %+v, %v", id, receipt.Run, rep, ok)
			case receipt.Answer == engine.Accepted && ok:
				t.Errorf("command %d began %s after the end, which has the report %+v already", id, receipt.Run, rep)
			}
			if receipt.Answer == engine.Joined {
				want++
				if again := begin("two", id); again != receipt { // also after the end
					t.Errorf("command %d, asked for again, is %+v, was %+v", id, again, receipt)
				}
			}
			reports[string(receipt.Answer)]++
		}
		if len(outbox) != want {
			t.Errorf("the outbox holds %d reports, want %d", len(outbox), want)
		}
		for range 2 { // to say it twice is harmless
			if err := e.Reported(t.Context(), outbox[0].ID); err != nil {
				t.Fatal(err)
			}
		}
		if left, err := e.Outbox(t.Context()); err != nil || len(left) != want-1 {
			t.Errorf("the outbox holds %d reports, %v, want %d", len(left), err, want-1)
		}
		rep, ok, err := e.ReportTo(t.Context(), first.Run, engine.CommandRef{Plane: outbox[0].Plane, ID: outbox[0].Command})
		if err != nil || !ok || rep.ID != outbox[0].ID {
			t.Errorf("after it was taken the report is %+v, %v, %v", rep, ok, err)
		}
	}
	t.Logf("answers: %v", reports)
	if reports["joined"] == 0 || reports["new"] == 0 {
		t.Error("want some who joined, and some who came too late")
	}
}

// TestALostCommandIsAskedForAgain: the state directory is gone, and with it who
// asked; only the guard knows that there was a run. Whoever asks for it again is told
// how it ended, also if nobody in particular was told before.
func TestALostCommandIsAskedForAgain(t *testing.T) {
	for _, delivered := range []bool{false, true} {
		m := newMachine(t, steps(image("image", 64<<10), &engine.Step{ID: "write", Static: &write{"image", "config"}}))
		e, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		c := engine.Command{CommandRef: engine.CommandRef{Plane: "aws", ID: "j-1"}, Graph: m.graph}
		first, err := e.Submit(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := e.Run(t.Context(), first.Run); err != nil || res.State != engine.Succeeded {
			t.Fatalf("run = %+v, %v, want succeeded", res, err)
		}
		m.store = engine.NewMemory()
		m.set = func(c *engine.Config) {
			c.Reset = func(error) (engine.Store, error) { return m.store, nil }
		}
		if err := disk.RemoveAll(m.disk, "/state/run"); err != nil {
			t.Fatal(err)
		}
		if e, err = m.open(); err != nil {
			t.Fatal(err)
		}
		if open, err := e.Open(t.Context()); err != nil || open != "" {
			t.Fatalf("open = %q, %v, want none: the guard knows the end", open, err)
		}
		if delivered {
			if err := e.Deliver(t.Context(), func(context.Context, engine.Report) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		again, err := e.Submit(t.Context(), c)
		if err != nil || again.Answer != engine.Joined || again.Run != first.Run {
			t.Fatalf("submit = %+v, %v, want joined %s", again, err, first.Run)
		}
		rep, ok, err := e.ReportTo(t.Context(), first.Run, c.CommandRef)
		if err != nil || !ok || rep.Plane != "aws" || rep.Command != "j-1" || rep.Code != "state_lost" {
			t.Errorf("delivered %v: report = %+v, %v, %v, want one for the command", delivered, rep, ok, err)
		}
		if out, err := e.Outbox(t.Context()); err != nil || len(out) != 1 || out[0].Plane != "aws" {
			t.Errorf("delivered %v: outbox = %+v, %v, want the report of the command", delivered, out, err)
		}
	}
}

// TestAClockThatIsSetBack changes nothing about which run ended last: reports go
// out in the order of the ends, and the newest runs are those that are kept.
func TestAClockThatIsSetBack(t *testing.T) {
	m := newMachine(t, steps(image("image", 64<<10), &engine.Step{ID: "write", Static: &write{"image", "config"}}))
	run := func(id string) {
		t.Helper()
		if res, err := m.run(t.Context(), id); err != nil || res.State != engine.Succeeded {
			t.Fatalf("run = %+v, %v, want succeeded", res, err)
		}
		m.clock.Jump(-24 * time.Hour)
	}
	var want []string
	for i := range engine.KeptRuns + 3 {
		id := fmt.Sprintf("r-%02d", engine.KeptRuns+3-i) // another order than that of the names
		run(id)
		want = append(want, id+".0")
	}
	e, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := e.Deliver(t.Context(), func(_ context.Context, r engine.Report) error { got = append(got, r.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	if err := e.Prune(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	kept, err := m.store.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range want[len(want)-3:] {
		if !slices.Contains(kept, id[:len(id)-2]) {
			t.Errorf("run %s is forgotten, though it is among the last; kept are %v", id[:len(id)-2], kept)
		}
	}
}

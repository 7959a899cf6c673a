package stages

import (
	"context"
	"fmt"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/trust"
)

// noted remembers what a step saw of another one's outputs.
type noted struct{ got *string }

func (n noted) Do(_ context.Context, t *engine.Task) error {
	*n.got = fmt.Sprint(t.Scope.Steps["two"]["size"], " ", t.Scope.Steps["two"]["sha256"])
	return nil
}

// installTwice writes one image, then another one into the same slot.
func (r *rig) installTwice(t *testing.T, got *string) *engine.Graph {
	t.Helper()
	one, two := []byte("the first image"), []byte("the second one!")
	g := &engine.Graph{Name: "twice", Document: []byte("twice")}
	add := func(id, verb string, static any, needs ...string) {
		g.Steps = append(g.Steps, &engine.Step{ID: id, Verb: verb, Needs: needs, Static: static, Bind: func(*engine.Scope) (any, error) { return static, nil }})
	}
	write := func(from string) *Install {
		return &Install{c: &r.c, Artifacts: map[string]string{"image": from}, Targets: map[string]Grant{"out": {Target: "rootfs@inactive"}}}
	}
	r.put(t, "/dev/one", one)
	r.put(t, "/dev/two", two)
	add("f1", "fetch", r.fetch("/dev/one", one)())
	add("one", "install", write("f1"), "f1")
	add("f2", "fetch", r.fetch("/dev/two", two)(), "one")
	add("two", "install", write("f2"), "f2")
	add("note", "note", noted{got}, "two")
	return g
}

// TestInstallIsNotTakenForDone cuts the power at each record of a run with two
// steps for one slot. What the first left must not pass for the work of the
// second, and a step that is found to be done has its outputs all the same.
func TestInstallIsNotTakenForDone(t *testing.T) {
	type cut struct{}
	for n := 1; ; n++ {
		r, got, records := newRig(t), "", 0
		r.c.Trust = trust.Policy{Require: trust.SHA256}
		g := r.installTwice(t, &got)
		start := func() (res engine.Result, err error) {
			defer func() {
				if p := recover(); p != nil && p != (cut{}) {
					panic(p)
				}
			}()
			e, err := engine.New(engine.Config{Store: r.store, Door: r.door, FS: r.fs, Clock: r.clock, Dir: "/state", Guard: "/guard.bin",
				Reread: func([]byte, map[string][]byte) (*engine.Graph, error) { return g, nil },
				Panics: func(p any) bool { return p == cut{} }})
			if err != nil {
				return res, err
			}
			if _, err := e.Submit(t.Context(), engine.Command{Run: "x", Graph: g}); err != nil {
				return res, err
			}
			return e.Run(t.Context(), "x")
		}
		r.store.Before = func(b engine.Batch) error {
			if len(b.Append) > 0 {
				if records++; records == n {
					panic(cut{})
				}
			}
			return nil
		}
		res, err := start()
		if err == nil && res.State == "" {
			res, err = start()
		}
		if err != nil || res.State != engine.Succeeded {
			t.Fatalf("cut at record %d: %+v, %v", n, res, err)
		}
		a, err := client(&engine.Task{Door: r.door, Run: "x"}).Resolve(t.Context(), "rootfs@inactive")
		if want := hexOf([]byte("the second one!")); err != nil || a.Stamp.SHA256 != want || got != "15 "+want {
			t.Errorf("cut at record %d: the slot has %.12s, the outputs are %q, %v; want %.12s", n, a.Stamp.SHA256, got, err, want)
		}
		if records < n {
			if n < 8 {
				t.Errorf("only %d records", n)
			}
			return
		}
	}
}

// TestInstalledAlreadyHasItsOutputs: later steps ask for them whether or not
// there was anything to do.
func TestInstalledAlreadyHasItsOutputs(t *testing.T) {
	r, got := newRig(t), ""
	body := []byte("an image")
	r.put(t, "/dev/one", body)
	g := &engine.Graph{Name: "once", Document: []byte("once")}
	for _, s := range []*engine.Step{
		{ID: "f", Static: r.fetch("/dev/one", body)()},
		{ID: "two", Needs: []string{"f"}, Static: &Install{c: &r.c, Artifacts: map[string]string{"image": "f"}, Targets: map[string]Grant{"out": {Target: "rootfs@inactive"}}}},
		{ID: "prove", Needs: []string{"two"}, Static: &Confirm{c: &r.c, Restart: "device"}},
		{ID: "note", Needs: []string{"prove"}, Static: noted{&got}},
	} {
		s.Bind = func(*engine.Scope) (any, error) { return s.Static, nil }
		g.Steps = append(g.Steps, s)
	}
	for i, code := range []string{"", "already_installed"} {
		id := fmt.Sprint("run-", i)
		var res engine.Result
		for range 3 { // a start, and one after the restart
			e, err := engine.New(engine.Config{Store: r.store, Door: r.door, FS: r.fs, Clock: r.clock, Dir: "/state", Guard: "/guard.bin",
				Reread: func([]byte, map[string][]byte) (*engine.Graph, error) { return g, nil }})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Submit(t.Context(), engine.Command{Run: id, Graph: g, CommandRef: engine.CommandRef{ID: id}}); err != nil {
				t.Fatal(err)
			}
			if res, err = e.Run(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if res.State != engine.Waiting {
				break
			}
		}
		if want := fmt.Sprint(len(body), " ", hexOf(body)); res.State != engine.Succeeded || res.Code != code || got != want {
			t.Errorf("run %d: %+v, outputs %q, want succeeded %q and %q", i, res, got, code, want)
		}
		got = ""
	}
}

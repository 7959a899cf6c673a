package crashtest_test

import (
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
)

func image(id string, n int) *engine.Step {
	return &engine.Step{ID: id, Static: &bytesOf{seed: 9, n: n}}
}

func slot(scope string, bad bool) *engine.Graph {
	return steps(image("image", 3*slotSize/2), &engine.Step{ID: "write", Static: &write{"image", "rootfs@inactive"}},
		&engine.Step{ID: "prove", Static: &prove{scope, bad}})
}

func lanes(last any) *engine.Graph {
	g := steps(image("i1", slotSize), &engine.Step{ID: "w1", Static: &write{"i1", "rootfs@inactive"}, Lane: "one"},
		image("i2", 100), &engine.Step{ID: "w2", Static: &write{"i2", "radio@inactive"}, Lane: "two"},
		&engine.Step{ID: "last", Static: last, Lane: "two"}, &engine.Step{ID: "prove", Static: &prove{"device", false}})
	g.Steps[2].Needs = []string{}
	return g
}

func TestSweepEveryWorkflowComesToOneOfTwoEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		graph *engine.Graph
		want  engine.EndState
	}{
		{"slot", slot("device", false), engine.Succeeded},
		{"slot whose probe fails", slot("device", true), engine.RolledBack},
		{"directory", steps(image("image", 5000), &engine.Step{ID: "write", Static: &write{"image", "app"}}, &engine.Step{ID: "prove", Static: &prove{"app", false}}), engine.Succeeded},
		{"directory whose probe fails", steps(image("image", 5000), &engine.Step{ID: "write", Static: &write{"image", "app"}}, &engine.Step{ID: "prove", Static: &prove{"app", true}}), engine.RolledBack},
		{"directory without a restart", steps(image("image", 5000), &engine.Step{ID: "write", Static: &write{"image", "app"}}, &engine.Step{ID: "prove", Static: &prove{"", false}}), engine.Succeeded},
		{"file", steps(image("image", 5000), &engine.Step{ID: "write", Static: &write{"image", "config"}}), engine.Succeeded},
		{"file, then a failure", steps(image("image", 5000), &engine.Step{ID: "write", Static: &write{"image", "config"}}, &engine.Step{ID: "bad", Static: broken{}}), engine.RolledBack},
		{"wrong digest", steps(&engine.Step{ID: "image", Static: &bytesOf{seed: 9, n: slotSize, wrong: true}}, &engine.Step{ID: "write", Static: &write{"image", "rootfs@inactive"}}), engine.RolledBack},
		{"stored first", steps(&engine.Step{ID: "image", Static: &bytesOf{seed: 9, n: slotSize}, Keep: true}, &engine.Step{ID: "write", Static: &write{"image", "rootfs@inactive"}}, &engine.Step{ID: "prove", Static: &prove{"device", false}}), engine.Succeeded},
		{"two lanes", lanes(flaky{left: new(int)}), engine.Succeeded},
		{"two lanes, one fails", lanes(broken{}), engine.RolledBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := crashtest.Options{Every: 1}
			if testing.Short() {
				o.Every = 5
			}
			res, err := crashtest.Sweep(t.Context(), rig(t, tt.graph), o)
			if err != nil {
				t.Fatal(err)
			}
			if res.Reference.State != tt.want {
				t.Errorf("ended %+v without a cut, want %s", res.Reference, tt.want)
			}
			for i, v := range res.Violations {
				if i == 5 {
					t.Errorf("… and %d more", len(res.Violations)-i)
					break
				}
				t.Error(v)
			}
			if len(res.Points) < 20 || res.Cut < len(res.Points)/o.Every/3 || res.Runs != 2*res.Cut*len(crashtest.Cuts) {
				t.Errorf("%d points, %d of them cut, %d runs: too few to be true", len(res.Points), res.Cut, res.Runs)
			}
			t.Logf("%d points, %d of them cut, %d runs, %v", len(res.Points), res.Cut, res.Runs, res.Ends)
		})
	}
}

func TestSweepFindsMutants(t *testing.T) {
	for _, tt := range []struct {
		name, point, what string
		set               func(*crashtest.Rig)
	}{
		{"a sync that lies", "power", "", func(r *crashtest.Rig) { r.LieSync = true }},
		{"done before the sync", "record done write", "", func(r *crashtest.Rig) { r.Mutate = crashtest.LateSync }},
		{"the boot choice before armed", "", "armed", func(r *crashtest.Rig) { r.Mutate = crashtest.EarlyChoice }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := rig(t, slot("device", false))
			tt.set(&r)
			res, err := crashtest.Sweep(t.Context(), r, crashtest.Options{Once: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Violations) == 0 {
				t.Fatalf("no violation in %d runs at %d points", res.Runs, len(res.Points))
			}
			found := false
			for _, v := range res.Violations {
				found = found || strings.Contains(v.String(), tt.point) && strings.Contains(v.What, tt.what)
			}
			if !found {
				t.Errorf("no violation tells of %q: first is %v", tt.point+tt.what, res.Violations[0])
			}
			t.Log(res.Violations[0])
		})
	}
}

var _ device.Door = (*device.Files)(nil)

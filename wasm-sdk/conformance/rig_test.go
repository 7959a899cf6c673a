package conformance

import (
	"context"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

func (g *guest) openArtifact(role string) asm.Code {
	return g.some("the artifact", localArtifact, "art_open", g.text(role))
}

func (g *guest) openTarget(role string) asm.Code {
	return g.some("the target", localTarget, "tgt_open", g.text(role), asm.I32(abi.ModeWrite))
}

// copyAll copies the artifact and fails the phase if that goes wrong.
func (g *guest) copyAll() asm.Code {
	return asm.Seq(g.call("svc_copy", asm.Get(localArtifact), asm.I64(0), asm.Get(localTarget), asm.I64(0), asm.I64(-1)), asm.Set(localTime),
		asm.Get(localTime), asm.I64(int64(abi.EQUOTA)), asm.Op(asm.I64Eq), asm.If(asm.None, g.fail("over quota")),
		asm.Get(localTime), asm.I64(0), asm.Op(asm.I64LtS), asm.If(asm.None, g.fail("the copy failed")))
}

// installer is a module that copies an artifact to a target as it should.
func installer() *guest {
	g := newGuest("installer", abi.KindInstall, abi.Install, abi.Commit, abi.Rollback)
	g.manifest.Roles = abi.Roles{Artifacts: []string{"image"}, Targets: []string{"out"}}
	return g
}

func (g *guest) installs() map[abi.Phase]asm.Code {
	return map[abi.Phase]asm.Code{
		abi.Install:  asm.Seq(g.openArtifact("image"), g.openTarget("out"), g.copyAll()),
		abi.Commit:   asm.Seq(g.openTarget("out"), g.want("commit", 0, "tgt_commit", asm.Get(localTarget))),
		abi.Rollback: asm.Seq(g.openTarget("out"), g.want("rollback", 0, "tgt_abort", asm.Get(localTarget))),
	}
}

func load(t testing.TB, wasm []byte) *wasmhost.Module {
	t.Helper()
	h, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Load(t.Context(), wasm, wasmhost.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func installSetup(typ device.Type, size int64) Setup {
	return Setup{
		Artifacts: map[string]*Blob{"image": Noise(size, 7)},
		Targets:   map[string]Target{"out": {Type: typ, Content: Bytes([]byte("old"))}},
	}
}

func run(t *testing.T, m *wasmhost.Module, s Setup, phases ...abi.Phase) *Outcome {
	t.Helper()
	r, err := New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	o, err := r.Run(t.Context(), m, phases...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRun(t *testing.T) {
	g := installer()
	m := load(t, g.bytes(1, g.installs()))
	for _, typ := range []device.Type{device.Slots, device.File} {
		t.Run(string(typ), func(t *testing.T) {
			s := installSetup(typ, 200_000)
			image := s.Artifacts["image"].SHA256()
			o := run(t, m, s)
			if got := o.Targets["out"]; !o.Well() || got != (State{true, image, 200_000}) {
				t.Errorf("%s: %s, want the image", o.end(), got)
			}
			before := run(t, m, s, abi.Rollback)
			for _, phases := range [][]abi.Phase{{abi.Install, abi.Rollback}, {abi.Install, abi.Commit, abi.Rollback}} {
				o := run(t, m, s, phases...)
				if what := differ(before.Targets, o.Targets); !o.Well() || what != "" || o.Targets["out"].Committed {
					t.Errorf("%v: %s, %s", phases, o.end(), what)
				}
			}
		})
	}
}

func TestKillSweep(t *testing.T) {
	good := installer()
	// The copy begins where the target ends, so a repeated one is twice as long.
	forgetful := installer()
	phases := forgetful.installs()
	phases[abi.Install] = asm.Seq(forgetful.openTarget("out"), forgetful.call("kv_get", forgetful.text("ran"), room(1)),
		asm.I32(0), asm.Op(asm.I32GeS), asm.If(asm.None, forgetful.fail("called twice")),
		forgetful.call("kv_put", forgetful.text("ran"), forgetful.text("")), asm.Op(asm.Drop),
		forgetful.call("kv_flush"), asm.Op(asm.Drop),
		forgetful.openArtifact("image"), forgetful.copyAll())
	for _, tt := range []struct {
		name string
		wasm []byte
		bad  string // in a violation
	}{
		{"a module that may be called again", good.bytes(1, good.installs()), ""},
		{"one that refuses to run twice", forgetful.bytes(1, phases), "called twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := KillSweep(t.Context(), load(t, tt.wasm), installSetup(device.Slots, 1_000_000))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(w.Violations, "\n")
			if !w.Reference.Well() || (tt.bad == "") != (all == "") || !strings.Contains(all, tt.bad) {
				t.Errorf("%s; violations %q, want %q", w.Reference.end(), all, tt.bad)
			}
			if w.Points < 20 || tt.bad == "" && w.Runs != 1+4*w.Points {
				t.Errorf("%d points, %d runs", w.Points, w.Runs)
			}
			t.Logf("%d points, %d runs, %d violations", w.Points, w.Runs, len(w.Violations))
		})
	}
}

func TestFaultSweep(t *testing.T) {
	good := installer()
	deaf := installer()
	phases := deaf.installs()
	phases[abi.Rollback] = deaf.fail("no way back")
	m := load(t, good.bytes(1, good.installs()))
	for _, fault := range Faults() {
		t.Run(string(fault), func(t *testing.T) {
			w, err := FaultSweep(t.Context(), m, installSetup(device.File, 900_000), fault)
			if err != nil {
				t.Fatal(err)
			}
			if w.Points < 4 || len(w.Violations) > 0 {
				t.Errorf("%d points, violations:\n%s", w.Points, strings.Join(w.Violations, "\n"))
			}
			t.Logf("%d points, %d runs", w.Points, w.Runs)
		})
	}
	w, err := FaultSweep(t.Context(), load(t, deaf.bytes(1, phases)), installSetup(device.File, 900_000), EIO)
	if err != nil || len(w.Violations) == 0 || !strings.Contains(w.Violations[0], "no way back") {
		t.Errorf("violations %q, %v; want the rollback's", w.Violations, err)
	}
}

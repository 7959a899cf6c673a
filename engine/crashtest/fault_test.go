package crashtest_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// machine is a device that lives through several engines.
type machine struct {
	t     *testing.T
	disk  *disk.Forgetful
	store *engine.Memory
	clock *disk.Virtual
	boots int
	graph *engine.Graph
	mode  device.Mode
	seen  []engine.Event
	set   func(*engine.Config)
}

func newMachine(t *testing.T, g *engine.Graph) *machine {
	t.Helper()
	return &machine{t: t, disk: seed(t), store: engine.NewMemory(), clock: disk.NewVirtual(time.Unix(1e9, 0)), boots: 1, graph: g, mode: device.RestartSimulate}
}

func (m *machine) door() *device.Files {
	m.t.Helper()
	door, err := device.New(config(), device.Env{FS: m.disk, Clock: m.clock, Restart: m.mode,
		BootID: func() (string, error) { return fmt.Sprint(m.boots), nil }})
	if err != nil {
		m.t.Fatal(err)
	}
	return door
}

func (m *machine) open() (*engine.Engine, error) {
	c := engine.Config{Store: m.store, Door: m.door(), Targets: []string{"app", "radio", "rootfs"}, FS: m.disk, Clock: m.clock, Dir: "/state/run", Guard: "/state/guard.bin",
		Reread: func([]byte, map[string][]byte) (*engine.Graph, error) { return m.graph, nil },
		Events: func(e engine.Event) { m.seen = append(m.seen, e) }}
	if m.set != nil {
		m.set(&c)
	}
	return engine.New(c)
}

// run submits and runs until an end, an error or a wait that no simulated
// restart ends.
func (m *machine) run(ctx context.Context, id string) (engine.Result, error) {
	for range 60 {
		e, err := m.open()
		if err != nil {
			return engine.Result{}, err
		}
		rec, err := e.Submit(ctx, engine.Command{CommandRef: engine.CommandRef{Plane: "cli", ID: id}, Run: id, Graph: m.graph})
		if err != nil {
			return engine.Result{}, err
		}
		res, err := e.Run(ctx, rec.Run)
		if err != nil || res.State != engine.Waiting || m.mode != device.RestartSimulate {
			return res, err
		}
	}
	m.t.Fatal("no end after 60 starts")
	return engine.Result{}, nil
}

func (m *machine) boot(target string) device.Boot {
	m.t.Helper()
	b, err := device.Client{Door: m.door()}.BootOf(m.t.Context(), target)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

func (m *machine) read(name string) string {
	m.t.Helper()
	b, err := disk.ReadFile(m.disk, name, 1<<20)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// TestEveryDiskCallMayFail fails each call of a run once, in each way. The
// run ends well, or as before, or stops with an error and then goes on.
func TestEveryDiskCallMayFail(t *testing.T) {
	old := string((&bytesOf{seed: 1, n: slotSize}).data())
	for _, tt := range []struct {
		name string
		err  error
	}{{"EIO", syscall.EIO}, {"ENOSPC", syscall.ENOSPC}, {"EROFS", syscall.EROFS}, {"short write", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ends := map[string]int{}
			for n := int64(1); ; n++ {
				m := newMachine(t, slot("device", false))
				base := m.disk.Calls()
				hit := false
				fault := disk.FailAt(base+n, tt.err)
				if tt.err == nil {
					fault = disk.ShortAt(base + n)
				}
				m.disk.Before = func(c disk.Call) error {
					err := fault(c)
					hit = hit || err != nil
					return err
				}
				res, err := m.run(t.Context(), "x")
				if !hit && n > 400 {
					break
				}
				m.disk.Before = nil
				if err != nil { // the journal or the guard could not be written: nothing is lost
					ends["stopped"]++
					if res, err = m.run(t.Context(), "x"); err != nil {
						t.Fatalf("call %d: %v after the fault was gone", n, err)
					}
				}
				ends[string(res.State)]++
				boot := m.boot("rootfs")
				switch {
				case m.read("/d/a.img") != old:
					t.Fatalf("call %d: the old slot has changed", n)
				case boot.Next != "":
					t.Errorf("call %d: ended %s with %s on trial", n, res.State, boot.Next)
				case res.State == engine.Succeeded && boot.Active != "b", res.State == engine.RolledBack && boot.Active != "a":
					t.Errorf("call %d: ended %s, runs %s", n, res.State, boot.Active)
				case res.State != engine.Succeeded && res.State != engine.RolledBack && res.State != engine.RefusedEnd:
					t.Errorf("call %d: ended %+v", n, res)
				}
			}
			if ends["succeeded"] == 0 || ends["rolled_back"] == 0 {
				t.Errorf("ends %v: want some of both", ends)
			}
			t.Logf("%v", ends)
		})
	}
}

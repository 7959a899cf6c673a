package stages

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// rig runs one pipe, filters and a sink, in a real engine over a disk and a
// store in memory.
type rig struct {
	c      Config
	clock  *disk.Virtual
	fs     *disk.Forgetful
	store  *engine.Memory
	door   device.Door
	out    *sinkBuffer
	events []engine.Event
	tell   func(engine.Event) // also gets each event
	retry  engine.RetryPolicy // of the first filter
	read   atomic.Int64       // bytes that came over connections, heads included
	id     string
	ctx    context.Context
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{clock: disk.NewVirtual(time.Unix(1_800_000_000, 0)), fs: disk.NewForgetful(), id: "run-1", ctx: t.Context()}
	transport := NewTransport(nil).(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return meter{conn, &r.read}, nil
	}
	t.Cleanup(transport.CloseIdleConnections)
	r.reset(t)
	r.c = Config{HTTP: transport, Disk: r.fs, Trust: trust.Policy{Require: trust.SHA256}, DeltaMemory: 64 << 20, MinRate: 1 << 10, RateWindow: 30 * time.Second}
	r.put(t, "/dev/a.img", nil)
	r.put(t, "/dev/b.img", nil)
	door, err := device.New(device.Config{
		File:  "/dev/device.yaml",
		Facts: map[string]device.Fact{"model": {Value: "m"}},
		Targets: map[string]device.Place{
			"rootfs": {Slots: map[string]string{"a": "/dev/a.img", "b": "/dev/b.img"}, Boot: device.BootState{File: "/dev/boot.json"}},
			"app":    {Directory: "/dev/app"},
		},
	}, device.Env{FS: r.fs, Clock: r.clock, Restart: device.RestartSimulate})
	if err != nil {
		t.Fatal(err)
	}
	r.door = door
	return r
}

// reset forgets all runs.
func (r *rig) reset(t testing.TB) {
	t.Helper()
	r.store, r.out, r.events = engine.NewMemory(), &sinkBuffer{}, nil
	for _, name := range []string{"/state", "/guard.bin"} {
		if err := disk.RemoveAll(r.fs, name); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) put(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := disk.MkdirAll(r.fs, "/dev", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile(r.fs, name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// sink is the step that takes the bytes of the last filter.
type sink struct {
	from string
	out  *sinkBuffer
}

func (s *sink) Reads() []string { return []string{s.from} }

func (s *sink) Do(ctx context.Context, t *engine.Task) error {
	w, err := t.Copy(ctx, t.In[0], s.out)
	if err == nil && w.Size < int64(len(s.out.bytes)) {
		s.out.bytes = s.out.bytes[:w.Size]
	}
	return err
}

// graph is filters in a row, called f0, f1 …, and the sink behind them.
func (r *rig) graph(filters []func() engine.Filter) *engine.Graph {
	g := &engine.Graph{Name: "test", Document: []byte("test")}
	last := ""
	for i, make := range filters {
		s := &engine.Step{ID: fmt.Sprintf("f%d", i), Verb: "filter", Static: make(), Bind: func(*engine.Scope) (any, error) { return make(), nil }}
		if i == 0 {
			s.Retry = r.retry
		} else {
			s.Needs = []string{last}
		}
		last = s.ID
		g.Steps = append(g.Steps, s)
	}
	end := &sink{last, r.out}
	g.Steps = append(g.Steps, &engine.Step{ID: "write", Verb: "sink", Needs: []string{last}, Static: end, Bind: func(*engine.Scope) (any, error) { return end, nil }})
	return g
}

// run does what is left of the run, in a new engine each time.
func (r *rig) run(t testing.TB, filters ...func() engine.Filter) (engine.Result, error) {
	t.Helper()
	g := r.graph(filters)
	e, err := engine.New(engine.Config{
		Store: r.store, Door: r.door, FS: r.fs, Clock: r.clock, Dir: "/state", Guard: "/guard.bin",
		Verbs:  map[string]engine.Verb{},
		Reread: func([]byte, map[string][]byte) (*engine.Graph, error) { return g, nil },
		Events: func(e engine.Event) {
			r.events = append(r.events, e)
			if r.tell != nil {
				r.tell(e)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Submit(r.ctx, engine.Command{Run: r.id, Graph: g, CommandRef: engine.CommandRef{Plane: "local", ID: r.id}}); err != nil {
		t.Fatal(err)
	}
	res, err := e.Run(r.ctx, r.id)
	leaks(t, fmt.Sprintf("%+v %v", res, err))
	for _, ev := range r.events {
		leaks(t, fmt.Sprintf("%+v", ev))
	}
	return res, err
}

// fetch is a fetch of body from address with all that is known of it.
func (r *rig) fetch(address string, body []byte) func() engine.Filter {
	sum := hexOf(body)
	return func() engine.Filter { return &Fetch{c: &r.c, URL: address, Size: int64(len(body)), SHA256: sum} }
}

// must fails the test unless the run ended as wanted: "" is success, anything
// else the code of a failure.
func (r *rig) must(t testing.TB, code string, body []byte, filters ...func() engine.Filter) engine.Result {
	t.Helper()
	res, err := r.run(t, filters...)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	want := engine.RolledBack
	if code == "" {
		want = engine.Succeeded
	}
	if res.State != want || res.Code != code {
		t.Fatalf("run ended %s, code %q: %s; want %s, code %q", res.State, res.Code, res.Message, want, code)
	}
	if code == "" && !r.out.equal(body) {
		t.Fatalf("%d bytes came, %d were wanted, and they differ", len(r.out.bytes), len(body))
	}
	return res
}

package aws_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
)

// device is a real dialect on a real connection, with an engine that does what
// the test says: it takes each command once, and keeps the ends that the cloud
// does not have.
type device struct {
	t    *testing.T
	link *mqtt.Link
	jobs bool // it speaks of jobs

	mu        sync.Mutex
	runs      []control.Command
	outbox    []engine.Report
	cancelled []string
	logs      []string
}

// Command takes it: the same id is the same run.
func (d *device) Command(_ context.Context, c control.Command, answer func(control.In)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.runs, func(known control.Command) bool { return known.ID == c.ID })
	receipt := engine.Receipt{Answer: engine.Joined, Run: fmt.Sprintf("run-%d", i)}
	if i < 0 {
		receipt = engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprintf("run-%d", len(d.runs))}
		d.runs = append(d.runs, c)
	}
	answer(control.In{Receipt: receipt})
}

func (d *device) Cancel(_ context.Context, command string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelled = append(d.cancelled, command)
}

func (d *device) Delivered(_ context.Context, report string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outbox = slices.DeleteFunc(d.outbox, func(r engine.Report) bool { return r.ID == report })
}

func (d *device) Save(context.Context, []byte) error { return nil }

func (d *device) Log(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs = append(d.logs, text)
}

// commands are those that came.
func (d *device) commands() []control.Command {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.runs)
}

// owes says how many ends the cloud does not have.
func (d *device) owes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.outbox)
}

// end ends a command.
func (d *device) end(command string, state engine.EndState, code string) {
	d.mu.Lock()
	i := slices.IndexFunc(d.runs, func(c control.Command) bool { return c.ID == command })
	r := engine.Report{ID: fmt.Sprintf("run-%d.0", i), Run: fmt.Sprintf("run-%d", i), Command: command, State: state, Code: code}
	d.outbox = append(d.outbox, r)
	d.mu.Unlock()
	d.link.Post(control.In{Kind: control.InReport, Report: r})
}

// connect runs a device until the test ends.
func connect(t *testing.T, dialect control.Dialect, cfg mqtt.Config) *device {
	t.Helper()
	d := &device{t: t}
	_, d.jobs = dialect.(*awsjobs.Dialect)
	cfg.ID, cfg.KeepAlive, cfg.ConnectTimeout, cfg.AnswerTimeout = "gw-1", 2*time.Second, time.Second, time.Second
	cfg.RetryMin, cfg.RetryMax = 10*time.Millisecond, 50*time.Millisecond
	var err error
	if d.link, err = mqtt.New(cfg, dialect, d); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.link.Run(ctx) // ends with ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			d.mu.Lock()
			defer d.mu.Unlock()
			t.Logf("the device says: %s", strings.Join(d.logs, "\n"))
		}
	})
	d.eventually("ready", func() bool { return d.link.Status().Ready })
	return d
}

// eventually polls, for things that happen on real sockets.
func (d *device) eventually(what string, ok func() bool) {
	d.t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	d.t.Fatalf("never: %s", what)
}

// command waits for the n-th.
func (d *device) command(n int) control.Command {
	d.t.Helper()
	d.eventually(fmt.Sprintf("command %d", n), func() bool { return len(d.commands()) >= n })
	return d.commands()[n-1]
}

func jobs(t *testing.T, words map[string]string) control.Dialect {
	t.Helper()
	c, err := awsjobs.Settings(words)
	if err != nil {
		t.Fatal(err)
	}
	d, err := awsjobs.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shadow(t *testing.T, words map[string]string) control.Dialect {
	t.Helper()
	c, err := awsiot.Settings(words)
	if err != nil {
		t.Fatal(err)
	}
	d, err := awsiot.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// way is how a device and an operator speak of updates.
type way struct {
	name    string
	dialect func(*testing.T) control.Dialect
	set     map[string]any
	words   [2]string // of success and failure
}

func ways() []way {
	shadowWords := [2]string{"SUCCESS", "FAILURE"}
	jobWords := [2]string{"SUCCEEDED", "FAILED"}
	return []way{
		{"pattern", func(t *testing.T) control.Dialect { return shadow(t, map[string]string{"device": "gw-1"}) }, nil, shadowWords},
		{"classic", func(t *testing.T) control.Dialect {
			return shadow(t, map[string]string{"device": "gw-1", "shadow": "classic"})
		}, map[string]any{"via": "shadow"}, shadowWords},
		{"named", func(t *testing.T) control.Dialect {
			return shadow(t, map[string]string{"device": "gw-1", "shadow": "name/fw"})
		}, map[string]any{"via": "named", "shadow": "fw"}, shadowWords},
		{"jobs", func(t *testing.T) control.Dialect { return jobs(t, map[string]string{"device": "gw-1"}) }, map[string]any{"via": "jobs"}, jobWords},
		{"start-next", func(t *testing.T) control.Dialect {
			return jobs(t, map[string]string{"device": "gw-1", "start": "start-next", "stepTimeout": "60m"})
		}, map[string]any{"via": "jobs"}, jobWords},
	}
}

// wait waits for so many ends, and gives them as lines.
func (r *rig) wait(n int) []string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 8*time.Second)
	defer cancel()
	record, err := r.Wait(ctx, "gw-1", func(record cloudsim.Record) bool { return len(record.Ends) >= n })
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range record.Ends {
		out = append(out, fmt.Sprint(e.Job, " ", e.Outcome, " ", e.Result, " ", e.Code))
	}
	return out
}

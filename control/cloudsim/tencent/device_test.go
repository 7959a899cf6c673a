package tencent

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
	device "github.com/updraft-ota/updraft/control/tencent"
	"github.com/updraft-ota/updraft/engine"
)

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a simulator that may be ended and started again where it was.
type world struct {
	t   *testing.T
	cfg cloudsim.Config
	sim *cloudsim.Sim

	mu      sync.Mutex
	refused []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	w.cfg = cloudsim.Config{State: t.TempDir(), Files: t.TempDir(), Events: func(e cloudsim.Event) {
		if e.Kind == cloudsim.EventRefused {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, e.Text)
		}
	}}
	if err := os.WriteFile(filepath.Join(w.cfg.Files, "v2.bin"), []byte("new firmware"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.begin()
	t.Cleanup(w.end)
	return w
}

// begin starts the simulator, on the ports that it had.
func (w *world) begin() {
	w.t.Helper()
	c, err := New(Config{Accounts: accounts()})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.sim, err = cloudsim.Start(w.cfg, c); err != nil {
		w.t.Fatal(err)
	}
	at := w.sim.Endpoints()
	w.cfg.Listen = strings.TrimPrefix(at.Broker, "tcp://")
	w.cfg.FilesListen = strings.TrimSuffix(strings.TrimPrefix(at.Files, "http://"), "/files/")
}

func (w *world) end() {
	if err := w.sim.Close(); err != nil {
		w.t.Errorf("close the simulator: %v", err)
	}
}

func (w *world) fault(f cloudsim.Fault) {
	w.t.Helper()
	if err := w.sim.SetFault(f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) push(version, job string) {
	w.t.Helper()
	o := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: job, Software: cloudsim.Software{File: "v2.bin", Version: version}}
	if _, err := w.sim.Order(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// knows waits until the cloud knows that gw-1 runs a version and has no task.
func (w *world) knows(version string) cloudsim.Record {
	w.t.Helper()
	return w.wait(func(r cloudsim.Record, s state) bool { return s.Version == version && s.Task == nil })
}

func (w *world) wait(ok func(cloudsim.Record, state) bool) cloudsim.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Second)
	defer cancel()
	r, err := w.sim.Wait(ctx, "gw-1", func(r cloudsim.Record) bool {
		var s state
		return r.Read(&s) == nil && ok(r, s)
	})
	if err != nil {
		w.t.Fatalf("%v: the cloud has %s %+v", err, r.Doc, r.Ends)
	}
	return r
}

// is waits until the open task is in a state, at a percentage of the download.
func (w *world) is(want string, percent int) {
	w.t.Helper()
	w.wait(func(_ cloudsim.Record, s state) bool {
		return s.Task != nil && s.Task.State == want && s.Task.Percent == percent
	})
}

// one checks that there is one end.
func (w *world) one(r cloudsim.Record, job string, outcome cloudsim.Outcome, code string) cloudsim.End {
	w.t.Helper()
	if len(r.Ends) != 1 || r.Ends[0].Job != job || r.Ends[0].Outcome != outcome || r.Ends[0].Code != code {
		w.t.Fatalf("ends %+v, want one of %s, %s %s", r.Ends, job, outcome, code)
	}
	return r.Ends[0]
}

// gateway is the device gw-1: its dialect on a real connection, and a scripted engine.
type gateway struct {
	t        *testing.T
	link     *mqtt.Link
	commands chan control.Command

	mu        sync.Mutex
	runs      map[string]bool
	delivered []string
	logs      []string
}

// connect starts it until the test ends.
func connect(t *testing.T, w *world, key string) *gateway {
	t.Helper()
	cfg := device.Config{Product: product, Device: "gw-1", Version: "0.1"}
	d, err := device.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, commands: make(chan control.Command, 16), runs: map[string]bool{}}
	g.link, err = mqtt.New(mqtt.Config{URL: w.sim.Endpoints().Broker, KeepAlive: 2 * time.Second, ConnectTimeout: 2 * time.Second, AnswerTimeout: 300 * time.Millisecond,
		RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond, Login: func(now time.Time) (mqtt.Login, error) {
			id, user, password, renew, err := device.Connection(cfg, []byte(key), now)
			secret := mqtt.SecretFrom("test", func() ([]byte, error) { return []byte(password), nil })
			return mqtt.Login{ID: id, User: user, Password: secret, Renew: renew}, err
		}}, d, g)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.link.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the cause of its end", err)
		}
	})
	return g
}

func (g *gateway) Command(_ context.Context, c control.Command, answer func(control.In)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	receipt := engine.Receipt{Answer: engine.Accepted, Run: "run-" + c.ID}
	if g.runs[c.ID] {
		receipt.Answer = engine.Joined
	}
	answer(control.In{Receipt: receipt})
	if !g.runs[c.ID] {
		g.runs[c.ID] = true
		g.commands <- c
	}
}

func (g *gateway) Delivered(_ context.Context, id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delivered = append(g.delivered, id)
}

func (g *gateway) Log(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.logs = append(g.logs, text)
}

func (g *gateway) Cancel(context.Context, string)     {}
func (g *gateway) Save(context.Context, []byte) error { return nil }

// command waits for the next one.
func (g *gateway) command() control.Command {
	g.t.Helper()
	select {
	case c := <-g.commands:
		return c
	case <-time.After(15 * time.Second):
		g.t.Fatalf("no command; the device says %q, connection %v", g.logs, g.link.Status().Err)
	}
	return control.Command{}
}

// fetches downloads what a command tells of, and says how far it is.
func (g *gateway) fetches(c control.Command) {
	g.t.Helper()
	res, err := http.Get(c.Inputs["url"])
	if err != nil {
		g.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK {
		g.t.Fatalf("%s: %v", res.Status, err)
	}
	sum := md5.Sum(body)
	if c.Inputs["md5"] != hex.EncodeToString(sum[:]) || c.Inputs["size"] != strconv.Itoa(len(body)) {
		g.t.Errorf("got %d bytes with md5 %x, the command says %q", len(body), sum, c.Inputs)
	}
	for _, done := range []int64{int64(len(body)) / 2, int64(len(body))} {
		g.link.Post(control.In{Kind: control.InEvent, Event: engine.Event{Run: "run-" + c.ID, Kind: engine.EventProgress, Step: "image", Done: done, Total: int64(len(body))}})
	}
	g.link.Post(control.In{Kind: control.InEvent, Event: engine.Event{Run: "run-" + c.ID, Kind: engine.EventStep, Step: "write", State: "begin"}})
}

// ends reports the end of a command, with the engine's code of a failure.
func (g *gateway) ends(c control.Command, code string) {
	r := engine.Report{ID: "report-" + c.ID, Run: "run-" + c.ID, Command: c.ID, State: engine.Succeeded, Ended: time.Now()}
	if code != "" {
		r.State, r.Code = engine.RolledBack, code
	}
	g.link.Post(control.In{Kind: control.InReport, Report: r})
}

// isDelivered waits until the engine may forget the report of a command.
func (g *gateway) isDelivered(c control.Command) {
	g.t.Helper()
	g.eventually("the report is delivered", func() bool { return slices.Contains(g.delivered, "report-"+c.ID) })
}

// eventually polls, for things that happen on real sockets.
func (g *gateway) eventually(what string, ok func() bool) {
	g.t.Helper()
	locked := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return ok()
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if locked() {
			return
		}
	}
	g.t.Fatalf("never: %s; the device says %q, connection %v", what, g.logs, g.link.Status().Err)
}

func TestDeviceSucceeds(t *testing.T) {
	w := newWorld(t)
	g := connect(t, w, secret)
	w.knows("0.1")
	w.push("0.2", "j1")
	c := g.command()
	want := map[string]string{"version": "0.2", "size": "12", "url": w.sim.Endpoints().Files + "v2.bin", "md5": "f56ca36e4b293a9b81d1e6aa80ac4711"}
	for key, value := range want {
		if c.Inputs[key] != value {
			t.Errorf("input %s is %q, want %q", key, c.Inputs[key], value)
		}
	}
	if c.ID != "0.2#1" || c.Name != "update" || len(c.Inputs) != len(want) {
		t.Errorf("command %+v, want update 0.2#1 with %d inputs", c, len(want))
	}
	w.is(stateDownloading, 0) // before it, the events of a run are nothing to the dialect
	g.fetches(c)
	w.is(stateBurning, 100)
	g.ends(c, "")
	if e := w.one(w.knows("0.2"), "j1", cloudsim.Succeeded, ""); e.Result != stateDone || e.Arrivals != 1 {
		t.Errorf("end %+v, want done, once", e)
	}
	g.isDelivered(c)
}

// What fails is told with its cause, and the next push of the version is a new attempt.
func TestDeviceFailsAndTriesAgain(t *testing.T) {
	w := newWorld(t)
	w.push("0.2", "j1") // before the device has ever come
	w.end()
	w.begin()
	w.fault(cloudsim.Fault{Kind: cloudsim.FaultWrongHash})
	g := connect(t, w, secret)
	c := g.command()
	g.ends(c, "digest")
	w.one(w.knows("0.1"), "j1", cloudsim.Failed, "-4")
	g.isDelivered(c)
	if _, err := w.sim.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "j2", Software: cloudsim.Software{File: "v2.bin", Version: "0.2"}}); err != nil {
		t.Fatal(err)
	}
	c = g.command()
	if c.ID != "0.2#2" || c.Inputs["md5"] != strings.Repeat("0", 32) {
		t.Errorf("command %+v, want the second attempt, with the wrong hash of the fault", c)
	}
	g.ends(c, "")
	if r := w.knows("0.2"); len(r.Ends) != 2 || r.Ends[1].Job != "j2" || r.Ends[1].Outcome != cloudsim.Succeeded {
		t.Errorf("ends %+v, want a failure and a success", r.Ends)
	}
}

// A simulator that ends in the middle of a download and while the end is
// reported goes on where it was.
func TestDeviceOutlivesTheCloud(t *testing.T) {
	w := newWorld(t)
	g := connect(t, w, secret)
	w.knows("0.1")
	w.push("0.2", "j1")
	c := g.command()
	w.is(stateDownloading, 0)
	w.end()
	w.begin()
	w.fault(cloudsim.Fault{Kind: cloudsim.FaultNewURL}) // the push comes again, with another URL
	g.fetches(c)
	w.is(stateBurning, 100)
	w.end()
	g.ends(c, "")
	w.begin()
	w.one(w.knows("0.2"), "j1", cloudsim.Succeeded, "")
	g.isDelivered(c)
	if len(g.commands) > 0 {
		t.Errorf("a second command %+v, want one", <-g.commands)
	}
}

// However often messages come, overtaken or acknowledged in vain, there is one end.
func TestDeviceUnderFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []cloudsim.Fault
		code   string
	}{
		{"duplicates", []cloudsim.Fault{{Kind: cloudsim.FaultDuplicate}, {Kind: cloudsim.FaultReorder}, {Kind: cloudsim.FaultNewURL}}, ""},
		{"lost acknowledgements", []cloudsim.Fault{{Kind: cloudsim.FaultLostPuback, Every: 2}, {Kind: cloudsim.FaultDuplicate}}, ""},
		{"a connection that is cut at each third message", []cloudsim.Fault{{Kind: cloudsim.FaultDrop, Every: 3}}, "network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			for _, f := range tt.faults {
				w.fault(f)
			}
			g := connect(t, w, secret)
			w.push("0.2", "j1")
			c := g.command()
			g.fetches(c)
			g.ends(c, tt.code)
			outcome, version, code := cloudsim.Succeeded, "0.2", ""
			if tt.code != "" {
				outcome, version, code = cloudsim.Failed, "0.1", "-1"
			}
			g.isDelivered(c)
			w.one(w.knows(version), "j1", outcome, code)
			if len(g.commands) > 0 {
				t.Errorf("a second command %+v, want one", <-g.commands)
			}
		})
	}
}

// An end that was acknowledged in vain is told again, and counted.
func TestDeviceTellsAgain(t *testing.T) {
	w := newWorld(t)
	g := connect(t, w, secret)
	w.knows("0.1")
	w.push("0.2", "j1")
	c := g.command()
	w.is(stateDownloading, 0)
	w.fault(cloudsim.Fault{Kind: cloudsim.FaultLostPuback})
	g.ends(c, "needs more space")
	w.wait(func(r cloudsim.Record, _ state) bool { return len(r.Ends) > 0 })
	w.fault(cloudsim.Fault{Kind: cloudsim.FaultLostPuback, Off: true})
	w.fault(cloudsim.Fault{Kind: cloudsim.FaultDrop})
	g.isDelivered(c)
	if e := w.one(w.knows("0.1"), "j1", cloudsim.Failed, "-5"); e.Arrivals < 2 {
		t.Errorf("end %+v, want it to have come twice", e)
	}
}

func TestDeviceRefused(t *testing.T) {
	w := newWorld(t)
	g := connect(t, w, "YW5vdGhlcg==")
	g.eventually("the login is refused", func() bool { return errors.Is(g.link.Status().Err, mqtt.ErrRefused) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.refused, "\n"); !strings.Contains(got, "password is not the hmacsha256") || strings.Contains(got, "YW5vdGhlcg") {
		t.Errorf("told %q, want the reason without the secret", got)
	}
}

// Each delivery of a task has the URL of its moment, and no other difference.
func TestNewURL(t *testing.T) {
	k := newTalker(t)
	if err := k.sim.SetFault(cloudsim.Fault{Kind: cloudsim.FaultNewURL}); err != nil {
		t.Fatal(err)
	}
	k.do("push 0.2 j1")
	seen := map[string]bool{}
	for range 2 {
		out, err := k.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "$ota/report/" + product + "/gw-1", Payload: []byte(`{"type":"report_version","report":{"version":"0.1"}}`)})
		var m struct {
			URL, Version, MD5Sum string
			Size                 int64 `json:"file_size"`
		}
		if err = cmp.Or(err, json.Unmarshal(out[len(out)-1].Payload, &m)); err != nil {
			t.Fatal(err)
		}
		address, query, _ := strings.Cut(m.URL, "?")
		if address != k.sim.Endpoints().Files+"v2.bin" || seen[query] || m.Version != "0.2" || m.Size != 12 || m.MD5Sum != strings.Repeat("a", 32) {
			t.Errorf("update %+v, want version 0.2 with a query that is new", m)
		}
		seen[query] = true
	}
}

// The state on disk is one file a device, which people may read.
func TestRecord(t *testing.T) {
	w := newWorld(t)
	w.push("0.2", "j1")
	data, err := os.ReadFile(filepath.Join(w.cfg.State, "devices", "gw-1.json"))
	var record struct{ Doc map[string]any }
	if err = cmp.Or(err, json.Unmarshal(data, &record)); err != nil {
		t.Fatal(err)
	}
	if text := string(data); record.Doc["task"] == nil || strings.Contains(text, "http") {
		t.Errorf("the record is %s, want the task without a URL", text)
	}
}

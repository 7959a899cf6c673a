package hub_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
)

const hostName = "contoso.azure-devices.net"

// keyOf is a device's key.
func keyOf(device string) string {
	return base64.StdEncoding.EncodeToString([]byte("the key of " + device))
}

func accounts(devices ...string) cloudsim.Accounts {
	a := cloudsim.Accounts{Host: hostName, Devices: map[string]string{}}
	for _, d := range devices {
		a.Devices[d] = keyOf(d)
	}
	return a
}

func newHub(t *testing.T, c hub.Config) *hub.Cloud {
	t.Helper()
	h, err := hub.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// events are what a simulator has told.
type events struct {
	mu  sync.Mutex
	all []cloudsim.Event
}

func (e *events) tell(v cloudsim.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, v)
}

// texts are those of one kind.
func (e *events) texts(kind cloudsim.EventKind) (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.all {
		if v.Kind == kind {
			all = append(all, v.Text)
		}
	}
	return all
}

// files makes a folder with what is offered.
func files(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), bytes.Repeat([]byte(name), 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func start(t *testing.T, cfg cloudsim.Config, cloud cloudsim.Cloud) *cloudsim.Sim {
	t.Helper()
	s, err := cloudsim.Start(cfg, cloud)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	return s
}

// again gives the settings with which a simulator comes back at the same addresses.
func again(cfg cloudsim.Config, s *cloudsim.Sim) cloudsim.Config {
	host := func(url string) string {
		_, rest, _ := strings.Cut(url, "://")
		host, _, _ := strings.Cut(rest, "/")
		return host
	}
	at := s.Endpoints()
	cfg.Listen, cfg.FilesListen, cfg.FaceListen = host(at.Broker), host(at.Files), host(at.Face)
	return cfg
}

func fault(t *testing.T, s *cloudsim.Sim, f cloudsim.Fault) {
	t.Helper()
	if err := s.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

func order(t *testing.T, s *cloudsim.Sim, o cloudsim.Order) cloudsim.Done {
	t.Helper()
	done, err := s.Order(t.Context(), o)
	if err != nil {
		t.Fatalf("%s: %v", o.Verb, err)
	}
	return done[0]
}

// ended waits for the end of a job.
func ended(t *testing.T, s *cloudsim.Sim, device, job string) cloudsim.End {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var end cloudsim.End
	_, err := s.Wait(ctx, device, func(r cloudsim.Record) bool {
		for _, e := range r.Ends {
			if e.Job == job {
				end = e
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatalf("job %s never ended: %v", job, err)
	}
	return end
}

// only fails unless a device has had just these ends: job, outcome and result.
func only(t *testing.T, s *cloudsim.Sim, device string, want ...string) {
	t.Helper()
	r, _ := s.Book().Look(device)
	var have []string
	for _, e := range r.Ends {
		have = append(have, e.Job+" "+string(e.Outcome)+" "+e.Result)
	}
	if strings.Join(have, "; ") != strings.Join(want, "; ") {
		t.Errorf("ends of %s = %q, want %q", device, have, want)
	}
}

// engineSide is a device's engine as a test plays it: it takes commands,
// remembers what it is told, and keeps what its dialect saves.
type engineSide struct {
	mu        sync.Mutex
	commands  []control.Command
	cancelled []string
	delivered []string
	state     []byte
	refusal   string // of the commands to come
}

func (e *engineSide) Command(_ context.Context, c control.Command, answer func(control.In)) {
	e.mu.Lock()
	refusal := e.refusal
	if refusal == "" {
		e.commands = append(e.commands, c)
	}
	e.mu.Unlock()
	in := control.In{Refusal: refusal}
	if refusal == "" {
		in.Receipt = engine.Receipt{Answer: engine.Accepted, Run: "run-" + c.ID}
	}
	answer(in)
}

func (e *engineSide) Cancel(_ context.Context, id string) { e.add(&e.cancelled, id) }

func (e *engineSide) Delivered(_ context.Context, id string) { e.add(&e.delivered, id) }

func (e *engineSide) Log(string) {}

func (e *engineSide) add(list *[]string, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*list = append(*list, text)
}

func (e *engineSide) Save(_ context.Context, state []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = bytes.Clone(state)
	return nil
}

func (e *engineSide) refuse(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusal = why
}

// command waits for the nth command, from 1.
func (e *engineSide) command(t *testing.T, n int) (c control.Command) {
	t.Helper()
	eventually(t, "the command arrives", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.commands) >= n {
			c = e.commands[n-1]
		}
		return len(e.commands) >= n
	})
	return c
}

func (e *engineSide) has(list *[]string, text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, have := range *list {
		if have == text {
			return true
		}
	}
	return false
}

// gateway is a device: a connection with a dialect, and the engine's side.
type gateway struct {
	*engineSide
	link *mqtt.Link
	stop func()
}

// run connects a device with a key until the test ends or stop is called.
func run(t *testing.T, s *cloudsim.Sim, who azurehub.Identity, d control.Dialect, e *engineSide) *gateway {
	t.Helper()
	g := runLink(t, mqtt.Config{URL: s.Endpoints().Broker, KeepAlive: 2 * time.Second, ConnectTimeout: 2 * time.Second,
		AnswerTimeout: 2 * time.Second, RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond, PlainRequests: true,
		Login: func(now time.Time) (mqtt.Login, error) {
			l, err := who.Login(keyOf(who.Device), now)
			return mqtt.Login{ID: l.ClientID, User: l.User, Renew: l.Renew, Password: secret([]byte(l.Password))}, err
		}}, d, e)
	g.ready(t)
	return g
}

func runLink(t *testing.T, c mqtt.Config, d control.Dialect, e *engineSide) *gateway {
	t.Helper()
	link, err := mqtt.New(c, d, e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- link.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the cause of its end", err)
		}
	})
	t.Cleanup(stop)
	return &gateway{e, link, stop}
}

// ready waits for the connection, and for the answer to what it began with.
func (g *gateway) ready(t *testing.T) {
	t.Helper()
	eventually(t, "connected and subscribed", func() bool { return g.link.Status().Ready })
}

// report ends a run.
func (g *gateway) report(c control.Command, state engine.EndState, code, message string) {
	g.link.Post(control.In{Kind: control.InReport, Report: engine.Report{ID: "report of " + c.ID, Run: "run-" + c.ID, Command: c.ID,
		State: state, Code: code, Message: message}})
}

// fetched says that all bytes of a run are there.
func (g *gateway) fetched(c control.Command) {
	g.link.Post(control.In{Kind: control.InEvent, Event: engine.Event{Run: "run-" + c.ID, Kind: engine.EventProgress, Done: 10, Total: 10}})
}

// eventually polls, for things that happen on real sockets.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// doc is the vendor's state of a device, as its record has it.
func doc(t *testing.T, s *cloudsim.Sim, device string) map[string]any {
	t.Helper()
	r, _ := s.Book().Look(device)
	var all map[string]any
	if err := json.Unmarshal(r.Doc, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// at goes down into a document.
func at(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

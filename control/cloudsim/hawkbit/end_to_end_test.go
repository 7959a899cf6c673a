package hawkbit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	dialect "github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/control/poll"
	"github.com/updraft-ota/updraft/engine"
)

// quick is a clock that waits fifty times less.
type quick struct{}

func (quick) Now() time.Time { return time.Now() }

func (quick) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d / 50)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// device is gw-1: the dialect with what polls for it, and a scripted engine,
// which keeps what it was asked for when the device restarts.
type device struct {
	t    *testing.T
	c    dialect.Config
	http http.RoundTripper

	mu     sync.Mutex
	save   []byte
	runs   map[string]string // by command
	outbox []engine.Report
	logs   []string

	cancels  chan string
	commands chan control.Command
	heard    chan string

	link *poll.Link
	stop func()
}

func newDevice(t *testing.T, url string) *device {
	d := &device{t: t, c: dialect.Config{URL: url, Device: "gw-1", Attributes: map[string]string{"model": "gw-200"}}, runs: map[string]string{},
		cancels: make(chan string, 100), commands: make(chan control.Command, 100), heard: make(chan string, 100)}
	t.Cleanup(func() { d.off() })
	return d
}

// on starts the device, off is a cut of its power.
func (d *device) on() {
	d.t.Helper()
	m, err := dialect.New(d.c, d.save)
	if err != nil {
		d.t.Fatal(err)
	}
	authorize := func(string) (string, error) { return dialect.Authorization(dialect.TargetToken, []byte("s3cr3t-1")) }
	if d.link, err = poll.New(poll.Config{Spread: -1, Clock: quick{}, Authorize: authorize, HTTP: d.http}, m, d); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	link := d.link
	go func() { ended <- link.Run(ctx) }()
	for _, r := range d.outbox {
		d.link.Post(control.In{Kind: control.InReport, Report: r})
	}
	d.stop = func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			d.t.Errorf("Run ends with %v", err)
		}
	}
}

func (d *device) off() {
	if d.stop != nil {
		d.stop()
		d.stop = nil
	}
}

func (d *device) Command(_ context.Context, c control.Command, answer func(control.In)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	receipt := engine.Receipt{Answer: engine.Joined, Run: d.runs[c.ID]}
	if receipt.Run == "" {
		receipt = engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprintf("run-%d", len(d.runs)+1)}
		d.runs[c.ID] = receipt.Run
		d.commands <- c
	}
	answer(control.In{Receipt: receipt})
}

func (d *device) Cancel(_ context.Context, id string) { d.cancels <- id }

func (d *device) Delivered(_ context.Context, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outbox = slices.DeleteFunc(d.outbox, func(r engine.Report) bool { return r.ID == id })
	d.heard <- id
}

func (d *device) Save(_ context.Context, state []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.save = slices.Clone(state)
	return nil
}

func (d *device) Log(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs = append(d.logs, text)
}

func (d *device) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.logs, "\n")
}

func next[T any](t *testing.T, from chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s came", what)
	}
	return v
}

// ends finishes the run of a command.
func (d *device) ends(c control.Command, state engine.EndState, message string) {
	d.mu.Lock()
	r := engine.Report{ID: d.runs[c.ID] + ".0", Run: d.runs[c.ID], Plane: "hawkbit", Command: c.ID, State: state, Message: message}
	d.outbox = append(d.outbox, r)
	d.mu.Unlock()
	if d.stop != nil {
		d.link.Post(control.In{Kind: control.InReport, Report: r})
	}
}

// ended waits until the server knows so many ends, and gives them.
func (r *rig) ended(n int) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := r.Wait(ctx, "gw-1", func(record cloudsim.Record) bool { return len(record.Ends) >= n }); err != nil {
		r.t.Fatalf("%v; ends = %s", err, r.ends())
	}
	return r.ends()
}

func TestDeviceUpdates(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	d.on()
	r.push(nil)
	c := next(t, d.commands, "command")
	want := map[string]string{"filename": "gateway.img", "name": "software", "part": "os", "version": "2.0", "size": "29", "md5": contentMD5, "sha1": contentSHA1,
		"sha256": contentSHA256, "url": r.base("gw-1") + "/softwaremodules/1/artifacts/gateway.img"}
	check(t, "command", c.Name, "update")
	check(t, "inputs", c.Inputs, want)
	check(t, "the file is the device's to fetch", d.c.Ours(c.Inputs["url"]), true)
	check(t, "file", r.do("gw-1", "GET", c.Inputs["url"], ""), "200 "+content)
	d.ends(c, engine.Succeeded, "")
	check(t, "delivered", next(t, d.heard, "delivery"), "run-1.0")
	check(t, "ends", r.ended(1), "1 finished succeeded x1")

	var doc struct{ Attributes map[string]string }
	record, err := r.Wait(t.Context(), "gw-1", func(record cloudsim.Record) bool { return len(record.Ends) == 1 })
	if err := errors.Join(err, record.Read(&doc)); err != nil {
		t.Fatal(err)
	}
	check(t, "attributes", doc.Attributes, "map[agent:updraft model:gw-200]")

	r.push(nil)
	d.ends(next(t, d.commands, "command"), engine.RolledBack, "no heartbeat")
	check(t, "ends", r.ended(2), "1 finished succeeded x1, 2 error failed x1")
	record, _ = r.Book().Look("gw-1")
	check(t, "why", record.Ends[1].Code+" "+record.Ends[1].Message, "4 rolled_back: no heartbeat")
	r.order(cloudsim.Order{Verb: cloudsim.VerbRetry})
	d.ends(next(t, d.commands, "command"), engine.Succeeded, "")
	check(t, "ends", r.ended(3), "1 finished succeeded x1, 2 error failed x1, 3 finished succeeded x1")
	if told := r.events.text(cloudsim.EventRefused); told != "" {
		t.Errorf("the server found fault with the device:\n%s", told)
	}
}

func TestDeviceCancels(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	d.on()
	r.push(nil)
	first := next(t, d.commands, "command")
	r.order(cloudsim.Order{Verb: cloudsim.VerbCancel})
	check(t, "cancelled", next(t, d.cancels, "cancellation"), first.ID)
	d.ends(first, engine.Cancelled, "")
	check(t, "ends", r.ended(1), "1 canceled cancelled x1")

	r.push(nil)
	second := next(t, d.commands, "command")
	r.order(cloudsim.Order{Verb: cloudsim.VerbReplace, Software: cloudsim.Software{File: "gateway.img", Version: "3.0"}})
	check(t, "cancelled", next(t, d.cancels, "cancellation"), second.ID)
	d.ends(second, engine.Succeeded, "") // too late
	check(t, "ends", r.ended(2), "1 canceled cancelled x1, 2 finished succeeded x1")
	third := next(t, d.commands, "command")
	check(t, "the one in its place", third.Inputs["version"], "3.0")
	d.ends(third, engine.Succeeded, "")
	check(t, "ends", r.ended(3), "1 canceled cancelled x1, 2 finished succeeded x1, 3 finished succeeded x1")
}

func TestDeviceConfirms(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	d.c.Confirm = true
	d.on()
	r.push(map[string]any{"confirm": true})
	d.ends(next(t, d.commands, "command"), engine.Succeeded, "")
	check(t, "ends", r.ended(1), "1 finished succeeded x1")
	check(t, "note", r.events.text(cloudsim.EventNote), "gw-1: action 1 is confirmed")
}

func TestDeviceDownloadsAlone(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	d.c.Downloads = true
	d.on()
	r.push(map[string]any{"type": "downloadonly"})
	c := next(t, d.commands, "command")
	check(t, "command", c.Name, "download")
	d.ends(c, engine.Succeeded, "")
	check(t, "ends", r.ended(1), "1 downloaded succeeded x1")
}

// TestDeviceWaitsForTheWindow downloads before it and updates in it.
func TestDeviceWaitsForTheWindow(t *testing.T) {
	var mu sync.Mutex
	var passed time.Duration
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(passed)
	}
	r := newRig(t, cloudsim.Config{Now: now})
	d := newDevice(t, r.Endpoints().Face)
	d.c.Downloads = true
	d.on()
	r.push(map[string]any{"window": "1h"})
	c := next(t, d.commands, "command")
	check(t, "command", c.Name, "download")
	d.ends(c, engine.Succeeded, "")
	check(t, "delivered", next(t, d.heard, "delivery"), "run-1.0")
	check(t, "ends", r.ends(), "")
	mu.Lock()
	passed = time.Hour
	mu.Unlock()
	c = next(t, d.commands, "command")
	check(t, "command", c.Name, "update")
	d.ends(c, engine.Succeeded, "")
	check(t, "ends", r.ended(1), "1 finished succeeded x1")
}

// TestKilledServer ends the simulator while the device updates, and starts it again at the same place.
func TestKilledServer(t *testing.T) {
	cfg := cloudsim.Config{State: t.TempDir(), Files: t.TempDir()}
	write(t, cfg.Files+"/gateway.img", content)
	r := startRig(t, cfg)
	d := newDevice(t, r.Endpoints().Face)
	u, _ := strings.CutPrefix(r.Endpoints().Face, "http://")
	cfg.FaceListen = u
	d.on()
	r.push(nil)
	c := next(t, d.commands, "command")
	r.close()
	d.ends(c, engine.Succeeded, "") // nobody hears it
	r = startRig(t, cfg)
	defer func() { r.close() }()
	check(t, "ends", r.ended(1), "1 finished succeeded x1")
	check(t, "delivered", next(t, d.heard, "delivery"), "run-1.0")

	d.off()
	r.push(nil)
	r.close()
	r = startRig(t, cfg)
	d.on()
	d.ends(next(t, d.commands, "command that was pushed before"), engine.Failed, "")
	check(t, "ends", r.ended(2), "1 finished succeeded x1, 2 error failed x1")
}

// TestKilledDevice cuts the power of the device before and after the end of its update.
func TestKilledDevice(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	r.push(nil)
	d.on()
	c := next(t, d.commands, "command")
	d.off()
	d.on()
	d.off()
	d.ends(c, engine.Succeeded, "")
	d.on()
	check(t, "ends", r.ended(1), "1 finished succeeded x1")
	next(t, d.heard, "delivery")
	if len(d.commands) != 0 {
		t.Error("the update was begun again")
	}
}

// deaf loses the first answer to an end, after the server has taken it.
type deaf struct {
	http.RoundTripper
	mu   sync.Mutex
	lost int
}

func (f *deaf) RoundTrip(q *http.Request) (*http.Response, error) {
	var said []byte
	if body, err := q.GetBody(); err == nil {
		said, _ = io.ReadAll(body)
	}
	res, err := f.RoundTripper.RoundTrip(q)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.lost > 0 || !bytes.Contains(said, []byte(`"closed"`)) {
		return res, err
	}
	f.lost++
	_, err = io.Copy(io.Discard, res.Body)
	return nil, errors.Join(err, res.Body.Close(), &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")})
}

// TestLostAnswer has the device say its end twice, since it did not hear that it was taken.
func TestLostAnswer(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	d := newDevice(t, r.Endpoints().Face)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	f := &deaf{RoundTripper: transport}
	d.http = f
	d.on()
	r.push(nil)
	d.ends(next(t, d.commands, "command"), engine.Succeeded, "")
	check(t, "delivered", next(t, d.heard, "delivery"), "run-1.0")
	d.off()
	check(t, "lost", f.lost, 1)
	check(t, "ends", r.ends(), "1 finished succeeded x2")
}

// TestThrottledDevice gets through in the end.
func TestThrottledDevice(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultThrottled, Every: 3}); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, r.Endpoints().Face)
	d.on()
	r.push(nil)
	d.ends(next(t, d.commands, "command"), engine.Succeeded, "")
	check(t, "ends", r.ended(1), "1 finished succeeded x1")
	if !strings.Contains(d.logged(), "429") {
		t.Errorf("logs = %s, want 429", d.logged())
	}
}

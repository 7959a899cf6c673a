package aws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// clock goes as the test says.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// heard keeps the events.
type heard struct {
	mu  sync.Mutex
	all []cloudsim.Event
}

func (h *heard) event(e cloudsim.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

// texts are those of one kind.
func (h *heard) texts(kind cloudsim.EventKind) (out []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		if e.Kind == kind {
			out = append(out, e.Text+string(e.End.Outcome))
		}
	}
	return out
}

// rig is a simulator without a device: the test says what a device would.
type rig struct {
	*cloudsim.Sim
	t      *testing.T
	cloud  *aws.Cloud
	clock  *clock
	events *heard
	trace  *trace
}

// trace keeps the lines of a simulator.
type trace struct {
	mu   sync.Mutex
	data []byte
}

func (l *trace) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, p...)
	return len(p), nil
}

// settled says whether a device with jobs has asked for the next one since its
// last end, and has been answered: another job is news to it then.
func (r *rig) settled() bool {
	r.trace.mu.Lock()
	defer r.trace.mu.Unlock()
	asks, waits := false, false
	for d := json.NewDecoder(bytes.NewReader(r.trace.data)); d.More(); {
		var l cloudsim.Line
		if err := d.Decode(&l); err != nil {
			r.t.Fatal(err)
		}
		ask := strings.HasSuffix(l.Topic, "/jobs/start-next") || strings.HasSuffix(l.Topic, "/jobs/$next/get")
		switch {
		case l.Direction == "up" && ask:
			asks, waits = true, true
		case l.Direction == "up" && (strings.Contains(l.Payload, `"SUCCEEDED"`) || strings.Contains(l.Payload, `"FAILED"`)):
			asks = false
		case strings.HasSuffix(l.Topic, "/jobs/start-next/accepted"), strings.HasSuffix(l.Topic, "/jobs/$next/get/accepted"):
			waits = false
		}
	}
	return asks && !waits
}

func newRig(t *testing.T, cfg cloudsim.Config, of aws.Config) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock(), events: &heard{}, trace: &trace{}}
	cfg.Now, cfg.Events, cfg.Trace = r.clock.Now, r.events.event, r.trace
	var err error
	if r.cloud, err = aws.New(of); err != nil {
		t.Fatal(err)
	}
	if r.Sim, err = cloudsim.Start(cfg, r.cloud); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if err := r.Close(); err != nil {
		r.t.Errorf("Close = %v", err)
	}
	if err := r.cloud.Close(); err != nil {
		r.t.Errorf("Close of the cloud = %v", err)
	}
}

// say has the thing gw-1 publish, and gives the answers as lines of topic and payload.
func (r *rig) say(topic, payload string) []string {
	r.t.Helper()
	out, err := r.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: topic, Payload: []byte(payload), QoS: 1})
	if err != nil {
		r.t.Fatalf("Take(%s) = %v", topic, err)
	}
	return lines(out)
}

func lines(messages []cloudsim.Message) (out []string) {
	for _, m := range messages {
		out = append(out, m.Topic+" "+string(m.Payload))
	}
	return out
}

// ask is one request below $aws/things/gw-1 with its answer: what is behind
// accepted or rejected, without the time.
func (r *rig) ask(topic, payload string) (verdict string, body map[string]any) {
	r.t.Helper()
	topic = "$aws/things/gw-1/" + topic
	out, err := r.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: topic, Payload: []byte(payload), QoS: 1})
	if err != nil || len(out) == 0 {
		r.t.Fatalf("Take(%s) = %v, %v; want an answer", topic, out, err)
	}
	verdict, ok := strings.CutPrefix(out[0].Topic, topic+"/")
	if !ok {
		r.t.Fatalf("the answer to %s is on %s", topic, out[0].Topic)
	}
	body = object(r.t, out[0].Payload)
	if at, ok := body["timestamp"].(float64); !ok || int64(at) != r.Now().Unix() {
		r.t.Errorf("timestamp of %s = %v, want %d", out[0].Payload, body["timestamp"], r.Now().Unix())
	}
	delete(body, "timestamp")
	return verdict, body
}

func object(t *testing.T, data []byte) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%.200s: %v", data, err)
	}
	return out
}

// text is JSON with its members sorted.
func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// order does what an operator wants of gw-1.
func (r *rig) order(o cloudsim.Order) (cloudsim.Done, error) {
	r.t.Helper()
	o.Device = "gw-1"
	done, err := r.Order(r.t.Context(), o)
	if err != nil {
		return cloudsim.Done{}, err
	}
	return done[0], nil
}

// job gives gw-1 a job with a document of its own.
func (r *rig) job(id string) {
	r.t.Helper()
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: id, Set: map[string]any{"via": "jobs", "document": map[string]any{"n": id}}}); err != nil {
		r.t.Fatal(err)
	}
}

// ends are those of gw-1.
func (r *rig) ends() (out []string) {
	record, _ := r.Book().Look("gw-1")
	for _, e := range record.Ends {
		out = append(out, fmt.Sprintf("%s/%s %s %s %s %d", e.Job, e.Report, e.Outcome, e.Result, e.Message, e.Arrivals))
	}
	return out
}

func (r *rig) wantEnds(want ...string) {
	r.t.Helper()
	if got := r.ends(); !slices.Equal(got, want) {
		r.t.Errorf("ends = %q, want %q", got, want)
	}
}

package cloudsim_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// toy is a cloud whose topics name no device: what comes to ask is answered on
// tell, to a subscriber, and on direct, to whoever asked. A client is called
// DEVICE|ANYTHING.
type toy struct {
	sim   *cloudsim.Sim
	until func() time.Time
}

func (c *toy) Open(s *cloudsim.Sim) error { c.sim = s; return nil }

func (c *toy) Admit(who cloudsim.Caller) (string, time.Time, error) {
	device, _, ok := strings.Cut(who.Client, "|")
	if !ok {
		return "", time.Time{}, fmt.Errorf("%w: no bar", cloudsim.ErrRefused)
	}
	if c.until == nil {
		return device, time.Time{}, nil
	}
	return device, c.until(), nil
}

func (c *toy) Permit(_, topic string, publish bool) cloudsim.Permission {
	switch {
	case topic == "worst":
		return cloudsim.Disconnect
	case publish == (topic == "ask"):
		return cloudsim.Allowed
	}
	return cloudsim.Refused
}

func (c *toy) Take(m cloudsim.Message) ([]cloudsim.Message, error) {
	if string(m.Payload) == "lose" {
		return nil, cloudsim.ErrState
	}
	device := m.Device
	if device == "" {
		device = string(m.Payload)
	}
	if c.sim.Throttled(device) {
		return []cloudsim.Message{{Device: device, Topic: "tell", Payload: []byte("429")}}, nil
	}
	text := fmt.Appendf(nil, "%s says %s at %d", m.Device, m.Payload, m.QoS)
	return []cloudsim.Message{{Device: device, Topic: "tell", Payload: text, QoS: 1}, {Device: device, Topic: "direct", Payload: text, Direct: true}}, nil
}

func (c *toy) Subscribed(device, filter string) []cloudsim.Message {
	return []cloudsim.Message{{Device: device, Topic: "tell", Payload: []byte("again " + filter)}}
}

func (c *toy) Verbs() []cloudsim.Verb {
	return []cloudsim.Verb{cloudsim.VerbPush, cloudsim.VerbCancel}
}

func (c *toy) Order(_ context.Context, o cloudsim.Order) (cloudsim.Done, []cloudsim.Message, error) {
	if o.Device == "stubborn" {
		return cloudsim.Done{}, nil, cloudsim.ErrConfig
	}
	address, err := c.sim.Address(o.Software)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	err = c.sim.Book().Change(o.Device, func(r *cloudsim.Record) error {
		r.End(cloudsim.End{Job: o.Job, Result: "ordered"}, c.sim.Now())
		return r.Write(o.Software)
	})
	text := fmt.Appendf(nil, "%s %d %s", address, o.Software.Size, o.Software.MD5)
	return cloudsim.Done{Job: o.Job, URL: address}, []cloudsim.Message{{Device: o.Device, Topic: "tell", Payload: text}}, err
}

func (c *toy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.sim.Seen("over-http")
	c.sim.Trace("over-http", "up", r.Method+" "+r.URL.Path, nil)
	c.sim.ServeFile(w, r, "image")
}

func startToy(t *testing.T, cfg cloudsim.Config, c *toy) (*cloudsim.Sim, chan cloudsim.Event) {
	t.Helper()
	events := make(chan cloudsim.Event, 1000)
	cfg.Events = func(e cloudsim.Event) { events <- e }
	s, err := cloudsim.Start(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s, events
}

func toyClient(t *testing.T, s *cloudsim.Sim, id string) *client {
	t.Helper()
	c, code := dial(t, s.Endpoints().Broker, id)
	if code != 0 {
		t.Fatalf("CONNACK %d for %s", code, id)
	}
	return c
}

func refusal(t *testing.T, events chan cloudsim.Event) string {
	t.Helper()
	limit := time.After(5 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Kind == cloudsim.EventRefused {
				return e.Client + ": " + e.Text
			}
		case <-limit:
			t.Fatal("nobody tells of the refusal")
		}
	}
}

// Each device hears its own alone, under topics that name no device.
func TestDevicesWithTheSameTopics(t *testing.T) {
	s, _ := startToy(t, cloudsim.Config{}, &toy{})
	one, two := toyClient(t, s, "one|1"), toyClient(t, s, "two|1")
	for _, c := range []*client{one, two} {
		if code := c.subscribe("tell"); code != 1 {
			t.Fatalf("SUBACK %d", code)
		}
		if p := c.want(3); p.body != "again tell" || p.topic != "tell" {
			t.Errorf("%+v, want what was missed", p)
		}
	}
	one.publish("ask", "hello")
	for _, topic := range []string{"tell", "direct"} {
		if p := one.want(3); p.topic != topic || p.body != "one says hello at 1" || (p.flags&6 == 2) != (topic == "tell") {
			t.Errorf("%+v, want %s with its quality of service", p, topic)
		}
	}
	if p, ok := two.read(50 * time.Millisecond); ok {
		t.Errorf("the other hears %+v", p)
	}
	// Without a subscription there is the direct answer alone.
	three := toyClient(t, s, "three|1")
	three.publish("ask", "x")
	if p := three.want(3); p.topic != "direct" {
		t.Errorf("%+v, want the direct answer", p)
	}
}

func TestWhatACloudRefuses(t *testing.T) {
	s, events := startToy(t, cloudsim.Config{}, &toy{})
	if _, code := dial(t, s.Endpoints().Broker, "nobody"); code != 4 && code != 5 {
		t.Errorf("CONNACK %d, want a refusal", code)
	}
	if got := refusal(t, events); got != "nobody: refused: no bar" {
		t.Errorf("told %q", got)
	}
	c := toyClient(t, s, "one|1")
	if code := c.subscribe("ask"); code != 0x80 {
		t.Errorf("SUBACK %#x, want 0x80", code)
	}
	if got := refusal(t, events); got != `one: may not subscribe to "ask"` {
		t.Errorf("told %q", got)
	}
	c.send(0x34, text("ask")+c.number()+"with QoS 2")
	if !c.closed() {
		t.Error("QoS 2 is taken")
	}
	c = toyClient(t, s, "one|1")
	c.send(0x82, c.number()+text("worst")+"\x01")
	if !c.closed() {
		t.Error("a filter that ends the connection does not")
	}
	c = toyClient(t, s, "one|1")
	c.publish("ask", "lose")
	if p, ok := c.read(3 * time.Second); ok {
		t.Errorf("%+v came for what is not durable", p)
	}
}

// A second connection of a device ends the first, whatever it calls itself.
func TestOneConnectionADevice(t *testing.T) {
	s, events := startToy(t, cloudsim.Config{}, &toy{})
	first := toyClient(t, s, "one|1")
	second := toyClient(t, s, "one|2")
	if !first.closed() {
		t.Error("the first connection stays")
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultToken, Client: "one"})
	if !second.closed() {
		t.Error("the connection outlives its token")
	}
	if _, code := dial(t, s.Endpoints().Broker, "one|3"); code != 4 && code != 5 {
		t.Errorf("CONNACK %d with an expired token", code)
	}
	if got := refusal(t, events); got != "one|3: refused: fault token" {
		t.Errorf("told %q", got)
	}
	if s.Connected("one") {
		t.Error("it counts as connected")
	}
}

// A login that is good for a while ends with it.
func TestConnectionsExpire(t *testing.T) {
	s, _ := startToy(t, cloudsim.Config{}, &toy{until: func() time.Time { return time.Now().Add(50 * time.Millisecond) }})
	if c := toyClient(t, s, "one|1"); !c.closed() {
		t.Error("the connection stays")
	}
}

func TestOrders(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "image"), []byte("version two"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startToy(t, cloudsim.Config{Files: files}, &toy{})
	c := toyClient(t, s, "one|1")
	toyClient(t, s, "two|1")
	c.subscribe("tell")
	c.want(3)
	order := func(o cloudsim.Order) string {
		t.Helper()
		if _, err := s.Order(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(c.want(3).body, s.Endpoints().Files, "FILES/")
	}
	image := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "one", Software: cloudsim.Software{File: "image", Query: "q=1"}}
	if got, want := order(image), fmt.Sprintf("FILES/image?q=1 11 %x", md5.Sum([]byte("version two"))); got != want {
		t.Errorf("pushed %q, want %q", got, want)
	}
	for _, tt := range []struct {
		fault cloudsim.FaultKind
		want  string
	}{
		{cloudsim.FaultWrongSize, "FILES/image?q=1 12 "},
		{cloudsim.FaultWrongHash, " 11 " + strings.Repeat("0", 32)},
		{cloudsim.FaultNewURL, "Signature="},
	} {
		fault(t, s, cloudsim.Fault{Kind: tt.fault})
		if got := order(image); !strings.Contains(got, tt.want) {
			t.Errorf("%s: pushed %q, want %q in it", tt.fault, got, tt.want)
		}
		fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	}
	done, err := s.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbCancel, All: true, Job: "j-1"})
	if err != nil || len(done) != 2 || done[0].Device != "one" || done[1].Device != "two" {
		t.Errorf("an order for all: %+v, %v", done, err)
	}
	if r, err := s.Wait(t.Context(), "two", func(r cloudsim.Record) bool { return len(r.Ends) == 1 }); err != nil || r.Ends[0].Job != "j-1" {
		t.Errorf("record %+v, %v", r, err)
	}
	for _, tt := range []struct {
		o    cloudsim.Order
		want string
	}{
		{cloudsim.Order{Verb: cloudsim.VerbRetry, Device: "one"}, `knows no "retry"`},
		{cloudsim.Order{Verb: cloudsim.VerbPush}, "expected one device or all"},
		{cloudsim.Order{Verb: cloudsim.VerbPush, Device: "one", All: true}, "expected one device or all"},
		{cloudsim.Order{Verb: cloudsim.VerbPush, Device: "#"}, "is no device id"},
		{cloudsim.Order{Verb: cloudsim.VerbPush, Device: "stubborn"}, "bad simulator settings"},
		{cloudsim.Order{Verb: cloudsim.VerbPush, Device: "one", Software: cloudsim.Software{File: "none"}}, `no file "none" in`},
		{cloudsim.Order{Verb: cloudsim.VerbPush, Device: "one", Delta: &cloudsim.Software{File: "../x"}}, `no file "../x" in`},
	} {
		if _, err := s.Order(t.Context(), tt.o); !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want ErrConfig with %q", tt.o, err, tt.want)
		}
	}
}

func TestThrottling(t *testing.T) {
	s, _ := startToy(t, cloudsim.Config{}, &toy{})
	c := toyClient(t, s, "one|1")
	c.subscribe("tell")
	c.want(3)
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultThrottled, Every: 2})
	var got []string
	for range 2 {
		c.publish("ask", "x")
		got = append(got, c.want(3).body)
		if got[0] != "429" && len(got) == 1 {
			c.want(3) // the direct answer
		}
	}
	if !slices.Equal(got, []string{"one says x at 1", "429"}) {
		t.Errorf("answers %q", got)
	}
}

func TestAnApplicationSpeaksForDevices(t *testing.T) {
	s, _ := startToy(t, cloudsim.Config{Applications: []string{"bridge"}}, &toy{})
	c := toyClient(t, s, "one|1")
	bridge := toyClient(t, s, "bridge")
	bridge.subscribe("+")
	bridge.publish("ask", "one")
	if p := bridge.want(3); p.topic != "tell" || p.body != " says one at 1" {
		t.Errorf("the application hears %+v", p)
	}
	if p := c.want(3); p.topic != "direct" {
		t.Errorf("the device hears %+v", p)
	}
}

// What a cloud speaks over HTTP has a listener of its own, and is in the trace.
func TestFace(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "image"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	var trace buffer
	s, _ := startToy(t, cloudsim.Config{Files: files, Trace: &trace}, &toy{})
	get := func(url string, header map[string]string) (int, string) {
		t.Helper()
		status, _, body, err := fetch(t, url, header)
		if err != nil {
			t.Fatal(err)
		}
		return status, string(body)
	}
	if status, body := get(s.Endpoints().Face+"/any", nil); status != http.StatusOK || body != "0123456789" {
		t.Errorf("%d %q", status, body)
	}
	if lines := trace.lines(t); len(lines) != 1 || lines[0].Topic != "GET /any" || lines[0].Client != "over-http" {
		t.Errorf("trace %+v", lines)
	}
	if got := s.Clients()["over-http"]; got.Connects != 1 || got.Connected {
		t.Errorf("client %+v, want it seen", got)
	}
	ranged := map[string]string{"Range": "bytes=8-10"} // one past the end, as some clients say
	url := s.Endpoints().Files + "image"
	if status, body := get(url, ranged); status != http.StatusPartialContent || body != "89" {
		t.Errorf("a range that ends behind the file: %d %q", status, body)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNoRange})
	if status, body := get(url, ranged); status != http.StatusOK || len(body) != 10 {
		t.Errorf("without ranges: %d %q", status, body)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultStatus, Status: 408})
	if status, _ := get(url, nil); status != http.StatusRequestTimeout {
		t.Errorf("a status at will: %d", status)
	}
	if err := s.SetFault(cloudsim.Fault{Kind: cloudsim.FaultStatus, Status: 200}); !errors.Is(err, cloudsim.ErrConfig) {
		t.Errorf("a status that is none: %v", err)
	}
}

// What a book was told is in its files, and a change that fails changes nothing.
func TestBook(t *testing.T) {
	folder := t.TempDir()
	s, _ := startToy(t, cloudsim.Config{State: folder}, &toy{})
	name := "pk/dn with ünicode"
	change := func(err error) error {
		return s.Book().Change(name, func(r *cloudsim.Record) error {
			r.End(cloudsim.End{Job: "j", Result: "done", Message: strings.Repeat("é", 1000)}, time.Unix(5, 0))
			return errors.Join(r.Write(map[string]any{"n": json.Number("12345678901234567890")}), err)
		})
	}
	if err := change(nil); err != nil {
		t.Fatal(err)
	}
	if err := change(io.EOF); !errors.Is(err, io.EOF) {
		t.Errorf("Change = %v", err)
	}
	before, _ := s.Book().Look(name)
	if len(before.Ends) != 1 || before.Ends[0].Arrivals != 1 || len(before.Ends[0].Message) > 512 {
		t.Errorf("record %+v, want one arrival of a bounded message", before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := startToy(t, cloudsim.Config{State: folder}, &toy{})
	after, ok := again.Book().Look(name)
	var doc map[string]any
	if err := after.Read(&doc); err != nil || !ok || fmt.Sprint(doc["n"]) != "12345678901234567890" || !bytes.Equal(after.Doc, before.Doc) || after.Ends[0] != before.Ends[0] {
		t.Errorf("after %+v %v, want %+v (%v)", after, doc, before, err)
	}
}

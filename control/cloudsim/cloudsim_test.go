package cloudsim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	var left []string
	for range 200 {
		buf := make([]byte, 1<<20)
		left = slices.DeleteFunc(strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:], func(g string) bool {
			return !strings.Contains(g, "cloudsim") && !strings.Contains(g, "mochi")
		})
		if len(left) == 0 {
			os.Exit(code)
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println("goroutines left:\n" + strings.Join(left, "\n\n"))
	os.Exit(1)
}

// buffer may be written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines are those of the trace so far.
func (l *buffer) lines(t *testing.T) (out []cloudsim.Line) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	d := json.NewDecoder(bytes.NewReader(l.b.Bytes()))
	for d.More() {
		var line cloudsim.Line
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	return out
}

func start(t *testing.T, cfg cloudsim.Config) *aws.Sim {
	t.Helper()
	s, err := aws.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func connect(t *testing.T, s *aws.Sim, id string) *client {
	t.Helper()
	c, code := dial(t, s.Endpoints().Broker, id)
	if code != 0 {
		t.Fatalf("CONNACK %d for %s", code, id)
	}
	return c
}

func object(t *testing.T, text string) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func fault(t *testing.T, s interface{ SetFault(cloudsim.Fault) error }, f cloudsim.Fault) {
	t.Helper()
	if err := s.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

func push(t *testing.T, s *aws.Sim, job string) {
	t.Helper()
	if _, err := s.Push("gw-1", map[string]any{"jobID": job}); err != nil {
		t.Fatal(err)
	}
}

// The whole pattern, and what the trace says of it.
func TestShadowPattern(t *testing.T) {
	var trace buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := start(t, cloudsim.Config{Trace: &trace, Now: func() time.Time { return now }})
	c := connect(t, s, "gw-1")
	for _, f := range []string{"delta", "accepted", "rejected"} {
		if code := c.subscribe("state/gw-1/update/" + f); code != 1 {
			t.Fatalf("SUBACK %d for %s", code, f)
		}
	}
	desired := map[string]any{"softwareURL": "https://h/v2?sig=s3cr3t", "jobID": "j-17"}
	if v, err := s.Push("gw-1", desired); v != 1 || err != nil {
		t.Fatalf("Push = %d, %v; want version 1", v, err)
	}
	accepted, delta := c.want(3), c.want(3)
	if accepted.topic != "state/gw-1/update/accepted" || delta.topic != "state/gw-1/update/delta" {
		t.Errorf("topics = %s, %s", accepted.topic, delta.topic)
	}
	want := map[string]any{"state": desired, "version": 1.0, "timestamp": float64(now.Unix()), "clientToken": "push-1"}
	if got := object(t, delta.body); !reflect.DeepEqual(got, want) {
		t.Errorf("delta = %v, want %v", got, want)
	}
	c.publish("state/gw-1/update", `{"state":{"reported":{"softwareURL":"https://h/v2?sig=s3cr3t","jobID":"j-17","result":"SUCCESS"}},"clientToken":"r-1"}`)
	if p := c.want(4); p.id != 4 {
		t.Errorf("PUBACK %d, want 4", p.id)
	}
	if got := object(t, c.want(3).body); got["clientToken"] != "r-1" || got["version"] != 2.0 {
		t.Errorf("accepted = %v, want version 2 for r-1", got)
	}
	d, err := s.Wait(t.Context(), "gw-1", func(d aws.Device) bool { return len(d.Ends) > 0 })
	if err != nil || d.Ends[0] != (cloudsim.End{Job: "j-17", Outcome: cloudsim.Succeeded, Result: "SUCCESS", Report: "r-1", Arrivals: 1, First: now, Last: now}) {
		t.Errorf("ends = %+v, %v", d.Ends, err)
	}
	if p, ok := c.read(50 * time.Millisecond); ok {
		t.Errorf("another packet came: %+v", p)
	}
	var got []string
	for _, l := range trace.lines(t) {
		got = append(got, fmt.Sprint(l.Client, " ", l.Direction, " ", l.Topic, " ", l.QoS))
		if !l.Time.Equal(now) || strings.Contains(l.Payload, "s3cr3t") || !strings.Contains(l.Payload, `"https://h/v2?…"`) {
			t.Errorf("line = %+v, want its time, and the url without the query", l)
		}
	}
	if want := []string{"gw-1 down state/gw-1/update/accepted 1", "gw-1 down state/gw-1/update/delta 1",
		"gw-1 up state/gw-1/update 1", "gw-1 down state/gw-1/update/accepted 1"}; !slices.Equal(got, want) {
		t.Errorf("trace = %q, want %q", got, want)
	}
}

func TestAnswersToUpdates(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9)
	for _, tt := range []struct{ name, before, update, want string }{ // want: topic and payload, one a line
		{"an object merges", `{"state":{"desired":{"a":{"x":1}}}}`, `{"state":{"desired":{"a":{"y":2}}}}`, `accepted {"a":{"x":1,"y":2}}`},
		{"null deletes", `{"state":{"desired":{"a":1,"b":2}}}`, `{"state":{"desired":{"a":null}}}`, `accepted {"b":2}`},
		{"null drops the section", `{"state":{"desired":{"a":1}}}`, `{"state":{"desired":null}}`, `accepted`},
		{"what is only reported never differs", `{"state":{"desired":{"a":1}}}`, `{"state":{"reported":{"a":1,"b":2}}}`, `accepted`},
		{"only the deepest difference", `{"state":{"desired":{"a":{"x":1,"y":2}}}}`, `{"state":{"reported":{"a":{"x":1}}}}`, `accepted {"a":{"y":2}}`},
		{"lists are whole", `{"state":{"desired":{"a":[1,2]}}}`, `{"state":{"reported":{"a":[1]}}}`, `accepted {"a":[1,2]}`},
		{"the right version", `{"state":{"desired":{"a":1}}}`, `{"state":{"reported":{"a":1}},"version":1}`, `accepted`},
		{"an old version", `{"state":{"desired":{"a":1}}}`, `{"state":{"reported":{"a":1}},"version":7}`, `rejected 409`},
		{"no JSON", "", `{`, `rejected 400`},
		{"no state", "", `{}`, `rejected 400`},
		{"state of another type", "", `{"state":{"desired":[1]}}`, `rejected 400`},
		{"too deep", "", `{"state":{"desired":` + deep + `}}`, `rejected 400`},
		{"too large", "", `{"state":{"desired":{"a":"` + strings.Repeat("x", 8192) + `"}}}`, `rejected 413`},
		{"text success", `{"state":{"desired":{"jobID":"j","softwareURL":"u"}}}`, `jobID:j SUCCESS`, `accepted`},
		{"text success without the space", `{"state":{"desired":{"jobID":"j","softwareURL":"u"}}}`, `jobID:jSUCCESS`, `accepted`},
		{"text failure leaves the difference", `{"state":{"desired":{"jobID":"j","softwareURL":"u"}}}`, `jobID:jFAILURE`, `accepted {"softwareURL":"u"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, cloudsim.Config{})
			c := connect(t, s, "gw-1")
			if tt.before != "" {
				c.publish("state/gw-1/update", tt.before)
				c.want(4)
			}
			version := s.Device("gw-1").Version
			c.subscribe("state/gw-1/update/accepted")
			c.subscribe("state/gw-1/update/rejected")
			c.publish("state/gw-1/update", tt.update)
			answer := object(t, c.want(3).body)
			got := "accepted"
			if code, ok := answer["code"]; ok {
				got = fmt.Sprint("rejected ", code)
			}
			c.publish("$aws/things/gw-1/shadow/get", "") // both names are one shadow
			c.want(4)
			c.subscribe("$aws/things/gw-1/shadow/get/accepted")
			c.publish("$aws/things/gw-1/shadow/get", `{"clientToken":"g"}`)
			if strings.HasPrefix(got, "accepted") {
				full := object(t, c.want(3).body)
				if state := full["state"].(map[string]any); state["delta"] != nil {
					delta, err := json.Marshal(state["delta"])
					if err != nil {
						t.Fatal(err)
					}
					got += " " + string(delta)
				}
				if full["version"] != float64(version+1) || full["clientToken"] != "g" {
					t.Errorf("get = %v, want version %d and its token", full, version+1)
				}
			} else if now := s.Device("gw-1").Version; now != version {
				t.Errorf("version = %d after a refusal, want %d", now, version)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestDeltaIsShownAgain(t *testing.T) {
	s := start(t, cloudsim.Config{})
	push(t, s, "j-1")
	c := connect(t, s, "gw-1")
	c.subscribe("state/gw-1/update/delta")
	if p := c.want(3); !strings.Contains(p.body, "j-1") {
		t.Errorf("message = %s, want the delta", p.body)
	}
}

func TestAccess(t *testing.T) {
	s := start(t, cloudsim.Config{Applications: []string{"app"}})
	app := connect(t, s, "app")
	if code := app.subscribe("state/+/update/accepted"); code != 1 {
		t.Errorf("SUBACK %d for an application", code)
	}
	for _, tt := range []struct {
		filter string
		ok     bool
	}{
		{"state/gw-1/update/delta", true},
		{"state/gw-1/update/#", true},
		{"$aws/things/gw-1/shadow/update/delta", true},
		{"state/gw-2/update/delta", false},
		{"state/+/update/delta", false},
		{"state/gw-1", false},
		{"state/#", false},
		{"#", false},
		{"$SYS/#", false},
		{"$aws/things/+/shadow/#", false},
	} {
		if code := connect(t, s, "gw-1").subscribe(tt.filter); (code == 1) != tt.ok {
			t.Errorf("SUBACK %#x for %s, want allowed %t", code, tt.filter, tt.ok)
		}
	}
	for _, topic := range []string{"state/gw-2/update", "state/gw-1/update/accepted", "other"} {
		c := connect(t, s, "gw-1")
		c.publish(topic, `{"state":{"desired":{"jobID":"evil"}}}`)
		if !c.closed() {
			t.Errorf("publishing to %s did not end the connection", topic)
		}
	}
	if got := s.Devices(); len(got) != 0 {
		t.Errorf("devices = %q, want none written", got)
	}
	for _, id := range []string{"a/b", "a+", "#", "$x", ""} {
		if _, code := dial(t, s.Endpoints().Broker, id); code == 0 {
			t.Errorf("the client id %q was taken", id)
		}
	}
}

func TestFaultsOfMessages(t *testing.T) {
	s := start(t, cloudsim.Config{})
	c := connect(t, s, "gw-1")
	c.subscribe("state/gw-1/update/delta")
	next := func() packet {
		t.Helper()
		p := c.want(3)
		p.body = fmt.Sprint(object(t, p.body)["version"])
		return p
	}

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDuplicate, Every: 2})
	push(t, s, "1")
	push(t, s, "2")
	if a, b, again := next(), next(), next(); a.body != "1" || b.body != "2" || again.body != "2" || b.flags&8 != 0 || again.flags&8 == 0 || again.id != b.id {
		t.Errorf("duplicate: %+v, %+v, %+v; want the second twice", a, b, again)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultReorder, Every: 2})
	push(t, s, "3")
	push(t, s, "4")
	push(t, s, "5")
	if a, b, d := next(), next(), next(); a.body+b.body+d.body != "354" {
		t.Errorf("reorder: %s, %s, %s; want 3, 5, 4", a.body, b.body, d.body)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultReorder})
	push(t, s, "6") // nothing overtakes it
	if a := next(); a.body != "6" {
		t.Errorf("reorder without a next one: %s, want 6", a.body)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultReorder, Off: true})

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDelay, Delay: cloudsim.Duration(100 * time.Millisecond)})
	began := time.Now()
	push(t, s, "7")
	if next(); time.Since(began) < 100*time.Millisecond {
		t.Errorf("delay: it took %s, want at least 100ms", time.Since(began))
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultSilent, Client: "another"})
	push(t, s, "8")
	next()
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultSilent})
	push(t, s, "9")
	if p, ok := c.read(100 * time.Millisecond); ok {
		t.Errorf("silent: %+v came", p)
	}
	if _, code := dial(t, s.Endpoints().Broker, "gw-2"); code != -1 {
		t.Errorf("silent: CONNACK %d, want none", code)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})

	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop, Every: 1})
	c = connect(t, s, "gw-1")
	c.publish("state/gw-1/update", `{"state":{"reported":{"jobID":"x"}}}`)
	if !c.closed() {
		t.Error("drop: the connection stays")
	}
	if got := s.Device("gw-1").Reported; len(got) != 0 {
		t.Errorf("drop: reported = %v, want nothing arrived", got)
	}
}

func TestLostAcknowledgements(t *testing.T) {
	s := start(t, cloudsim.Config{})
	c := connect(t, s, "gw-1")
	c.subscribe("state/gw-1/update/delta")
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultLostPuback, Every: 1})
	push(t, s, "1")
	first, again := c.want(3), c.want(3)
	if first.body != again.body || again.flags&8 == 0 {
		t.Errorf("messages = %+v, %+v; want the same, the second marked", first, again)
	}
	c.publish("state/gw-1/update", `{"state":{"reported":{"jobID":"1"}}}`)
	if _, err := s.Wait(t.Context(), "gw-1", func(d aws.Device) bool { return d.Reported["jobID"] == "1" }); err != nil {
		t.Fatal(err)
	}
	for {
		p, ok := c.read(100 * time.Millisecond)
		if !ok {
			break
		}
		if p.kind == 4 {
			t.Error("the acknowledgement arrived")
		}
	}
	if f := s.Faults(); len(f) != 1 || f[0].Hits < 2 {
		t.Errorf("faults = %+v, want two hits at least", f)
	}
}

// What was acknowledged is there after a kill, and a damaged file is said.
func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sim")
	s, err := aws.Start(cloudsim.Config{State: dir})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, s, "gw-1")
	push(t, s, "j-1")
	for range 2 {
		c.publish("state/gw-1/update", `{"state":{"reported":{"jobID":"j-1","result":"FAILURE"}},"clientToken":"r-1"}`)
		c.want(4)
	}
	before := s.Device("gw-1")
	at := s.Endpoints()
	// As a kill would leave it: what is in the folder, no more.
	data, err := os.ReadFile(filepath.Join(dir, "devices", "gw-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "devices", "gw-1.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = start(t, cloudsim.Config{State: dir, Listen: strings.TrimPrefix(at.Broker, "tcp://")})
	after := s.Device("gw-1")
	if before.Version != 3 || after.Version != 3 || len(after.Ends) != 1 || after.Ends[0].Arrivals != 2 || after.Ends[0] != before.Ends[0] {
		t.Errorf("after = %+v, want %+v with two arrivals of one end", after, before)
	}
	var told cloudsim.Endpoints
	raw, err := os.ReadFile(filepath.Join(dir, "endpoints.json"))
	if err != nil || json.Unmarshal(raw, &told) != nil || told != s.Endpoints() {
		t.Errorf("endpoints.json = %s, %v; want %+v", raw, err, s.Endpoints())
	}
	bad := t.TempDir()
	if err := os.Mkdir(filepath.Join(bad, "devices"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "devices", "gw-1.json"), data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := aws.Start(cloudsim.Config{State: bad}); !errors.Is(err, cloudsim.ErrState) || !strings.Contains(err.Error(), "gw-1.json") {
		t.Errorf("Start on a damaged file = %v, want ErrState with its name", err)
	}
}

// An update that cannot be made durable is not acknowledged.
func TestStateThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sim")
	s := start(t, cloudsim.Config{State: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s, "gw-1")
	c.publish("state/gw-1/update", `{"state":{"reported":{"a":1}}}`)
	for {
		p, ok := c.read(3 * time.Second)
		if !ok {
			break
		}
		if p.kind == 4 {
			t.Error("it was acknowledged")
		}
	}
	if _, err := s.Push("gw-1", map[string]any{"a": 1}); !errors.Is(err, cloudsim.ErrState) {
		t.Errorf("Push = %v, want ErrState", err)
	}
	if got := s.Devices(); len(got) != 0 {
		t.Errorf("devices = %q, want none", got)
	}
}

func TestRemote(t *testing.T) {
	s := start(t, cloudsim.Config{})
	r := cloudsim.Remote{Control: s.Endpoints().Control}
	ctx := t.Context()
	order := func(device string, set map[string]any) error {
		done, err := r.Order(ctx, cloudsim.Order{Verb: cloudsim.VerbPush, Device: device, Job: "j-1", Software: cloudsim.Software{URL: "https://h/v2?sig=s"}, Set: set})
		if err == nil && (len(done) != 1 || done[0] != (cloudsim.Done{Device: device, Job: "j-1", URL: "https://h/v2", Text: "shadow 1"})) {
			t.Errorf("Order = %+v", done)
		}
		return err
	}
	if err := order("gw-1", nil); err != nil {
		t.Fatal(err)
	}
	want := cloudsim.Fault{Kind: cloudsim.FaultDelay, Client: "gw-9", Delay: cloudsim.Duration(time.Second)}
	if got, err := r.SetFault(ctx, want); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("SetFault = %+v, %v; want %+v", got, err, want)
	}
	st, err := r.State(ctx)
	if err != nil || !strings.Contains(string(st.Devices["gw-1"].Doc), `"version":1`) || st.Endpoints != s.Endpoints() || len(st.Faults) != 1 {
		t.Errorf("State = %+v, %v", st, err)
	}
	for _, tt := range []struct {
		name string
		err  func() error
	}{
		{"an id with a slash", func() error { return order("a/b", nil) }},
		{"too much", func() error { return order("gw-1", map[string]any{"a": strings.Repeat("x", 9000)}) }},
		{"an order that nobody has", func() error {
			_, err := r.Order(ctx, cloudsim.Order{Verb: "sing", Device: "gw-1"})
			return err
		}},
		{"an order for nobody", func() error {
			_, err := r.Order(ctx, cloudsim.Order{Verb: cloudsim.VerbPush})
			return err
		}},
		{"an unknown fault", func() error { _, err := r.SetFault(ctx, cloudsim.Fault{Kind: "x"}); return err }},
		{"a delay of nothing", func() error { _, err := r.SetFault(ctx, cloudsim.Fault{Kind: cloudsim.FaultDelay}); return err }},
		{"no rate", func() error { _, err := r.SetFault(ctx, cloudsim.Fault{Kind: cloudsim.FaultSlow}); return err }},
		{"a negative number", func() error {
			_, err := r.SetFault(ctx, cloudsim.Fault{Kind: cloudsim.FaultDrop, Every: -1})
			return err
		}},
	} {
		if err := tt.err(); !errors.Is(err, cloudsim.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", tt.name, err)
		}
	}
	if _, err := aws.Start(cloudsim.Config{ControlListen: "0.0.0.0:0"}); !errors.Is(err, cloudsim.ErrConfig) {
		t.Errorf("Start with control on all addresses = %v, want ErrConfig", err)
	}
}

func TestStartWhereSomebodyListens(t *testing.T) {
	s := start(t, cloudsim.Config{})
	at := strings.TrimPrefix(s.Endpoints().Broker, "tcp://")
	for _, cfg := range []cloudsim.Config{{Listen: at}, {FilesListen: at}, {ControlListen: at}} {
		if _, err := aws.Start(cfg); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("Start(%+v) = %v, want an error with the address", cfg, err)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s := start(t, cloudsim.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Wait(ctx, "gw-1", func(aws.Device) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %v, want DeadlineExceeded", err)
	}
}

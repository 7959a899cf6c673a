package hub_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

// join connects a device that a test speaks for.
func join(t *testing.T, s *cloudsim.Sim, device string) *wire {
	t.Helper()
	path := "/devices/" + strings.Replace(device, "/", "/modules/", 1)
	w, code := dial(t, s.Endpoints().Broker, device, hostName+"/"+device+"/?api-version=2021-04-12", sas(t, path, keyOf(device), s.Now().Add(time.Hour)))
	if code != 0 {
		t.Fatalf("CONNACK %d for %s", code, device)
	}
	return w
}

// listen subscribes to all that a hub sends.
func (w *wire) listen(t *testing.T) {
	t.Helper()
	for _, filter := range []string{"$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"} {
		if code := w.subscribe(filter, 1); code != 1 {
			t.Fatalf("SUBACK %d for %s", code, filter)
		}
	}
}

func TestRefusedLoginOnTheWire(t *testing.T) {
	var told events
	s := start(t, cloudsim.Config{Events: told.tell}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	_, code := dial(t, s.Endpoints().Broker, "gw-1", hostName+"/gw-1/?api-version=2021-04-12", sas(t, "/devices/gw-1", keyOf("gw-1"), s.Now().Add(-time.Hour)))
	if code != 5 {
		t.Errorf("CONNACK %d, want 5: not authorized", code)
	}
	if texts := told.texts(cloudsim.EventRefused); len(texts) != 1 || !strings.Contains(texts[0], "expired") {
		t.Errorf("refused = %q, want that the token expired", texts)
	}
}

func TestConnectionEndsWithItsToken(t *testing.T) {
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	w, code := dial(t, s.Endpoints().Broker, "gw-1", hostName+"/gw-1/?api-version=2021-04-12", sas(t, "/devices/gw-1", keyOf("gw-1"), s.Now().Add(2*time.Second)))
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	if m, ok := w.message(); ok {
		t.Errorf("message %+v, want the end of the connection", m)
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		device, filter string
		qos, want      byte // 0xff: the connection ends
	}{
		{"gw-1", "$iothub/methods/POST/#", 0, 0},
		{"gw-1", "$iothub/twin/res/#", 1, 1},
		{"gw-1", "$iothub/twin/PATCH/properties/desired/#", 2, 1},
		{"gw-1", "devices/gw-1/messages/devicebound/#", 1, 1},
		{"gw-1/m-1", "devices/gw-1/modules/m-1/#", 1, 1},
		{"gw-1/m-1", "devices/gw-1/modules/m-1/inputs/#", 1, 1},
		{"gw-1", "devices/gw-2/messages/devicebound/#", 1, 0xff},
		{"gw-1", "devices/gw-1/#", 1, 0xff},
		{"gw-1/m-1", "devices/gw-1/messages/devicebound/#", 1, 0xff},
		{"gw-1", "#", 0, 0xff},
		{"gw-1", "$iothub/#", 0, 0xff},
		{"gw-1", "$iothub/methods/POST/+", 0, 0xff},
	} {
		t.Run(tt.device+" "+tt.filter, func(t *testing.T) {
			s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1", "gw-2", "gw-1/m-1")}))
			if code := join(t, s, tt.device).subscribe(tt.filter, tt.qos); code != tt.want {
				t.Errorf("SUBACK %#x, want %#x", code, tt.want)
			}
		})
	}
}

func TestTopicsThatEndTheConnection(t *testing.T) {
	for _, tt := range []struct {
		name, topic string
		qos         byte
		stays       bool
	}{
		{"telemetry", "devices/gw-1/messages/events/", 0, true},
		{"telemetry with properties", "devices/gw-1/messages/events/a=b&%24.ct=x", 0, true},
		{"a result that nobody waits for", "$iothub/methods/res/200/?$rid=1", 0, true},
		{"a request without an id", "$iothub/twin/GET/", 0, true},
		{"another device's telemetry", "devices/gw-2/messages/events/", 0, false},
		{"the hub's own topic", "$iothub/twin/res/200/?$rid=1", 0, false},
		{"a topic of nobody", "state/gw-1", 0, false},
		{"a status that is none", "$iothub/methods/res/ok/?$rid=1", 0, false},
		{"QoS 2", "devices/gw-1/messages/events/", 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1", "gw-2")}))
			w := join(t, s, "gw-1")
			id := ""
			if tt.qos > 0 {
				id = "\x00\x09"
			}
			w.send(0x30|tt.qos<<1, field(tt.topic)+id+"{}")
			if stays := w.subscribe("$iothub/twin/res/#", 0) == 0; stays != tt.stays {
				t.Errorf("the connection stays: %t, want %t", stays, tt.stays)
			}
		})
	}
}

// What the vendor's SDK sends and gets, and then what a hub answers to a device.
func TestTwinOnTheWire(t *testing.T) {
	raw, err := os.ReadFile("../../azurehub/testdata/examples/azure-twin-messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Messages []struct{ Topic, Payload string }
	}
	if err := json.Unmarshal(raw, &recorded); err != nil || len(recorded.Messages) != 2 {
		t.Fatalf("%+v, %v", recorded, err)
	}
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	w := join(t, s, "gw-1")
	w.listen(t)
	question, want := recorded.Messages[0], recorded.Messages[1]
	if got := w.asks(question.Topic, question.Payload); got.topic != want.Topic || got.payload != want.Payload || got.qos != 0 {
		t.Errorf("answer = %+v, want %+v with QoS 0", got, want)
	}
	if got := w.asks("$iothub/twin/PATCH/properties/reported/?$rid=2", `{"a":{"b":1,"c":[1,null]},"n":12345678901234567890}`); got.topic != "$iothub/twin/res/204/?$rid=2&$version=2" || got.payload != "" {
		t.Errorf("answer = %+v, want 204 with version 2", got)
	}
	w.asks("$iothub/twin/PATCH/properties/reported/?$rid=3", `{"a":{"b":null,"d":{}}}`)
	if got := w.asks("$iothub/twin/GET/?$rid=4", ""); got.payload != `{"desired":{"$version":1},"reported":{"$version":3,"a":{"c":[1,null],"d":{}},"n":12345678901234567890}}` {
		t.Errorf("twin = %s", got.payload)
	}
	if a := ask(t, s, "PATCH", "/twins/gw-1"+version, `{"properties":{"desired":{"x":{"y":null,"z":"a&b"}}}}`); a.status != 200 {
		t.Fatalf("PATCH = %d %v", a.status, a.body)
	}
	if m, _ := w.message(); m != (message{"$iothub/twin/PATCH/properties/desired/?$version=2", `{"$version":2,"x":{"y":null,"z":"a&b"}}`, 1}) {
		t.Errorf("notification = %+v", m)
	}
	w.send(0xe0, "")
	eventually(t, "gone", func() bool { return !s.Connected("gw-1") })
	ask(t, s, "PATCH", "/twins/gw-1"+version, `{"properties":{"desired":{"missed":true}}}`)
	w = join(t, s, "gw-1")
	w.listen(t)
	if got := w.asks("$iothub/twin/GET/?other=1&%24rid=5", ""); got.topic != "$iothub/twin/res/200/?$rid=5" || !strings.Contains(got.payload, `"missed":true`) {
		t.Errorf("first message after coming back = %+v, want the answer", got)
	}
}

func TestReportsThatAreRefused(t *testing.T) {
	var told events
	s := start(t, cloudsim.Config{Events: told.tell}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	w := join(t, s, "gw-1")
	w.listen(t)
	for i, tt := range []struct{ name, payload string }{
		{"nothing", ""},
		{"no JSON", "{"},
		{"a list", "[]"},
		{"null", "null"},
		{"two objects", "{}{}"},
		{"not UTF-8", "{\"a\":\"\xff\"}"},
		{"a dot in a name", `{"a.b":1}`},
		{"a dollar in a name", `{"$version":1}`},
		{"a blank in a name", `{"a b":1}`},
		{"an empty name", `{"":1}`},
		{"a long name", `{"` + strings.Repeat("n", 1025) + `":1}`},
		{"nested too deep", strings.Repeat(`{"a":`, 11) + "1" + strings.Repeat("}", 11)},
		{"nested absurdly deep", strings.Repeat(`[`, 20_000)},
		{"lists nested too deep", `{"a":` + strings.Repeat("[", 11) + strings.Repeat("]", 11) + "}"},
		{"larger than 32 KB", `{"a":"` + strings.Repeat("x", 32<<10) + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := w.asks(fmt.Sprintf("$iothub/twin/PATCH/properties/reported/?$rid=%d", i), tt.payload); got.topic != fmt.Sprintf("$iothub/twin/res/400/?$rid=%d", i) {
				t.Errorf("answer = %.200v, want 400", got)
			}
			if texts := told.texts(cloudsim.EventRefused); len(texts) != i+1 {
				t.Errorf("%d refusals are told, want %d", len(texts), i+1)
			}
		})
	}
	if got := w.asks("$iothub/twin/GET/?$rid=x", ""); got.payload != `{"desired":{"$version":1},"reported":{"$version":1}}` {
		t.Errorf("twin = %s, want it unchanged", got.payload)
	}
}

func TestThrottled(t *testing.T) {
	s := start(t, cloudsim.Config{}, newHub(t, hub.Config{Accounts: accounts("gw-1")}))
	w := join(t, s, "gw-1")
	w.listen(t)
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultThrottled})
	for _, topic := range []string{"$iothub/twin/GET/", "$iothub/twin/PATCH/properties/reported/"} {
		if got := w.asks(topic+"?$rid=1", `{"a":1}`); got.topic != "$iothub/twin/res/429/?$rid=1" {
			t.Errorf("answer = %+v, want 429", got)
		}
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	if got := w.asks("$iothub/twin/GET/?$rid=2", ""); strings.Contains(got.payload, `"a"`) {
		t.Errorf("twin = %s, want nothing of the report that was refused", got.payload)
	}
}

// Method calls on the wire, and results that are none.
func TestMethodOnTheWire(t *testing.T) {
	var told events
	s := start(t, cloudsim.Config{Events: told.tell}, newHub(t, hub.Config{Accounts: accounts("gw-1", "gw-2")}))
	w, other := join(t, s, "gw-1"), join(t, s, "gw-2")
	w.listen(t)
	other.listen(t)
	for _, tt := range []struct {
		name, body, payload string // of the caller, and what reaches the device
		result              string // of the device
		want                string
	}{
		{"an object", `{"methodName":"m","payload":{"a":1}}`, `{"a":1}`, `{"b":2}`, `{"payload":{"b":2},"status":207}`},
		{"text in a text", `{"methodName":"m","payload":"{\"a\":1}"}`, `"{\"a\":1}"`, `"ok"`, `{"payload":"ok","status":207}`},
		{"nothing", `{"methodName":"m"}`, "", "", `{"payload":null,"status":207}`},
		{"a result that is no JSON", `{"methodName":"m"}`, "", "{", `{"payload":null,"status":207}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan answer, 1)
			go func() { got <- ask(t, s, "POST", "/twins/gw-1/methods"+version, tt.body) }()
			m, _ := w.message()
			rid, ok := strings.CutPrefix(m.topic, "$iothub/methods/POST/m/?$rid=")
			if !ok || m.payload != tt.payload || m.qos != 1 {
				t.Errorf("call = %+v, want the payload %s", m, tt.payload)
			}
			other.publish("$iothub/methods/res/200/?$rid="+rid, `"from another"`)
			other.asks("$iothub/twin/GET/?$rid=1", "") // it was taken
			w.publish("$iothub/methods/res/207/?$rid="+rid, tt.result)
			a := <-got
			if have, err := json.Marshal(a.body); err != nil || string(have) != tt.want || a.status != 200 {
				t.Errorf("answer = %d %s, %v; want %s", a.status, have, err, tt.want)
			}
		})
	}
	refused := strings.Join(told.texts(cloudsim.EventRefused), "; ")
	if strings.Count(refused, "another device's") != 4 || strings.Count(refused, "expected JSON") != 1 {
		t.Errorf("refused = %s", refused)
	}
}

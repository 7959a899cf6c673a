package hub_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/adu"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

func TestOrdersThatMakeNoSense(t *testing.T) {
	samples := func(t *testing.T) *hub.Cloud { return newHub(t, hub.Config{Accounts: accounts("gw-1")}) }
	update := func(t *testing.T) *hub.Cloud { return updateHub(t, "gw-1") }
	change := func(o cloudsim.Order, f func(*cloudsim.Order)) cloudsim.Order {
		f(&o)
		return o
	}
	for _, tt := range []struct {
		name  string
		cloud func(*testing.T) *hub.Cloud
		order cloudsim.Order
		want  string
	}{
		{"a device that is away", samples, push("j-1", nil), "DeviceNotOnline"},
		{"an unknown device", samples, change(push("j-1", nil), func(o *cloudsim.Order) { o.Device = "gw-9" }), "no device"},
		{"another verb", samples, verb(cloudsim.VerbCancel), "knows no"},
		{"nothing to install", samples, cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1"}, "needs a file or a URL"},
		{"an unknown member", samples, push("j-1", map[string]any{"from": 1}), `unknown member "from" (have ["check" "methodName" "responseTimeoutInSeconds" "shape"])`},
		{"an unknown shape", samples, push("j-1", map[string]any{"shape": "round"}), "shape is method, node or twin"},
		{"a strange time", samples, push("j-1", map[string]any{"responseTimeoutInSeconds": 4}), "5 to 300"},
		{"a strange method", samples, push("j-1", map[string]any{"methodName": "a/b"}), "methodName"},
		{"a member that device update lacks", update, push("d-1", map[string]any{"shape": "twin"}), `unknown member "shape" (have ["compatibility"`},
		{"a member of the wrong type", update, push("d-1", map[string]any{"detached": "yes"}), "wrong type"},
		{"another kind of step", update, push("d-1", map[string]any{"step": "parallel"}), "inline or reference"},
		{"a handler that is none", update, push("d-1", map[string]any{"handler": "x"}), "handler"},
		{"a version that is none", update, change(push("d-1", nil), func(o *cloudsim.Order) { o.Software.Version = "new" }), "a version of 2 to 4 numbers"},
		{"a URL without a digest", update, change(push("d-1", nil), func(o *cloudsim.Order) {
			o.Software = cloudsim.Software{URL: "https://files.example/v2", Version: "2.0"}
		}), "sha256"},
		{"a delta to nothing", update, change(push("d-1", nil), func(o *cloudsim.Order) { o.Delta = &cloudsim.Software{File: "v2.bin"} }), "source"},
		{"an id that is none", update, push("d 1", nil), "job"},
		{"cancel of nothing", update, verb(cloudsim.VerbCancel), "no deployment"},
		{"retry of nothing", update, verb(cloudsim.VerbRetry), "no deployment"},
		{"retry with members", update, change(verb(cloudsim.VerbRetry), func(o *cloudsim.Order) { o.Set = map[string]any{"name": "x"} }), "no members to set"},
		{"more than a twin holds", update, push("d-1", map[string]any{"handlerProperties": map[string]any{"a": strings.Repeat("x", 33<<10)}}), "try it with detached"},
		{"more than a manifest holds", update, push("d-1", map[string]any{"detached": true, "handlerProperties": map[string]any{"a": strings.Repeat("x", 65<<10)}}), "limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, tt.cloud(t))
			before, _ := s.Book().Look("gw-1")
			if _, err := s.Order(t.Context(), tt.order); !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Order = %v, want %s", err, tt.want)
			}
			if after, _ := s.Book().Look("gw-1"); string(after.Doc) != string(before.Doc) || len(after.Ends) > 0 {
				t.Errorf("record = %s, want %s", after.Doc, before.Doc)
			}
		})
	}
}

func TestAnIDIsUsedOnce(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	order(t, s, push("d-1", nil))
	if _, err := s.Order(t.Context(), push("d-1", nil)); !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), "before") {
		t.Errorf("Order = %v, want that the id was used", err)
	}
}

// A manifest that does not fit into a twin does as a file.
func TestLongManifest(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1"))
	g := vacuum(t, s, &engineSide{})
	order(t, s, push("d-1", map[string]any{"detached": true, "handlerProperties": map[string]any{"a": strings.Repeat("x", 33<<10)}}))
	if c := g.command(t, 1); !strings.Contains(c.Inputs["update"], strings.Repeat("x", 33<<10)) {
		t.Errorf("update has %d bytes, want the long property in it", len(c.Inputs["update"]))
	}
}

// Listening on all addresses, nobody knows what to tell devices.
func TestAddressOfTheFace(t *testing.T) {
	cfg := hub.Config{Accounts: accounts("gw-1"), Update: true, Signer: signer(), RootKeys: manifest.Package{Test: true}}
	all := cloudsim.Config{Files: files(t, "v2.bin"), FaceListen: "0.0.0.0:0"}
	s := start(t, all, newHub(t, cfg))
	if _, err := s.Order(t.Context(), push("d-1", nil)); err == nil || !strings.Contains(err.Error(), "say how devices reach it") {
		t.Errorf("Order = %v, want that the address is not known", err)
	}
	cfg.FaceURL = "https://hub.example:8443/"
	s = start(t, all, newHub(t, cfg))
	order(t, s, push("d-1", nil))
	r, _ := s.Book().Look("gw-1")
	if strings.Contains(string(r.Doc), "hub.example") {
		t.Errorf("doc = %s, want no address in it", r.Doc)
	}
	if a := ask(t, s, "GET", "/adu/rootkeys.json", ""); a.status != 200 || at(a.body, "protected", "isTest") != true {
		t.Errorf("root keys = %d %v", a.status, a.body)
	}
	if a := ask(t, s, "GET", "/adu/other.json", ""); a.status != 404 {
		t.Errorf("another page = %d, want 404", a.status)
	}
}

// 1,000 devices, each connected on its own, are updated by one push.
func TestSwarm(t *testing.T) {
	const devices = 1000
	names := make([]string, devices)
	for i := range names {
		names[i] = fmt.Sprintf("gw-%04d", i)
	}
	for _, tt := range []struct {
		name  string
		cloud *hub.Cloud
		set   map[string]any
	}{
		{"method", newHub(t, hub.Config{Accounts: accounts(names...)}), nil},
		{"twin", newHub(t, hub.Config{Accounts: accounts(names...)}), map[string]any{"shape": "twin"}},
		{"device update", updateHub(t, names...), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, cloudsim.Config{State: t.TempDir(), Files: files(t, "v2.bin")}, tt.cloud)
			var ready, done sync.WaitGroup
			for _, name := range names {
				w := join(t, s, name)
				ready.Add(1)
				done.Go(func() {
					w.listen(t)
					ready.Done()
					m, _ := w.message()
					switch {
					case strings.HasPrefix(m.topic, "$iothub/methods/"):
						_, rid, _ := strings.Cut(m.topic, "?")
						w.publish("$iothub/methods/res/200/?"+rid, "")
						w.asks("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"firmwareStatus":"completed"}`)
					case tt.set != nil:
						w.asks("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"2.0"}}`)
					default:
						w.asks("$iothub/twin/PATCH/properties/reported/?$rid=1", agentSays(0, 700, `"id":"j-1"`, `,"installedUpdateId":"{\"provider\":\"updraft\",\"name\":\"device\",\"version\":\"2.0\"}"`))
					}
				})
			}
			ready.Wait()
			o := push("j-1", tt.set)
			o.Device, o.All = "", true
			began := time.Now()
			all, err := s.Order(t.Context(), o)
			if err != nil || len(all) != devices {
				t.Fatalf("%d orders, %v", len(all), err)
			}
			done.Wait()
			took := time.Since(began)
			for _, name := range names {
				only(t, s, name, map[string]string{"method": "j-1 succeeded completed", "twin": "j-1 succeeded current", "device update": "j-1 succeeded 0/700"}[tt.name])
			}
			t.Logf("%d devices in %v", devices, took.Round(time.Millisecond))
			if took > time.Minute {
				t.Errorf("it took %v, want at most a minute", took)
			}
		})
	}
}

// An order for all passes over devices that a method cannot reach, and update
// reaches them when they come.
func TestPushToAll(t *testing.T) {
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin")}, newHub(t, hub.Config{Accounts: accounts("gw-1", "gw-2")}))
	o := push("j-1", nil)
	o.Device, o.All = "", true
	done, err := s.Order(t.Context(), o)
	if err != nil || len(done) != 2 || !strings.Contains(done[0].Text, "DeviceNotOnline") {
		t.Errorf("Order = %+v, %v; want two that are not connected", done, err)
	}
	s = start(t, cloudsim.Config{Files: files(t, "v2.bin")}, updateHub(t, "gw-1", "gw-2"))
	if done, err = s.Order(t.Context(), o); err != nil || len(done) != 2 {
		t.Errorf("Order = %+v, %v; want two", done, err)
	}
	g := agent(t, s, &engineSide{}, adu.Config{Device: "gw-1", Manufacturer: "contoso", Model: "vacuum"})
	g.command(t, 1)
}

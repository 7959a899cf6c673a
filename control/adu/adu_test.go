package adu_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu"
)

var good = map[string]string{"device": "vacuum-1", "manufacturer": "contoso", "model": "virtual-vacuum-v1"}

func TestSettings(t *testing.T) {
	got, err := adu.Settings(map[string]string{"device": "vacuum-1/du", "manufacturer": "contoso", "model": "m", "properties": "site=lab, board=2", "test": "false", "version": "DU;x/1"})
	if err != nil || got.Device != "vacuum-1/du" || got.Manufacturer != "contoso" || got.Properties["board"] != "2" || got.Properties["site"] != "lab" || got.Version != "DU;x/1" {
		t.Errorf("settings = %+v, %v", got, err)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := adu.Settings(map[string]string{"device": "a b", "manufacturer": "", "model": "x\n", "properties": "site", "test": "very", "colour": "red", "rootKeys": "{}"})
	if !errors.Is(err, adu.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{`device "a b"`, `manufacturer ""`, `model "x\n"`, `properties "site": want NAME=VALUE`, `test "very": want true or false`, `colour "red": unknown`, "rootKeys: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
	for _, properties := range []string{"a=1,b=2,c=3,d=4", "model=x", "a=1,a=2", "a=", "1=2"} {
		if _, err := adu.Settings(with("properties", properties)); !errors.Is(err, adu.ErrConfig) {
			t.Errorf("properties %s: %v, want ErrConfig", properties, err)
		}
	}
	if _, err := adu.Settings(with("test", "true")); err != nil && !errors.Is(err, adu.ErrConfig) {
		t.Errorf("test: %v", err)
	}
}

func with(key, value string) map[string]string {
	words := map[string]string{key: value}
	for k, v := range good {
		words[k] = v
	}
	return words
}

func TestASaveThatCannotBeReadIsGivenUp(t *testing.T) {
	c, err := adu.Settings(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, save := range []string{"{", `[]`, `{"job":{"id":"a b"}}`, `{"ends":[{"id":""}]}`, `{"done":3}`} {
		d, err := adu.New(c, []byte(save))
		if err != nil {
			t.Fatal(err)
		}
		if outs := step(d, control.In{Kind: control.InTick}); len(outs) != 1 || outs[0].Kind != control.OutLog || string(d.Save()) != "{}" {
			t.Errorf("%s: %+v, save %s", save, outs, d.Save())
		}
	}
}

func step(d control.Dialect, in control.In) (outs []control.Out) {
	d.Step(in, func(o control.Out) { outs = append(outs, o) })
	return outs
}

// deployed gives what comes out of a twin with the service object of a public example.
func deployed(t *testing.T, service json.RawMessage) []control.Out {
	t.Helper()
	c, err := adu.Settings(good)
	if err != nil {
		t.Fatal(err)
	}
	d, err := adu.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	step(d, control.In{Kind: control.InConnected})
	return step(d, control.In{Kind: control.InMessage, Message: 1, Topic: "$iothub/twin/res/200/?$rid=2",
		Payload: fmt.Appendf(nil, `{"desired":{"deviceUpdate":{"__t":"c","service":%s},"$version":3},"reported":{"$version":1}}`, service)})
}

func TestReallySignedActions(t *testing.T) {
	raw, err := os.ReadFile("testdata/examples/adu-signed.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name    string          `json:"name"`
		Service json.RawMessage `json:"service"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, state, extended, request string }{
		{"adu-real-00", "255", "80300001", ""},
		{"adu-real-03", "6", "00000000", "http://duinstance2.b.nlu.dl.adu.microsoft.com/westus2/duinstance2/31c38c3340a84e38ae8d30ce340f4a49/contoso.contoso-virtual-motors.1.1.updatemanifest.json"},
	} {
		at := slices.IndexFunc(all, func(a struct {
			Name    string          `json:"name"`
			Service json.RawMessage `json:"service"`
		}) bool {
			return a.Name == tt.name
		})
		if at < 0 {
			t.Fatalf("no example %s", tt.name)
		}
		state, extended, request, acknowledged := "", "", "", false
		for _, o := range deployed(t, all[at].Service) {
			var report struct {
				Component struct {
					Agent struct {
						State json.Number `json:"state"`
						Last  struct {
							Extended string `json:"extendedResultCodes"`
						} `json:"lastInstallResult"`
					} `json:"agent"`
					Service struct {
						Status int `json:"ac"`
						Value  struct {
							Manifest  string  `json:"updateManifest"`
							Signature *string `json:"updateManifestSignature"`
						} `json:"value"`
					} `json:"service"`
				} `json:"deviceUpdate"`
			}
			if o.Kind == control.OutPublish {
				if err := json.Unmarshal(o.Payload, &report); err != nil {
					t.Fatal(err)
				}
			}
			c := report.Component
			if c.Agent.State != "" {
				state, extended = c.Agent.State.String(), c.Agent.Last.Extended
			}
			acknowledged = acknowledged || c.Service.Status == 200 && c.Service.Value.Manifest != "" && c.Service.Value.Signature == nil
			if o.Kind == control.OutRequest {
				request = o.URL
			}
		}
		if state != tt.state || extended != tt.extended || request != tt.request || !acknowledged {
			t.Errorf("%s: state %s, code %s, request %q, acknowledged %t; want %s, %s, %q, true", tt.name, state, extended, request, acknowledged, tt.state, tt.extended, tt.request)
		}
	}
}

// TestRecordedTwin takes the answer that was recorded from a hub.
func TestRecordedTwin(t *testing.T) {
	raw, err := os.ReadFile("testdata/examples/azure-twin-messages.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Messages []struct{ Topic, Payload string }
	}
	if err := json.Unmarshal(raw, &recorded); err != nil || len(recorded.Messages) != 2 {
		t.Fatal(err, recorded)
	}
	c, err := adu.Settings(good)
	if err != nil {
		t.Fatal(err)
	}
	d, err := adu.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := ""
	for _, o := range step(d, control.In{Kind: control.InConnected}) {
		if strings.HasPrefix(o.Topic, "$iothub/twin/GET/") {
			asked = o.Topic
		}
	}
	if form, _, _ := strings.Cut(recorded.Messages[0].Topic, "="); asked != form+"=2" {
		t.Errorf("asked %q, and the vendor's kit asks in the form %q", asked, form)
	}
	topic, _, _ := strings.Cut(recorded.Messages[1].Topic, "=")
	if outs := step(d, control.In{Kind: control.InMessage, Message: 1, Topic: topic + "=2", Payload: []byte(recorded.Messages[1].Payload)}); len(outs) != 1 || outs[0].Kind != control.OutHandled {
		t.Errorf("outs = %+v, want the message handled and nothing else", outs)
	}
	if outs := step(d, control.In{Kind: control.InTick, Token: 1}); len(outs) != 0 {
		t.Errorf("after the twin is known the timer does %+v", outs)
	}
}

func TestInputsAreNamed(t *testing.T) {
	names := adu.Inputs()
	if len(names) != 51 || !slices.IsSorted(names) || !slices.Contains(names, "url") || !slices.Contains(names, "sha25610") || slices.Contains(names, "url1") {
		t.Errorf("%d inputs %q", len(names), names)
	}
}

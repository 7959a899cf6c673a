package aws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// Every answer of the service's own topics, one conversation for each shadow.
func TestShadowAnswers(t *testing.T) {
	const at = `{"timestamp":1700000000}`
	for name, shadow := range map[string]string{"classic": "shadow/", "named": "shadow/name/fw/"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{}, aws.Config{})
			p := "$aws/things/gw-1/" + shadow
			missing := "gw-1"
			if name == "named" {
				missing = "fw"
			}
			for _, step := range []struct {
				say, with string
				want      []string
			}{
				{"get", ``, []string{`get/rejected {"code":404,"message":"No shadow exists with name: '` + missing + `'","timestamp":1700000000}`}},
				{"delete", ``, []string{`delete/rejected {"code":404,"message":"No shadow exists with name: '` + missing + `'","timestamp":1700000000}`}},
				{"update", `{"state":{"desired":{"a":{"x":1},"l":[1,2]}},"clientToken":"t1"}`, []string{
					`update/accepted {"clientToken":"t1","metadata":{"desired":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `]}},"state":{"desired":{"a":{"x":1},"l":[1,2]}},"timestamp":1700000000,"version":1}`,
					`update/delta {"clientToken":"t1","metadata":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `]},"state":{"a":{"x":1},"l":[1,2]},"timestamp":1700000000,"version":1}`,
					`update/documents {"clientToken":"t1","current":{"metadata":{"desired":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `]}},"state":{"desired":{"a":{"x":1},"l":[1,2]}},"version":1},"timestamp":1700000000}`,
				}},
				{"update", `{"state":{"reported":{"a":{"x":1},"l":[1,2],"only":true}},"version":1}`, []string{
					`update/accepted {"metadata":{"reported":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `],"only":` + at + `}},"state":{"reported":{"a":{"x":1},"l":[1,2],"only":true}},"timestamp":1700000000,"version":2}`,
					`update/documents {"current":{"metadata":{"desired":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `]},"reported":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `],"only":` + at + `}},"state":{"desired":{"a":{"x":1},"l":[1,2]},"reported":{"a":{"x":1},"l":[1,2],"only":true}},"version":2},"previous":{"metadata":{"desired":{"a":{"x":` + at + `},"l":[` + at + `,` + at + `]}},"state":{"desired":{"a":{"x":1},"l":[1,2]}},"version":1},"timestamp":1700000000}`,
				}},
				{"update", `{"state":{"reported":{}},"version":1,"clientToken":"t2"}`, []string{`update/rejected {"clientToken":"t2","code":409,"message":"Version conflict","timestamp":1700000000}`}},
				{"delete", `{"version":1}`, []string{`delete/rejected {"code":409,"message":"Version conflict","timestamp":1700000000}`}},
				{"delete", `{"clientToken":"t3"}`, []string{`delete/accepted {"clientToken":"t3","timestamp":1700000000,"version":2}`}},
				{"get", `{"clientToken":"t4"}`, []string{`get/rejected {"clientToken":"t4","code":404,"message":"No shadow exists with name: '` + missing + `'","timestamp":1700000000}`}},
				{"update", `{"state":{"desired":{"b":2}}}`, []string{
					`update/accepted {"metadata":{"desired":{"b":` + at + `}},"state":{"desired":{"b":2}},"timestamp":1700000000,"version":3}`,
					`update/delta {"metadata":{"b":` + at + `},"state":{"b":2},"timestamp":1700000000,"version":3}`,
					`update/documents {"current":{"metadata":{"desired":{"b":` + at + `}},"state":{"desired":{"b":2}},"version":3},"timestamp":1700000000}`,
				}},
				{"get", `{}`, []string{`get/accepted {"metadata":{"desired":{"b":` + at + `}},"state":{"delta":{"b":2},"desired":{"b":2}},"timestamp":1700000000,"version":3}`}},
				{"update", `{"state":{"desired":null}}`, []string{
					`update/accepted {"metadata":{},"state":{"desired":null},"timestamp":1700000000,"version":4}`,
					`update/documents {"current":{"metadata":{},"state":{},"version":4},"previous":{"metadata":{"desired":{"b":` + at + `}},"state":{"desired":{"b":2}},"version":3},"timestamp":1700000000}`,
				}},
			} {
				got := r.say(p+step.say, step.with)
				for i := range got {
					got[i] = strings.TrimPrefix(got[i], p)
				}
				if !slices.Equal(got, step.want) {
					t.Errorf("%s %s:\n%s\nwant\n%s", step.say, step.with, strings.Join(got, "\n"), strings.Join(step.want, "\n"))
				}
			}
		})
	}
}

func TestShadowRefusals(t *testing.T) {
	for _, tt := range []struct {
		name, with string
		code       int
		message    string
	}{
		{"no JSON", `{`, 400, "Payload contains invalid json"},
		{"two documents", `{} {}`, 400, "Payload contains invalid json"},
		{"a list", `[]`, 400, "Payload contains invalid json"},
		{"null", `null`, 400, "Payload contains invalid json"},
		{"no UTF-8", "{\"state\":{\"desired\":{\"a\":\"\xff\"}}}", 415, "Unsupported documented encoding; supported encoding is UTF-8"},
		{"no state", `{}`, 400, "Missing required node: state"},
		{"an empty state", `{"state":{}}`, 400, "Missing required node: state"},
		{"state of another type", `{"state":7}`, 400, "State node must be an object"},
		{"an unknown section", `{"state":{"wanted":{}}}`, 400, "State contains an invalid node: 'wanted'"},
		{"desired of another type", `{"state":{"desired":[1]}}`, 400, "Desired node must be an object"},
		{"reported of another type", `{"state":{"reported":"x"}}`, 400, "Reported node must be an object"},
		{"a token of another type", `{"state":{"desired":{}},"clientToken":1}`, 400, "Invalid clientToken"},
		{"a long token", `{"state":{"desired":{}},"clientToken":"` + strings.Repeat("t", 65) + `"}`, 400, "Invalid clientToken"},
		{"a version that is text", `{"state":{"desired":{}},"version":"1"}`, 400, "Invalid version"},
		{"half a version", `{"state":{"desired":{}},"version":1.5}`, 400, "Invalid version"},
		{"too deep", `{"state":{"desired":` + strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9) + `}}`, 400, "JSON contains too many levels of nesting; maximum is 8"},
		{"too large", `{"state":{"desired":{"a":"` + strings.Repeat("x", 8<<10) + `"}}}`, 413, "The payload exceeds the maximum size allowed"},
		{"the text of the pattern", `jobID:j SUCCESS`, 400, "Payload contains invalid json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{}, aws.Config{})
			verdict, body := r.ask("shadow/update", tt.with)
			delete(body, "clientToken")
			if verdict != "rejected" || body["code"] != float64(tt.code) || body["message"] != tt.message {
				t.Errorf("%s %v, want %d %s", verdict, body, tt.code, tt.message)
			}
			if got := r.events.texts(cloudsim.EventRefused); len(got) != 1 || len(r.Book().Devices()) != 0 {
				t.Errorf("refusals = %q with records %q, want one and none", got, r.Book().Devices())
			}
		})
	}
}

func TestShadowThrottled(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultThrottled, Every: 2}); err != nil {
		t.Fatal(err)
	}
	r.ask("shadow/update", `{"state":{"desired":{"a":1}}}`)
	if verdict, body := r.ask("shadow/get", `{"clientToken":"t"}`); verdict != "rejected" || body["code"] != 429.0 || body["clientToken"] != "t" {
		t.Errorf("get = %s %v, want 429 for its token", verdict, body)
	}
	if verdict, _ := r.ask("shadow/get", ``); verdict != "accepted" {
		t.Errorf("the next get is %s", verdict)
	}
}

// A value that becomes an object, and back, leaves no time of what it was.
func TestMetadataFollowsTypes(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	for i, tt := range []struct{ desired, want string }{
		{`{"a":1,"b":2}`, `{"a":{"timestamp":1700000000},"b":{"timestamp":1700000000}}`},
		{`{"a":{"x":1}}`, `{"a":{"x":{"timestamp":1700000060}},"b":{"timestamp":1700000000}}`},
		{`{"a":{"x":null,"timestamp":5}}`, `{"a":{"timestamp":{"timestamp":1700000120}},"b":{"timestamp":1700000000}}`},
		{`{"a":"v","b":null}`, `{"a":{"timestamp":1700000180}}`},
	} {
		if i > 0 {
			r.clock.add(time.Minute)
		}
		r.ask("shadow/update", `{"state":{"desired":`+tt.desired+`}}`)
		_, body := r.ask("shadow/get", ``)
		if got := text(t, body["metadata"].(map[string]any)["desired"]); got != tt.want {
			t.Errorf("after %s: metadata %s, want %s", tt.desired, got, tt.want)
		}
	}
}

// A document that a third party recorded.
func TestShadowExample(t *testing.T) {
	data, err := os.ReadFile("../../awsiot/testdata/examples/aws-shadow-delta.json")
	if err != nil {
		t.Fatal(err)
	}
	var example struct {
		Cases []struct {
			Updates []json.RawMessage
			State   map[string]any
			Version float64
		}
	}
	if err := json.Unmarshal(data, &example); err != nil || len(example.Cases) == 0 {
		t.Fatalf("%v, %d cases", err, len(example.Cases))
	}
	for _, c := range example.Cases {
		r := newRig(t, cloudsim.Config{}, aws.Config{})
		for _, u := range c.Updates {
			r.ask("shadow/update", string(u))
		}
		if _, body := r.ask("shadow/get", ``); !reflect.DeepEqual(body["state"], any(c.State)) || body["version"] != c.Version {
			t.Errorf("get = %v, want %v in version %v", body, c.State, c.Version)
		}
	}
}

// Whoever comes back is shown the deltas that it subscribes to.
func TestDeltasAreShownAgain(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, cloudsim.Config{State: dir}, aws.Config{})
	r.ask("shadow/update", `{"state":{"desired":{"a":1}}}`)
	r.ask("shadow/name/fw/update", `{"state":{"desired":{"b":1}}}`)
	r.ask("shadow/name/done/update", `{"state":{"desired":{"c":1},"reported":{"c":1}}}`)
	r.close()
	r = newRig(t, cloudsim.Config{State: dir}, aws.Config{})
	for filter, want := range map[string]int{
		"state/gw-1/update/delta":                     1,
		"state/gw-1/update/accepted":                  0,
		"$aws/things/gw-1/shadow/update/+":            1,
		"$aws/things/gw-1/shadow/name/fw/update/#":    1,
		"$aws/things/gw-1/shadow/name/done/update/#":  0,
		"$aws/things/gw-1/shadow/name/+/update/delta": 1,
		"$aws/things/gw-1/#":                          2,
		"$aws/things/gw-1/jobs/notify-next":           0,
	} {
		if got := r.cloud.Subscribed("gw-1", filter); len(got) != want {
			t.Errorf("Subscribed(%s) = %q, want %d messages", filter, lines(got), want)
		}
	}
}

func TestNamedShadowsAreBounded(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	for i := range 33 {
		verdict, body := r.ask(fmt.Sprintf("shadow/name/n%d/update", i), `{"state":{"desired":{"a":1}}}`)
		if want := map[bool]string{true: "accepted", false: "rejected"}[i < 32]; verdict != want {
			t.Errorf("shadow %d: %s %v, want %s", i, verdict, body, want)
		}
	}
}

// The first result of a job counts, whatever a device says later.
func TestShadowEndsOnce(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	report := func(result, token string) {
		r.ask("shadow/update", `{"state":{"reported":{"jobID":"j-1","result":"`+result+`","error":{"code":"probe","message":"late"}}},"clientToken":"`+token+`"}`)
	}
	report("FAILURE", "r-1")
	report("FAILURE", "r-1")
	report("SUCCESS", "r-2")
	r.wantEnds("j-1/r-1 failed FAILURE late 2")
	if got := r.events.texts(cloudsim.EventNote); len(got) != 1 || !strings.Contains(got[0], "FAILURE") || !strings.Contains(got[0], "SUCCESS") {
		t.Errorf("notes = %q, want one with both results", got)
	}
	if s, err := r.cloud.Shadow("gw-1"); err != nil || s.Reported["result"] != "SUCCESS" {
		t.Errorf("reported = %v, %v; want what was said last", s.Reported, err)
	}
}

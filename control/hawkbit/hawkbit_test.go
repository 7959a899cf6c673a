package hawkbit_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/hawkbit"
	"github.com/updraft-ota/updraft/engine"
)

func TestSettings(t *testing.T) {
	got, err := hawkbit.Settings(map[string]string{"url": "https://h:8443/up", "tenant": "ACME", "device": "gw-1", "attributes": "model=gw-200, hw=1.10", "files": "os/*.img app=bApp/a.tar",
		"soft": "wait", "confirm": "true", "downloads": "false", "progress": "1m"})
	want := hawkbit.Config{URL: "https://h:8443/up", Tenant: "ACME", Device: "gw-1", Attributes: map[string]string{"model": "gw-200", "hw": "1.10"}, Files: []string{"os/*.img", "app=bApp/a.tar"},
		Soft: hawkbit.SoftWait, Confirm: true, Progress: time.Minute}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("settings = %+v, %v, want %+v", got, err, want)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := hawkbit.Settings(map[string]string{"url": "https://me:s3cr3t@h", "device": "gw/1", "tenant": "..", "attributes": "model", "files": "os", "soft": "maybe", "confirm": "yes", "downloads": "1", "progress": "soon", "colour": "red"})
	if !errors.Is(err, hawkbit.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{"url: user, password", `device "gw/1": holds '/'`, `tenant "..": holds dots alone`, `attributes "model": want key=value`, `files: "os": want [NAME=]PART/FILE`,
		`soft "maybe": want run or wait`, `confirm "yes": want true or false`, `downloads "1"`, `progress "soon"`, `colour "red": unknown`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error shows the password: %v", err)
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	good := map[string]string{"url": "https://h", "device": "gw-1"}
	for _, tt := range []struct{ name, key, value string }{
		{"no server", "url", ""},
		{"no scheme", "url", "h"},
		{"the network in the clear", "url", "http://h"},
		{"query", "url", "https://h?a=b"},
		{"dots in the path", "url", "https://h/a/../b"},
		{"escaped path", "url", "https://h/%2e%2e"},
		{"port", "url", "https://h:70000"},
		{"no device", "device", ""},
		{"long device", "device", strings.Repeat("x", 129)},
		{"blank in the tenant", "tenant", "A B"},
		{"attribute of ours", "attributes", "agent=x"},
		{"long attribute", "attributes", "a=" + strings.Repeat("x", 129)},
		{"attribute twice", "attributes", "a=1,a=2"},
		{"two files of one name", "files", "os/a os/b"},
		{"name of a file", "files", "A-b=os/a"},
		{"pattern", "files", "os/["},
		{"busy progress", "progress", "1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words := maps.Clone(good)
			words[tt.key] = tt.value
			if _, err := hawkbit.Settings(words); !errors.Is(err, hawkbit.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
		})
	}
	for _, url := range []string{"https://h", "https://h:8443/", "https://h/up/", "http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080"} {
		if _, err := hawkbit.New(hawkbit.Config{URL: url, Device: "gw-1"}, nil); err != nil {
			t.Errorf("url %s: %v, want none", url, err)
		}
	}
}

func TestInputs(t *testing.T) {
	got := hawkbit.Config{Files: []string{"os/*.img", "app=bApp/a.tar"}}.Inputs()
	if len(got) != 18 || got[0] != "app_filename" || got[17] != "version" {
		t.Errorf("inputs = %q, want 9 of each artifact, sorted", got)
	}
	if got := (hawkbit.Config{}).Inputs(); len(got) != 9 || got[7] != "url" {
		t.Errorf("inputs = %q, want 9 with url", got)
	}
}

func TestAuthorization(t *testing.T) {
	for _, tt := range []struct {
		name   string
		scheme hawkbit.Scheme
		token  string
		want   string // "": refused
	}{
		{"target", hawkbit.TargetToken, "bH7XXAprK1Ch\n", "TargetToken bH7XXAprK1Ch"},
		{"gateway", hawkbit.GatewayToken, " 3nkswAZhX81o\r\n", "GatewayToken 3nkswAZhX81o"},
		{"other scheme", "Basic", "s3cr3t", ""},
		{"empty", hawkbit.TargetToken, " \n", ""},
		{"second header", hawkbit.TargetToken, "s3cr3t\r\nX: y", ""},
		{"blank", hawkbit.TargetToken, "s3cr3t s3cr3t", ""},
		{"beyond ASCII", hawkbit.TargetToken, "s3cr3t\u00e9", ""},
		{"long", hawkbit.TargetToken, strings.Repeat("s3cr3t", 200), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := hawkbit.Authorization(tt.scheme, []byte(tt.token))
			if got != tt.want || (err != nil) != (tt.want == "") || err != nil && (!errors.Is(err, hawkbit.ErrToken) || strings.Contains(err.Error(), "s3cr3t")) {
				t.Errorf("header = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestOurs(t *testing.T) {
	c := hawkbit.Config{URL: "https://h.example/up", Device: "gw-1"}
	for _, tt := range []struct {
		address string
		want    bool
	}{
		{"https://h.example/up/DEFAULT/controller/v1/gw-1", true},
		{"https://H.example:443/up/DEFAULT/controller/v1/gw-1/softwaremodules/3/artifacts/release.json?x=1", true},
		{"http://h.example/up/DEFAULT/controller/v1/gw-1", false},
		{"https://h.example:8443/up/DEFAULT/controller/v1/gw-1", false},
		{"https://h.example.evil/up/DEFAULT/controller/v1/gw-1", false},
		{"https://h.example/up/DEFAULT/controller/v1/gw-10", false},
		{"https://h.example/up/DEFAULT/controller/v1/gw-1/../gw-2/x", false},
		{"https://h.example/up/DEFAULT/controller/v1/gw-1/%2e%2e/gw-2/x", false},
		{"https://h.example/up/DEFAULT/controller/v1/gw-1/..%2fgw-2", false},
		{"https://u@h.example/up/DEFAULT/controller/v1/gw-1", false},
		{"https://h.example/other", false},
		{"://", false},
	} {
		t.Run(tt.address, func(t *testing.T) {
			if got := c.Ours(tt.address); got != tt.want {
				t.Errorf("ours = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", `{"jobs": [null]}`, `{"jobs": [{"id": ""}]}`, `{"jobs": [{"id": "12-a", "action": "12", "kind": "update", "stage": "ended"}]}`,
		`{"jobs": [{"id": "12-a", "action": "12", "kind": "s3cr3t?s3cr3t", "stage": "asked"}]}`, `{"jobs": [{"id": "12-a", "action": "../..", "kind": "update", "stage": "asked"}]}`,
		`{"jobs": [{"id": "12-a", "action": "12", "kind": "update", "stage": "asked", "cancel": "../12"}]}`} {
		t.Run(save, func(t *testing.T) {
			d, err := hawkbit.New(hawkbit.Config{URL: "https://h", Device: "gw-1"}, []byte(save))
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for range 2 {
				d.Step(control.In{Kind: control.InConnected}, func(o control.Out) {
					if o.Kind == control.OutLog && strings.Contains(o.Text, "given up") {
						lines++
					}
				})
			}
			if got := string(d.Save()); got != "{}" || lines != 1 {
				t.Errorf("saves %s after %d log lines, want {} and 1", got, lines)
			}
		})
	}
}

// server answers the requests of a dialect, and counts what it is told.
type server struct {
	d       control.Dialect
	now     time.Time
	action  int  // the one to show, 0 for none
	away    bool // nothing is answered
	ends    []string
	largest int // bytes of Save
	asked   []control.Out
}

func (s *server) step(in control.In) {
	in.Now = s.now
	var outs []control.Out
	s.d.Step(in, func(o control.Out) { outs = append(outs, o) })
	s.largest = max(s.largest, len(s.d.Save()))
	for _, o := range outs {
		switch o.Kind {
		case control.OutCommand:
			s.asked = append(s.asked, o)
		case control.OutRequest:
			s.answer(o)
		}
	}
}

func (s *server) answer(o control.Out) {
	in := control.In{Kind: control.InResponse, Token: o.Token, Status: 200, Payload: []byte("{}")}
	base := "https://h/DEFAULT/controller/v1/gw-1"
	switch {
	case s.away:
		in.Status, in.Err = 0, "no route"
	case o.Method == "POST":
		if strings.Contains(string(o.Payload), `"closed"`) {
			s.ends = append(s.ends, o.URL)
		}
	case o.URL == base && s.action > 0:
		in.Payload = fmt.Appendf(nil, `{"_links": {"deploymentBase": {"href": "%s/deploymentBase/%d"}}}`, base, s.action)
	case strings.Contains(o.URL, "/deploymentBase/"):
		in.Payload = fmt.Appendf(nil, `{"id": "%d", "deployment": {"chunks": [{"part": "os", "version": "%d", "artifacts": [{"filename": "a", "_links": {"download": {"href": "https://f/a"}}}]}]}}`, s.action, s.action)
	}
	s.step(in)
}

func (s *server) poll() {
	s.now = s.now.Add(10 * time.Minute)
	s.step(control.In{Kind: control.InTick, Token: 1})
}

// TestSaveStaysSmall ends more updates than are remembered, with the longest of
// everything, and then more than are taken while nothing can be told.
func TestSaveStaysSmall(t *testing.T) {
	d, err := hawkbit.New(hawkbit.Config{URL: "https://h", Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{d: d, now: time.Unix(1e9, 0)}
	s.step(control.In{Kind: control.InConnected})
	long := strings.Repeat(`"`, 2000)
	for n := 1; n <= 40; n++ {
		s.action, s.away = n, false
		s.poll()
		if len(s.asked) != n {
			t.Fatalf("%d commands after action %d", len(s.asked), n)
		}
		c := s.asked[n-1]
		s.step(control.In{Kind: control.InReceipt, Token: c.Token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprint("run-", n)}})
		s.action, s.away = 0, n%2 == 0
		s.step(control.In{Kind: control.InReport, Report: engine.Report{ID: fmt.Sprintf("run-%d.0", n), Run: fmt.Sprint("run-", n), Command: c.Command.ID, State: engine.Failed, Code: long, Step: long, Message: long}})
	}
	s.away = false
	s.poll()
	if len(s.ends) != 40 {
		t.Errorf("the server was told %d ends, want 40", len(s.ends))
	}
	if s.largest > 16<<10 || s.largest < 4<<10 {
		t.Errorf("saves up to %d bytes, want between %d and %d", s.largest, 4<<10, 16<<10)
	}
}

// TestEndsAfterAnOutage reports, after an hour without the server, ten ends that
// the outbox holds, each once and in their order.
func TestEndsAfterAnOutage(t *testing.T) {
	d, err := hawkbit.New(hawkbit.Config{URL: "https://h", Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{d: d, now: time.Unix(1e9, 0), away: true}
	s.step(control.In{Kind: control.InConnected})
	var want []string
	for n := 1; n <= 10; n++ {
		s.poll()
		s.step(control.In{Kind: control.InReport, Report: engine.Report{ID: fmt.Sprintf("run-%d.0", n), Run: fmt.Sprint("run-", n), Command: fmt.Sprintf("%d-abc", n), State: engine.Succeeded}})
		want = append(want, fmt.Sprintf("https://h/DEFAULT/controller/v1/gw-1/deploymentBase/%d/feedback", n))
	}
	s.away = false
	s.poll()
	s.poll()
	if !reflect.DeepEqual(s.ends, want) {
		t.Errorf("told %q, want %q", s.ends, want)
	}
}

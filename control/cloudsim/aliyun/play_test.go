package aliyun

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	platform "github.com/updraft-ota/updraft/control/aliyun"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

const secret = "s3cr3t"

var fleet = Config{Accounts: cloudsim.Accounts{Product: "a1B2c3", Devices: map[string]string{"gw-1": secret, "gw-2": secret}}}

// player plays a text of testdata against a cloud without a network: the lines that
// begin with these words are done, and what follows from them must stand
// below, by two blanks further in: events, and messages to devices.
//
//	connect CLIENT-ID-PAIRS   the device gw-1 logs in, with further pairs between the bars
//	say TOPIC JSON            it publishes; PK/DN stands for its key and name
//	app TOPIC JSON            an application does
//	subscribe FILTER
//	order JSON
//	fault JSON
//	after DURATION
//	restart                   of the simulator
type player struct {
	t      *testing.T
	make   func() cloudsim.Cloud
	cloud  cloudsim.Cloud
	sim    *cloudsim.Sim
	cfg    cloudsim.Config
	clock  time.Time
	events []string
}

func (p *player) start() {
	p.t.Helper()
	var err error
	p.cloud = p.make()
	if p.sim, err = cloudsim.Start(p.cfg, p.cloud); err != nil {
		p.t.Fatal(err)
	}
}

// play gives the text with what really follows.
func play(t *testing.T, build func() cloudsim.Cloud, text string) string {
	t.Helper()
	p := &player{t: t, make: build, clock: time.Unix(1657023113, 0)}
	p.cfg = cloudsim.Config{State: t.TempDir(), Files: t.TempDir(), Now: func() time.Time { return p.clock }, Events: p.event}
	for name, content := range map[string]string{"fw-2.bin": "the second", "fw-3.bin": "the third", "patch.bin": "1 to 2", "py9000-8800100099990000-0.0.2.tar.gz": "app"} {
		if err := os.WriteFile(filepath.Join(p.cfg.Files, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	defer func() {
		if err := p.sim.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			continue // of the last time
		}
		out.WriteString(line)
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			for _, follows := range p.do(line) {
				fmt.Fprintln(&out, "  "+strings.TrimSpace(p.anonymous(follows)))
			}
		}
	}
	return out.String()
}

func (p *player) do(line string) (out []string) {
	verb, rest, _ := strings.Cut(line, " ")
	var messages []cloudsim.Message
	var err error
	p.events = nil
	switch verb {
	case "connect":
		c := login(rest)
		_, _, err = p.cloud.Admit(cloudsim.Caller{Client: c.ClientID, User: c.User, Password: []byte(c.Password)})
	case "say", "app":
		topic, payload, _ := strings.Cut(rest, " ")
		m := cloudsim.Message{Device: "gw-1", Topic: strings.Replace(topic, "PK/DN", "a1B2c3/gw-1", 1), Payload: []byte(payload)}
		if verb == "app" {
			m.Device = ""
		}
		messages, err = p.cloud.Take(m)
	case "subscribe":
		messages = p.cloud.Subscribed("gw-1", strings.Replace(rest, "PK/DN", "a1B2c3/gw-1", 1))
	case "order":
		err = p.order(rest)
	case "fault":
		var f cloudsim.Fault
		if err = json.Unmarshal([]byte(rest), &f); err == nil {
			err = p.sim.SetFault(f)
		}
	case "after":
		d, bad := time.ParseDuration(rest)
		p.clock, err = p.clock.Add(d), bad
	case "restart":
		err = p.sim.Close()
		p.start()
	default:
		p.t.Fatalf("unknown line %q", line)
	}
	out = append(out, p.events...)
	for _, m := range messages {
		direct := ""
		if m.Direct {
			direct = " direct"
		}
		out = append(out, fmt.Sprintf("-> %s %s qos=%d%s %s", m.Device, strings.Replace(m.Topic, "a1B2c3/"+m.Device, "PK/DN", 1), m.QoS, direct, m.Payload))
	}
	if err != nil {
		out = append(out, "error: "+err.Error())
	}
	return out
}

// order gives an order to the simulator. Nobody is connected, so that nothing is sent.
func (p *player) order(text string) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var o cloudsim.Order
	if err := d.Decode(&o); err != nil {
		p.t.Fatal(err)
	}
	done, err := p.sim.Order(context.Background(), o)
	for _, each := range done {
		p.events = append(p.events, fmt.Sprintf("done %s %s %s %s", each.Device, each.Job, each.Text, each.URL))
	}
	return err
}

func (p *player) event(e cloudsim.Event) {
	switch e.Kind {
	case cloudsim.EventReport:
		p.events = append(p.events, strings.TrimSpace(fmt.Sprintf("end %s %s: %s %s %s %s x%d", e.Client, e.End.Job, e.End.Outcome, e.End.Result, strings.TrimSpace(e.End.Code+" "+e.End.Message), e.End.Report, e.End.Arrivals)))
	case cloudsim.EventNote, cloudsim.EventRefused:
		p.events = append(p.events, fmt.Sprintf("%s %s: %s", e.Kind, e.Client, e.Text))
	}
}

var (
	traceID = regexp.MustCompile(`"haasTraceId":"[0-9a-f]{30}"`)
	query   = regexp.MustCompile(`\?Expires=[0-9]+&Signature=[A-Z0-9]+`)
)

// anonymous takes out what differs from time to time.
func (p *player) anonymous(line string) string {
	line = strings.ReplaceAll(line, p.sim.Endpoints().Files, "http://files/")
	line = traceID.ReplaceAllString(line, `"haasTraceId":"…"`)
	return query.ReplaceAllString(line, "?…")
}

// login is that of gw-1, with more between the bars of the client id.
func login(pairs string) platform.Credentials {
	c, err := platform.Login(platform.Device{ProductKey: "a1B2c3", Name: "gw-1"}, platform.Settings{Plain: true}, secret)
	if err != nil {
		panic(err)
	}
	if pairs != "" {
		c.ClientID = strings.Replace(c.ClientID, "|", "|"+pairs+",", 1)
	}
	return c
}

func TestConversations(t *testing.T) {
	for service, build := range map[string]func() cloudsim.Cloud{
		"ota":  func() cloudsim.Cloud { return must(NewOTA(fleet)) },
		"haas": func() cloudsim.Cloud { return must(NewHaaS(fleet)) },
	} {
		names, err := filepath.Glob("testdata/" + service + "/*.txt")
		if err != nil || len(names) == 0 {
			t.Fatalf("no conversations of %s: %v", service, err)
		}
		for _, name := range names {
			t.Run(strings.TrimSuffix(filepath.ToSlash(name), ".txt"), func(t *testing.T) {
				want, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if got := play(t, build, string(want)); got != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

func must[C cloudsim.Cloud](c C, err error) cloudsim.Cloud {
	if err != nil {
		panic(err)
	}
	return c
}

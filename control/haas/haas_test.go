package haas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/haas"
	"github.com/updraft-ota/updraft/engine"
)

const pushTopic = "/sys/a1B2c3/gw-1/thing/service/hli_service_upgrade_push"

func dialect(t *testing.T, words map[string]string, save []byte) *haas.Dialect {
	t.Helper()
	c, err := haas.Settings(words)
	if err != nil {
		t.Fatal(err)
	}
	d, err := haas.New(c, save)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// command gives the command that a push leads to.
func command(d *haas.Dialect, n uint64, payload []byte) (c control.Command) {
	d.Step(control.In{Kind: control.InMessage, Topic: pushTopic, Message: n, Payload: payload}, func(o control.Out) {
		if o.Kind == control.OutCommand {
			c = o.Command
			token = o.Token
		}
	})
	return c
}

var token uint64 // of the last command

func TestPublishedExample(t *testing.T) {
	text, err := os.ReadFile("testdata/examples/alibaba-hli.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct {
		Seen json.RawMessage `json:"as_seen_by_the_app"`
	}
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	var seen map[string]any
	if err := json.Unmarshal(sample.Seen, &seen); err != nil {
		t.Fatal(err)
	}
	wire := fmt.Appendf(nil, `{"method": "thing.service.hli_service_upgrade_push", "id": "1657023114", "params": %s, "version": "1.0.0"}`, seen["params"])
	for name, payload := range map[string][]byte{"as the app sees it": sample.Seen, "as it stands on the wire": wire} {
		t.Run(name, func(t *testing.T) {
			c := command(dialect(t, config, nil), 1, payload)
			want := map[string]string{"appId": "8800100099990000", "version": "0.0.2", "size": "1269", "md5": "8366bb1b8ad9766335b733b226ad178c",
				"url": "https://iotx-haas-xxx.gz?Expires=xxx&OSSAccessKeyId=xxx&Signature=xxx", "rollingBack": "false", "needRestart": "false"}
			if fmt.Sprint(c.Inputs) != fmt.Sprint(want) {
				t.Errorf("inputs %v\nwant %v", c.Inputs, want)
			}
		})
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	good := map[string]string{"device": "a1B2c3.gw-1", "app": "8800100099990000"}
	for _, tt := range []struct{ key, value, want string }{
		{"device", "gw-1", "want PRODUCTKEY.DEVICENAME"},
		{"app", "", `app "" is not 16 digits that begin with 88001000`},
		{"app", "8800200099990000", "is not 16 digits that begin with 88001000"},
		{"app", "880010009999000x", "is not 16 digits that begin with 88001000"},
		{"version", "1.0", `version "1.0" is not three numbers`},
		{"running", "1.0.0-rc", `running "1.0.0-rc" is not three numbers`},
		{"firmware", "a b", `firmware "a b" is not 1 to 64 bytes`},
		{"mac", "here", "is no hardware address"},
		{"ip", "999.0.0.1", "is no address"},
		{"apps", "x", `apps "x": unknown (have app, build, device, firmware, ip, mac, running, scenario, vendor, version)`},
	} {
		t.Run(tt.key+" "+tt.value, func(t *testing.T) {
			words := map[string]string{tt.key: tt.value}
			for k, v := range good {
				if k != tt.key {
					words[k] = v
				}
			}
			if _, err := haas.Settings(words); !errors.Is(err, haas.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := haas.Settings(good); err != nil {
		t.Error(err)
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"0.0.10", "0.0.9", 1}, {"0.0.9", "0.0.10", -1}, {"1.0.0", "0.99.99", 1}, {"1.2.3", "1.2.3", 0}, {"01.2.3", "1.02.3", 0}, {"4294967295.0.0", "4294967294.9.9", 1}} {
		a, errA := haas.ParseVersion(tt.a)
		b, errB := haas.ParseVersion(tt.b)
		if got := a.Compare(b); got != tt.want || errA != nil || errB != nil {
			t.Errorf("%s and %s compare as %d (%v, %v), want %d", tt.a, tt.b, got, errA, errB, tt.want)
		}
	}
	for _, text := range []string{"", "1", "1.2", "1.2.3.4", "1..3", "1.2.x", "-1.2.3", "+1.2.3", " 1.2.3", "1.2.3 ", "4294967296.0.0", "v1.2.3", "1.2.3-a"} {
		if v, err := haas.ParseVersion(text); err == nil {
			t.Errorf("%q is read as %v, want an error", text, v)
		}
	}
}

func TestPackageNames(t *testing.T) {
	want := haas.Package{Name: "demo1", App: "8800100099990000", Version: "0.0.2"}
	if p, err := haas.ReadName("demo1-8800100099990000-0.0.2.tar.gz"); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := haas.ReadManifest([]byte(`{"appName": "demo1", "version": "0.0.2", "appid": "8800100099990000", "pages": []}`)); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, name := range []string{"", "demo.tar.gz", "demo-8800100099990000-0.0.2.zip", "-8800100099990000-0.0.2.tar.gz", "seventeenletters1-8800100099990000-0.0.2.tar.gz", "de_mo-8800100099990000-0.0.2.tar.gz",
		"demo-8800200099990000-0.0.2.tar.gz", "demo-880010009999000-0.0.2.tar.gz", "demo-8800100099990000-0.2.tar.gz", "../demo-8800100099990000-0.0.2.tar.gz", "demo-8800100099990000-0.0.2-1.tar.gz"} {
		if p, err := haas.ReadName(name); !errors.Is(err, haas.ErrPackage) {
			t.Errorf("%q is read as %+v, %v, want ErrPackage", name, p, err)
		}
	}
	for _, text := range []string{"", "{", "[]", "{} // no", `{"appName": "demo", "version": "0.0.2", "appId": "8800100099990000"}`, `{"appName": 7, "version": {}, "appid": "8800100099990000"}`, `{"appName": "demo", "version": "2", "appid": "8800100099990000"}`, strings.Repeat(" ", 1<<20)} {
		if p, err := haas.ReadManifest([]byte(text)); !errors.Is(err, haas.ErrPackage) || len(err.Error()) > 300 {
			t.Errorf("%.40q is read as %+v, %v, want ErrPackage", text, p, err)
		}
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", "{}", `{"version": "2"}`, `{"version": "0.0.2", "jobs": [null]}`, `{"version": "0.0.2", "jobs": [{"id": "a:b:c", "stage": "ended"}]}`, `{"version": "0.0.2", "jobs": [{"id": "a:b:c", "stage": "s3cr3t?s3cr3t"}]}`} {
		t.Run(save, func(t *testing.T) {
			d := dialect(t, config, []byte(save))
			lines := 0
			for range 2 {
				d.Step(control.In{Kind: control.InConnected}, func(o control.Out) {
					if o.Kind == control.OutLog && strings.Contains(o.Text, "given up") {
						lines++
					}
				})
			}
			if got := string(d.Save()); got != `{"version":"0.0.1"}` || lines != 1 {
				t.Errorf("saves %s after %d log lines, want the first version and 1", got, lines)
			}
		})
	}
}

// TestTrialIsNotTold restarts the device into the new version in the middle of a job: the
// facts say 0.0.2, which is not proven.
func TestTrialIsNotTold(t *testing.T) {
	words := map[string]string{"device": "a1B2c3.gw-1", "app": "8800100099990000", "running": "0.0.1"}
	d := dialect(t, words, nil)
	c := command(d, 1, []byte(`{"id": "7", "params": {"errorCode": 200, "app": [{"appId": "8800100099990000", "version": "0.0.2", "url": "https://h/x"}]}}`))
	d.Step(control.In{Kind: control.InReceipt, Token: token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}}, func(control.Out) {})
	asked := func() (text string) {
		d.Step(control.In{Kind: control.InConnected}, func(o control.Out) {
			if strings.HasSuffix(o.Topic, "hli_event_upgrade_query/post") {
				text = string(o.Payload)
			}
		})
		return text
	}
	words["running"] = "0.0.2"
	d = dialect(t, words, d.Save())
	if got := asked(); !strings.Contains(got, `"version":"0.0.1"}]`) {
		t.Errorf("on trial the device asks %s, want 0.0.1", got)
	}
	d.Step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: c.ID, State: engine.Succeeded}}, func(control.Out) {})
	if got := asked(); !strings.Contains(got, `"version":"0.0.2"}]`) {
		t.Errorf("after the proof the device asks %s, want 0.0.2", got)
	}
}

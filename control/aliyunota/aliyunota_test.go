package aliyunota_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/aliyunota"
	"github.com/updraft-ota/updraft/engine"
)

const upgrade = "/ota/device/upgrade/a1B2c3/gw-1"

func TestBadSettingsAreAllNamed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		words map[string]string
		want  []string
	}{
		{"nothing", nil, []string{`product key ""`}},
		{"a device without a product key", map[string]string{"device": "gw-1"}, []string{`device "gw-1"`, "want PRODUCTKEY.DEVICENAME"}},
		{"a wildcard", map[string]string{"device": "a1B2c3.gw+"}, []string{`device name "gw+"`}},
		{"three mistakes", map[string]string{"device": "a1B2c3.gw-1", "ask": "no", "progress": "often", "topic": "x"}, []string{`ask "no": want true or false`, `progress "often"`, `topic "x": unknown (have ask, device, progress, running, version)`}},
		{"too often", map[string]string{"device": "a1B2c3.gw-1", "progress": "10ms"}, []string{"progress 10ms: want at least 1s, or off"}},
		{"a module twice", map[string]string{"device": "a1B2c3.gw-1", "version": "1.0 default=2.0"}, []string{`module "default" stands there twice`}},
		{"no module", map[string]string{"device": "a1B2c3.gw-1", "version": "=2.0"}, []string{"want VERSION or MODULE=VERSION"}},
		{"a long version", map[string]string{"device": "a1B2c3.gw-1", "version": strings.Repeat("1", 65)}, []string{"of module default is not 1 to 64 bytes"}},
		{"too many modules", map[string]string{"device": "a1B2c3.gw-1", "version": "a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1"}, []string{"9 modules, the limit is 8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := aliyunota.Settings(tt.words)
			if !errors.Is(err, aliyunota.ErrConfig) {
				t.Fatalf("error = %v, want ErrConfig", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v\nwant %s", err, want)
				}
			}
		})
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", `{"jobs": [null]}`, `{"jobs": [{"id": ""}]}`, `{"jobs": [{"id": "a:b:c", "stage": "ended"}]}`, `{"jobs": {}}`, `{"jobs": [{"id": "a:b:c", "stage": "s3cr3t?s3cr3t"}]}`} {
		t.Run(save, func(t *testing.T) {
			d := dialect(t, map[string]string{"device": "a1B2c3.gw-1", "version": "1.0.0"}, []byte(save))
			lines := 0
			for range 2 {
				d.Step(control.In{Kind: control.InConnected}, func(o control.Out) {
					if o.Kind == control.OutLog && strings.Contains(o.Text, "given up") {
						lines++
					}
				})
			}
			if got := string(d.Save()); got != `{"versions":{"default":"1.0.0"}}` || lines != 1 {
				t.Errorf("saves %s after %d log lines, want the first version and 1", got, lines)
			}
		})
	}
}

func dialect(t *testing.T, words map[string]string, save []byte) *aliyunota.Dialect {
	t.Helper()
	c, err := aliyunota.Settings(words)
	if err != nil {
		t.Fatal(err)
	}
	d, err := aliyunota.New(c, save)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// said gives what the device says of its version on connect.
func said(d *aliyunota.Dialect) (text string) {
	d.Step(control.In{Kind: control.InConnected}, func(o control.Out) {
		if strings.HasPrefix(o.Topic, "/ota/device/inform/") {
			text = string(o.Payload)
		}
	})
	return text
}

// TestTrialIsNotTold restarts the device into the new version in the middle of a job: the
// facts say 2.0.0, which is no success before it is proven.
func TestTrialIsNotTold(t *testing.T) {
	words := map[string]string{"device": "a1B2c3.gw-1", "running": "1.0.0", "ask": "false"}
	d := dialect(t, words, nil)
	said(d)
	id := submit(d, 1, `{"id": 7, "code": "1000", "data": {"version": "2.0.0", "url": "https://h/x"}}`)
	if id == "" {
		t.Fatal("no command")
	}
	words["running"] = "2.0.0"
	d = dialect(t, words, d.Save())
	if got := said(d); !strings.Contains(got, `"version":"1.0.0"`) {
		t.Errorf("on trial the device says %s, want 1.0.0", got)
	}
	var told string
	d.Step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: id, State: engine.Succeeded}}, func(o control.Out) {
		told += string(o.Payload)
	})
	if !strings.Contains(told, `"version":"2.0.0"`) {
		t.Errorf("after the proof the device says %s, want 2.0.0", told)
	}
	words["running"] = "2.0.1" // somebody at the device has installed another one
	if got := said(dialect(t, words, d.Save())); !strings.Contains(got, `"version":"2.0.0"`) {
		t.Errorf("before the broker has the end the device says %s, want 2.0.0", got)
	}
}

// submit gives the id of the command that a message leads to, "" for none.
func submit(d *aliyunota.Dialect, n uint64, payload string) (id string) {
	var token uint64
	d.Step(control.In{Kind: control.InMessage, Topic: upgrade, Message: n, Payload: []byte(payload)}, func(o control.Out) {
		if o.Kind == control.OutCommand {
			id, token = o.Command.ID, o.Token
		}
	})
	if id != "" {
		d.Step(control.In{Kind: control.InReceipt, Token: token, Receipt: engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprint("run-", n)}}, func(control.Out) {})
	}
	return id
}

// TestSaveStaysSmall gives a device the longest of everything, more often than it keeps.
func TestSaveStaysSmall(t *testing.T) {
	d := dialect(t, map[string]string{"device": "a1B2c3.gw-1", "version": "1.0.0"}, nil)
	said(d)
	largest, taken := 0, 0
	var token uint64
	end := func(n int, id string) {
		r := engine.Report{ID: fmt.Sprintf("run-%d.0", n), Run: fmt.Sprint("run-", n), Command: id, State: engine.Failed, Code: strings.Repeat(`"`, 2000), Step: strings.Repeat(`"`, 2000), Message: strings.Repeat(`"`, 2000)}
		d.Step(control.In{Kind: control.InReport, Report: r}, func(o control.Out) {
			if o.Kind == control.OutPublish {
				token = o.Token
			}
		})
		largest = max(largest, len(d.Save()))
	}
	for n := 1; n <= 40; n++ {
		if n == 21 { // the others' ends are never sent
			d.Step(control.In{Kind: control.InLost}, func(control.Out) {})
		}
		version := fmt.Sprint(n) + strings.Repeat("é", 31)
		var id string
		for ask := range 6 {
			payload := fmt.Sprintf(`{"id": "%s%d", "data": {"version": "%s", "url": "https://h/?%s"}}`, strings.Repeat("9", 60), n*10+ask, version, strings.Repeat("&", 4000))
			if got := submit(d, uint64(n), payload); got != "" {
				id = got
			}
		}
		if id == "" {
			continue
		}
		taken++
		end(n, id)
		if n <= 20 {
			d.Step(control.In{Kind: control.InPublished, Token: token}, func(control.Out) {})
		}
	}
	if largest > control.MaxSave || largest < 10<<10 || taken != 26 {
		t.Errorf("saves up to %d bytes with %d jobs taken, want 26 and between %d and %d", largest, taken, 10<<10, control.MaxSave)
	}
}

func TestInputsAreNamedOnce(t *testing.T) {
	all := aliyunota.Inputs()
	for i, name := range all {
		if i > 0 && all[i-1] >= name {
			t.Errorf("%q stands behind %q", name, all[i-1])
		}
	}
	if len(all) != 25 {
		t.Errorf("%d inputs, want 25: %q", len(all), all)
	}
}

package azurehub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/azurehub"
	"github.com/updraft-ota/updraft/engine"
)

func TestSettings(t *testing.T) {
	got, err := azurehub.Settings(map[string]string{"device": "gw-1/agent", "shape": "firmware", "scheme": "https", "plain": "true", "sample": "false",
		"progress": "10s", "version": "1.0", "steps": "check=verifying  write=applying"})
	want := azurehub.Config{Device: "gw-1/agent", Shape: azurehub.Firmware, Scheme: "https", Plain: true, Progress: 10 * time.Second, Version: "1.0",
		Steps: map[string]string{"check": "verifying", "write": "applying"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("settings = %+v, %v, want %+v", got, err, want)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := azurehub.Settings(map[string]string{"device": "gw-1/+", "shape": "round", "scheme": "ftp", "plain": "very", "sample": "1",
		"progress": "soon", "version": "1\n0", "steps": "write", "colour": "red"})
	if !errors.Is(err, azurehub.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{`device "gw-1/+": holds '+'`, `shape "round": want flat, iothubDM or firmware`, `scheme "ftp"`, `plain "very": want true or false`,
		`sample "1"`, `progress "soon"`, `version "1\n0"`, `steps "write": want STEP=STAGE`, `colour "red": unknown`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    azurehub.Config
	}{
		{"no device", azurehub.Config{}},
		{"no module", azurehub.Config{Device: "gw-1/"}},
		{"two modules", azurehub.Config{Device: "gw-1/a/b"}},
		{"long device", azurehub.Config{Device: strings.Repeat("x", 129)}},
		{"busy progress", azurehub.Config{Device: "gw-1", Shape: azurehub.Firmware, Progress: time.Millisecond}},
		{"progress without a place for it", azurehub.Config{Device: "gw-1", Progress: time.Minute}},
		{"plain where http is taken anyway", azurehub.Config{Device: "gw-1", Plain: true}},
		{"a step of no stage", azurehub.Config{Device: "gw-1", Steps: map[string]string{"write": "writing"}}},
		{"a step that is asked", azurehub.Config{Device: "gw-1", Steps: map[string]string{"write": "asked"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := azurehub.New(tt.c, nil); !errors.Is(err, azurehub.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
		})
	}
}

// TestPublicTokens compares with tokens that the vendor's device SDK has made.
func TestPublicTokens(t *testing.T) {
	var cases []struct {
		Host, DeviceID, Key, Token string
		SE                         int64
	}
	readJSON(t, "testdata/examples/azure-sas.json", &cases)
	for _, tt := range cases {
		who := azurehub.Identity{Host: tt.Host, Device: tt.DeviceID, Life: 2 * time.Hour}
		expiry := time.Unix(tt.SE, 0)
		l, err := who.Login(tt.Key, expiry.Add(-who.Life))
		if err != nil || l.Password != tt.Token {
			t.Errorf("token = %q, %v, want %q", l.Password, err, tt.Token)
		}
		if left := expiry.Sub(l.Renew); left != who.Life/5 {
			t.Errorf("connects anew %v before the token expires, want %v", left, who.Life/5)
		}
	}
	if len(cases) == 0 {
		t.Error("no tokens")
	}
}

func TestLogin(t *testing.T) {
	who := azurehub.Identity{Host: "h.example", Device: "gw*1", Module: "agent", Model: "dtmi:azure:iot:deviceUpdateModel;3", Client: "updraft/1 x"}
	l, err := who.Login("", time.Unix(1700000000, 0))
	want := azurehub.Login{ClientID: "gw*1/agent",
		User: "h.example/gw*1/agent/?api-version=2021-04-12&model-id=dtmi:azure:iot:deviceUpdateModel;3&DeviceClientType=updraft%2F1%20x"}
	if err != nil || l != want {
		t.Errorf("login with a certificate = %+v, %v, want %+v", l, err, want)
	}
	l, err = who.Login("a2V5", time.Unix(1700000000, 0))
	if err != nil || !strings.HasPrefix(l.Password, "SharedAccessSignature sr=h.example%2Fdevices%2Fgw%2A1%2Fmodules%2Fagent&sig=") || !strings.HasSuffix(l.Password, "&se=1700003600") {
		t.Errorf("password = %q, %v", l.Password, err)
	}
}

func TestBadLoginIsRefused(t *testing.T) {
	good := azurehub.Identity{Host: "h.example", Device: "gw-1"}
	for _, tt := range []struct {
		name string
		edit func(*azurehub.Identity)
		key  string
	}{
		{"no host", func(i *azurehub.Identity) { i.Host = "" }, ""},
		{"a URL as host", func(i *azurehub.Identity) { i.Host = "https://h.example" }, ""},
		{"no device", func(i *azurehub.Identity) { i.Device = "" }, ""},
		{"a module with a slash", func(i *azurehub.Identity) { i.Module = "a/b" }, ""},
		{"a model that is none", func(i *azurehub.Identity) { i.Model = "model&x=y" }, ""},
		{"a client of two lines", func(i *azurehub.Identity) { i.Client = "a\nb" }, ""},
		{"a life of seconds", func(i *azurehub.Identity) { i.Life = time.Second }, ""},
		{"a key that is not base64", func(*azurehub.Identity) {}, "s3cr3t!"},
		{"a blank key", func(*azurehub.Identity) {}, " "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			who := good
			tt.edit(&who)
			_, err := who.Login(tt.key, time.Now())
			if !errors.Is(err, azurehub.ErrConfig) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error = %v, want ErrConfig without the key", err)
			}
		})
	}
}

// TestPublicTwinMessages reads a twin as a hub has sent it to the vendor's device SDK.
func TestPublicTwinMessages(t *testing.T) {
	var recorded struct {
		Messages []struct{ Topic, Payload string }
	}
	readJSON(t, "testdata/examples/azure-twin-messages.json", &recorded)
	if len(recorded.Messages) != 2 {
		t.Fatalf("%d messages, want a request and its answer", len(recorded.Messages))
	}
	d, err := azurehub.New(azurehub.Config{Device: "gw-1", Shape: azurehub.Firmware}, nil)
	if err != nil {
		t.Fatal(err)
	}
	asks, id := "", ""
	outs(d, control.In{Kind: control.InConnected}, func(o control.Out) {
		if at, rid, ok := strings.Cut(o.Topic, "GET/?$rid="); ok {
			asks, id = at+"GET/?$rid=", rid
		}
	})
	// The SDK's request id is another each time; ours is put in its place.
	prefix, theirs, _ := strings.Cut(recorded.Messages[0].Topic, "GET/?$rid=")
	if asks != prefix+"GET/?$rid=" || theirs == "" {
		t.Fatalf("asks on %q, the SDK on %q", asks, recorded.Messages[0].Topic)
	}
	answer := recorded.Messages[1]
	outs(d, control.In{Kind: control.InMessage, Message: 1, Topic: strings.Replace(answer.Topic, theirs, id, 1), Payload: []byte(answer.Payload)}, func(o control.Out) {
		if o.Kind != control.OutHandled {
			t.Errorf("the recorded answer gives %+v", o)
		}
	})
	// The twin has version 1, so that a notification with version 2 counts.
	commands := 0
	outs(d, control.In{Kind: control.InMessage, Message: 2, Topic: "$iothub/twin/PATCH/properties/desired/?$version=2",
		Payload: []byte(`{"firmware": {"fwPackageURI": "https://files.example/v2"}, "$version": 2}`)}, func(o control.Out) {
		if o.Kind == control.OutCommand {
			commands++
		}
	})
	if commands != 1 {
		t.Errorf("%d commands after the notification, want 1", commands)
	}
}

// TestReportsHaveNoBlanks: controllers look at the twin's text for "firmwareStatus":"completed".
func TestReportsHaveNoBlanks(t *testing.T) {
	d, err := azurehub.New(azurehub.Config{Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	keep := func(o control.Out) {
		if o.Kind == control.OutPublish {
			sent = append(sent, string(o.Payload))
		}
	}
	report := engine.Report{ID: "run-1.0", Run: "run-1", Command: "c", State: engine.Succeeded}
	outs(d, control.In{Kind: control.InConnected}, keep)
	outs(d, control.In{Kind: control.InMessage, Message: 1, Topic: "$iothub/twin/res/204/?$rid=1"}, keep)
	outs(d, control.In{Kind: control.InReport, Report: report}, keep)
	if all := strings.Join(sent, "\n"); !strings.Contains(all, `{"firmwareStatus":"standBy",`) || !strings.Contains(all, `"firmwareStatus":"completed"`) {
		t.Errorf("sent %s", all)
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	running := `{"id": "a", "key": "k", "url": "https://h/v2", "stage": "accepted"}`
	for _, save := range []string{"{", "[]", "7", `{"jobs": [null]}`, `{"jobs": [{"id": ""}]}`, `{"jobs": [{"id": "a", "key": "k", "stage": "s3cr3t?s3cr3t"}]}`,
		`{"jobs": [{"id": "a", "key": "k", "stage": "accepted"}]}`, `{"jobs": [` + running + `, ` + running + `]}`} {
		t.Run(save, func(t *testing.T) {
			d, err := azurehub.New(azurehub.Config{Device: "gw-1"}, []byte(save))
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for range 2 {
				outs(d, control.In{Kind: control.InConnected}, func(o control.Out) {
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

// TestSaveStaysSmall gives a device the longest of everything, more often than it keeps.
func TestSaveStaysSmall(t *testing.T) {
	d, err := azurehub.New(azurehub.Config{Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	largest, sent := 0, 0
	step := func(in control.In) (ask uint64, id string) {
		outs(d, in, func(o control.Out) {
			if o.Kind == control.OutCommand {
				ask, id = o.Token, o.Command.ID
			}
			sent = max(sent, len(o.Payload))
		})
		largest = max(largest, len(d.Save()))
		return ask, id
	}
	step(control.In{Kind: control.InConnected})
	step(control.In{Kind: control.InMessage, Message: 999, Topic: "$iothub/twin/res/204/?$rid=1"})
	updates := 0
	for n := range 200 {
		url := "https://h/" + strings.Repeat("p", 2000)
		url += "?" + strings.Repeat("&", 4096-len(url)-1)
		call := fmt.Sprintf(`{"fwPackageUri": "%s", "fwVersion": "%s", "fwPackageCheckValue": "%s"}`, url, strings.Repeat(`\"`, 128), strings.Repeat(`\"`, 256))
		ask, id := step(control.In{Kind: control.InMessage, Topic: fmt.Sprintf("$iothub/methods/POST/firmwareUpdate/?$rid=%d", n), Payload: []byte(call), Message: uint64(n + 1)})
		if id == "" {
			continue
		}
		updates++
		step(control.In{Kind: control.InReceipt, Token: ask, Receipt: engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprint("run-", n)}})
		r := engine.Report{ID: fmt.Sprintf("run-%d.0", n), Run: fmt.Sprint("run-", n), Command: id, State: engine.Failed,
			Code: strings.Repeat(`"`, 2000), Step: strings.Repeat(`"`, 2000), Message: strings.Repeat(`"`, 2000)}
		step(control.In{Kind: control.InReport, Report: r})
	}
	if largest > 16<<10 || largest < 8<<10 || sent > 4<<10 || updates != 64 {
		t.Errorf("%d updates save up to %d bytes and send up to %d, want 64, between 8 and 16 KiB, and 4 KiB", updates, largest, sent)
	}
}

func outs(d control.Dialect, in control.In, each func(control.Out)) {
	in.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d.Step(in, each)
}

func readJSON(t *testing.T, file string, to any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

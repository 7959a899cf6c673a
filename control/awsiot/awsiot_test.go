package awsiot_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/engine"
)

func TestSettings(t *testing.T) {
	got, err := awsiot.Settings(map[string]string{"device": "gw-1", "topic": "fleet/{device}/up", "delivery": "published", "format": "json", "progress": "10s", "quiet": "true"})
	want := awsiot.Config{Device: "gw-1", Topic: "fleet/{device}/up", Delivery: awsiot.OnPublished, Progress: 10 * time.Second, Quiet: true}
	if err != nil || got != want {
		t.Errorf("settings = %+v, %v, want %+v", got, err, want)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := awsiot.Settings(map[string]string{"device": "gw/+", "topic": "state/#", "delivery": "maybe", "format": "xml", "progress": "soon", "quiet": "very", "colour": "red"})
	if !errors.Is(err, awsiot.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{`device "gw/+": holds '/'`, `topic "state/#"`, `delivery "maybe"`, `format "xml": want json or text`, `progress "soon"`, `quiet "very"`, `colour "red": unknown`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    awsiot.Config
	}{
		{"no device", awsiot.Config{}},
		{"shadow and topic", awsiot.Config{Device: "gw-1", Shadow: "classic", Topic: "fleet/{device}/up"}},
		{"shadow of no name", awsiot.Config{Device: "gw-1", Shadow: "name/"}},
		{"wildcard in the shadow", awsiot.Config{Device: "gw-1", Shadow: "name/+"}},
		{"shadow as text", awsiot.Config{Device: "gw-1", Shadow: "classic", Text: true}},
		{"shadow of what is no thing", awsiot.Config{Device: "gw.1", Shadow: "classic"}},
		{"wildcard in the device", awsiot.Config{Device: "+"}},
		{"long device", awsiot.Config{Device: strings.Repeat("x", 129)}},
		{"topic of all devices", awsiot.Config{Device: "gw-1", Topic: "state/update"}},
		{"wildcard in the topic", awsiot.Config{Device: "gw-1", Topic: "+/{device}"}},
		{"topic ends in a slash", awsiot.Config{Device: "gw-1", Topic: "state/{device}/"}},
		{"busy progress", awsiot.Config{Device: "gw-1", Progress: time.Millisecond}},
		{"progress as text", awsiot.Config{Device: "gw-1", Progress: time.Minute, Text: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := awsiot.New(tt.c, nil); !errors.Is(err, awsiot.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
		})
	}
}

func TestReadResult(t *testing.T) {
	for _, tt := range []struct {
		text, job string // job "": refused
		success   bool
	}{
		{"jobID:j-17 SUCCESS", "j-17", true},
		{"jobID:j-17SUCCESS\n", "j-17", true},
		{"jobID:j-17 FAILURE", "j-17", false},
		{"jobID:j-17FAILURE", "j-17", false},
		{"jobID: j-17  FAILURE", "j-17", false},
		{"jobID:https://h/v2.img SUCCESS", "https://h/v2.img", true},
		{`{"state": {"reported": {"jobID": "j-17", "result": "FAILURE", "error": {"code": "busy"}}}, "clientToken": "run-1.0"}`, "j-17", false},
		{`{"state": {"reported": {"jobID": null, "softwareURL": "https://h/v2.img?sig", "result": "SUCCESS"}}}`, "https://h/v2.img", true},
		{"jobID:j-17", "", false},
		{"jobID: SUCCESS", "", false},
		{"jobID:j-17 success", "", false},
		{"jobID:j-17\nj-18 SUCCESS", "", false},
		{"j-17 SUCCESS", "", false},
		{"jobID:https://h/v2.img?sig SUCCESS", "", false},
		{"jobID:" + strings.Repeat("j", 200<<10) + " SUCCESS", "", false},
		{`{"state": {"reported": {"jobID": 17, "result": "SUCCESS"}}}`, "", false},
		{`{"state": {"reported": {"jobID": "j-17", "result": "OK"}}}`, "", false},
		{`{"state": {"reported": {"result": "SUCCESS"}}}`, "", false},
		{`{"state": {"desired": {"jobID": "j-17", "result": "SUCCESS"}}}`, "", false},
		{"", "", false},
	} {
		t.Run(fmt.Sprintf("%.40s", tt.text), func(t *testing.T) {
			got, err := awsiot.ReadResult([]byte(tt.text))
			if tt.job == "" && !errors.Is(err, awsiot.ErrMessage) {
				t.Errorf("result = %+v, %v, want ErrMessage", got, err)
			}
			if tt.job != "" && (err != nil || got != awsiot.Result{JobID: tt.job, Success: tt.success}) {
				t.Errorf("result = %+v, %v, want %s %v", got, err, tt.job, tt.success)
			}
		})
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", `{"jobs": [null]}`, `{"jobs": [{"id": ""}]}`, `{"jobs": [{"id": "j-17", "stage": "ended"}]}`, `{"jobs": [{"id": "j-17", "stage": "s3cr3t?s3cr3t"}]}`} {
		t.Run(save, func(t *testing.T) {
			d, err := awsiot.New(awsiot.Config{Device: "gw-1"}, []byte(save))
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

// TestSaveStaysSmall gives a device the longest of everything, more often than it keeps.
func TestSaveStaysSmall(t *testing.T) {
	d, err := awsiot.New(awsiot.Config{Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	step := func(in control.In) (ask uint64, id string) {
		d.Step(in, func(o control.Out) {
			if o.Kind == control.OutCommand {
				ask, id = o.Token, o.Command.ID
			}
		})
		largest = max(largest, len(d.Save()))
		return ask, id
	}
	step(control.In{Kind: control.InConnected})
	job := func(n int) string {
		path := fmt.Sprintf("https://h/%d/", n)
		path += strings.Repeat("p", 1024-len(path))
		payload := fmt.Sprintf(`{"state": {"softwareURL": "%s", "version": "%s"}}`, path+"?"+strings.Repeat("&", 4095-len(path)), strings.Repeat(`\"`, 128))
		ask, id := step(control.In{Kind: control.InMessage, Topic: "state/gw-1/update/delta", Payload: []byte(payload), Message: uint64(n)})
		if id == "" {
			return ""
		}
		step(control.In{Kind: control.InReceipt, Token: ask, Receipt: engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprint("run-", n)}})
		return id
	}
	end := func(n int, id string) {
		r := engine.Report{ID: fmt.Sprintf("run-%d.0", n), Run: fmt.Sprint("run-", n), Command: id, State: engine.Failed, Code: strings.Repeat(`"`, 2000), Step: strings.Repeat(`"`, 2000), Message: strings.Repeat(`"`, 2000)}
		step(control.In{Kind: control.InReport, Report: r})
	}
	for n := 1; n <= 20; n++ {
		end(n, job(n))
		step(control.In{Kind: control.InMessage, Topic: "state/gw-1/update/accepted", Payload: fmt.Appendf(nil, `{"clientToken": "run-%d.0"}`, n)})
	}
	taken := 0
	for n := 21; n <= 40; n++ {
		if id := job(n); id != "" {
			taken++
			end(n, id)
		}
	}
	for n := 41; n <= 60; n++ { // of which nothing else is known
		end(n, fmt.Sprintf("https://h/%d/%s", n, strings.Repeat("p", 1000)))
	}
	if largest > control.MaxSave || largest < 40<<10 || taken != 6 {
		t.Errorf("saves up to %d bytes with %d open jobs, want 6 and between %d and %d", largest, taken, 40<<10, control.MaxSave)
	}
}

package awsjobs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/engine"
)

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		progress string
		want     time.Duration
	}{{"10s", 10 * time.Second}, {"off", -1}, {"", 0}} {
		words := map[string]string{"device": "gw:1_a-b", "start": "start-next", "stepTimeout": "60m"}
		if tt.progress != "" {
			words["progress"] = tt.progress
		}
		got, err := awsjobs.Settings(words)
		want := awsjobs.Config{Device: "gw:1_a-b", Start: awsjobs.StartNext, Progress: tt.want, StepTimeout: time.Hour}
		if err != nil || got != want {
			t.Errorf("settings = %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := awsjobs.Settings(map[string]string{"device": "gw/+", "start": "maybe", "progress": "1ms", "stepTimeout": "90s", "colour": "red"})
	if !errors.Is(err, awsjobs.ErrConfig) {
		t.Fatalf("error = %v, want ErrConfig", err)
	}
	for _, want := range []string{`device "gw/+": holds '/'`, `start "maybe": want update or start-next`, `progress "1ms": want at least 1s, or off`, `stepTimeout 1m30s: want whole minutes`, `colour "red": unknown`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	for name, c := range map[string]awsjobs.Config{
		"no device":              {},
		"wildcard in the device": {Device: "+"},
		"long device":            {Device: strings.Repeat("x", 129)},
		"busy progress":          {Device: "gw-1", Progress: time.Millisecond},
		"long step":              {Device: "gw-1", StepTimeout: 169 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := awsjobs.New(c, nil); !errors.Is(err, awsjobs.ErrConfig) {
				t.Errorf("error = %v, want ErrConfig", err)
			}
		})
	}
}

func TestInputs(t *testing.T) {
	for _, tt := range []struct{ name, document, want string }{ // want with a blank: part of the error
		{"nothing", `{}`, `{}`},
		{"an operation alone", `{"operation": "reboot"}`, `{"operation":"reboot"}`},
		{"no file", `{"operation": "install", "files": []}`, `{"operation":"install"}`},
		{"numbers", `{"url": "http://h/f", "version": 1.10, "size": 5}`, `{"size":"5","url":"http://h/f","version":"1.10"}`},
		{"MD5", `{"url": "http://h/f", "md5": "D41D8CD98F00B204E9800998ECF8427E"}`, `{"md5":"d41d8cd98f00b204e9800998ecf8427e","url":"http://h/f"}`},
		{"a step without a handler", `{"version": "1.0", "steps": [{"action": {"name": "Reboot", "input": {}}}]}`, `{"operation":"Reboot"}`},
		{"a step whose argument is a placeholder", `{"version": "1.0", "steps": [{"action": {"input": {"args": ["${aws:iot:parameter:url}"]}}}]}`, "args holds a placeholder"},
		{"a step without an input", `{"version": "1.0", "steps": [{"action": {"name": "Reboot"}}]}`, "input is missing"},
		{"a final step", `{"version": "1.0", "steps": [{"action": {"input": {}}}], "finalStep": {"action": {}}}`, "want one step and no finalStep"},
		{"steps that are none", `{"version": "1.0", "steps": {}}`, "steps is an object"},
		{"arguments that are none", `{"operation": "x", "args": "a b"}`, "args is text"},
		{"an argument that is none", `{"operation": "x", "args": [{}]}`, "args is an object"},
		{"33 arguments", `{"operation": "x", "args": [1` + strings.Repeat(",1", 32) + `]}`, "at most 32"},
		{"two files", `{"operation": "install", "files": [{}, {}]}`, "files is a list of 2"},
		{"a file from nowhere", `{"operation": "install", "files": [{"fileName": "x"}]}`, "fileSource is missing"},
		{"url and stream", `{"url": "http://h/f", "stream": "s-1"}`, "url and stream"},
		{"a stream elsewhere", `{"stream": "../s"}`, "want aws-stream:STREAM/FILE"},
		{"an argument that is the URL of a user", `{"operation": "x", "args": ["https://me:pw@h/f"]}`, "user name or password"},
		{"a long version", `{"version": "` + strings.Repeat("1", 129) + `"}`, "version is longer"},
		{"a list", `[]`, "jobDocument is a list"},
		{"two documents", `{} {}`, "jobDocument is no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inputs, err := awsjobs.Inputs([]byte(tt.document))
			got, _ := json.Marshal(inputs)
			if !strings.Contains(tt.want, " ") && (err != nil || string(got) != tt.want) {
				t.Errorf("inputs = %s, %v, want %s", got, err, tt.want)
			}
			if strings.Contains(tt.want, " ") && (!errors.Is(err, awsjobs.ErrMessage) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("inputs = %s, %v, want ErrMessage with %q", got, err, tt.want)
			}
		})
	}
}

// recorded is a line of a recording of the vendor's SDK.
type recorded struct {
	Topic   string
	Payload string
}

// TestRecordedService plays what a stub of the service sent to the vendor's
// SDK, and holds what comes out to what the SDK sent: the same topics, and at least the same
// members with the same status.
func TestRecordedService(t *testing.T) {
	text, err := os.ReadFile("testdata/examples/aws-jobs-sdk-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	d, err := awsjobs.New(awsjobs.Config{Device: "t1", Progress: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent []recorded
	step := func(in control.In) (ask uint64) {
		in.Now = time.Unix(1767225600, 0)
		d.Step(in, func(o control.Out) {
			switch o.Kind {
			case control.OutPublish:
				sent = append(sent, recorded{o.Topic, string(o.Payload)})
			case control.OutCommand:
				ask = o.Token
			case control.OutLog:
				t.Errorf("log: %s", o.Text)
			}
		})
		return ask
	}
	step(control.In{Kind: control.InConnected})
	checked, accepted := 0, 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var line recorded
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(line.Topic, "/accepted") {
			continue
		}
		if ask := step(control.In{Kind: control.InMessage, Topic: line.Topic, Payload: []byte(line.Payload), Message: 1}); ask != 0 {
			step(control.In{Kind: control.InReceipt, Token: ask, Receipt: engine.Receipt{Answer: engine.Accepted, Run: "run-1"}})
		}
		if accepted++; accepted == 2 { // the job is in progress
			step(control.In{Kind: control.InReport, Report: engine.Report{ID: "run-1.0", Run: "run-1", Command: "j1/1", State: engine.Succeeded}})
		}
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var line recorded
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(line.Topic, "/accepted") {
			continue
		}
		if checked >= len(sent) {
			t.Fatalf("nothing was sent for %s %s", line.Topic, line.Payload)
		}
		got := sent[checked]
		checked++
		var want, have map[string]any
		if json.Unmarshal([]byte(line.Payload), &want) != nil || json.Unmarshal([]byte(got.Payload), &have) != nil || got.Topic != line.Topic || fmt.Sprint(have["status"]) != fmt.Sprint(want["status"]) {
			t.Errorf("sent %s %s\nthe SDK %s %s", got.Topic, got.Payload, line.Topic, line.Payload)
		}
	}
	if checked != 3 || !strings.Contains(string(d.Save()), `"stage":"told"`) {
		t.Errorf("%d requests were compared, want 3; saved %s", checked, d.Save())
	}
}

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", `{"jobs": [null]}`, `{"jobs": [{"id": ""}]}`, `{"jobs": [{"id": "j-17", "stage": "ended"}]}`,
		`{"jobs": [{"id": "j-17", "stage": "s3cr3t?s3cr3t"}]}`, `{"jobs": [{"id": "../j", "stage": "told"}]}`, `{"jobs": [` + strings.Repeat(`{"id": "j", "stage": "told"},`, 24) + `{"id": "j", "stage": "told"}]}`} {
		t.Run(fmt.Sprintf("%.40s", save), func(t *testing.T) {
			d, err := awsjobs.New(awsjobs.Config{Device: "gw-1"}, []byte(save))
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
	d, err := awsjobs.New(awsjobs.Config{Device: "gw-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	step := func(in control.In) {
		d.Step(in, func(control.Out) {})
		largest = max(largest, len(d.Save()))
	}
	step(control.In{Kind: control.InConnected})
	long := strings.Repeat(`"`, 2000)
	for n := range 60 {
		id := fmt.Sprintf("%s%02d", strings.Repeat("j", 62), n)
		run := fmt.Sprintf("run-%d", n)
		step(control.In{Kind: control.InReport, Report: engine.Report{ID: run + ".0", Run: run, Command: id + "/9223372036854775807", State: engine.Failed, Code: long, Step: long, Message: long}})
		if n < 30 { // then the cloud is silent
			step(control.In{Kind: control.InMessage, Topic: "$aws/things/gw-1/jobs/" + id + "/update/accepted", Payload: []byte(`{}`), Message: uint64(n + 1)})
		}
	}
	if largest > control.MaxSave || largest < 16<<10 {
		t.Errorf("saves up to %d bytes, want between %d and %d", largest, 16<<10, control.MaxSave)
	}
}

package tencent_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/tencent"
	"github.com/updraft-ota/updraft/engine"
)

func TestDamagedSaveIsGivenUp(t *testing.T) {
	for _, save := range []string{"{", "[]", "7", "{}", `{"version": "0 1"}`, `{"version": "0.2", "jobs": [null]}`,
		`{"version": "0.2", "jobs": [{"version": "0.2", "attempt": 0, "stage": "running"}]}`,
		`{"version": "0.2", "jobs": [{"version": "0.2", "attempt": 1, "stage": "ended"}]}`,
		`{"version": "0.2", "jobs": [{"version": "0.2", "attempt": 1, "stage": "running"}, {"version": "0.2", "attempt": 1, "stage": "running"}]}`,
		`{"version": "0.2", "jobs": [{"version": "0.2", "attempt": 1, "stage": "s3cr3t?s3cr3t"}]}`} {
		t.Run(save, func(t *testing.T) {
			d, err := tencent.New(tencent.Config{Product: "P", Device: "gw-1", Version: "0.1"}, []byte(save))
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
			if got := string(d.Save()); got != `{"config":"0.1","version":"0.1"}` || lines != 1 {
				t.Errorf("saves %s after %d log lines, want nothing but the version, and 1", got, lines)
			}
		})
	}
}

// TestReportedVersion starts a device whose configuration may have changed, on what was saved before.
func TestReportedVersion(t *testing.T) {
	const ending = `"ending": {"code": -5}`
	for _, tt := range []struct {
		name, config, save, want string
	}{
		{"nothing was saved", "0.1", ``, "0.1"},
		{"an update has succeeded since it was written", "0.1", `{"config": "0.1", "version": "0.2"}`, "0.2"},
		{"it follows the device", "0.2", `{"config": "0.1", "version": "0.2"}`, "0.2"},
		{"somebody has set the device back", "0.1", `{"config": "0.2", "version": "0.2"}`, "0.1"},
		{"a version is on trial", "0.2", `{"config": "0.1", "version": "0.1", "jobs": [{"version": "0.2", "attempt": 1, "stage": "running"}]}`, "0.1"},
		{"a trial has ended", "0.2", `{"config": "0.1", "version": "0.1", "jobs": [{"version": "0.2", "attempt": 1, "stage": "told", ` + ending + `}]}`, "0.2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tencent.New(tencent.Config{Product: "P", Device: "gw-1", Version: tt.config}, []byte(tt.save))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			d.Step(control.In{Kind: control.InConnected}, func(o control.Out) { got += string(o.Payload) + o.Text })
			if want := fmt.Sprintf(`{"type":"report_version","report":{"version":"%s"}}`, tt.want); got != want {
				t.Errorf("says %s, want %s", got, want)
			}
		})
	}
}

// TestSaveStaysSmall gives a device the longest of everything, more often than it keeps.
func TestSaveStaysSmall(t *testing.T) {
	d, err := tencent.New(tencent.Config{Product: "P", Device: "gw-1", Version: "0.1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	largest, runs := 0, 0
	var sent uint64
	step := func(in control.In) (ask uint64, id string) {
		d.Step(in, func(o control.Out) {
			switch {
			case o.Kind == control.OutCommand:
				ask, id = o.Token, o.Command.ID
			case o.Kind == control.OutPublish && o.Token != 0:
				sent = o.Token
			}
		})
		largest = max(largest, len(d.Save()))
		return ask, id
	}
	push := func(n int, signature string) (uint64, string) {
		url := "https://h/" + signature + strings.Repeat("&", 4000)
		payload := fmt.Sprintf(`{"type": "update_firmware", "version": "%032d", "url": "%s", "md5sum": "%032d", "file_size": 9223372036854775807}`, n, url, n)
		return step(control.In{Kind: control.InMessage, Topic: "$ota/update/P/gw-1", Payload: []byte(payload)})
	}
	start := func(n int) string {
		ask, id := push(n, "a")
		if id != "" {
			runs++
			step(control.In{Kind: control.InReceipt, Token: ask, Receipt: engine.Receipt{Answer: engine.Accepted, Run: fmt.Sprint("run-", runs)}})
			push(n, "b")
		}
		return id
	}
	end := func(id string) {
		r := engine.Report{ID: id, Run: id, Command: id, State: engine.Failed, Code: strings.Repeat(`"`, 2000), Message: strings.Repeat(`"`, 2000)}
		step(control.In{Kind: control.InReport, Report: r})
	}
	step(control.In{Kind: control.InConnected})
	for n := 1; n <= 20; n++ {
		end(start(n))
		step(control.In{Kind: control.InPublished, Token: sent})
	}
	for n := 21; n <= 40; n++ {
		start(n)
	}
	for n := 41; n <= 80; n++ {
		end(fmt.Sprintf("%032d#1", n))
	}
	if largest > control.MaxSave || largest < 24<<10 || runs != 24 {
		t.Errorf("saves up to %d bytes with %d runs, want 24 runs and between %d and %d bytes", largest, runs, 24<<10, control.MaxSave)
	}
}

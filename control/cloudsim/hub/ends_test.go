package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/hub"
)

// talk plays lines to a hub, as an operator and as the device gw-1:
//
//	push JOB FILE [SHAPE]   without waiting for an answer
//	retry, cancel           of device update
//	answer STATUS           to the oldest call
//	again                   the device connects again
//	{…}                     a report
//
// It gives the ends, and what was noted.
func talk(t *testing.T, cloud cloudsim.Cloud, script string) (ends, notes string) {
	t.Helper()
	var told events
	s := start(t, cloudsim.Config{Files: files(t, "v2.bin", "v3.bin"), Events: told.tell}, cloud)
	connect := func() *wire {
		w := join(t, s, "gw-1")
		w.subscribe("$iothub/methods/POST/#", 0)
		w.subscribe("$iothub/twin/res/#", 0)
		return w
	}
	w := connect()
	for i, line := range strings.Split(strings.TrimSpace(script), "\n") {
		word := strings.Fields(line)
		switch word[0] {
		case "push":
			o := cloudsim.Order{Verb: cloudsim.VerbPush, All: true, Job: word[1], Software: cloudsim.Software{File: word[2], Version: word[2][1:2] + ".0"}}
			if len(word) > 3 {
				o.Set = map[string]any{"shape": word[3]}
			}
			order(t, s, o)
		case "retry", "cancel":
			order(t, s, verb(cloudsim.Verb(word[0])))
		case "answer":
			m, _ := w.message()
			_, rid, _ := strings.Cut(m.topic, "?")
			w.publish("$iothub/methods/res/"+word[1]+"/?"+rid, `{"Response":"said"}`)
		case "again":
			w.send(0xe0, "")
			eventually(t, "gone", func() bool { return !s.Connected("gw-1") })
			w = connect()
		default:
			line = strings.ReplaceAll(line, "RETRY", fmt.Sprint(at(doc(t, s, "gw-1"), "deployment", "newest", "retry")))
			if got := w.asks(fmt.Sprintf("$iothub/twin/PATCH/properties/reported/?$rid=%d", i), line); !strings.Contains(got.topic, "/204/") {
				t.Errorf("%s: %+v", line, got)
			}
		}
	}
	w.asks("$iothub/twin/GET/?$rid=end", "")
	r, _ := s.Book().Look("gw-1")
	var all []string
	for _, e := range r.Ends {
		all = append(all, fmt.Sprintf("%s %s %s x%d", e.Job, e.Outcome, e.Result, e.Arrivals))
	}
	return strings.Join(all, "; "), strings.Join(append(told.texts(cloudsim.EventNote), told.texts(cloudsim.EventRefused)...), "; ")
}

func TestEndsOfUpdates(t *testing.T) {
	for _, tt := range []struct{ name, script, ends, notes string }{
		{"an end that comes again", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"downloading"}
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
again
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}`, "j-1 succeeded completed x3", ""},
		{"another end of the same update", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
{"firmwareStatus":"failed","error":{"code":"install","message":"m"}}`, "j-1 succeeded completed x1", "failed is reported after the end of j-1, which stays succeeded"},
		{"the old end first thing in a connection, while the next update runs", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
push j-2 v3.bin
answer 200
again
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
{"firmwareStatus":"downloading"}
{"firmwareStatus":"failed","error":{"code":"size","message":"m"}}`, "j-1 succeeded completed x2; j-2 failed failed x1", ""},
		{"two failures that are the same", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"failed","error":{"code":"not_found","message":"m"}}
push j-2 v2.bin
answer 200
{"firmwareStatus":"failed","error":{"code":"not_found","message":"m"}}`, "j-1 failed failed x1; j-2 failed failed x1", ""},
		{"the same asked for twice while it runs", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"downloading"}
push j-2 v2.bin
answer 200
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}`, "j-1 succeeded completed x1; j-2 succeeded completed x1", ""},
		{"a device that says nothing of a failure", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"downloading"}
push j-2 v3.bin
answer 200
{"firmwareStatus":"downloading"}
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}`, "j-1 timed-out unknown x1; j-2 succeeded completed x1", ""},
		{"an end that comes after the next was asked for", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"downloading"}
push j-2 v3.bin
answer 200
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
{"firmwareStatus":"downloading"}
{"firmwareStatus":"completed","lastFirmwareUpdate":"u"}`, "j-1 succeeded completed x1; j-2 succeeded completed x1", ""},
		{"refused by the device", `
push j-1 v2.bin
answer 400`, "j-1 rejected 400 x1", ""},
		{"an answer that got lost", `
push j-1 v2.bin
again
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}`, "j-1 succeeded completed x1", ""},
		{"a start is no end", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"standBy","logTime":"t"}
{"firmwareStatus":"applying"}
{"firmwareStatus":"completed","lastFirmwareUpdate":"t"}
{"firmwareStatus":"standBy","logTime":"u"}`, "j-1 succeeded completed x1", ""},
		{"ready again after a stage", `
push j-1 v2.bin
answer 200
{"firmwareStatus":"applying"}
{"firmwareStatus":"standBy","logTime":"u"}`, "j-1 cancelled standBy x1", ""},
		{"node, the prose's spelling", `
push j-1 v2.bin node
answer 200
{"iothubDM":{"firmwareUpdate":{"status":"waiting","error":null}}}
{"iothubDM":{"firmwareUpdate":{"status":"downloadFailed","error":{"code":"e","message":"m"}}}}`, "j-1 failed downloadFailed x1", ""},
		{"node, cleared", `
push j-1 v2.bin node
answer 200
{"iothubDM":{"firmwareUpdate":null}}`, "j-1 cancelled cleared x1", ""},
		{"tutorial", `
push j-1 v2.bin twin
{"firmware":{"fwUpdateStatus":"current","pendingFwVersion":"2.0","fwUpdateSubstatus":"","lastFwUpdateStartTime":"t"}}
{"firmware":{"fwUpdateStatus":"downloading"}}
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"2.0","pendingFwVersion":"","lastFwUpdateEndTime":"t"}}
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"2.0"}}`, "j-1 succeeded current x1", ""},
		{"tutorial, rolled back", `
push j-1 v2.bin twin
{"firmware":{"fwUpdateStatus":"error","fwUpdateSubstatus":"install: m","pendingFwVersion":"2.0","lastFwUpdateEndTime":"t"}}
{"firmware":{"fwUpdateStatus":"rolledback"}}`, "j-1 failed error x1", "rolledback is reported after the end of j-1, which stays failed"},
		{"tutorial, a start with the old version", `
push j-1 v2.bin twin
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"1.0"}}`, "", ""},
		{"tutorial, a start with the new version", `
push j-1 v2.bin twin
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"2.0"}}`, "j-1 succeeded current x1", ""},
		{"tutorial, overtaken while it waited", `
push j-1 v2.bin twin
push j-2 v3.bin twin
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"3.0","pendingFwVersion":null,"lastFwUpdateEndTime":"t"}}`, "j-1 timed-out unknown x1; j-2 succeeded current x1", ""},
		{"tutorial, one after the other", `
push j-1 v2.bin twin
push j-2 v3.bin twin
{"firmware":{"fwUpdateStatus":"error","pendingFwVersion":"2.0","lastFwUpdateEndTime":"t"}}
{"firmware":{"fwUpdateStatus":"current","currentFwVersion":"3.0","pendingFwVersion":null,"lastFwUpdateEndTime":"t"}}`, "j-1 failed error x1; j-2 succeeded current x1", ""},
		{"reports of other things", `
{"firmwareStatus":"completed"}
{"firmwareStatus":7,"iothubDM":[],"firmware":"x"}
{"iothubDM":null}
{"temperature":{"unit":"C"}}`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ends, notes := talk(t, newHub(t, hub.Config{Accounts: accounts("gw-1")}), tt.script)
			if ends != tt.ends || notes != tt.notes {
				t.Errorf("ends = %q, notes = %q; want %q, %q", ends, notes, tt.ends, tt.notes)
			}
		})
	}
}

// agentSays is the report of a device update agent.
func agentSays(state, code int, workflow, more string) string {
	return fmt.Sprintf(`{"deviceUpdate":{"__t":"c","agent":{"state":%d,"workflow":{"action":3,%s},"lastInstallResult":{"resultCode":%d,"extendedResultCodes":"00000000","resultDetails":""}%s}}}`, state, workflow, code, more)
}

func TestEndsOfDeployments(t *testing.T) {
	installed := `,"installedUpdateId":"{\"provider\":\"updraft\",\"name\":\"device\",\"version\":\"2.0\"}"`
	d1, d2 := `"id":"d-1"`, `"id":"d-2"`
	ack := func(ac, av int, id, more string) string {
		return fmt.Sprintf(`{"deviceUpdate":{"__t":"c","service":{"ac":%d,"av":%d,"ad":"","value":{"workflow":{"action":3,"id":%q}%s}}}}`, ac, av, id, more)
	}
	for _, tt := range []struct {
		name  string
		lines []string
		ends  string
		notes string
	}{
		{"an end that comes again", []string{"push d-1 v2.bin", agentSays(6, 1, d1, ""), agentSays(0, 700, d1, installed), "again", agentSays(0, 700, d1, installed)}, "d-1 succeeded 0/700 x2", ""},
		{"another end of the same deployment", []string{"push d-1 v2.bin", agentSays(0, 700, d1, installed), agentSays(255, 0, d1, "")}, "d-1 succeeded 0/700 x1",
			"255/0 is reported for the deployment d-1 after its end, which stays succeeded"},
		{"success without the id of what is installed", []string{"push d-1 v2.bin", agentSays(0, 700, d1, "")}, "d-1 failed 0/700 x1", ""},
		{"success with another id", []string{"push d-1 v2.bin", agentSays(0, 700, d1, strings.Replace(installed, "2.0", "1.0", 1))}, "d-1 failed 0/700 x1", ""},
		{"idle is no end", []string{"push d-1 v2.bin", agentSays(0, 200, d1, "")}, "", ""},
		{"numbers as text", []string{"push d-1 v2.bin", `{"deviceUpdate":{"agent":{"state":"0","workflow":{"action":"3","id":"d-1"},"lastInstallResult":{"resultCode":"-1"}}}}`}, "d-1 cancelled 0/-1 x1", ""},
		{"an older attempt and its retry", []string{"push d-1 v2.bin", agentSays(255, 0, d1, ""), "retry", "again", agentSays(255, 0, d1, ""), agentSays(0, 700, d1+`,"retryTimestamp":"RETRY"`, installed)},
			"d-1 failed 255/0 x2; d-1 succeeded 0/700 x1", ""},
		{"a retry of what runs", []string{"push d-1 v2.bin", "retry", agentSays(0, 700, d1+`,"retryTimestamp":"RETRY"`, installed)}, "d-1 cancelled replaced x1; d-1 succeeded 0/700 x1", ""},
		{"an end before that of the replacement", []string{"push d-1 v2.bin", "push d-2 v2.bin", agentSays(6, 1, d2, ""), agentSays(255, 0, d1, ""), agentSays(6, 1, d2, ""), agentSays(0, 700, d2, installed)},
			"d-1 failed 255/0 x1; d-2 succeeded 0/700 x1", ""},
		{"a deployment of another cloud", []string{agentSays(0, 700, `"id":"d-9"`, installed)}, "", "0/700 is reported for the deployment d-9, which nobody waits for"},
		{"a state without a workflow", []string{"push d-1 v2.bin", `{"deviceUpdate":{"agent":{"state":0}}}`}, "", "state 0 is reported without a workflow"},
		{"wrong types", []string{"push d-1 v2.bin", `{"deviceUpdate":{"agent":{"state":{},"workflow":7}}}`, `{"deviceUpdate":[]}`, `{"deviceUpdate":{"agent":[],"service":{"ac":200}}}`}, "",
			"an acknowledgement of version <nil>, the desired properties have 2"},
		{"an acknowledgement", []string{"push d-1 v2.bin", ack(200, 2, "d-1", "")}, "", "version 2 is acknowledged"},
		{"an acknowledgement of what is yet to come", []string{"push d-1 v2.bin", ack(200, 3, "d-1", "")}, "", "an acknowledgement of version 3, the desired properties have 2"},
		{"an acknowledgement with another code", []string{"push d-1 v2.bin", ack(400, 2, "d-1", "")}, "", "an acknowledgement with ac 400, expected 200"},
		{"an acknowledgement of another deployment", []string{"push d-1 v2.bin", ack(200, 2, "d-2", "")}, "", `an acknowledgement of version 2 for the deployment "d-2", expected "d-1"`},
		{"an acknowledgement that repeats too much", []string{"push d-1 v2.bin", ack(200, 2, "d-1", `,"fileUrls":{}`)}, "", "an acknowledgement that repeats updateManifestSignature or fileUrls, expected null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ends, notes := talk(t, updateHub(t, "gw-1"), strings.Join(tt.lines, "\n"))
			if ends != tt.ends || notes != tt.notes {
				t.Errorf("ends = %q, notes = %q; want %q, %q", ends, notes, tt.ends, tt.notes)
			}
		})
	}
}

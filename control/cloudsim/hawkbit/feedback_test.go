package hawkbit_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// TestReports tells what an action is after reports about it: each is
// "resource execution/finished -> status".
func TestReports(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     map[string]any
		reports string // d is deploymentBase, c is cancelAction, ! an order to cancel
		status  string
		ends    string
		note    string
	}{
		{"success", nil, "d proceeding 200, d download 200, d downloaded 200, d closed/success 200", "FINISHED", "1 finished succeeded x1", ""},
		{"none is success", nil, "d closed/none 200", "FINISHED", "1 finished succeeded x1", ""},
		{"failure", nil, "d closed/failure 200", "ERROR", "1 error failed x1", ""},
		{"rejected goes on", nil, "d rejected/failure 200, d scheduled 200, d resumed 200, d canceled/success 200", "RUNNING", "", ""},
		{"the same end again", nil, "d closed/success 200, d closed/none 410, d proceeding 410", "FINISHED", "1 finished succeeded x2", ""},
		{"another end", nil, "d closed/success 200, d closed/failure 410", "FINISHED", "1 finished succeeded x1", "action 1 has ended as FINISHED; closed/failure comes too late and changes nothing"},
		{"success after a failure", nil, "d closed/failure 200, d closed/success 410", "ERROR", "1 error failed x1", "has ended as ERROR; closed/success"},
		{"download only", map[string]any{"type": "downloadonly"}, "d downloaded 200, d downloaded/success 410", "DOWNLOADED", "1 downloaded succeeded x2", ""},
		{"download only and installed all the same", map[string]any{"type": "downloadonly"}, "d downloaded 200, d closed/success 410", "DOWNLOADED", "1 downloaded succeeded x1", "closed/success comes too late"},
		{"cancelled", nil, "! c proceeding 200, c closed/success 200, c closed/none 200", "CANCELED", "1 canceled cancelled x2", ""},
		{"cancelled twice and different", nil, "! c closed/success 200, c rejected 200, d closed/success 410", "CANCELED", "1 canceled cancelled x1", "action 1 was cancelled; rejected/none comes too late"},
		{"cancellation rejected", nil, "! c rejected 200, c closed/success 405, d closed/success 200", "FINISHED", "1 finished succeeded x1", "action 1 goes on"},
		{"cancellation failed", nil, "! c closed/failure 200", "RUNNING", "", "action 1 goes on"},
		{"cancellation suspended", nil, "! c canceled 200", "CANCELING", "", ""},
		{"done before the cancellation", nil, "! d closed/success 200, c rejected 405", "FINISHED", "1 finished succeeded x1", ""},
		{"before the confirmation", map[string]any{"confirm": true}, "d closed/success 404", "WAIT_FOR_CONFIRMATION", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{})
			r.push(tt.set)
			script, cancel := strings.CutPrefix(tt.reports, "! ")
			if cancel {
				r.order(cloudsim.Order{Verb: cloudsim.VerbCancel})
			}
			for step := range strings.SplitSeq(script, ", ") {
				words := strings.Fields(step)
				path := map[string]string{"d": "/deploymentBase/1", "c": "/cancelAction/1"}[words[0]]
				if got := r.says(path, words[1]+" because"); !strings.HasPrefix(got.String(), words[2]) {
					t.Errorf("%s: answer %s", step, got)
				}
			}
			var doc struct{ Actions []struct{ Status string } }
			record, _ := r.Book().Look("gw-1")
			if err := record.Read(&doc); err != nil {
				t.Fatal(err)
			}
			check(t, "status", doc.Actions[0].Status, tt.status)
			check(t, "ends", r.ends(), tt.ends)
			if notes := r.events.text(cloudsim.EventNote); !strings.Contains(notes, tt.note) || tt.note == "" && notes != "" {
				t.Errorf("notes = %q, want %q", notes, tt.note)
			}
		})
	}
}

func TestEndSaysWhy(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	body := `{"id":"1","time":"20260101T000000","status":{"execution":"closed","result":{"finished":"failure","progress":{"cnt":2,"of":5}},"code":"4","details":["rolled back",7,null]}}`
	check(t, "answer", r.do("gw-1", "POST", "/deploymentBase/1/feedback", body), "200")
	record, _ := r.Book().Look("gw-1")
	e := record.Ends[0]
	check(t, "end", fmt.Sprintf("%s %s %s %q", e.Job, e.Result, e.Code, e.Message), `1 error 4 "rolled back; 7"`)
	var d struct {
		ActionHistory struct{ Status, Messages any }
	}
	decodeBody(t, r.do("gw-1", "GET", "/deploymentBase/1?actionHistory=-1", ""), &d)
	check(t, "history", d.ActionHistory, "{ERROR [Device reported status code: 4 7 rolled back]}")
	decodeBody(t, r.do("gw-1", "GET", "/deploymentBase/1?actionHistory=1", ""), &d)
	check(t, "one message of it", d.ActionHistory, "{ERROR [Device reported status code: 4]}")
}

func TestBadFeedback(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	details := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"x",`, n), ",") }
	for _, tt := range []struct {
		name, body string
		status     int
		told       string
	}{
		{"empty", ``, 400, "expected an object"},
		{"no JSON", `{"status":`, 400, "expected an object"},
		{"two documents", `{}{}`, 400, "expected an object"},
		{"a list", `[]`, 400, "expected an object"},
		{"null", `null`, 400, "expected an object"},
		{"no status", `{"id":"1"}`, 400, "status: not readable"},
		{"status is text", `{"status":"closed"}`, 400, "status: not readable"},
		{"no execution", `{"status":{"result":{"finished":"success"}}}`, 400, "status.execution: not readable"},
		{"unknown execution", `{"status":{"execution":"done","result":{"finished":"success"}}}`, 400, "status.execution: not readable"},
		{"execution in large letters", `{"status":{"execution":"CLOSED","result":{"finished":"success"}}}`, 400, "status.execution"},
		{"no result", `{"status":{"execution":"closed"}}`, 400, "status.result: not readable"},
		{"no finished", `{"status":{"execution":"closed","result":{}}}`, 400, "status.result.finished"},
		{"unknown finished", `{"status":{"execution":"closed","result":{"finished":true}}}`, 400, "status.result.finished"},
		{"code is text", `{"status":{"execution":"closed","result":{"finished":"success"},"code":"OK"}}`, 400, "code"},
		{"large code", `{"status":{"execution":"closed","result":{"finished":"success"},"code":4294967296}}`, 400, "code"},
		{"details are text", `{"status":{"execution":"closed","result":{"finished":"success"},"details":"x"}}`, 400, "details"},
		{"details are objects", `{"status":{"execution":"closed","result":{"finished":"success"},"details":[{}]}}`, 400, "details"},
		{"too many details", `{"status":{"execution":"closed","result":{"finished":"success"},"details":[` + details(51) + `]}}`, 429, ""},
		{"too many with the code", `{"status":{"execution":"closed","result":{"finished":"success"},"code":1,"details":[` + details(50) + `]}}`, 429, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.events.text(cloudsim.EventRefused))
			got := r.do("gw-1", "POST", "/deploymentBase/1/feedback", tt.body)
			told := r.events.text(cloudsim.EventRefused)[before:]
			if got.status != tt.status || !strings.Contains(got.body, `"exceptionClass":"org.eclipse.hawkbit.`) || !strings.Contains(told, tt.told) {
				t.Errorf("answer = %s, told %q, want %d and %q", got, told, tt.status, tt.told)
			}
		})
	}
	check(t, "ends", r.ends(), "")
	check(t, "feedback after all that", r.says("/deploymentBase/1", "closed/success"), "200")
}

func TestQuotaOfReports(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	for range 1000 {
		if got := r.says("/deploymentBase/1", "proceeding"); got.status != http.StatusOK {
			t.Fatalf("answer = %s", got)
		}
	}
	got := r.says("/deploymentBase/1", "proceeding")
	if got.status != 429 || !strings.Contains(got.body, `"errorCode":"hawkbit.server.error.quota.tooManyEntries"`) {
		t.Errorf("report 1001: %s, want 429", got)
	}
	check(t, "the end all the same", r.says("/deploymentBase/1", "closed/success"), "200")
	record, _ := r.Book().Look("gw-1")
	if len(record.Doc) > 2000 {
		t.Errorf("the record has grown to %d bytes", len(record.Doc))
	}
}

func TestConfirmation(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(map[string]any{"confirm": true})
	links := r.links("gw-1")
	if _, shown := links["deploymentBase"]; shown || links["confirmationBase"] == "" {
		t.Errorf("links = %v, want confirmationBase alone", links)
	}
	answers := func(said string) reply {
		return r.do("gw-1", "POST", "/confirmationBase/1/feedback", fmt.Sprintf(`{"confirmation":%q,"code":5,"details":["said so"]}`, said))
	}
	got := r.do("gw-1", "GET", links["confirmationBase"]+"&actionHistory=3", "")
	if !strings.Contains(got.body, `"confirmation":{"download":"forced","update":"forced","chunks":[`) || strings.Contains(got.body, `"deployment"`) {
		t.Errorf("confirmation = %s", got)
	}
	check(t, "deployment before", r.get("/deploymentBase/1").status, 404)
	if got := r.get("/confirmationBase"); !strings.HasPrefix(got.body, `{"_links":{"activateAutoConfirm":{"href":"BASE/confirmationBase/activateAutoConfirm"},"confirmationBase":{"href":"BASE/confirmationBase/1?c=`) || !strings.HasSuffix(got.body, `"autoConfirm":{"active":false}}`) {
		t.Errorf("confirmations = %s", got)
	}
	check(t, "maybe", answers("maybe").status, 400)
	check(t, "denied", answers("denied").status, 200)
	check(t, "still there", r.get("/confirmationBase/1").status, 200)
	check(t, "confirmed", answers("confirmed").status, 200)
	check(t, "confirmed again", answers("confirmed").status, 404)
	check(t, "nothing to confirm", r.get("/confirmationBase/1").status, 404)
	check(t, "deployment", r.get("/deploymentBase/1").status, 200)
	check(t, "end", r.says("/deploymentBase/1", "closed/success"), "200")
	check(t, "confirmed after the end", answers("confirmed").status, 410)
}

func TestAutomaticConfirmation(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(map[string]any{"confirm": true})
	check(t, "on", r.do("gw-1", "POST", "/confirmationBase/activateAutoConfirm", `{"initiator":"me","remark":"why not"}`), "200")
	check(t, "what waited", r.get("/deploymentBase/1").status, 200)
	got := r.do("gw-1", "POST", "/confirmationBase/activateAutoConfirm", "")
	if got.status != 409 || !strings.Contains(got.body, "hawkbit.server.error.repo.autoConfAlreadyActive") {
		t.Errorf("on again: %s, want 409", got)
	}
	if got := r.get("/confirmationBase"); !strings.Contains(got.body, `"active":true,`) || !strings.Contains(got.body, `"initiator":"me","remark":"why not"`) || !strings.Contains(got.body, "deactivateAutoConfirm") {
		t.Errorf("confirmations = %s", got)
	}
	r.says("/deploymentBase/1", "closed/success")
	r.push(map[string]any{"confirm": true})
	check(t, "what comes later", r.get("/deploymentBase/2").status, 200)
	check(t, "off", r.do("gw-1", "POST", "/confirmationBase/deactivateAutoConfirm", ""), "200")
	r.says("/deploymentBase/2", "closed/success")
	r.push(map[string]any{"confirm": true})
	check(t, "and later", r.get("/deploymentBase/3").status, 404)
}

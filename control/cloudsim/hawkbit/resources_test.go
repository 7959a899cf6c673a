package hawkbit_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

var version = regexp.MustCompile(`\?c=-?\d+`)

func TestDocuments(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	check(t, "first poll", r.get(""), `200 {"config":{"polling":{"sleep":"00:00:01"}},"_links":{"configData":{"href":"BASE/configData"}}}`)
	check(t, "attributes", r.do("gw-1", "PUT", "/configData", `{"mode":"merge","data":{"model":"gw-200"}}`), "200")
	check(t, "poll with nothing to do", r.get(""), `200 {"config":{"polling":{"sleep":"00:00:01"}}}`)

	done := r.push(map[string]any{"part": "application", "name": "gateway", "metadata": map[string]any{"reboot": "yes", "a": "b"}})
	check(t, "done", fmt.Sprint(done.Job, " ", done.Text), "1 action 1, forced")
	check(t, "poll", version.ReplaceAllString(r.get("").String(), "?c=C"),
		`200 {"config":{"polling":{"sleep":"00:00:01"}},"_links":{"deploymentBase":{"href":"BASE/deploymentBase/1?c=C"}}}`)
	want := `{"id":"1","deployment":{"download":"forced","update":"forced","chunks":[{"part":"bApp","version":"2.0","name":"gateway","artifacts":[{"filename":"gateway.img",` +
		`"hashes":{"sha1":"` + contentSHA1 + `","md5":"` + contentMD5 + `","sha256":"` + contentSHA256 + `"},"size":29,"_links":{` +
		`"download-http":{"href":"BASE/softwaremodules/1/artifacts/gateway.img"},"md5sum-http":{"href":"BASE/softwaremodules/1/artifacts/gateway.img.MD5SUM"}}}],` +
		`"metadata":[{"key":"a","value":"b"},{"key":"reboot","value":"yes"}]}]}}`
	check(t, "deployment", r.get("/deploymentBase/1?c=-1"), "200 "+want)
	check(t, "no installed base", r.get("/installedBase/1").status, 404)
	check(t, "no cancellation", r.get("/cancelAction/1").status, 404)
	check(t, "artifacts", strings.Contains(want, strings.TrimPrefix(r.get("/softwaremodules/1/artifacts").String(), "200 ")), true)

	check(t, "closed", r.says("/deploymentBase/1", "closed/success"), "200")
	check(t, "poll after the end", r.get(""),
		`200 {"config":{"polling":{"sleep":"00:00:01"}},"_links":{"configData":{"href":"BASE/configData"},"installedBase":{"href":"BASE/installedBase/1"}}}`)
	check(t, "installed base", r.get("/installedBase/1"), "200 "+want)
	check(t, "ends", r.ends(), "1 finished succeeded x1")
}

// TestHandling looks at what a device is to do now.
func TestHandling(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name  string
		set   map[string]any
		after time.Duration
		want  string // download, update, window
	}{
		{"forced", map[string]any{"type": "forced"}, 0, "forced forced"},
		{"soft", map[string]any{"type": "soft"}, 0, "attempt attempt"},
		{"download only", map[string]any{"type": "downloadonly"}, 0, "forced skip"},
		{"not yet forced", map[string]any{"type": "timeforced", "forcetime": 1_700_000_060_000}, 59 * time.Second, "attempt attempt"},
		{"forced by time", map[string]any{"type": "timeforced", "forcetime": "1m"}, time.Minute, "forced forced"},
		{"window open", map[string]any{"window": "available"}, 0, "forced forced available"},
		{"window closed", map[string]any{"window": "unavailable"}, 100 * time.Hour, "forced skip unavailable"},
		{"window opens later", map[string]any{"window": "10m"}, 9 * time.Minute, "forced skip unavailable"},
		{"window has opened", map[string]any{"window": "10m", "type": "soft"}, 10 * time.Minute, "attempt attempt available"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := now
			r := newRig(t, cloudsim.Config{Now: func() time.Time { return clock }})
			r.push(tt.set)
			before := r.links("gw-1")["deploymentBase"]
			clock = clock.Add(tt.after)
			var d struct {
				Deployment struct{ Download, Update, MaintenanceWindow string }
			}
			decodeBody(t, r.do("gw-1", "GET", r.links("gw-1")["deploymentBase"], ""), &d)
			check(t, "handling", strings.TrimSpace(strings.Join([]string{d.Deployment.Download, d.Deployment.Update, d.Deployment.MaintenanceWindow}, " ")), tt.want)
			if changed := before != r.links("gw-1")["deploymentBase"]; changed != (tt.name == "forced by time" || tt.name == "window has opened") {
				t.Errorf("the link has changed: %v", changed)
			}
		})
	}
}

func TestConfigData(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	many := func(n int) string {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return "{" + strings.Join(pairs, ",") + "}"
	}
	for _, tt := range []struct {
		name, body string
		status     int
		want       string // the attributes after it
	}{
		{"remove before any", `{"mode":"remove","data":{"a":"x"}}`, 200, "map[]"},
		{"merge", `{"mode":"merge","data":{"a":"1","b":"2"}}`, 200, "map[a:1 b:2]"},
		{"merge without a mode", `{"data":{"c":"3","a":null},"id":"","time":"x"}`, 200, "map[b:2 c:3]"},
		{"remove", `{"mode":"remove","data":{"b":""}}`, 200, "map[c:3]"},
		{"replace", `{"mode":"replace","data":{"d":"4"}}`, 200, "map[d:4]"},
		{"unknown mode", `{"mode":"add","data":{"e":"5"}}`, 400, "map[d:4]"},
		{"no data", `{"mode":"merge"}`, 400, "map[d:4]"},
		{"no text", `{"data":{"e":{}}}`, 400, "map[d:4]"},
		{"a list", `[]`, 400, "map[d:4]"},
		{"no JSON", `{`, 400, "map[d:4]"},
		{"long value", `{"data":{"e":"` + strings.Repeat("x", 129) + `"}}`, 400, "map[d:4]"},
		{"letters beyond ASCII", `{"data":{"e":"é"}}`, 400, "map[d:4]"},
		{"too many", `{"data":` + many(100) + `}`, 429, "map[d:4]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do("gw-1", "PUT", "/configData", tt.body)
			if got.status != tt.status {
				t.Errorf("answer = %s, want %d", got, tt.status)
			}
			record, _ := r.Book().Look("gw-1")
			var doc struct{ Attributes map[string]string }
			if err := record.Read(&doc); err != nil {
				t.Fatal(err)
			}
			check(t, "attributes", fmt.Sprint(doc.Attributes), tt.want)
		})
	}
	if _, asked := r.links("gw-1")["configData"]; asked {
		t.Error("the server asks for attributes that it was told")
	}
}

// TestRemovedAttributesTellNothing has the server go on to ask.
func TestRemovedAttributesTellNothing(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	for _, tt := range []struct {
		mode string
		asks bool
	}{{"remove", true}, {"merge", false}, {"remove", false}} {
		r.do("gw-1", "PUT", "/configData", `{"mode":"`+tt.mode+`","data":{"a":"b"}}`)
		_, asks := r.links("gw-1")["configData"]
		check(t, "asks after "+tt.mode, asks, tt.asks)
	}
}

func TestEntityTags(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	first := r.do("gw-1", "GET", "", "")
	tag := first.header.Get("ETag")
	if !regexp.MustCompile(`^"0[0-9a-f]{32}"$`).MatchString(tag) {
		t.Errorf("ETag = %s, want a 0 and an MD5 in quotes", tag)
	}
	for _, header := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		got := r.do("gw-1", "GET", "", "", "If-None-Match: "+header)
		if got.status != 304 || got.body != "" || got.header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %s with ETag %s, want 304 with %s", header, got, got.header.Get("ETag"), tag)
		}
	}
	r.push(nil)
	if got := r.do("gw-1", "GET", "", "", "If-None-Match: "+tag); got.status != 200 || got.header.Get("ETag") == tag {
		t.Errorf("after a push: %s, want 200 with another ETag", got)
	}
	check(t, "polls", r.Clients()["gw-1"].Connects, 6)
}

func TestWhatIsNotUnderstood(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	notReadable := `{"exceptionClass":"org.eclipse.hawkbit.rest.exception.MessageNotReadableException","errorCode":"hawkbit.server.error.rest.body.notReadable","message":`
	notFound := `{"exceptionClass":"org.eclipse.hawkbit.repository.exception.EntityNotFoundException","errorCode":"hawkbit.server.error.repo.entityNotFound","message":`
	for _, tt := range []struct{ name, method, path, body, header, want string }{
		{"other resource", "GET", "/deployment", "", "", "404"},
		{"too deep", "GET", "/deploymentBase/1/feedback/2", "", "", "404"},
		{"twice a slash", "GET", "//deploymentBase/1", "", "", "404"},
		{"bad escape is one of the client", "GET", "/%2e%2e/gw-2", "", "", "404"},
		{"delete the base", "DELETE", "", "", "", "405"},
		{"get feedback", "GET", "/deploymentBase/1/feedback", "", "", "405"},
		{"put feedback", "PUT", "/deploymentBase/1/feedback", "{}", "", "405"},
		{"get attributes", "GET", "/configData", "", "", "405"},
		{"no number", "GET", "/deploymentBase/1bad", "", "", "400 " + notReadable},
		{"a larger number", "GET", "/cancelAction/99999999999999999999", "", "", "400 " + notReadable},
		{"no such action", "GET", "/deploymentBase/4", "", "", "404 " + notFound + `"Action 4 does not exist"}`},
		{"feedback to no action", "POST", "/deploymentBase/4/feedback", `{"status":{"execution":"closed","result":{"finished":"success"}}}`, "", "404 " + notFound},
		{"answer to no cancellation", "POST", "/cancelAction/4/feedback", `{"status":{"execution":"closed","result":{"finished":"success"}}}`, "", "404 " + notFound},
		{"confirmation of nothing", "POST", "/confirmationBase/4/feedback", `{"confirmation":"confirmed"}`, "", "404 " + notFound},
		{"no such module", "GET", "/softwaremodules/4/artifacts", "", "", "404 " + notFound},
		{"history", "GET", "/deploymentBase/1?actionHistory=all", "", "", "400 " + notReadable},
		{"HTML", "GET", "", "", "Accept: text/html", "406"},
		{"CBOR", "GET", "", "", "Accept: application/cbor", "406"},
		{"text", "POST", "/deploymentBase/1/feedback", "hello", "Content-Type: text/plain", "415"},
		{"too much", "POST", "/deploymentBase/1/feedback", strings.Repeat(" ", 257<<10), "", "413 " + notReadable},
		{"answer to no cancellation of an action", "POST", "/cancelAction/1/feedback", `{"status":{"execution":"closed","result":{"finished":"success"}}}`, "",
			`405 {"exceptionClass":"org.eclipse.hawkbit.repository.exception.CancelActionNotAllowedException","errorCode":"hawkbit.server.error.action.notCancelable","message":"action 1 is not being cancelled"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.do("gw-1", tt.method, tt.path, tt.body, tt.header).String()
			if got != tt.want && (len(tt.want) < 4 || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("answer = %s\nwant %s", got, tt.want)
			}
		})
	}
	check(t, "ends", r.ends(), "")
	for accept, want := range map[string]string{"application/json": "application/json", "*/*": "application/hal+json", "text/html, application/json;q=0.9": "application/json", "": "application/hal+json"} {
		if got := r.do("gw-1", "GET", "", "", "Accept: "+accept); got.header.Get("Content-Type") != want {
			t.Errorf("Accept %q: %s of %s, want %s", accept, got, got.header.Get("Content-Type"), want)
		}
	}
}

// TestAnotherDevicesAction is one that exists, and not for who asks.
func TestAnotherDevicesAction(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	r.push(nil)
	for _, path := range []string{"/deploymentBase/1", "/softwaremodules/1/artifacts", "/softwaremodules/1/artifacts/gateway.img"} {
		check(t, path, r.do("gw-2", "GET", path, "").status, 404)
	}
	if _, shown := r.links("gw-2")["deploymentBase"]; shown {
		t.Error("a device is shown the action of another one")
	}
}

func TestThrottled(t *testing.T) {
	r := newRig(t, cloudsim.Config{})
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultThrottled, Client: "gw-1", Every: 2}); err != nil {
		t.Fatal(err)
	}
	check(t, "first", r.do("gw-1", "GET", "", "").status, 200)
	second := r.do("gw-1", "GET", "", "")
	check(t, "second", second.String()+" "+second.header.Get("Retry-After"), "429 1")
	check(t, "another device", r.do("gw-2", "GET", "", "").status, 200)
}

func TestTrace(t *testing.T) {
	var trace strings.Builder
	r := startRig(t, cloudsim.Config{Trace: &trace})
	r.push(nil)
	r.says("/deploymentBase/1", "closed/success done")
	r.do("gw-1", "GET", "/nothing?s3cr3t", "")
	r.close()
	got := trace.String()
	for _, want := range []string{
		`"client":"gw-1","direction":"up","topic":"POST /DEFAULT/controller/v1/gw-1/deploymentBase/1/feedback","qos":0,"payload":"{\"id\":\"1\"`,
		`"direction":"down","topic":"POST /DEFAULT/controller/v1/gw-1/deploymentBase/1/feedback 200"`,
		`"direction":"down","topic":"GET /DEFAULT/controller/v1/gw-1/nothing 404"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("trace has no %s:\n%s", want, got)
		}
	}
	if strings.Contains(got, "s3cr3t") {
		t.Errorf("trace has a secret:\n%s", got)
	}
}

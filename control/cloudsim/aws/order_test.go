package aws_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// files is a folder with one release.
func files(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "v2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "v2", "a b.img"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const release = "v2/a b.img"

func TestOrdersRefused(t *testing.T) {
	push, cancel, retry := cloudsim.VerbPush, cloudsim.VerbCancel, cloudsim.VerbRetry
	set := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	file := cloudsim.Software{File: release}
	for _, tt := range []struct {
		name string
		o    cloudsim.Order
		want string
	}{
		{"replace", cloudsim.Order{Verb: cloudsim.VerbReplace, Software: file}, "replace"},
		{"another way", cloudsim.Order{Verb: push, Software: file, Set: set("via", "mail")}, "mail"},
		{"a way that is a number", cloudsim.Order{Verb: push, Software: file, Set: set("via", 1)}, "via: want text"},
		{"a shadow without software", cloudsim.Order{Verb: push}, "URL is missing"},
		{"cancel of a shadow", cloudsim.Order{Verb: cancel, Set: set("via", "shadow")}, "has no cancel"},
		{"retry of a shadow", cloudsim.Order{Verb: retry, Set: set("via", "named", "shadow", "fw")}, "has no retry"},
		{"named without a name", cloudsim.Order{Verb: push, Software: file, Set: set("via", "named")}, "a name of up to 64"},
		{"a name without named", cloudsim.Order{Verb: push, Software: file, Set: set("shadow", "fw")}, "needs via named"},
		{"too much desired", cloudsim.Order{Verb: push, Software: file, Set: set("more", strings.Repeat("x", 9000))}, "exceeds"},
		{"a job without software", cloudsim.Order{Verb: push, Set: set("via", "jobs")}, "has no software"},
		{"a job of a strange id", cloudsim.Order{Verb: push, Job: "j.1", Software: file, Set: set("via", "jobs")}, "up to 64 letters"},
		{"a job that is there", cloudsim.Order{Verb: push, Job: "j-0", Software: file, Set: set("via", "jobs")}, "already"},
		{"an unknown member", cloudsim.Order{Verb: push, Software: file, Set: set("via", "jobs", "priority", 1)}, `unknown member "priority" (have ["via" "document" "stream" "file" "loseEach"])`},
		{"a document that is a list", cloudsim.Order{Verb: push, Set: set("via", "jobs", "document", []any{1})}, "want a JSON object"},
		{"a document that is no JSON", cloudsim.Order{Verb: push, Set: set("via", "jobs", "document", "{")}, "document"},
		{"a long document", cloudsim.Order{Verb: push, Set: set("via", "jobs", "document", set("a", strings.Repeat("x", 33<<10)))}, "the limit is 32768"},
		{"a stream of nothing", cloudsim.Order{Verb: push, Set: set("via", "jobs", "stream", true, "document", set("a", 1))}, "needs a file"},
		{"a stream of another server", cloudsim.Order{Verb: push, Software: cloudsim.Software{URL: "https://h/f"}, Set: set("via", "jobs", "stream", true)}, "needs a file"},
		{"loss without a stream", cloudsim.Order{Verb: push, Software: file, Set: set("via", "jobs", "loseEach", 3)}, "need stream true"},
		{"loss of everything", cloudsim.Order{Verb: push, Software: file, Set: set("via", "jobs", "stream", true, "loseEach", 1)}, "from 2"},
		{"a file of a high number", cloudsim.Order{Verb: push, Software: file, Set: set("via", "jobs", "stream", true, "file", 256)}, "0 to 255"},
		{"a stream maybe", cloudsim.Order{Verb: push, Software: file, Set: set("via", "jobs", "stream", "maybe")}, "true or false"},
		{"cancel of nothing", cloudsim.Order{Verb: cancel, Job: "j-9"}, `no job "j-9"`},
		{"cancel of what is over", cloudsim.Order{Verb: cancel, Job: "done"}, "is SUCCEEDED"},
		{"cancel with a document", cloudsim.Order{Verb: cancel, Job: "j-0", Set: set("document", 1)}, "unknown member"},
		{"retry of what went well", cloudsim.Order{Verb: retry, Job: "done"}, "expected FAILED or TIMED_OUT"},
		{"retry of what goes on", cloudsim.Order{Verb: retry}, "no job is FAILED or TIMED_OUT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{})
			r.job("done")
			r.ask("jobs/done/update", `{"status":"SUCCEEDED"}`)
			r.job("j-0")
			before, _ := r.Book().Look("gw-1")
			if _, err := r.order(tt.o); !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Order = %v, want ErrConfig with %q", err, tt.want)
			}
			if after, _ := r.Book().Look("gw-1"); string(after.Doc) != string(before.Doc) {
				t.Errorf("the record is %s, want %s", after.Doc, before.Doc)
			}
		})
	}
}

// The document that is made is one that the device's dialect reads, and its
// URL is another one at each delivery.
func TestDefaultDocument(t *testing.T) {
	r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{Via: "jobs"})
	done, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j-1", Software: cloudsim.Software{File: release, Version: "2.0"}})
	if err != nil || done.Job != "j-1" || done.URL != r.Endpoints().Files+"v2/a%20b.img" {
		t.Fatalf("Order = %+v, %v", done, err)
	}
	seen := map[string]bool{}
	for _, request := range []string{"jobs/$next/get", "jobs/j-1/get", "jobs/start-next", "jobs/start-next"} {
		_, body := r.ask(request, `{}`)
		inputs, err := awsjobs.Inputs([]byte(text(t, body["execution"].(map[string]any)["jobDocument"])))
		if err != nil {
			t.Fatal(err)
		}
		url, query, _ := strings.Cut(inputs["url"], "?")
		seen[query] = true
		if url != done.URL || inputs["version"] != "2.0" || inputs["size"] != "3" || inputs["sha256"] != "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437" {
			t.Errorf("inputs = %v", inputs)
		}
		if !regexp.MustCompile(`^X-Amz-Date=20231114T221320Z&X-Amz-Expires=3600&X-Amz-Signature=\w{26}$`).MatchString(query) {
			t.Errorf("query = %s", query)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d queries in four deliveries", len(seen))
	}
	if record, _ := r.Book().Look("gw-1"); strings.Contains(string(record.Doc), "Signature") || strings.Contains(string(record.Doc), "127.0.0.1") {
		t.Errorf("the record keeps an address: %s", record.Doc)
	}
}

// Both reference forms of documents pass with their placeholders replaced.
func TestOwnDocuments(t *testing.T) {
	const object = "${aws:iot:s3-presigned-url:https://s3.eu-west-1.amazonaws.com/bucket/v2/f.img}"
	for _, tt := range []struct{ name, document, path string }{
		{"steps", `{"version":"1.0","steps":[{"action":{"name":"install","type":"runHandler","input":{"handler":"install.sh","args":["` + object + `"],"path":"default"}}}]}`, "v2/f.img"},
		{"operation", `{"operation":"download.sh","args":["` + object + `","/tmp/f"]}`, "v2/f.img"},
		{"files", `{"operation":"install","files":[{"fileName":"f","fileVersion":"2","fileSource":{"url":"` + object + `"}}]}`, "v2/f.img"},
		{"a bucket in the host", `{"url":"${aws:iot:s3-presigned-url:https://bucket.s3.eu-west-1.amazonaws.com/f.img}"}`, "f.img"},
		{"an escaped key", `{"url":"${aws:iot:s3-presigned-url:https://s3.eu-west-1.amazonaws.com/bucket/a%20%26b}"}`, "a%20&b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{}, aws.Config{})
			if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Set: map[string]any{"via": "jobs", "document": tt.document}}); err != nil {
				t.Fatal(err)
			}
			_, body := r.ask("jobs/start-next", ``)
			inputs, err := awsjobs.Inputs([]byte(text(t, body["execution"].(map[string]any)["jobDocument"])))
			if err != nil {
				t.Fatal(err)
			}
			if url, _, signed := strings.Cut(inputs["url"], "?"); url != r.Endpoints().Files+tt.path || !signed {
				t.Errorf("url = %s, want %s with a query", inputs["url"], r.Endpoints().Files+tt.path)
			}
		})
	}
	for _, bad := range []string{"ftp://h/b/f", "https://s3.r.amazonaws.com/bucket", "https://s3.r.amazonaws.com/bucket/../f", ""} {
		r := newRig(t, cloudsim.Config{}, aws.Config{})
		held := "${aws:iot:s3-presigned-url:" + bad + "}"
		if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Set: map[string]any{"via": "jobs", "document": map[string]any{"url": held}}}); err != nil {
			t.Fatal(err)
		}
		_, body := r.ask("jobs/start-next", ``)
		if got := body["execution"].(map[string]any)["jobDocument"].(map[string]any)["url"]; got != held {
			t.Errorf("%s became %v, want it left as it is", held, got)
		}
	}
}

func TestPushByShadows(t *testing.T) {
	r := newRig(t, cloudsim.Config{Files: files(t, "new")}, aws.Config{})
	for _, tt := range []struct {
		set  map[string]any
		name string
	}{{map[string]any{"window": "night"}, ""}, {map[string]any{"via": "named", "shadow": "fw", "window": "night"}, "fw"}} {
		done, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "j-1", Software: cloudsim.Software{File: release, Version: "2.0", Size: 3}, Set: tt.set})
		if err != nil || done.Text != "shadow 1" {
			t.Fatalf("Order = %+v, %v; want shadow 1", done, err)
		}
		s, err := r.cloud.NamedShadow("gw-1", tt.name)
		if tt.name == "" {
			s, err = r.cloud.Shadow("gw-1")
		}
		want := `{"jobID":"j-1","size":3,"softwareURL":"` + done.URL + `","version":"2.0","window":"night"}`
		if got := text(t, s.Desired); err != nil || got != want {
			t.Errorf("desired = %s, %v; want %s", got, err, want)
		}
	}
	got := r.cloud.Subscribed("gw-1", "$aws/things/gw-1/shadow/name/fw/update/delta")
	if len(got) != 1 || !strings.Contains(string(got[0].Payload), `"window":"night"`) {
		t.Errorf("delta = %q, want that of the named shadow", lines(got))
	}
}

func TestCancelAndRetry(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	do := func(verb cloudsim.Verb, job, want string, set map[string]any) {
		t.Helper()
		done, err := r.order(cloudsim.Order{Verb: verb, Job: job, Set: set})
		if got := fmt.Sprint(done.Job, " ", done.Text, " ", err); !strings.HasPrefix(got, want) {
			t.Errorf("%s %s = %s, want %s", verb, job, got, want)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		r.job(id)
	}
	do(cloudsim.VerbCancel, "", "c CANCELED, execution 1 <nil>", nil) // the newest
	r.ask("jobs/start-next", ``)
	do(cloudsim.VerbCancel, "a", "  bad simulator settings: job a is IN_PROGRESS", map[string]any{"force": "false"})
	do(cloudsim.VerbCancel, "a", "a CANCELED, execution 1 <nil>", nil)
	if _, body := r.ask("jobs/a/update", `{"status":"SUCCEEDED"}`); body["code"] != "InvalidStateTransition" {
		t.Errorf("an update of a cancelled job: %v", body)
	}
	r.ask("jobs/b/update", `{"status":"FAILED"}`)
	r.clock.add(time.Minute)
	do(cloudsim.VerbRetry, "", "b QUEUED, execution 2 <nil>", nil)
	do(cloudsim.VerbRetry, "b", "  bad simulator settings: job b is QUEUED", nil)
	_, body := r.ask("jobs/start-next", ``)
	want := `{"executionNumber":2,"jobDocument":{"n":"b"},"jobId":"b","lastUpdatedAt":1700000060,"queuedAt":1700000060,"startedAt":1700000060,"status":"IN_PROGRESS","thingName":"gw-1","versionNumber":2}`
	if got := text(t, body["execution"]); got != want {
		t.Errorf("execution = %s, want %s", got, want)
	}
	if _, body := r.ask("jobs/b/update", `{"status":"SUCCEEDED","executionNumber":1}`); body["code"] != "InvalidStateTransition" {
		t.Errorf("an update of the execution before: %v", body)
	}
	r.ask("jobs/b/update", `{"status":"SUCCEEDED"}`)
	r.wantEnds("c/1 cancelled CANCELED  1", "a/1 cancelled CANCELED  1", "b/1 failed FAILED  1", "b/2 succeeded SUCCEEDED  1")
}

// The executions that are over make room, those that wait do not.
func TestJobsAreBounded(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	for i := range 64 {
		r.job(fmt.Sprintf("j-%d", i))
		if i < 10 {
			r.ask(fmt.Sprintf("jobs/j-%d/update", i), `{"status":"SUCCEEDED"}`)
		}
	}
	for i := range 10 {
		r.job(fmt.Sprintf("more-%d", i))
	}
	_, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Set: map[string]any{"via": "jobs", "document": "{}"}})
	if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), "64 jobs wait") {
		t.Errorf("Order = %v, want a full queue", err)
	}
	if got := len(r.ends()); got != 10 {
		t.Errorf("%d ends, want all 10 to be known still", got)
	}
}

// All things of the accounts get an order for all, those that never came too.
func TestOrderForAll(t *testing.T) {
	known := map[string]string{}
	for i := range 1000 {
		known[fmt.Sprintf("gw-%d", i)] = ""
	}
	r := newRig(t, cloudsim.Config{State: t.TempDir()}, aws.Config{Accounts: cloudsim.Accounts{Devices: known}, Via: "jobs"})
	began := time.Now()
	done, err := r.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, All: true, Software: cloudsim.Software{URL: "https://h/v2"}})
	if err != nil || len(done) != 1000 {
		t.Fatalf("Order = %d, %v; want 1000", len(done), err)
	}
	for _, d := range done {
		out, err := r.cloud.Take(cloudsim.Message{Device: d.Device, Topic: "$aws/things/" + d.Device + "/jobs/" + d.Job + "/update", Payload: []byte(`{"status":"SUCCEEDED"}`)})
		if err != nil || len(out) != 3 {
			t.Fatalf("Take = %q, %v", lines(out), err)
		}
	}
	t.Logf("1000 things, an order and an end each: %v", time.Since(began))
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Software: cloudsim.Software{URL: "https://h/v2"}}); err != nil {
		t.Errorf("Order = %v", err)
	}
	if _, err := r.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "other", Software: cloudsim.Software{URL: "https://h/v2"}}); !errors.Is(err, cloudsim.ErrConfig) {
		t.Errorf("Order for an unknown thing = %v, want ErrConfig", err)
	}
}

// What was acknowledged is there after a restart.
func TestJobsSurvive(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, cloudsim.Config{State: dir}, aws.Config{})
	r.job("j-1")
	r.job("j-2")
	r.ask("jobs/start-next", `{"statusDetails":{"stage":"rebooting"}}`)
	before := r.say("$aws/things/gw-1/jobs/get", ``)
	r.close()
	r = newRig(t, cloudsim.Config{State: dir}, aws.Config{})
	if got := r.say("$aws/things/gw-1/jobs/get", ``); !slices.Equal(got, before) {
		t.Errorf("get = %q, want %q", got, before)
	}
	_, body := r.ask("jobs/start-next", ``)
	if e := body["execution"].(map[string]any); e["jobId"] != "j-1" || text(t, e["statusDetails"]) != `{"stage":"rebooting"}` {
		t.Errorf("execution = %v, want j-1 as it was", e)
	}
}

package aws_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

// A job from its push to its end, with every message that there is.
func TestJobConversation(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	r.job("j-1")
	r.clock.add(time.Second)
	r.job("j-2")
	const p = "$aws/things/gw-1/jobs/"
	for _, step := range []struct {
		say, with string
		want      []string
	}{
		{"get", `{"clientToken":"a"}`, []string{`get/accepted {"clientToken":"a","inProgressJobs":[],"queuedJobs":[` +
			`{"executionNumber":1,"jobId":"j-1","lastUpdatedAt":1700000000,"queuedAt":1700000000,"versionNumber":1},` +
			`{"executionNumber":1,"jobId":"j-2","lastUpdatedAt":1700000001,"queuedAt":1700000001,"versionNumber":1}],"timestamp":1700000001}`}},
		{"$next/get", ``, []string{`$next/get/accepted {"execution":{"executionNumber":1,"jobDocument":{"n":"j-1"},"jobId":"j-1","lastUpdatedAt":1700000000,` +
			`"queuedAt":1700000000,"status":"QUEUED","thingName":"gw-1","versionNumber":1},"timestamp":1700000001}`}},
		{"j-2/get", `{"includeJobDocument":false}`, []string{`j-2/get/accepted {"execution":{"executionNumber":1,"jobId":"j-2","lastUpdatedAt":1700000001,` +
			`"queuedAt":1700000001,"status":"QUEUED","thingName":"gw-1","versionNumber":1},"timestamp":1700000001}`}},
		// the second is begun before the first, and so becomes the next
		{"j-2/update", `{"status":"IN_PROGRESS","statusDetails":{"stage":"accepted"},"expectedVersion":"1","includeJobExecutionState":true,"includeJobDocument":true}`, []string{
			`j-2/update/accepted {"executionState":{"status":"IN_PROGRESS","statusDetails":{"stage":"accepted"},"versionNumber":2},"jobDocument":{"n":"j-2"},"timestamp":1700000001}`,
			`notify-next {"execution":{"executionNumber":1,"jobDocument":{"n":"j-2"},"jobId":"j-2","lastUpdatedAt":1700000001,"queuedAt":1700000001,"startedAt":1700000001,` +
				`"status":"IN_PROGRESS","statusDetails":{"stage":"accepted"},"thingName":"gw-1","versionNumber":2},"timestamp":1700000001}`}},
		// what is in progress keeps its details
		{"start-next", `{"statusDetails":{"other":"1"}}`, []string{`start-next/accepted {"execution":{"executionNumber":1,"jobDocument":{"n":"j-2"},"jobId":"j-2","lastUpdatedAt":1700000001,` +
			`"queuedAt":1700000001,"startedAt":1700000001,"status":"IN_PROGRESS","statusDetails":{"stage":"accepted"},"thingName":"gw-1","versionNumber":2},"timestamp":1700000001}`}},
		{"j-2/update", `{"status":"SUCCEEDED","expectedVersion":1,"clientToken":"b"}`, []string{
			`j-2/update/rejected {"clientToken":"b","code":"VersionMismatch","executionState":{"status":"IN_PROGRESS","statusDetails":{"stage":"accepted"},"versionNumber":2},` +
				`"message":"expected version 1, it is 2","timestamp":1700000001}`}},
		{"j-2/update", `{"status":"SUCCEEDED","expectedVersion":2,"executionNumber":1,"statusDetails":{"version":"2.0"}}`, []string{
			`j-2/update/accepted {"timestamp":1700000001}`,
			`notify {"jobs":{"QUEUED":[{"executionNumber":1,"jobId":"j-1","lastUpdatedAt":1700000000,"queuedAt":1700000000,"versionNumber":1}]},"timestamp":1700000001}`,
			`notify-next {"execution":{"executionNumber":1,"jobDocument":{"n":"j-1"},"jobId":"j-1","lastUpdatedAt":1700000000,"queuedAt":1700000000,"status":"QUEUED","thingName":"gw-1","versionNumber":1},"timestamp":1700000001}`}},
		{"j-2/get", `{}`, []string{`j-2/get/rejected {"code":"TerminalStateReached","message":"the execution of job j-2 is over: SUCCEEDED","timestamp":1700000001}`}},
		{"start-next", `{"statusDetails":{"stage":"begun"},"stepTimeoutInMinutes":2}`, []string{`start-next/accepted {"execution":{"approximateSecondsBeforeTimedOut":120,"executionNumber":1,` +
			`"jobDocument":{"n":"j-1"},"jobId":"j-1","lastUpdatedAt":1700000001,"queuedAt":1700000000,"startedAt":1700000001,"status":"IN_PROGRESS","statusDetails":{"stage":"begun"},"thingName":"gw-1","versionNumber":2},"timestamp":1700000001}`}},
		{"j-1/update", `{"status":"FAILED","statusDetails":{"code":"digest","message":"differs"}}`, []string{
			`j-1/update/accepted {"timestamp":1700000001}`,
			`notify {"jobs":{},"timestamp":1700000001}`,
			`notify-next {"execution":{},"timestamp":1700000001}`}},
		{"start-next", ``, []string{`start-next/accepted {"timestamp":1700000001}`}},
		{"$next/get", `{}`, []string{`$next/get/accepted {"timestamp":1700000001}`}},
	} {
		got := r.say(p+step.say, step.with)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], p)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s %s:\n%s\nwant\n%s", step.say, step.with, strings.Join(got, "\n"), strings.Join(step.want, "\n"))
		}
	}
	r.wantEnds(`j-2/1 succeeded SUCCEEDED {"version":"2.0"} 1`, `j-1/1 failed FAILED {"code":"digest","message":"differs"} 1`)
}

func TestJobRefusals(t *testing.T) {
	pairs := map[string]string{}
	for i := range 11 {
		pairs[fmt.Sprint("k", i)] = "v"
	}
	eleven, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, topic, with, code, message string }{
		{"no operation", "jobs/j-1/stop", `{}`, "InvalidTopic", "no operation"},
		{"no operation at all", "jobs/what", `{}`, "InvalidTopic", "no operation"},
		{"no JSON", "jobs/get", `{`, "InvalidJson", "JSON"},
		{"a list", "jobs/get", `[]`, "InvalidJson", "JSON"},
		{"no UTF-8", "jobs/get", "{\"clientToken\":\"\xff\"}", "InvalidJson", "UTF-8"},
		{"a token of another type", "jobs/get", `{"clientToken":1}`, "InvalidRequest", "clientToken"},
		{"a long token", "jobs/get", `{"clientToken":"` + strings.Repeat("t", 65) + `"}`, "InvalidRequest", "64 bytes"},
		{"a flag that is text", "jobs/j-1/get", `{"includeJobDocument":"yes"}`, "InvalidRequest", "includeJobDocument"},
		{"half an execution", "jobs/j-1/get", `{"executionNumber":1.5}`, "InvalidRequest", "executionNumber"},
		{"no execution of that number", "jobs/j-1/get", `{"executionNumber":2}`, "ResourceNotFound", "j-1"},
		{"an unknown job", "jobs/j-9/get", `{}`, "ResourceNotFound", "j-9"},
		{"an unknown job to update", "jobs/j-9/update", `{"status":"FAILED"}`, "ResourceNotFound", "j-9"},
		{"a job with a dot", "jobs/j.1/get", `{}`, "InvalidRequest", "jobId"},
		{"the next one to update", "jobs/$next/update", `{"status":"FAILED"}`, "InvalidRequest", "jobId"},
		{"no status", "jobs/j-1/update", `{}`, "InvalidRequest", "status is missing"},
		{"the cloud's own status", "jobs/j-1/update", `{"status":"TIMED_OUT"}`, "InvalidRequest", "want IN_PROGRESS"},
		{"a status of another type", "jobs/j-1/update", `{"status":7}`, "InvalidRequest", "status"},
		{"details with a number", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":{"a":1}}`, "InvalidRequest", "object of texts"},
		{"details without a value", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":{"a":""}}`, "InvalidRequest", "1 to 1024"},
		{"details with a long value", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":{"a":"` + strings.Repeat("é", 1025) + `"}}`, "InvalidRequest", "1 to 1024"},
		{"details with a line end", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":{"a":"b\n"}}`, "InvalidRequest", "control"},
		{"details with a strange name", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":{"a b":"c"}}`, "InvalidRequest", "names"},
		{"too many details", "jobs/j-1/update", `{"status":"IN_PROGRESS","statusDetails":` + string(eleven) + `}`, "InvalidRequest", "at most 10"},
		{"no time", "jobs/j-1/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":0}`, "InvalidRequest", "1 to 10080"},
		{"too much time", "jobs/start-next", `{"stepTimeoutInMinutes":10081}`, "InvalidRequest", "10080"},
		{"an old version", "jobs/j-1/update", `{"status":"IN_PROGRESS","expectedVersion":7}`, "VersionMismatch", "it is 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudsim.Config{}, aws.Config{})
			r.job("j-1")
			before, _ := r.Book().Look("gw-1")
			verdict, body := r.ask(tt.topic, tt.with)
			message, _ := body["message"].(string)
			if verdict != "rejected" || body["code"] != tt.code || !strings.Contains(message, tt.message) {
				t.Errorf("%s %v, want %s with %q", verdict, body, tt.code, tt.message)
			}
			if after, _ := r.Book().Look("gw-1"); !bytes.Equal(before.Doc, after.Doc) {
				t.Errorf("the record is %s, want %s", after.Doc, before.Doc)
			}
			if got := r.events.texts(cloudsim.EventRefused); len(got) != 1 || !strings.Contains(got[0], tt.code) {
				t.Errorf("refusals = %q, want one with the code", got)
			}
		})
	}
}

// A device hears the answer on its own connection, at the QoS of its request,
// and an application hears it as a subscriber.
func TestJobAnswersGoToTheRequester(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	for _, tt := range []struct {
		device string
		qos    byte
		direct bool
	}{{"gw-1", 0, true}, {"gw-1", 1, true}, {"", 1, false}} {
		out, err := r.cloud.Take(cloudsim.Message{Device: tt.device, Topic: "$aws/things/gw-1/jobs/start-next", QoS: tt.qos})
		if err != nil || len(out) != 1 || out[0].Direct != tt.direct || out[0].QoS != tt.qos || out[0].Device != "gw-1" {
			t.Errorf("answer = %+v, %v; want %+v", out, err, tt)
		}
	}
}

// What is over stays so, whoever says what: the same end is counted, another one refused.
func TestJobEndsOnce(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	r.job("j-1")
	r.ask("jobs/j-1/update", `{"status":"FAILED","statusDetails":{"code":"probe"}}`)
	for _, status := range []string{"FAILED", "SUCCEEDED", "IN_PROGRESS", "REJECTED"} {
		verdict, body := r.ask("jobs/j-1/update", `{"status":"`+status+`","statusDetails":{"now":"x"},"expectedVersion":9}`)
		want := `{"status":"FAILED","statusDetails":{"code":"probe"},"versionNumber":2}`
		if verdict != "rejected" || body["code"] != "InvalidStateTransition" || text(t, body["executionState"]) != want {
			t.Errorf("%s: %s %v, want InvalidStateTransition with %s", status, verdict, body, want)
		}
	}
	r.wantEnds(`j-1/1 failed FAILED {"code":"probe"} 2`)
	if got := r.events.texts(cloudsim.EventRefused); len(got) != 4 || !strings.Contains(got[1], "FAILED cannot become SUCCEEDED") {
		t.Errorf("refusals = %q, want what was said and what it is", got)
	}
}

func TestRejectedJob(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	r.job("j-1")
	r.ask("jobs/j-1/update", `{"status":"REJECTED","statusDetails":{"code":"document"}}`)
	r.wantEnds(`j-1/1 rejected REJECTED {"code":"document"} 1`)
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbRetry, Job: "j-1"}); err == nil {
		t.Error("a job that was rejected is tried again")
	}
}

// The step timer runs by the simulator's clock, from the last update that set it.
func TestStepTimer(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	r.job("j-1")
	r.job("j-2")
	r.ask("jobs/start-next", `{"stepTimeoutInMinutes":"5"}`)
	r.clock.add(4 * time.Minute)
	r.ask("jobs/j-1/update", `{"status":"IN_PROGRESS"}`) // sets no timer, and leaves the one there is
	r.clock.add(59 * time.Second)
	r.ask("jobs/j-1/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":1}`)
	r.clock.add(59 * time.Second)
	if verdict, body := r.ask("jobs/j-1/get", `{}`); verdict != "accepted" || body["execution"].(map[string]any)["approximateSecondsBeforeTimedOut"] != 1.0 {
		t.Fatalf("get = %s %v, want a second left", verdict, body)
	}
	r.clock.add(time.Second)
	got := r.say("$aws/things/gw-1/jobs/j-1/update", `{"status":"SUCCEEDED"}`)
	if len(got) != 3 || !strings.Contains(got[0], `"InvalidStateTransition"`) || !strings.Contains(got[0], `"TIMED_OUT"`) ||
		!strings.Contains(got[1], `{"QUEUED":[{`) || !strings.Contains(got[2], `"jobId":"j-2"`) {
		t.Errorf("messages = %q, want a refusal, and j-2 next", got)
	}
	r.wantEnds("j-1/1 timed-out TIMED_OUT  1")

	r.ask("jobs/start-next", `{"stepTimeoutInMinutes":1}`)
	r.ask("jobs/j-2/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":-1}`) // stops it
	r.clock.add(time.Hour)
	if verdict, body := r.ask("jobs/j-2/update", `{"status":"SUCCEEDED"}`); verdict != "accepted" {
		t.Errorf("update = %s %v, want accepted without a timer", verdict, body)
	}
}

// Nobody has to ask: time alone ends an execution, after a restart too.
func TestStepTimerFires(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, cloudsim.Config{State: dir}, aws.Config{})
	r.job("j-1")
	r.ask("jobs/start-next", `{"stepTimeoutInMinutes":1}`)
	r.close()
	now := time.Unix(1_700_000_060, 0).Add(-100 * time.Millisecond)
	began := time.Now()
	c, err := aws.New(aws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := cloudsim.Start(cloudsim.Config{State: dir, Now: func() time.Time { return now.Add(time.Since(began)) }}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	record, err := s.Wait(t.Context(), "gw-1", func(r cloudsim.Record) bool { return len(r.Ends) > 0 })
	if err != nil || record.Ends[0].Outcome != cloudsim.TimedOut {
		t.Errorf("ends = %+v, %v; want one by time", record.Ends, err)
	}
}

func TestThrottledJobs(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	r.job("j-1")
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultThrottled}); err != nil {
		t.Fatal(err)
	}
	verdict, body := r.ask("jobs/j-1/update", `{"status":"SUCCEEDED","clientToken":"t"}`)
	if verdict != "rejected" || body["code"] != "RequestThrottled" || body["clientToken"] != "t" || len(r.ends()) != 0 {
		t.Errorf("update = %s %v with ends %q, want RequestThrottled and nothing changed", verdict, body, r.ends())
	}
}

// notify has the first fifteen, get has all.
func TestListsAreBounded(t *testing.T) {
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	for i := range 20 {
		r.job(fmt.Sprintf("j-%d", i))
	}
	got := r.say("$aws/things/gw-1/jobs/j-0/update", `{"status":"SUCCEEDED"}`)
	jobs := object(t, []byte(strings.SplitN(got[1], " ", 2)[1]))["jobs"].(map[string]any)["QUEUED"].([]any)
	if first := jobs[0].(map[string]any)["jobId"]; len(jobs) != 15 || first != "j-1" {
		t.Errorf("notify has %d jobs from %v, want 15 from j-1", len(jobs), first)
	}
	if _, body := r.ask("jobs/get", ``); len(body["queuedJobs"].([]any)) != 19 {
		t.Errorf("get = %v, want 19 jobs", body)
	}
}

// The recorded requests of the service's own SDK get the answers that it knows.
func TestRecordedSDK(t *testing.T) {
	data, err := os.ReadFile("../../awsjobs/testdata/examples/aws-jobs-sdk-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, cloudsim.Config{}, aws.Config{})
	if _, err := r.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "t1", Job: "j1",
		Set: map[string]any{"via": "jobs", "document": `{"operation":"install","files":[]}`}}); err != nil {
		t.Fatal(err)
	}
	var answers, want []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var l struct{ Topic, Payload string }
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(l.Topic, "accepted") {
			want = append(want, l.Topic)
			continue
		}
		out, err := r.cloud.Take(cloudsim.Message{Device: "t1", Topic: l.Topic, Payload: []byte(l.Payload)})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, out[0].Topic)
		if len(answers) == 1 {
			e := object(t, out[0].Payload)["execution"].(map[string]any)
			if text(t, e["jobDocument"]) != `{"files":[],"operation":"install"}` || e["status"] != "QUEUED" || e["versionNumber"] != 1.0 {
				t.Errorf("execution = %v, want what was recorded", e)
			}
		}
	}
	if !slices.Equal(answers, want) || len(want) != 3 {
		t.Errorf("answers on %q, want %q", answers, want)
	}
	if record, _ := r.Book().Look("t1"); len(record.Ends) != 1 || record.Ends[0].Outcome != cloudsim.Succeeded {
		t.Errorf("ends = %+v, want success", record.Ends)
	}
}

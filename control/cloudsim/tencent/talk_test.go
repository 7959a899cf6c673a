package tencent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// talker is a cloud that device gw-1 talks to without a broker.
type talker struct {
	t     *testing.T
	cfg   cloudsim.Config
	sim   *cloudsim.Sim
	cloud *Cloud
	said  []string // replies and events
}

func newTalker(t *testing.T) *talker {
	t.Helper()
	k := &talker{t: t, cfg: cloudsim.Config{State: t.TempDir(), Files: t.TempDir(), Now: func() time.Time { return now }}}
	if err := os.WriteFile(filepath.Join(k.cfg.Files, "v2.bin"), []byte("new firmware"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.cfg.Events = func(e cloudsim.Event) {
		switch e.Kind {
		case cloudsim.EventReport:
			k.said = append(k.said, show(e.End))
			if e.Text != "" {
				k.said = append(k.said, "("+e.Text+")")
			}
		case cloudsim.EventRefused, cloudsim.EventNote:
			k.said = append(k.said, string(e.Kind)+" "+e.Text)
		}
	}
	k.sim, k.cloud = open(t, k.cfg, accounts())
	return k
}

func show(e cloudsim.End) string {
	return strings.Join(strings.Fields(fmt.Sprint("end ", e.Job, " ", e.Outcome, " ", e.Result, " ", e.Code, " ", e.Message, " x", e.Arrivals)), " ")
}

// replied notes the messages to devices.
func (k *talker) replied(all []cloudsim.Message) {
	for _, m := range all {
		var v struct {
			Type, Version, URL, MD5Sum string
			Result_Code                int
			Result_Msg                 string
			File_Size                  int64
		}
		if err := json.Unmarshal(m.Payload, &v); err != nil || m.Topic != "$ota/update/"+product+"/"+m.Device || m.QoS != 0 {
			k.t.Errorf("message %+v: %v", m, err)
		}
		switch v.Type {
		case typeVersionAnswer:
			k.said = append(k.said, strings.TrimSpace(fmt.Sprint("rsp ", v.Result_Code, " ", v.Version)))
		case typeUpdate:
			k.said = append(k.said, "update "+v.Version)
		}
	}
}

// do does one line of a conversation.
func (k *talker) do(line string) {
	words := strings.Fields(line)
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "push":
		k.order(word(1), word(2))
	case "restart":
		if err := k.sim.Close(); err != nil {
			k.t.Fatal(err)
		}
		k.sim, k.cloud = open(k.t, k.cfg, accounts())
	case "fault":
		if err := k.sim.SetFault(cloudsim.Fault{Kind: cloudsim.FaultKind(word(1)), Off: word(2) == "off"}); err != nil {
			k.t.Fatal(err)
		}
	case "ends":
		r, _ := k.sim.Book().Look("gw-1")
		for _, e := range r.Ends {
			k.said = append(k.said, show(e))
		}
	case "version":
		k.take(fmt.Sprintf(`{"type":"report_version","report":{"version":%q}}`, word(1)))
	case "downloading", "burning", "updating", "done", "fail":
		percent, code := "", "0"
		if words[0] == "downloading" {
			percent = fmt.Sprintf(`"percent":%q,`, word(2))
		} else if words[0] == "fail" {
			code = word(2)
		}
		k.take(fmt.Sprintf(`{"type":"report_progress","report":{"progress":{"state":%q,%s"result_code":%q,"result_msg":"m"},"version":%q}}`, words[0], percent, code, word(1)))
	default:
		k.take(line)
	}
}

func (k *talker) order(version, job string) {
	o := cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: job, Software: cloudsim.Software{File: "v2.bin", Version: version, Size: 12, MD5: strings.Repeat("a", 32)}}
	_, messages, err := k.cloud.Order(context.Background(), o)
	if err != nil {
		k.said = append(k.said, err.Error())
	}
	k.replied(messages)
}

func (k *talker) take(payload string) {
	messages, err := k.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "$ota/report/" + product + "/gw-1", Payload: []byte(payload), QoS: 1})
	if err != nil {
		k.t.Errorf("%s: %v", payload, err)
	}
	k.replied(messages)
}

// play does what stands before the arrows, and gives the same text with what
// came of it behind them.
func play(t *testing.T, text string) string {
	t.Helper()
	k := newTalker(t)
	var out []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " ->")
		k.said = nil
		k.do(line)
		if len(k.said) > 0 {
			line += " -> " + strings.Join(k.said, ", ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestConversations(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"success", `
			version 0.1 -> note runs version "0.1", rsp 0 0.1
			push 0.2 j1 -> update 0.2
			downloading 0.2 0 -> note version "0.2": downloading
			downloading 0.2 55
			downloading 0.2 100
			burning 0.2 -> note version "0.2": burning
			done 0.2 -> end j1 succeeded done x1
			version 0.2 -> note runs version "0.2", rsp 0 0.2
			ends -> end j1 succeeded done x1`},
		{"a task waits for the device, and is told after each version until it ends", `
			push 0.2 j1 -> update 0.2
			version 0.1 -> note runs version "0.1", rsp 0 0.1, update 0.2
			version 0.1 -> rsp 0 0.1, update 0.2
			done 0.2 -> end j1 succeeded done x1
			version 0.1 -> rsp 0 0.1`},
		{"the new version alone ends the task, and done after it is the same end", `
			push 0.2 j1 -> update 0.2
			version 0.2 -> end j1 succeeded report_version x1, (runs version "0.2"), rsp 0 0.2
			version 0.2 -> rsp 0 0.2
			done 0.2 -> end j1 succeeded report_version x2
			ends -> end j1 succeeded report_version x2`},
		{"the first failure is the cause", `
			push 0.2 j1 -> update 0.2
			version 0.1 -> note runs version "0.1", rsp 0 0.1, update 0.2
			fail 0.2 -4 -> end j1 failed fail -4 m x1
			fail 0.2 -5 -> end j1 failed fail -4 m x2, (says fail "-5" of version "0.2", whose cause is "-4": ignored)
			version 0.1 -> rsp 0 0.1
			ends -> end j1 failed fail -4 m x2`},
		{"done after fail, and fail after done, change nothing", `
			push 0.2 j1 -> update 0.2
			fail 0.2 -1 -> end j1 failed fail -1 m x1
			done 0.2 -> note says done of version "0.2", whose task j1 has ended with fail: ignored
			push 0.3 j2 -> update 0.3
			done 0.3 -> end j2 succeeded done x1
			done 0.3 -> end j2 succeeded done x2
			fail 0.3 -5 -> note says fail of version "0.3", whose task j2 has ended with done: ignored
			ends -> end j1 failed fail -1 m x1, end j2 succeeded done x2`},
		{"a version that failed is pushed again as a new task", `
			push 0.2 j1 -> update 0.2
			version 0.1 -> note runs version "0.1", rsp 0 0.1, update 0.2
			fail 0.2 -3 -> end j1 failed fail -3 m x1
			push 0.2 j2 -> update 0.2
			fail 0.2 -3 -> end j1 failed fail -3 m x2
			version 0.1 -> rsp 0 0.1, update 0.2
			done 0.2 -> end j2 succeeded done x1`},
		{"progress proves that a task has reached the device", `
			push 0.2 j1 -> update 0.2
			fail 0.2 -3 -> end j1 failed fail -3 m x1
			push 0.2 j2 -> update 0.2
			downloading 0.2 0 -> note version "0.2": downloading
			fail 0.2 -5 -> end j2 failed fail -5 m x1`},
		{"a push replaces an open task, which the device may end all the same", `
			push 0.2 j1 -> update 0.2
			version 0.1 -> note runs version "0.1", rsp 0 0.1, update 0.2
			push 0.3 j2 -> end j1 cancelled replaced x1, (version "0.2" is replaced by "0.3"), update 0.3
			downloading 0.2 40
			done 0.2 -> note says done of version "0.2", whose task j1 has ended with replaced: ignored
			version 0.2 -> note runs version "0.2", rsp 0 0.2, update 0.3
			done 0.3 -> end j2 succeeded done x1
			ends -> end j1 cancelled replaced x1, end j2 succeeded done x1`},
		{"an id is used once", `
			push 0.2 j1 -> update 0.2
			push 0.3 j1 -> bad simulator settings: the device has a task "j1" already, expected another id
			done 0.2 -> end j1 succeeded done x1
			push 0.3 j1 -> bad simulator settings: the device has a task "j1" already, expected another id`},
		{"all of it outlives the simulator", `
			push 0.2 j1 -> update 0.2
			restart
			version 0.1 -> note runs version "0.1", rsp 0 0.1, update 0.2
			restart
			fail 0.2 -2 -> end j1 failed fail -2 m x1
			restart
			version 0.1 -> rsp 0 0.1
			fail 0.2 -2 -> end j1 failed fail -2 m x2`},
		{"too many requests", `
			push 0.2 j1 -> update 0.2
			fault throttled
			version 0.1 -> rsp -1 0.1
			done 0.2 -> end j1 succeeded done x1
			fault throttled off
			version 0.1 -> note runs version "0.1", rsp 0 0.1`},
		{"numbers as numbers", `
			push 0.2 j1 -> update 0.2
			{"type":"report_progress","report":{"progress":{"state":"downloading","percent":40,"result_code":0},"version":"0.2"}} -> note version "0.2": downloading
			{"type":"report_progress","report":{"progress":{"state":"updating","percent":null,"more":[1]},"version":"0.2"}} -> note version "0.2": updating
			{"type":"report_progress","report":{"progress":{"state":"fail","result_code":-1},"version":"0.2"}} -> end j1 failed fail -1 x1`},
		{"no task", `
			downloading 0.2 1 -> refused bad message: downloading of version "0.2", for which there is no task
			done 0.2 -> refused bad message: done of version "0.2", for which there is no task
			push 0.2 j1 -> update 0.2
			fail 0.3 -1 -> refused bad message: fail of version "0.3", for which there is no task
			ends`},
		{"malformed", `
			[1] -> refused bad message: no JSON object
			{"type": -> refused bad message: no JSON object
			null -> refused bad message: no JSON object
			{} -> refused bad message: type "", expected report_version or report_progress
			{"type":7} -> refused bad message: type "", expected report_version or report_progress
			{"type":"update_firmware"} -> refused bad message: type "update_firmware", expected report_version or report_progress
			{"Type":"report_version","report":{"version":"0.1"}} -> refused bad message: type "", expected report_version or report_progress
			{"type":"report_version"} -> refused bad message: report_version without an object report, rsp -1
			{"type":"report_version","report":{"version":""}} -> refused bad message: report_version without a version of 1 to 32 characters, rsp -1
			{"type":"report_version","report":{"version":0.1}} -> refused bad message: report_version without a version of 1 to 32 characters, rsp -1
			{"type":"report_version","report":{"version":"123456789012345678901234567890123"}} -> refused bad message: report_version without a version of 1 to 32 characters, rsp -1
			{"type":"report_progress","report":{"version":"0.2"}} -> refused bad message: report_progress without an object progress
			{"type":"report_progress","report":{"progress":{"state":"lost"},"version":"0.2"}} -> refused bad message: state "lost", expected downloading, burning, updating, done or fail
			{"type":"report_progress","report":{"progress":{"state":"downloading","percent":"101"},"version":"0.2"}} -> refused bad message: percent is no whole number of 0 to 100, as text or number
			{"type":"report_progress","report":{"progress":{"state":"downloading","percent":{}},"version":"0.2"}} -> refused bad message: percent is no whole number of 0 to 100, as text or number
			{"type":"report_progress","report":{"progress":{"state":"fail","result_code":[]},"version":"0.2"}} -> refused bad message: result_code is no text or number of up to 16 characters
			{"type":"report_progress","report":{"progress":{"state":"fail","result_msg":7},"version":"0.2"}} -> refused bad message: result_msg is not text
			version 固件一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十 -> note runs version "固件一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十", rsp 0 固件一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want []string
			for line := range strings.Lines(strings.TrimSpace(tt.text)) {
				want = append(want, strings.TrimLeft(strings.TrimRight(line, "\n"), "\t"))
			}
			if got := play(t, tt.text); got != strings.Join(want, "\n") {
				t.Errorf("the conversation is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		})
	}
}

// The bytes are those that the vendor documents.
func TestDocumentedMessages(t *testing.T) {
	var doc struct{ Up, Down []json.RawMessage }
	data, err := os.ReadFile("../../tencent/testdata/examples/tencent-messages.json")
	if err == nil {
		err = json.Unmarshal(data, &doc)
	}
	if err != nil || len(doc.Up) != 5 || len(doc.Down) != 2 {
		t.Fatalf("%d and %d messages: %v", len(doc.Up), len(doc.Down), err)
	}
	for i, m := range doc.Up {
		if _, err := readReport(m); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	_, c := open(t, cloudsim.Config{}, accounts())
	for _, tt := range []struct{ got, want string }{
		{string(c.answer("gw-1", "0.1.0", nil).Payload), compact(t, doc.Down[0])},
		{string(c.offer("gw-1", cloudsim.Software{Size: 708482, MD5: "36eb5951179db14a631463a37a9322a2", Version: "0.2"},
			"https://ota-1255858890.cos.ap-guangzhou.myqcloud.com").Payload), compact(t, doc.Down[1])},
		{string(c.offer("gw-1", cloudsim.Software{}, "https://h/f?a=1&b=<2>").Payload),
			`{"file_size":0,"md5sum":"","type":"update_firmware","url":"https://h/f?a=1&b=<2>","version":""}`},
	} {
		if tt.got != tt.want {
			t.Errorf("message %s, want %s", tt.got, tt.want)
		}
	}
}

// compact gives the members in alphabetical order, without blanks.
func compact(t *testing.T, raw []byte) string {
	t.Helper()
	var v map[string]any
	err := json.Unmarshal(raw, &v)
	out, again := json.Marshal(v)
	if err = errors.Join(err, again); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// An application speaks for devices: the topic says for which.
func TestApplication(t *testing.T) {
	k := newTalker(t)
	for _, topic := range []string{"$ota/report/" + product + "/gw-9", "$ota/report/OTHER/gw-1", "$ota/update/" + product + "/gw-1", "$ota/report/" + product + "/gw-1/x", "gw-1"} {
		out, err := k.cloud.Take(cloudsim.Message{Topic: topic, Payload: []byte(`{"type":"report_version","report":{"version":"0.1"}}`)})
		if err != nil || len(out) > 0 || !strings.Contains(strings.Join(k.said, ""), "the topic of no device of product PRODUCT001") {
			t.Errorf("%s: %d answers, %v, %q, want it refused", topic, len(out), err, k.said)
		}
		k.said = nil
	}
	out, err := k.cloud.Take(cloudsim.Message{Topic: "$ota/report/" + product + "/gw-2", Payload: []byte(`{"type":"report_version","report":{"version":"0.7"}}`)})
	if err != nil || len(out) != 1 || out[0].Topic != "$ota/update/"+product+"/gw-2" {
		t.Errorf("Take = %+v, %v, want the answer to gw-2", out, err)
	}
	var s state
	if r, _ := k.sim.Book().Look("gw-2"); r.Read(&s) != nil || s.Version != "0.7" {
		t.Errorf("gw-2 is %+v, want version 0.7", s)
	}
}

func TestOrders(t *testing.T) {
	k := newTalker(t)
	good := cloudsim.Software{File: "v2.bin", Version: "0.2"}
	web := cloudsim.Software{URL: "https://files.example/v2.bin?sign=s3cr3t", Version: "0.2", Size: 12, MD5: strings.Repeat("a", 32)}
	for _, tt := range []struct {
		name  string
		order cloudsim.Order
		want  string // "" for success
	}{
		{"a file", cloudsim.Order{Device: "gw-1", Software: good}, ""},
		{"a URL", cloudsim.Order{Device: "gw-1", Software: web}, ""},
		{"to all", cloudsim.Order{All: true, Software: good}, ""},
		{"an unknown device", cloudsim.Order{Device: "gw-9", Software: good}, `no device "gw-9"`},
		{"another verb", cloudsim.Order{Verb: cloudsim.VerbCancel, Device: "gw-1", Software: good}, `"cancel"`},
		{"a member", cloudsim.Order{Device: "gw-1", Software: good, Set: map[string]any{"retries": 3}}, `"retries"`},
		{"a patch", cloudsim.Order{Device: "gw-1", Software: good, Delta: &good}, "no patches"},
		{"no version", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{File: "v2.bin"}}, `version ""`},
		{"a long version", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{File: "v2.bin", Version: strings.Repeat("1", 33)}}, "expected 1 to 32 characters"},
		{"no software", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{Version: "0.2"}}, "expected a file or a URL"},
		{"a URL without a size", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{URL: web.URL, Version: "1", MD5: web.MD5}}, "size 0"},
		{"a URL without an MD5", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{URL: web.URL, Version: "1", Size: 1}}, `md5 ""`},
		{"a missing file", cloudsim.Order{Device: "gw-1", Software: cloudsim.Software{File: "v3.bin", Version: "1"}}, "v3.bin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.order.Verb == "" {
				tt.order.Verb = cloudsim.VerbPush
			}
			done, err := k.sim.Order(t.Context(), tt.order)
			if tt.want == "" {
				if err != nil || len(done) == 0 || !strings.Contains(done[0].Text, "waits for the device") || strings.Contains(fmt.Sprint(done), "s3cr3t") {
					t.Errorf("Order = %+v, %v, want it to wait", done, err)
				}
			} else if !errors.Is(err, cloudsim.ErrConfig) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Order = %v, want a bad setting: %s", err, tt.want)
			}
		})
	}
	if r, _ := k.sim.Book().Look("cert-1"); !strings.Contains(string(r.Doc), `"0.2"`) {
		t.Errorf("a device that never came has %s, want the task of the push to all", r.Doc)
	}
}

// A record that cannot be made durable is an error, so that nothing is acknowledged.
func TestNotDurable(t *testing.T) {
	k := newTalker(t)
	if err := os.RemoveAll(filepath.Join(k.cfg.State, "devices")); err != nil {
		t.Fatal(err)
	}
	_, err := k.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: "$ota/report/" + product + "/gw-1", Payload: []byte(`{"type":"report_version","report":{"version":"0.1"}}`)})
	if !errors.Is(err, cloudsim.ErrState) || len(k.said) > 0 {
		t.Errorf("Take = %v, told %q, want an error of the state and nothing told", err, k.said)
	}
}

// A thousand devices are one push.
func TestMany(t *testing.T) {
	const n = 1000
	a := cloudsim.Accounts{Product: product, Devices: map[string]string{}}
	for i := range n {
		a.Devices[fmt.Sprintf("gw-%d", i)] = secret
	}
	ends := 0
	s, c := open(t, cloudsim.Config{State: t.TempDir(), Events: func(e cloudsim.Event) {
		if e.Kind == cloudsim.EventReport && e.End.Outcome == cloudsim.Succeeded {
			ends++
		}
	}}, a)
	began := time.Now()
	done, err := s.Order(t.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, All: true,
		Software: cloudsim.Software{URL: "https://files.example/v2", Version: "0.2", Size: 1, MD5: strings.Repeat("a", 32)}})
	if err != nil || len(done) != n {
		t.Fatalf("%d orders, %v, want %d", len(done), err, n)
	}
	for name := range a.Devices {
		if _, err := c.Take(cloudsim.Message{Device: name, Topic: "$ota/report/" + product + "/" + name,
			Payload: []byte(`{"type":"report_progress","report":{"progress":{"state":"done"},"version":"0.2"}}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if ends != n {
		t.Errorf("%d ends, want %d", ends, n)
	}
	t.Logf("%d devices: push and done in %v", n, time.Since(began).Round(time.Millisecond))
}

package aws_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
)

const streamTopic = "$aws/things/gw-1/streams/s-1/"

// streaming is a rig whose thing has the stream s-1 with a file of so many bytes.
func streaming(t *testing.T, size int, set map[string]any) (*rig, []byte) {
	t.Helper()
	dir, data := t.TempDir(), make([]byte, size)
	for i := range data {
		data[i] = byte(rand.N(256))
	}
	if err := os.WriteFile(filepath.Join(dir, "f.img"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, cloudsim.Config{Files: dir}, aws.Config{})
	if set == nil {
		set = map[string]any{}
	}
	set["via"], set["stream"] = "jobs", true
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "s-1", Software: cloudsim.Software{File: "f.img", Version: "2.0"}, Set: set}); err != nil {
		t.Fatal(err)
	}
	return r, data
}

// blocks gives the numbers of the blocks of an answer, after a look at their bytes.
func blocks(t *testing.T, got []string, data []byte, size int) (numbers []int) {
	t.Helper()
	for _, line := range got {
		topic, payload, _ := strings.Cut(line, " ")
		b := object(t, []byte(payload))
		p, err := base64.StdEncoding.DecodeString(fmt.Sprint(b["p"]))
		i, ok := b["i"].(float64)
		if topic != streamTopic+"data/json" || err != nil || !ok {
			t.Fatalf("message %.200s, want a block", line)
		}
		from := int(i) * size
		if want := data[from:min(from+size, len(data))]; !bytes.Equal(p, want) || b["l"] != float64(len(want)) || b["c"] != "t" {
			t.Errorf("block %v has %d bytes, l %v and c %v, want %d of the file", i, len(p), b["l"], b["c"], len(want))
		}
		numbers = append(numbers, int(i))
	}
	return numbers
}

func TestStreamBlocks(t *testing.T) {
	r, data := streaming(t, 300_000, map[string]any{"file": "3"})
	if got, want := r.say(streamTopic+"describe/json", `{"c":"t"}`), streamTopic+`description/json {"c":"t","d":"f.img","r":[{"f":3,"z":300000}],"s":1}`; len(got) != 1 || got[0] != want {
		t.Errorf("description = %q, want %s", got, want)
	}
	upTo := func(from, to int) (out []int) {
		for i := from; i < to; i++ {
			out = append(out, i)
		}
		return out
	}
	for _, tt := range []struct {
		name, ask string
		size      int
		want      []int
	}{
		{"one block", `"l":4096,"o":2,"n":1`, 4096, []int{2}},
		{"a bitmap", `"l":4096,"o":2,"n":16,"b":"8101"`, 4096, []int{2, 9, 10}},
		{"a bitmap alone", `"l":4096,"b":"05"`, 4096, []int{0, 2}},
		{"a bitmap of nothing", `"l":4096,"b":"00"`, 4096, nil},
		{"fewer than the bitmap", `"l":4096,"n":2,"b":"ff"`, 4096, []int{0, 1}},
		{"the last block", `"l":4096,"o":73,"n":9`, 4096, []int{73}},
		{"at most 128 KB", `"l":4096,"o":0,"n":70`, 4096, upTo(0, 32)},
		{"large blocks", `"l":131072,"o":1,"n":2`, 131072, []int{1}},
		{"small blocks", `"l":256,"o":1000,"n":600`, 256, upTo(1000, 1172)},
		{"the rest", `"l":65536,"o":3`, 65536, []int{3, 4}},
		{"the right version and ETag", `"l":4096,"n":1,"s":1`, 4096, []int{0}},
		{"an unknown member", `"l":4096,"n":1,"x":[1]`, 4096, []int{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := blocks(t, r.say(streamTopic+"get/json", `{"c":"t","f":3,`+tt.ask+`}`), data, tt.size)
			if !slices.Equal(got, tt.want) {
				t.Errorf("blocks %v, want %v", got, tt.want)
			}
		})
	}
}

func TestStreamRefusals(t *testing.T) {
	r, _ := streaming(t, 10_000, nil)
	r.job("plain")
	for _, tt := range []struct{ name, topic, ask, want string }{
		{"no operation", "s-1/put/json", `{}`, "InvalidTopic"},
		{"another format", "s-1/get/xml", `{}`, "InvalidTopic"},
		{"no JSON", "s-1/get/json", `{`, "InvalidJson"},
		{"no UTF-8", "s-1/get/json", "{\"c\":\"\xff\"}", "InvalidJson"},
		{"no CBOR", "s-1/get/cbor", `{}`, "InvalidCbor"},
		{"no block size", "s-1/get/json", `{"c":"t","f":0}`, "InvalidRequest"},
		{"half a block", "s-1/get/json", `{"c":"t","f":0,"l":512.5}`, "InvalidRequest"},
		{"a long token", "s-1/get/json", `{"c":"` + strings.Repeat("t", 65) + `","f":0,"l":512}`, "InvalidRequest"},
		{"a bitmap of no digits", "s-1/get/json", `{"c":"t","f":0,"l":512,"b":"xy"}`, "InvalidRequest"},
		{"a long bitmap", "s-1/get/json", `{"c":"t","f":0,"l":512,"b":"` + strings.Repeat("00", 12289) + `"}`, "InvalidRequest"},
		{"an unknown stream", "s-9/get/json", `{"c":"t","f":0,"l":512}`, "ResourceNotFound"},
		{"a job without a stream", "plain/describe/json", `{"c":"t"}`, "ResourceNotFound"},
		{"an unknown file", "s-1/get/json", `{"c":"t","f":1,"l":512}`, "ResourceNotFound"},
		{"another version", "s-1/get/json", `{"c":"t","f":0,"l":512,"s":2}`, "VersionMismatch"},
		{"another ETag", "s-1/get/json", `{"c":"t","f":0,"l":512,"e":"00"}`, "ETagMismatch"},
		{"small blocks", "s-1/get/json", `{"c":"t","f":0,"l":255}`, "BlockSizeOutOfBounds"},
		{"large blocks", "s-1/get/json", `{"c":"t","f":0,"l":131073}`, "BlockSizeOutOfBounds"},
		{"too many blocks", "s-1/get/json", `{"c":"t","f":0,"l":512,"n":98305}`, "BlockCountLimitExceeded"},
		{"behind the file", "s-1/get/json", `{"c":"t","f":0,"l":512,"o":20}`, "OffsetOutOfBounds"},
		{"before the file", "s-1/get/json", `{"c":"t","f":0,"l":512,"o":-1}`, "OffsetOutOfBounds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := r.say("$aws/things/gw-1/streams/"+tt.topic, tt.ask)
			if len(got) != 1 || !strings.Contains(got[0], "rejected") || !strings.Contains(got[0], tt.want) {
				t.Errorf("answer = %q, want %s", got, tt.want)
			}
		})
	}
}

// The faults of files are those of blocks.
func TestStreamFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault cloudsim.Fault
		want  string
	}{
		{"missing", cloudsim.Fault{Kind: cloudsim.FaultMissing}, "ResourceNotFound"},
		{"a status", cloudsim.Fault{Kind: cloudsim.FaultStatus, Status: 403}, "InternalError"},
		{"cut in the first block", cloudsim.Fault{Kind: cloudsim.FaultCut, After: 100}, ""},
		{"cut in the second block", cloudsim.Fault{Kind: cloudsim.FaultCut, After: 900}, "0"},
		{"no range", cloudsim.Fault{Kind: cloudsim.FaultNoRange}, "0 1"},
		{"slow", cloudsim.Fault{Kind: cloudsim.FaultSlow, Rate: 1 << 20}, "0 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, data := streaming(t, 10_000, nil)
			if err := r.SetFault(tt.fault); err != nil {
				t.Fatal(err)
			}
			got := r.say(streamTopic+"get/json", `{"c":"t","f":0,"l":512,"n":2}`)
			if len(got) == 1 && strings.Contains(got[0], "rejected") {
				if tt.want == "" || !strings.Contains(got[0], tt.want) {
					t.Errorf("answer = %q, want %s", got, tt.want)
				}
			} else if numbers := strings.Trim(fmt.Sprint(blocks(t, got, data, 512)), "[]"); numbers != tt.want {
				t.Errorf("blocks %s, want %s", numbers, tt.want)
			}
		})
	}
	r, data := streaming(t, 1000, nil)
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultChanged}); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 0xff
	}
	if got := blocks(t, r.say(streamTopic+"get/json", `{"c":"t","f":0,"l":512}`), data, 512); len(got) != 2 {
		t.Errorf("blocks %v, want both with other bytes", got)
	}
}

// A wrong size is that of the document; the stream knows its file.
func TestStreamOfWrongSize(t *testing.T) {
	r, data := streaming(t, 1000, nil)
	if err := r.SetFault(cloudsim.Fault{Kind: cloudsim.FaultWrongSize}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.order(cloudsim.Order{Verb: cloudsim.VerbPush, Job: "s-2", Software: cloudsim.Software{File: "f.img"}, Set: map[string]any{"via": "jobs", "stream": "true"}}); err != nil {
		t.Fatal(err)
	}
	got := r.say("$aws/things/gw-1/streams/s-2/describe/json", `{}`)
	_, body := r.ask("jobs/s-2/get", ``)
	if size := body["execution"].(map[string]any)["jobDocument"].(map[string]any)["size"]; size != 1001.0 || !strings.Contains(got[0], fmt.Sprintf(`"z":%d}`, len(data))) {
		t.Errorf("the document says %v, the stream %q; want 1001 and 1000", size, got)
	}
}

// The device's reader gets the whole file from a stream that loses each fourth
// block and a line that turns messages around.
func TestStreamIsReadByTheDevice(t *testing.T) {
	r, data := streaming(t, 400_001, map[string]any{"loseEach": 4})
	_, body := r.ask("jobs/start-next", ``)
	inputs, err := awsjobs.Inputs([]byte(text(t, body["execution"].(map[string]any)["jobDocument"])))
	if err != nil {
		t.Fatal(err)
	}
	name, file, err := awsjobs.ParseStreamURL(inputs["url"])
	if err != nil || inputs["size"] != "400001" || len(inputs["sha256"]) != 64 {
		t.Fatalf("inputs = %v, %v", inputs, err)
	}
	s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: name, File: file})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	var asked, sent int
	for now := time.Unix(1e9, 0); ; {
		out, again := s.Poll(now)
		if out.Kind == "" {
			now = now.Add(again)
		} else {
			asked++
			answers, err := r.cloud.Take(cloudsim.Message{Device: "gw-1", Topic: out.Topic, Payload: out.Payload})
			if err != nil {
				t.Fatal(err)
			}
			sent += len(answers)
			slices.Reverse(answers)
			for _, m := range answers {
				if err := s.Message(m.Topic, m.Payload); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, err := io.Copy(&got, s)
		if err == nil || !errors.Is(err, awsjobs.ErrMore) {
			if err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Fatalf("%d bytes, %v; want those of the file", got.Len(), err)
			}
			break
		}
		if asked > 100 {
			t.Fatalf("%d bytes after 100 requests", got.Len())
		}
	}
	t.Logf("%d blocks in %d requests", sent, asked)
	if asked < 5 {
		t.Errorf("%d requests, want more: blocks are lost", asked)
	}
}

// CBOR as the format's own description (RFC 8949) has it.
func TestStreamInCBOR(t *testing.T) {
	r, data := streaming(t, 1000, nil)
	say := func(what, request string) string {
		t.Helper()
		raw, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		got := r.say(streamTopic+what+"/cbor", string(raw))
		if len(got) != 1 {
			t.Fatalf("%s: %q, want one message", what, got)
		}
		topic, payload, _ := strings.Cut(got[0], " ")
		return strings.TrimPrefix(topic, streamTopic) + " " + hex.EncodeToString([]byte(payload))
	}
	// {"c": "t"}
	if got, want := say("describe", "a1 6163 6174"), "description/cbor a4"+"6163"+"6174"+"6164"+"65662e696d67"+"6172"+"81a2"+"6166"+"00"+"617a"+"1903e8"+"6173"+"01"; got != want {
		t.Errorf("description = %s, want %s", got, want)
	}
	// {"c": "t", "f": 0, "l": 512, "o": 1, "b": h'01'}
	want := "data/cbor a5" + "6163" + "6174" + "6166" + "00" + "6169" + "01" + "616c" + "1901e8" + "6170" + "5901e8" + hex.EncodeToString(data[512:])
	if got := say("get", "a5 6163 6174 6166 00 616c 190200 616f 01 6162 4101"); got != want {
		t.Errorf("block = %s, want %s", got, want)
	}
	for name, request := range map[string]string{
		"nothing": "", "a text": "6163", "a map that is cut": "a2 6163 6174", "a text that is cut": "a1 6163 69", "a length that is cut": "a1 6163 1a00",
		"a huge map": "bbffffffffffffffff", "a huge text": "a1 6163 7bffffffffffffffff", "a list": "a1 6163 80", "of no definite length": "bf 6163 6174 ff",
		"more behind it": "a1 6163 6174 00", "a number as name": "a1 01 02", "no UTF-8": "a1 6163 61ff", "a large negative": "a1 6163 3bffffffffffffffff",
	} {
		if got := say("get", request); !strings.HasPrefix(got, "rejected/cbor ") || !strings.Contains(got, hex.EncodeToString([]byte("InvalidCbor"))) {
			t.Errorf("%s: %s, want InvalidCbor", name, got)
		}
	}
}

func FuzzTake(f *testing.F) {
	for _, topic := range []string{"shadow/update", "shadow/name/n/get", "jobs/j-1/update", "jobs/start-next", "streams/s-1/get/json", "streams/s-1/get/cbor"} {
		f.Add(topic, []byte(`{"state":{"desired":{"a":1}},"status":"FAILED","f":0,"l":512}`))
	}
	f.Add("streams/s-1/get/cbor", []byte("\xa2\x61f\x00\x61l\x19\x02\x00"))
	c, err := aws.New(aws.Config{})
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f.img"), make([]byte, 5000), 0o600); err != nil {
		f.Fatal(err)
	}
	s, err := cloudsim.Start(cloudsim.Config{Files: dir}, c)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := errors.Join(s.Close(), c.Close()); err != nil {
			f.Error(err)
		}
	})
	if _, err := s.Order(f.Context(), cloudsim.Order{Verb: cloudsim.VerbPush, Device: "gw-1", Job: "s-1", Software: cloudsim.Software{File: "f.img"}, Set: map[string]any{"via": "jobs", "stream": true}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		out, err := c.Take(cloudsim.Message{Device: "gw-1", Topic: "$aws/things/gw-1/" + topic, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range out {
			if m.Device != "gw-1" || !strings.HasPrefix(m.Topic, "$aws/things/gw-1/") {
				t.Errorf("a message for %q on %q", m.Device, m.Topic)
			}
		}
	})
}

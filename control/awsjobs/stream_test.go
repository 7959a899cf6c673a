package awsjobs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control/awsjobs"
)

// files is a service that sends the blocks of one file, and the bad line to it.
type files struct {
	t      *testing.T
	r      *rand.Rand
	loss   int // percent of messages that are lost, and as many come twice
	data   []byte
	line   [][2]string // topic and payload, to the device
	asked  int
	blocks int // sent
}

const streamTopic = "$aws/things/gw-1/streams/s-1"

// take answers a request: the blocks of the bitmap.
func (f *files) take(topic string, payload []byte) {
	var q struct {
		C       string
		F       int
		L, O, N int64
		B       string
	}
	if err := json.Unmarshal(payload, &q); err != nil || q.C == "" {
		f.t.Fatalf("request %s: %v", payload, err)
	}
	f.asked++
	if topic == streamTopic+"/describe/json" {
		f.put("/description/json", map[string]any{"c": q.C, "s": 1, "d": "", "r": []any{map[string]any{"f": 0, "z": 7}, map[string]any{"f": 3, "z": len(f.data)}}})
		return
	}
	bits, err := hex.DecodeString(q.B)
	if topic != streamTopic+"/get/json" || err != nil || q.F != 3 || q.N*q.L > 128<<10 || int64(len(bits)) != (q.N+7)/8 {
		f.t.Fatalf("request %s %s: %v", topic, payload, err)
	}
	for i := range q.N {
		if bits[i/8]>>(i%8)&1 == 0 {
			continue
		}
		from := (q.O + i) * q.L
		part := f.data[from:min(int64(len(f.data)), from+q.L)]
		f.blocks++
		f.put("/data/json", map[string]any{"c": q.C, "f": 3, "l": q.L, "i": q.O + i, "p": base64.StdEncoding.EncodeToString(part)})
	}
}

func (f *files) put(below string, body map[string]any) {
	payload, err := json.Marshal(body)
	if err != nil {
		f.t.Fatal(err)
	}
	copies := 1
	if f.loss > 0 {
		copies = []int{0, 2, 1}[min(2, f.r.IntN(100)/f.loss)]
	}
	for range copies {
		f.line = append(f.line, [2]string{streamTopic + below, string(payload)})
	}
	if n := len(f.line); f.loss > 0 && n > 1 {
		i := f.r.IntN(n)
		f.line[i], f.line[n-1] = f.line[n-1], f.line[i]
	}
}

// fetch reads a stream to its end, and gives the bytes and the virtual time that it took.
func (f *files) fetch(c awsjobs.StreamConfig, cut int) ([]byte, time.Duration) {
	s, err := awsjobs.NewStream(c)
	if err != nil {
		f.t.Fatal(err)
	}
	var got bytes.Buffer
	begin := time.Unix(1e9, 0)
	now := begin
	for step := 0; ; step++ {
		if step > 50_000 {
			f.t.Fatal("the stream does not end")
		}
		if cut > 0 && step%cut == cut-1 { // the process ends, and the next one goes on
			c.From, f.line = s.Offset(), nil
			if s, err = awsjobs.NewStream(c); err != nil {
				f.t.Fatal(err)
			}
		}
		out, again := s.Poll(now)
		switch {
		case out.Kind != "":
			f.take(out.Topic, out.Payload)
		case len(f.line) > 0:
			m := f.line[0]
			f.line = f.line[1:]
			if err := s.Message(m[0], []byte(m[1])); err != nil && !errors.Is(err, awsjobs.ErrMessage) {
				f.t.Fatal(err)
			}
		default:
			now = now.Add(again)
		}
		_, err := io.Copy(&got, s)
		switch {
		case err == nil:
			return got.Bytes(), now.Sub(begin)
		case !errors.Is(err, awsjobs.ErrMore):
			f.t.Fatal(err)
		}
	}
}

func TestStreamOverABadLine(t *testing.T) {
	lost, asked := 0, 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		block := []int64{256, 1000, 4096, 131072}[r.IntN(4)]
		data := make([]byte, r.IntN(400_000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f := &files{t: t, r: r, loss: 20, data: data}
		c := awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3, Block: block, From: int64(r.IntN(len(data) + 1))}
		if seed%2 == 0 {
			c.Size = int64(len(data))
		}
		want := data[c.From:]
		got, _ := f.fetch(c, []int{0, 700}[r.IntN(2)])
		if !bytes.Equal(got, want) {
			t.Errorf("seed %d: %d bytes %x, want %d bytes %x", seed, len(got), sha256.Sum256(got), len(want), sha256.Sum256(want))
		}
		asked += f.asked
		lost += f.blocks - int((int64(len(want))+block-1)/block)
	}
	t.Logf("%d requests, %d blocks sent more than once", asked, lost)
	if lost < 1000 {
		t.Errorf("only %d blocks were sent again, the line was too good to show anything", lost)
	}
}

func TestStreamOverAGoodLineAsksOnceForEachWindow(t *testing.T) {
	f := &files{t: t, r: rand.New(rand.NewPCG(1, 1)), data: make([]byte, 300<<10)}
	got, took := f.fetch(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3}, 0)
	if !bytes.Equal(got, f.data) || f.asked != 4 || f.blocks != 75 || took != 0 {
		t.Errorf("%d bytes with %d requests and %d blocks in %v, want %d with 4 (a description and 3 windows of 128 KiB) and 75, at once", len(got), f.asked, f.blocks, took, len(f.data))
	}
}

func TestStreamRequest(t *testing.T) {
	s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3, Size: 2500, Block: 256, From: 600})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	check := func(want string, after time.Duration) {
		t.Helper()
		out, again := s.Poll(now)
		if got := out.Topic + " " + string(out.Payload); out.Kind == "" && want != "" || out.Kind != "" && got != want || again != after {
			t.Errorf("asks %s, again after %v\nwant %s, %v", got, again, want, after)
		}
	}
	block := func(number int64, size int, token string) error {
		return s.Message(streamTopic+"/data/json", fmt.Appendf(nil, `{"c": %q, "f": 3, "l": 256, "i": %d, "p": %q}`, token, number, base64.StdEncoding.EncodeToString(make([]byte, size))))
	}
	// From lies in block 2, so that 8 of 10 are missing: one byte of bits.
	check(streamTopic+`/get/json {"b":"ff","c":"1000000000-1","f":3,"l":256,"n":8,"o":2}`, 10*time.Second)
	now = now.Add(4 * time.Second)
	check("", 6*time.Second)
	for _, number := range []int64{9, 3, 3, 1, 99} { // the last one, one, the same again, and two that nobody wants
		if err := block(number, map[int64]int{9: 196}[number]+map[bool]int{true: 256}[number != 9], "1000000000-1"); err != nil {
			t.Fatal(err)
		}
	}
	check("", 2*time.Second)
	now = now.Add(2 * time.Second)
	// Blocks 3 and 9 are here: bits 1 and 7 are off.
	check(streamTopic+`/get/json {"b":"7d","c":"1000000006-2","f":3,"l":256,"n":8,"o":2}`, 10*time.Second)
	now = now.Add(10 * time.Second)
	check(streamTopic+`/get/json {"b":"7d","c":"1000000016-3","f":3,"l":256,"n":8,"o":2}`, 20*time.Second)
	s.Lost()
	check(streamTopic+`/get/json {"b":"7d","c":"1000000016-4","f":3,"l":256,"n":8,"o":2}`, 10*time.Second)
	if err := block(2, 256, "1000000000-1"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(make([]byte, 4096))
	if want := 1024 - 600; got != want || err != nil || s.Offset() != 1024 {
		t.Errorf("read %d, %v at %d, want %d at 1024", got, err, s.Offset(), want)
	}
}

func TestStreamRefusesWhatCannotBe(t *testing.T) {
	const token = "1000000000-1"
	for _, tt := range []struct{ name, topic, payload, want string }{
		{"another stream", "$aws/things/gw-1/streams/s-2/data/json", `{}`, "not a topic of stream s-1"},
		{"another topic", streamTopic + "/data/cbor", `{}`, "not a topic of stream s-1"},
		{"no JSON", streamTopic + "/data/json", "x", "message is no JSON"},
		{"another's request", streamTopic + "/data/json", `{"c": "t-9", "f": 3, "l": 256, "i": 0, "p": ""}`, "clientToken is of no request"},
		{"another file", streamTopic + "/data/json", `{"f": 4, "l": 256, "i": 0, "p": ""}`, "a block of file 4, want file 3"},
		{"no base64", streamTopic + "/data/json", `{"f": 3, "l": 256, "i": 0, "p": "?"}`, "p of block 0 is no base64"},
		{"short block", streamTopic + "/data/json", `{"f": 3, "l": 256, "i": 0, "p": "AAAA"}`, "block 0 has 3 bytes and the length 256, want 256"},
		{"another block size", streamTopic + "/data/json", `{"f": 3, "l": 512, "i": 0, "p": "` + base64.StdEncoding.EncodeToString(make([]byte, 256)) + `"}`, "block 0 has 256 bytes and the length 512, want 256"},
		{"number of the wrong type", streamTopic + "/data/json", `{"f": 3, "l": 256, "i": [], "p": ""}`, "i is a list, want text"},
		{"oversize", streamTopic + "/data/json", strings.Repeat(" ", 256<<10), "the limit is"},
		{"refusal without a code", streamTopic + "/rejected/json", `{"c": "` + token + `"}`, "a refusal without a code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3, Size: 2500, Block: 256})
			if err != nil {
				t.Fatal(err)
			}
			s.Poll(time.Unix(1e9, 0))
			err = s.Message(tt.topic, []byte(tt.payload))
			if !errors.Is(err, awsjobs.ErrMessage) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want ErrMessage with %q", err, tt.want)
			}
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, awsjobs.ErrMore) {
				t.Errorf("read: %v, want ErrMore", err)
			}
		})
	}
}

func TestStreamEndsWithTheServicesNo(t *testing.T) {
	for _, tt := range []struct{ name, topic, payload, want string }{
		{"no such stream", "/rejected/json", `{"o": "ResourceNotFound", "m": "no stream s-1?x=s3cr3t", "c": "1000000000-1"}`, "ResourceNotFound no stream s-1"},
		{"long names", "/rejected/json", `{"code": "ETagMismatch", "message": "changed", "clientToken": "1000000000-1"}`, "ETagMismatch changed"},
		{"no such file", "/description/json", `{"c": "1000000000-1", "s": 1, "r": [{"f": 0, "z": 7}]}`, "stream s-1 has no file 3"},
		{"too large", "/description/json", `{"s": 1, "r": [{"f": "3", "z": 25165825}]}`, "25165825 bytes, want at most 25165824"},
		{"too many blocks", "/description/json", `{"s": 1, "r": [{"f": 3, "z": 25165824}]}`, ""},
		{"busy", "/rejected/json", `{"o": "RequestThrottled", "m": "slow down"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3, Block: 256})
			if err != nil {
				t.Fatal(err)
			}
			s.Poll(time.Unix(1e9, 0))
			got := s.Message(streamTopic+tt.topic, []byte(tt.payload))
			_, read := s.Read(make([]byte, 1))
			if tt.want == "" {
				if got != nil || !errors.Is(read, awsjobs.ErrMore) {
					t.Errorf("error = %v, read: %v, want ErrMore", got, read)
				}
				return
			}
			if !errors.Is(got, awsjobs.ErrStream) || !errors.Is(read, awsjobs.ErrStream) || !strings.Contains(got.Error(), tt.want) || strings.Contains(got.Error(), "s3cr3t") {
				t.Errorf("error = %v, read: %v, want ErrStream with %q", got, read, tt.want)
			}
			if out, again := s.Poll(time.Unix(2e9, 0)); out.Kind != "" || again != 0 {
				t.Errorf("asks %s again", out.Topic)
			}
		})
	}
}

func TestBadStreamConfigIsAllNamed(t *testing.T) {
	_, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "+", Stream: "s/1", File: 256, Block: 255, Size: 5, From: 6})
	for _, want := range []string{`device "+"`, `stream "s/1"`, "file 256", "blocks of 255 bytes", "5 bytes from 6"} {
		if !errors.Is(err, awsjobs.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %s:\n%v", want, err)
		}
	}
}

func TestStreamURL(t *testing.T) {
	if got := awsjobs.StreamURL("s-1", 3); got != "aws-stream:s-1/3" {
		t.Errorf("URL = %s", got)
	}
	for text, want := range map[string]string{"aws-stream:s-1/3": "s-1 3", "aws-stream:s-1": "", "aws-stream:s-1/256": "", "aws-stream:s-1/03": "", "aws-stream:s/1/3": "", "https://h/s-1/3": "", "aws-stream:/3": ""} {
		stream, file, err := awsjobs.ParseStreamURL(text)
		got := fmt.Sprintf("%s %d", stream, file)
		if want == "" && !errors.Is(err, awsjobs.ErrMessage) || want != "" && (err != nil || got != want) {
			t.Errorf("%s is %q, %v, want %q", text, got, err, want)
		}
	}
}

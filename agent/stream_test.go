package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsjobs"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// shelf is a cloud with one stream, s-1, of thing gw-1, whose file 3 it sends.
type shelf struct {
	data   []byte
	refuse string // the code of a refusal of all requests for blocks
	asked  [][2]int64
	wrong  []string // what a device may not ask
}

const streamOfTest = "$aws/things/gw-1/streams/s-1/"

// answer gives topics and payloads for a request, if it is one.
func (s *shelf) answer(topic string, payload []byte) (out [][2]string) {
	var q struct {
		C       string
		S, F    int
		L, O, N int64
		B       string
	}
	put := func(below string, body map[string]any) {
		body["c"] = q.C
		text, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		out = append(out, [2]string{streamOfTest + below + "/json", string(text)})
	}
	err := json.Unmarshal(payload, &q)
	bits, hexErr := hex.DecodeString(q.B)
	verb, ours := strings.CutPrefix(topic, streamOfTest)
	switch {
	case !ours || err != nil || q.C == "" || len(q.C) > 64:
		s.wrong = append(s.wrong, topic+" "+string(payload))
	case verb == "describe/json" && s.refuse == "ResourceNotFound":
		put("rejected", map[string]any{"o": s.refuse, "m": "no such stream"})
	case verb == "describe/json":
		put("description", map[string]any{"s": 2, "d": "", "r": []any{map[string]any{"f": 0, "z": 7}, map[string]any{"f": 3, "z": len(s.data)}}})
	case verb != "get/json" || hexErr != nil || q.S != 2 || q.F != 3 || q.N*q.L > 128<<10 || int64(len(bits)) != (q.N+7)/8:
		s.wrong = append(s.wrong, topic+" "+string(payload))
	case s.refuse != "":
		put("rejected", map[string]any{"o": s.refuse, "m": "no"})
	default:
		s.asked = append(s.asked, [2]int64{q.O * q.L, q.N * q.L})
		for i := range q.N {
			if bits[i/8]>>(i%8)&1 == 1 {
				from := (q.O + i) * q.L
				put("data", map[string]any{"f": 3, "l": q.L, "i": q.O + i, "p": s.data[from:min(int64(len(s.data)), from+q.L)]})
			}
		}
	}
	return out
}

// badLine is a line to a shelf that loses, doubles and reorders messages, and
// is cut now and then. Its time passes when nothing comes.
type badLine struct {
	shelf  *shelf
	r      *rand.Rand
	clock  *disk.Virtual
	loss   int // percent of the messages of either side
	cuts   int // one in so many Next is the end of the connection; 0: none
	dead   bool
	err    error // of the next Next
	queue  []control.In
	closed int
	idle   time.Duration // that passed
}

func (l *badLine) Publish(topic string, payload []byte) {
	if l.dead || l.r.IntN(100) < l.loss {
		return
	}
	for _, m := range l.shelf.answer(topic, payload) {
		for n := l.r.IntN(100); n >= l.loss; n -= 90 { // now and then twice
			l.queue = append(l.queue, control.In{Kind: control.InMessage, Topic: m[0], Payload: []byte(m[1])})
		}
	}
	if l.loss > 0 {
		l.r.Shuffle(len(l.queue), func(i, j int) { l.queue[i], l.queue[j] = l.queue[j], l.queue[i] })
	}
}

func (l *badLine) Next(ctx context.Context) (control.In, error) {
	if l.err != nil {
		return control.In{}, l.err
	}
	if l.cuts > 0 && l.r.IntN(l.cuts) == 0 {
		l.queue = []control.In{{Kind: control.InLost}, {Kind: control.InConnected}}
	}
	for len(l.queue) == 0 {
		if ctx.Err() != nil {
			return control.In{}, context.Cause(ctx)
		}
		l.clock.Advance(100 * time.Millisecond)
		l.idle += 100 * time.Millisecond
		if l.idle > time.Hour {
			return control.In{}, errors.New("an hour has passed")
		}
	}
	in := l.queue[0]
	l.queue = l.queue[1:]
	return in, nil
}

func (l *badLine) Close() error { l.closed++; return nil }

// reading opens file 3 of the shelf over the line.
func reading(t *testing.T, ctx context.Context, l *badLine, from int64) *streamReader {
	t.Helper()
	machine, err := awsjobs.NewStream(awsjobs.StreamConfig{Device: "gw-1", Stream: "s-1", File: 3, From: from})
	if err != nil {
		t.Fatal(err)
	}
	l.queue = []control.In{{Kind: control.InConnected}}
	return &streamReader{ctx: ctx, clock: l.clock, line: l, machine: machine}
}

func newBadLine(seed uint64, size int) *badLine {
	r := rand.New(rand.NewPCG(seed, 0))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return &badLine{shelf: &shelf{data: data}, r: r, clock: disk.NewVirtual(time.Unix(1_800_000_000, 0))}
}

// TestStreamOverABadLine: what is lost is asked for again, whatever the order in
// which the rest comes, and a new process goes on where the last one was.
func TestStreamOverABadLine(t *testing.T) {
	for _, tt := range []struct{ size, loss, cuts int }{{0, 0, 0}, {1, 0, 0}, {300_001, 0, 0}, {131_072, 0, 0}, {600_000, 10, 0}, {300_001, 50, 0}, {600_000, 20, 40}} {
		t.Run(fmt.Sprintf("%d bytes, %d %% lost, a cut in %d", tt.size, tt.loss, tt.cuts), func(t *testing.T) {
			for seed := range uint64(8) {
				l := newBadLine(seed, tt.size)
				l.loss, l.cuts = tt.loss, tt.cuts
				var got bytes.Buffer
				restarts := 0
				for done := false; !done; restarts++ {
					r := reading(t, t.Context(), l, int64(got.Len()))
					if err := r.begin(); err != nil || r.machine.Size() != int64(tt.size) {
						t.Fatalf("begin: %v, size %d", err, r.machine.Size())
					}
					n, err := io.CopyN(&got, r, 100_000) // then the process ends
					if err != nil && err != io.EOF {
						t.Fatalf("after %d bytes: %v", n, err)
					}
					done = err == io.EOF
					if err := r.Close(); err != nil || l.closed != restarts+1 {
						t.Errorf("close: %v, %d times", err, l.closed)
					}
				}
				if !bytes.Equal(got.Bytes(), l.shelf.data) {
					t.Fatalf("seed %d: %d bytes came, want %d, and they differ", seed, got.Len(), tt.size)
				}
				if len(l.shelf.wrong) > 0 {
					t.Fatalf("seed %d: asked what nobody may ask: %q", seed, l.shelf.wrong[0])
				}
				if tt.loss == 0 && l.idle > 0 {
					t.Errorf("seed %d: %v passed in waiting, although nothing was lost", seed, l.idle)
				}
			}
		})
	}
}

// TestStreamResumes: nothing that is there is asked for again.
func TestStreamResumes(t *testing.T) {
	l := newBadLine(1, 400_000)
	r := reading(t, t.Context(), l, 300_000)
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, l.shelf.data[300_000:]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, asked := range l.shelf.asked {
		if asked[0] < 300_000-4096 {
			t.Errorf("asked for bytes from %d on", asked[0])
		}
	}
}

// TestStreamRefused: the cloud's word reaches the step, and says whether another try may help.
func TestStreamRefused(t *testing.T) {
	for _, tt := range []struct {
		refuse string
		from   int64
		err    error // of the line
		code   string
		retry  bool
		fresh  bool
		says   string
	}{
		{refuse: "ResourceNotFound", code: "not_found", says: "ResourceNotFound no such stream"},
		{refuse: "InvalidRequest", code: "stream", says: "InvalidRequest no"},
		{refuse: "BlockSizeOutOfBounds", code: "stream", says: "BlockSizeOutOfBounds"},
		{refuse: "VersionMismatch", code: "stream", retry: true, says: "VersionMismatch"},
		{refuse: "ETagMismatch", from: 5000, code: "stream", retry: true, fresh: true, says: "ETagMismatch"},
		{from: 10_001, code: "stream", retry: true, fresh: true, says: "reading was to begin at 10001"},
		{err: fmt.Errorf("%w the subscription", mqtt.ErrRefused), code: "stream", says: "broker refused the subscription"},
	} {
		t.Run(tt.says, func(t *testing.T) {
			l := newBadLine(1, 10_000)
			l.shelf.refuse, l.err = tt.refuse, tt.err
			r := reading(t, t.Context(), l, tt.from)
			err := r.begin()
			if err == nil {
				_, err = io.ReadAll(r)
			}
			var failure *engine.Failure
			var retry *engine.Retry
			if !errors.As(err, &failure) || failure.Code != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v, want %q with %q", err, tt.code, tt.says)
			}
			if again := errors.As(err, &retry); again != tt.retry || again && retry.Fresh != tt.fresh {
				t.Errorf("got %+v, want a retry: %t, fresh: %t", err, tt.retry, tt.fresh)
			}
		})
	}
}

// TestStreamThrottled: the service may say later.
func TestStreamThrottled(t *testing.T) {
	l := newBadLine(1, 10_000)
	l.shelf.refuse = "RequestThrottled"
	stop := l.clock.AfterFunc(25*time.Second, func() { l.shelf.refuse = "" })
	defer stop()
	got, err := io.ReadAll(reading(t, t.Context(), l, 0))
	if err != nil || !bytes.Equal(got, l.shelf.data) || l.idle < 25*time.Second || l.idle > 2*time.Minute {
		t.Errorf("%d bytes after %v, %v", len(got), l.idle, err)
	}
}

// TestStreamCancelled: the end of its context ends a reading that waits for nothing in particular.
func TestStreamCancelled(t *testing.T) {
	gone := errors.New("cancelled")
	for _, dead := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		l := newBadLine(1, 300_000)
		r := reading(t, ctx, l, 0)
		if dead { // from the beginning
			l.dead = true
		} else if err := r.begin(); err != nil {
			t.Fatal(err)
		} else if _, err := io.CopyN(io.Discard, r, 140_000); err != nil {
			t.Fatal(err)
		} else {
			l.dead = true
		}
		before := l.idle
		stop := l.clock.AfterFunc(5*time.Second, func() { cancel(gone) })
		if _, err := io.ReadAll(r); !errors.Is(err, gone) || l.idle-before > 6*time.Second {
			t.Errorf("after %v: %v, want %v after 5s", l.idle-before, err, gone)
		}
		stop()
	}
}

// TestStreamMemory: the largest file goes through in little memory.
func TestStreamMemory(t *testing.T) {
	const room = 2 << 20 // for the window of 128 KiB, its messages as text and what reads them
	l := newBadLine(1, 24<<20)
	r := reading(t, t.Context(), l, 0)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	begin, most, at := heap(), int64(0), 0
	buf := make([]byte, 64<<10)
	for next := 1 << 20; ; {
		n, err := r.Read(buf)
		if !bytes.Equal(buf[:n], l.shelf.data[at:at+n]) {
			t.Fatalf("other bytes at %d", at)
		}
		if at += n; at >= next {
			most, next = max(most, heap()-begin), next+2<<20
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if at != len(l.shelf.data) || most > room {
		t.Errorf("%d bytes, %d in memory at the most; want %d and at most %d", at, most, len(l.shelf.data), room)
	}
	t.Logf("%d bytes in memory at the most", most)
}

// TestCheckKnowsStreams: an address in a stream is right where a plane has streams.
func TestCheckKnowsStreams(t *testing.T) {
	const refused = `nothing here fetches the scheme "aws-stream"`
	for _, tt := range []struct {
		name, dialect, files, want string
	}{
		{"a plane with streams", "awsjobs", "agent.yaml", ""},
		{"a plane without", "awsiot", "agent.yaml", refused},
		{"the workflow alone", "awsjobs", "update.yaml", refused},
		{"the workflow and its device", "awsjobs", "update.yaml device.yaml", refused},
		{"all files at once", "awsjobs", "update.yaml device.yaml agent.yaml", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := (&jobCloud{t: t, address: "127.0.0.1:1"}).thing()
			for name, change := range map[string][2]string{"agent.yaml": {"awsjobs", tt.dialect}, "update.yaml": {"${{ inputs.url }}", "aws-stream:s-1/3"}} {
				name = filepath.Join(dir, name)
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, bytes.ReplaceAll(text, []byte(change[0]), []byte(change[1])), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var files []string
			for _, name := range strings.Fields(tt.files) {
				files = append(files, filepath.Join(dir, name))
			}
			err := Check(files)
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "update.yaml:7:")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestWhichPlaneGivesTheStream: that of the run's first command which has streams,
// or else the only one.
func TestWhichPlaneGivesTheStream(t *testing.T) {
	at := func(dialect, name string) *plane { return &plane{Plane: Plane{Name: name, Dialect: dialect}} }
	for _, tt := range []struct {
		name     string
		planes   []*plane
		commands []string // their planes
		want     string
	}{
		{"the one that asked", []*plane{at("awsjobs", "a"), at("awsjobs", "b")}, []string{"b"}, "b"},
		{"the one that joined", []*plane{at("awsjobs", "a"), at("awsjobs", "b"), at("awsiot", "c")}, []string{"c", "a"}, "a"},
		{"the only one", []*plane{at("awsjobs", "a"), at("awsiot", "c")}, []string{"c"}, "a"},
		{"none that asked, of two", []*plane{at("awsjobs", "a"), at("awsjobs", "b")}, []string{"local"}, ""},
		{"one of an earlier agent file", []*plane{at("awsiot", "c")}, []string{"a"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			planes := map[string]*plane{}
			for _, p := range tt.planes {
				planes[p.Name] = p
			}
			var commands []engine.CommandRef
			for _, name := range tt.commands {
				commands = append(commands, engine.CommandRef{Plane: name, ID: "1"})
			}
			p, err := streaming(planes, commands)
			var failure *engine.Failure
			switch {
			case tt.want == "" && (!errors.As(err, &failure) || failure.Code != "stream"):
				t.Errorf("got %v, want a failure", err)
			case tt.want != "" && (err != nil || p.Name != tt.want):
				t.Errorf("got %v, %v; want %s", p, err, tt.want)
			}
		})
	}
}

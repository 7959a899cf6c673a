package wasmhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// recording runs do on a host that records, and gives what it wrote.
func recording(t testing.TB, c Config, do func(h *Host)) []byte {
	t.Helper()
	var b bytes.Buffer
	c.Record = NewRecorder(&b)
	if c.Cache == "" {
		c.Cache, c.CacheKey = cached.cache.dir, make([]byte, 32)
	}
	h, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	do(h)
	if err := c.Record.Err(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// guestOn loads a built guest, or bytes, on h.
func guestOn(t testing.TB, h *Host, wasm []byte) *Module {
	t.Helper()
	m, err := h.Load(t.Context(), wasm, Limits{Memory: 64 * mib})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(context.Background()) })
	return m
}

func replayed(t testing.TB, text, instead []byte) ([]Replayed, error) {
	t.Helper()
	var list []Replayed
	err := Replay(t.Context(), cached, io.NewSectionReader(bytes.NewReader(text), 0, int64(len(text))), instead, func(r Replayed) { list = append(list, r) })
	return list, err
}

// every is a device for the guest that uses all of the SDK.
func every() *bench {
	b := newBench([]byte("0123456789"), device.File)
	b.grants.Targets["tree"] = Target{Ref: "app@run-1", Type: device.Directory, Mode: Write}
	b.grants.Facts = map[string]string{"model": "gw", "serial": "1"}
	b.grants.Settings = []byte(`{"slot": "b"}`)
	return b
}

func TestReplayIsTheSame(t *testing.T) {
	text := recording(t, Config{}, func(h *Host) {
		if _, err := Install(t.Context(), guestOn(t, h, guests["install"]), newBench(image(2*mib+5), device.Slots).grants); err != nil {
			t.Error(err)
		}
		if _, err := Install(t.Context(), guestOn(t, h, guests["tree"]), newBench(image(190_001), device.Directory).grants); err != nil {
			t.Error(err)
		}
		b := every()
		m := guestOn(t, h, guests["every"])
		if _, err := Install(t.Context(), m, b.grants); err != nil {
			t.Error(err)
		}
		if _, err := m.Call(t.Context(), abi.Health, b.grants); err != nil {
			t.Error(err)
		}
		compat := Grants{Facts: map[string]string{"model": "x"}, Settings: []byte(`{"models": ["a"]}`)}
		if r, err := guestOn(t, h, guests["compat"]).Call(t.Context(), abi.Compat, compat); err != nil || r.Class != abi.Incompatible {
			t.Error(r.Class, err)
		}
	})
	list, err := replayed(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		names = append(names, fmt.Sprint(r.Name, " ", r.Phase, " ", r.End))
		t.Logf("%d %s %s: %d calls, %d fuel, %s", r.Number, r.Name, r.Phase, r.Calls, r.Fuel, r.End)
		if !r.SameFuel || r.Fuel == 0 || r.Calls == 0 {
			t.Errorf("%s %s: %d calls, %d fuel, compared %v", r.Name, r.Phase, r.Calls, r.Fuel, r.SameFuel)
		}
	}
	if len(names) < 8 || !strings.HasSuffix(names[len(names)-1], "compat class 3") {
		t.Errorf("phases %q", names)
	}
	t.Logf("%d bytes of recording", len(text))
}

// recordedLines records one phase of a and gives its lines.
func recordedLines(t *testing.T, a asm, g Grants) []string {
	t.Helper()
	text := recording(t, Config{}, func(h *Host) {
		m := guestOn(t, h, a.bytes(t))
		m.Call(t.Context(), abi.Install, g) // its end is in the recording
	})
	return slices.Collect(strings.Lines(string(text)))
}

func TestReplayFindsEachDifference(t *testing.T) {
	a := calls(op{"log", []int64{1, 0, 5}}, op{"art_open", []int64{0, 5}}, op{"art_read", []int64{firstArtifact, 1, 16, 2}},
		op{"mono_ms", nil}, op{"kv_put", []int64{0, 1, 0, 10_000}}, op{"log", []int64{2, 0, 3}})
	a.data = "image"
	lines := recordedLines(t, a, newBench([]byte("123"), device.Slots).grants)
	if list, err := replayed(t, []byte(strings.Join(lines, "")), nil); err != nil || len(list) != 1 || list[0].Calls != 6 {
		t.Fatalf("%v, %v\n%s", list, err, strings.Join(lines, ""))
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"another function", `"f":"art_open"`, `"f":"tgt_open"`, `call 2, art_open: function differs: the recording has a call of tgt_open`},
		{"another number", `"args":[160,1]`, `"args":[160,2]`, `call 3, art_read: number 2 differs: the recording has 2, the module gave 1`},
		{"other bytes", `"in":[{"b":"aW1hZ2U="}],"room":-1,"answer":160`, `"in":[{"b":"aW1hZ3U="}],"room":-1,"answer":160`, `call 2, art_open: buffer 1 differs: the recording has 5 bytes "imagu", the module gave 5 bytes "image", from byte 4`},
		{"other long bytes", `"size":10000`, `"size":9999`, `call 5, kv_put: buffer 2 differs: the recording has 9999 bytes with the sha256`},
		{"another room", `"room":2`, `"room":3`, `call 3, art_read: room for the answer differs: the recording has 3 bytes`},
		{"other fuel", `"fuel":`, `"fuel":7`, `call 1, log: fuel differs`},
		{"another end", `"end":{`, `"end":{"code":"depth",`, `at its end: the end differs: the recording has depth, the module gave class 0`},
		{"another class", `"end":{`, `"end":{"class":4,`, `at its end: the end differs: the recording has class 4`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Join(lines, "")
			i := strings.Index(text, `"call"`) // not in the head
			if tt.old == `"end":{` {
				i = strings.Index(text, tt.old)
			}
			text = text[:i] + strings.Replace(text[i:], tt.old, tt.new, 1)
			_, err := replayed(t, []byte(text), nil)
			var d *Difference
			if !errors.As(err, &d) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want a difference %q", err, tt.want)
			}
		})
	}
	call := func(n int) int {
		return slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, fmt.Sprintf(`"call":{"n":%d,`, n)) })
	}
	for _, tt := range []struct {
		name, want string
		lines      []string
	}{
		{"a call less", `call 3, art_read: function differs: the recording has a call of mono_ms`, slices.Concat(lines[:call(3)], lines[call(4):])},
		{"the last call less", `call 6, log: function differs: the recording has class 0, the module gave a call of log`, slices.Concat(lines[:call(6)], lines[call(6)+1:])},
		{"a call more", `at its end: the end differs: the recording has a call of log, the module gave class 0`, slices.Insert(slices.Clone(lines), call(6), lines[call(6)])},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := replayed(t, []byte(strings.Join(tt.lines, "")), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want a difference %q", err, tt.want)
			}
		})
	}
}

// A changed module of the same name meets what its predecessor met.
func TestReplayOfAChangedModule(t *testing.T) {
	a := calls(op{"cancelled", nil}, op{"mono_ms", nil}, op{"cancelled", nil})
	text := []byte(strings.Join(recordedLines(t, a, newBench(nil, device.Slots).grants), ""))
	longer := a
	longer.body = append([]byte{0x41, 1, 0x1a}, a.body...) // other fuel, the same calls
	list, err := replayed(t, text, longer.bytes(t))
	if err != nil || len(list) != 1 || list[0].SameFuel {
		t.Errorf("%+v, %v", list, err)
	}
	_, err = replayed(t, text, calls(op{"cancelled", nil}, op{"now_ms", nil}).bytes(t))
	var d *Difference
	if !errors.As(err, &d) || d.Call != 2 || d.Function != "now_ms" {
		t.Errorf("error = %v, want a difference at call 2", err)
	}
	other := a
	other.manifest = func(m *abi.Manifest) { m.Name = "somebody else's" }
	if _, err = replayed(t, text, other.bytes(t)); !errors.Is(err, ErrRecording) || !strings.Contains(err.Error(), `has ["case"]`) {
		t.Errorf("error = %v, want that no phase is of that module", err)
	}
}

func TestReplayOfPhasesThatWereEnded(t *testing.T) {
	trap := calls(op{"cancelled", nil}, op{"art_size", []int64{7}})
	failing := newBench([]byte("123"), device.Slots)
	failing.source.err = errors.New("gone")
	read := calls(op{"art_open", []int64{0, 5}}, op{"art_read", []int64{firstArtifact, 1, 16, 2}}, op{"cancelled", nil})
	read.data = "image"
	short := newBench(nil, device.Slots)
	short.grants.Clock = waiting{&clock{}}
	short.grants.Wall = 20e6
	for _, tt := range []struct {
		name, end string
		asm       asm
		grants    Grants
		fuel      bool
	}{
		{"by a bad handle", "guest-trap (art_size: 7 is no handle of an artifact)", trap, newBench(nil, device.Slots).grants, true},
		{"by the artifact's source", "host-io", read, failing.grants, false},
		{"by the clock", "wall", calls(op{"sleep_ms", []int64{3_600_000}}, op{"cancelled", nil}), short.grants, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := replayed(t, []byte(strings.Join(recordedLines(t, tt.asm, tt.grants), "")), nil)
			if err != nil || len(list) != 1 || list[0].End != tt.end || list[0].SameFuel != tt.fuel {
				t.Errorf("%+v, %v; want the end %q", list, err, tt.end)
			}
		})
	}
}

// A recording that was cut at any byte says how far it went, or that it is
// damaged; it never invents a difference.
func TestReplayOfACutRecording(t *testing.T) {
	a := calls(op{"art_open", []int64{0, 5}}, op{"art_read", []int64{firstArtifact, 0, 16, 60_000}}, op{"cancelled", nil})
	a.data = "image"
	a.pages = 2
	text := strings.Join(recordedLines(t, a, newBench(image(60_000), device.Slots).grants), "")
	whole := 0
	for n := 0; n <= len(text); n += 1 + n/20 {
		list, err := replayed(t, []byte(text[:n]), nil)
		switch {
		case errors.Is(err, ErrRecording) && n < strings.Index(text, `"begin"`):
		case err != nil:
			t.Fatalf("cut at %d of %d: %v", n, len(text), err)
		case len(list) == 1 && list[0].End != "":
			whole++
		}
	}
	if list, err := replayed(t, []byte(text), nil); err != nil || len(list) != 1 || list[0].Calls != 3 {
		t.Errorf("whole: %+v, %v", list, err)
	}
	if whole > 1 {
		t.Errorf("%d cut recordings pass as whole", whole)
	}
	// What a further process appends after a cut line goes on.
	more := text[:strings.LastIndex(text[:len(text)-2], "\n")+1] + text
	if list, err := replayed(t, []byte(more), nil); err != nil || len(list) != 2 || list[0].End != "" || list[1].End != "class 0" {
		t.Errorf("appended: %+v, %v", list, err)
	}
}

func TestHostileRecordings(t *testing.T) {
	const head = `{"recording":1}` + "\n"
	begin := func(memory string) string {
		return head + `{"phase":1,"begin":{"module":"00","name":"x 1.0.0","phase":"install","abi":"1.0","meter":1,"memory":` + memory + `,"fuel":1}}` + "\n"
	}
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "byte 0"},
		{"no recording", "\x7fELF", "byte 0"},
		{"another version", `{"recording":2}` + "\n", "version 2"},
		{"no head", `{"phase":1,"end":{}}` + "\n", "byte 0"},
		{"no JSON", head + "{\n", "byte 1"},
		{"an unknown field", head + `{"surprise":1}` + "\n", "surprise"},
		{"two kinds", head + `{"phase":1,"data":"AA==","end":{}}` + "\n", "a line is one of"},
		{"two values", head + `{"phase":1,"end":{}} {}` + "\n", "more than one value"},
		{"a long line", head + strings.Repeat(" ", recordLine+1) + "\n", "a line of more than"},
		{"an unknown phase", head + `{"phase":1,"begin":{"phase":"lunch"}}` + "\n", `phase "lunch"`},
		{"negative memory", begin("-1"), "-1 bytes of memory"},
		{"no module", begin("1"), "module 00 is missing"},
		{"more than there is room for", head + `{"phase":1,"call":{"n":1,"f":"random","room":1,"answer":2,"out":"AAAA","fuel":1}}` + "\n", "fills more than the 1 bytes"},
		{"deeply nested", head + strings.Repeat("[", 100_000) + "\n", "byte 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := replayed(t, []byte(tt.text), nil); !errors.Is(err, ErrRecording) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %.300v, want ErrRecording with %q", err, tt.want)
			}
		})
	}
}

// The trace hears every call, and its panic is the caller's own.
func TestTrace(t *testing.T) {
	m := load(t, "install")
	var heard []string
	b := newBench(image(mib), device.Slots)
	b.grants.Trace = func(x Exchange) {
		if !strings.HasPrefix(x.Function, "wasi.") {
			heard = append(heard, fmt.Sprint(x.Function, " ", x.Answer))
		}
	}
	if _, err := m.Call(t.Context(), abi.Install, b.grants); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(heard, ", "); !strings.Contains(got, "art_open 160") || !strings.Contains(got, fmt.Sprint("svc_copy ", mib)) {
		t.Errorf("heard %s", got)
	}
	b.grants.Trace = func(Exchange) { panic(powerCut{}) }
	if !attempt(func() { m.Call(t.Context(), abi.Install, b.grants) }) {
		t.Error("the panic did not pass")
	}
}

type failingWriter struct{ n int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.n--; w.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// A recording that cannot be written costs the recording, not the update.
func TestRecordingThatCannotBeWritten(t *testing.T) {
	r := NewRecorder(&failingWriter{3})
	h, err := New(t.Context(), Config{Record: r, Cache: cached.cache.dir, CacheKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(image(mib), device.Slots)
	if _, err := Install(t.Context(), guestOn(t, h, guests["install"]), b.grants); err != nil {
		t.Error(err)
	}
	if !errors.Is(r.Err(), io.ErrShortWrite) {
		t.Errorf("recorder's error = %v", r.Err())
	}
}

// FuzzRecording holds every recording to a result or ErrRecording, without a
// module being run.
func FuzzRecording(f *testing.F) {
	f.Add([]byte(`{"recording":1}` + "\n" + `{"module":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","data":""}` + "\n" +
		`{"phase":1,"begin":{"module":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","name":"a 1.0.0","phase":"install","abi":"1.0","meter":1,"memory":1,"fuel":1}}` + "\n" +
		`{"phase":1,"call":{"n":1,"f":"random","room":9,"answer":9,"out":"AAAA","filled":9,"fuel":1}}` + "\n" + `{"phase":1,"data":"AAAAAAAA"}` + "\n" + `{"phase":1,"end":{"class":1}}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
		index, err := readIndex(all)
		if err != nil {
			if !errors.Is(err, ErrRecording) {
				t.Error(err)
			}
			return
		}
		for _, p := range index.phases {
			if _, err := index.module(all, p.head.Module); err != nil && !errors.Is(err, ErrRecording) {
				t.Error(err)
			}
			lines := track{lines: linesFrom(all, p.after), phase: p.number}
			for {
				l, err := lines.next()
				if err == nil && l != nil && l.Call != nil {
					err = lines.fill(make([]byte, min(max(l.Call.Room, 0), 1<<16)), l.Call)
				}
				if err != nil && !errors.Is(err, ErrRecording) && !errors.Is(err, errCut) {
					t.Error(err)
				}
				if err != nil || l == nil {
					break
				}
			}
		}
	})
}

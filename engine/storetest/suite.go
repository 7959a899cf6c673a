// Package storetest is what every [engine.Store] has to pass.
//
// [Run] is the suite for all of them. A store on a disk passes [Kill] too,
// which kills a process of its own again and again, and uses [Damage] to see
// what becomes of changed bytes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/engine"
)

// Open opens the store at one place; again after it was closed. Only one
// store of a place is open at a time.
type Open func() (engine.Store, error)

// Run runs the suite. place gives a new, empty place each time. A store that
// is an [io.Closer] is closed before it is opened again; one that is none must
// come back from open with its content.
func Run(t *testing.T, place func(t *testing.T) Open) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, p *probe)
	}{
		{"an unknown run is empty", testEmpty},
		{"entries come back in order", testOrder},
		{"an unexpected length is refused", testMoved},
		{"values are put, overwritten and deleted", testValues},
		{"keys hold any bytes", testKeys},
		{"runs do not see each other", testRuns},
		{"a bad batch leaves nothing behind", testBad},
		{"a large batch is one", testLarge},
		{"what was loaded is the caller's", testOwned},
		{"a cancelled context writes nothing", testCancelled},
		{"reading runs beside writing", testBeside},
		{"random batches agree with a model", testModel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &probe{t: t, ctx: t.Context(), open: place(t)}
			p.reopen()
			tt.test(t, p)
			p.shut()
		})
	}
}

// probe is a store under test and its place.
type probe struct {
	engine.Store
	t    *testing.T
	ctx  context.Context
	open Open
}

func (p *probe) shut() {
	p.t.Helper()
	if c, ok := p.Store.(io.Closer); ok {
		if err := c.Close(); err != nil {
			p.t.Fatalf("close: %v", err)
		}
	}
	p.Store = nil
}

func (p *probe) reopen() {
	p.t.Helper()
	if p.Store != nil {
		p.shut()
	}
	s, err := p.open()
	if err != nil {
		p.t.Fatalf("open: %v", err)
	}
	p.Store = s
}

func (p *probe) apply(b engine.Batch) {
	p.t.Helper()
	if err := p.Apply(p.ctx, b); err != nil {
		p.t.Fatalf("apply: %v", err)
	}
}

// want compares a run's content, now and after opening again.
func (p *probe) want(run string, entries []string, values map[string]string) {
	p.t.Helper()
	for _, when := range []string{"at once", "opened again"} {
		log, err := p.Load(p.ctx, run)
		if err != nil {
			p.t.Fatalf("load %s %s: %v", run, when, err)
		}
		if got, want := Text(log), text(entries, values); got != want {
			p.t.Fatalf("run %s, %s:\n got %s\nwant %s", run, when, got, want)
		}
		p.reopen()
	}
}

// Text renders a log for comparing: entries in order, then values by key.
func Text(log engine.Log) string {
	var entries []string
	for i, e := range log.Entries {
		s := string(e.Bytes)
		if e.Seq != uint64(i) {
			s = fmt.Sprintf("(number %d at place %d)%s", e.Seq, i, s)
		}
		entries = append(entries, s)
	}
	values := map[string]string{}
	for k, v := range log.Values {
		values[k] = string(v)
	}
	return text(entries, values)
}

func text(entries []string, values map[string]string) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%.60q#%d ", e, len(e))
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%q=%.60q#%d ", k, values[k], len(values[k]))
	}
	return b.String()
}

func entries(from int, s ...string) []engine.Entry {
	var list []engine.Entry
	for i, x := range s {
		list = append(list, engine.Entry{Seq: uint64(from + i), Bytes: []byte(x)})
	}
	return list
}

func puts(kv ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = []byte(kv[i+1])
	}
	return m
}

func (p *probe) wantRuns(want ...string) {
	p.t.Helper()
	got, err := p.Runs(p.ctx)
	if err != nil || !slices.Equal(got, want) {
		p.t.Fatalf("runs = %q, %v, want %q", got, err, want)
	}
}

func testEmpty(_ *testing.T, p *probe) {
	p.want("nobody", nil, nil)
	p.wantRuns()
}

func testOrder(_ *testing.T, p *probe) {
	var want []string
	for i := range 300 { // past one byte of the number
		s := fmt.Sprint("entry ", i)
		want = append(want, s)
		p.apply(engine.Batch{Run: "r", Expect: uint64(i), Append: entries(i, s)})
	}
	p.apply(engine.Batch{Run: "r", Expect: 300, Append: entries(300, "", "b", "\x00")})
	p.want("r", append(want, "", "b", "\x00"), nil)
}

func testMoved(t *testing.T, p *probe) {
	p.apply(engine.Batch{Run: "r", Append: entries(0, "a", "b")})
	for _, n := range []uint64{0, 1, 3, 1 << 40} {
		b := engine.Batch{Run: "r", Expect: n, Append: []engine.Entry{{Seq: n, Bytes: []byte("x")}}, Put: puts("k", "v")}
		if err := p.Apply(p.ctx, b); !errors.Is(err, engine.ErrMoved) {
			t.Fatalf("apply expecting %d of 2 entries = %v, want %v", n, err, engine.ErrMoved)
		}
	}
	if err := p.Apply(p.ctx, engine.Batch{Run: "new", Expect: 1, Put: puts("k", "v")}); !errors.Is(err, engine.ErrMoved) {
		t.Fatalf("apply to an empty run expecting 1 = %v, want %v", err, engine.ErrMoved)
	}
	p.apply(engine.Batch{Run: "r", Expect: 2, Append: entries(2, "c")})
	p.want("r", []string{"a", "b", "c"}, nil)
	p.wantRuns("r")
}

func testValues(_ *testing.T, p *probe) {
	p.apply(engine.Batch{Run: "r", Put: puts("a", "1", "b", "", "c", "3")})
	p.want("r", nil, map[string]string{"a": "1", "b": "", "c": "3"})
	p.apply(engine.Batch{Run: "r", Append: entries(0, "e"), Put: puts("a", "2"), Delete: []string{"c", "never there"}})
	p.want("r", []string{"e"}, map[string]string{"a": "2", "b": ""})
	p.apply(engine.Batch{Run: "r", Expect: 1, Put: puts("c", "4"), Delete: []string{"a", "b"}})
	p.want("r", []string{"e"}, map[string]string{"c": "4"})
	p.apply(engine.Batch{Run: "only", Put: puts("a", "1")})
	p.wantRuns("only", "r")
	p.apply(engine.Batch{Run: "only", Delete: []string{"a"}})
	p.wantRuns("r")
	p.apply(engine.Batch{Run: "r", Expect: 1}) // nothing to write is no error
	p.want("r", []string{"e"}, map[string]string{"c": "4"})
}

func testKeys(_ *testing.T, p *probe) {
	want := map[string]string{}
	b := engine.Batch{Run: "r", Put: map[string][]byte{}}
	for _, k := range []string{"", "\x00", "\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a/../b", "é\n", "!badger!txn", strings.Repeat("k", 1<<10)} {
		b.Put[k], want[k] = []byte("of "+k), "of "+k
	}
	p.apply(b)
	p.want("r", nil, want)
}

func testRuns(_ *testing.T, p *probe) {
	names := []string{"-", "A", "a", "a-1", "a.1", "aa", "ab", "b", strings.Repeat("z", 64)}
	for _, n := range names {
		p.apply(engine.Batch{Run: n, Append: entries(0, n+"0", n+"1"), Put: puts("k", n)})
	}
	p.apply(engine.Batch{Run: "a", Expect: 2, Append: entries(2, "a2"), Delete: []string{"k"}})
	p.wantRuns(names...)
	for _, n := range names {
		if n == "a" {
			p.want(n, []string{"a0", "a1", "a2"}, nil)
		} else {
			p.want(n, []string{n + "0", n + "1"}, map[string]string{"k": n})
		}
	}
}

func testBad(t *testing.T, p *probe) {
	big := strings.Repeat("x", 64<<10)
	ok := engine.Batch{Run: "r", Append: entries(0, "a"), Put: puts("k", "v")}
	p.apply(ok)
	for name, change := range map[string]func(b *engine.Batch){
		"no name":            func(b *engine.Batch) { b.Run = "" },
		"a path as name":     func(b *engine.Batch) { b.Run = "../r" },
		"a zero in the name": func(b *engine.Batch) { b.Run = "r\x00" },
		"a long name":        func(b *engine.Batch) { b.Run = strings.Repeat("r", 65) },
		"a gap":              func(b *engine.Batch) { b.Append[1].Seq = 3 },
		"an old number":      func(b *engine.Batch) { b.Append[0].Seq = 0 },
		"a large entry":      func(b *engine.Batch) { b.Append[1].Bytes = []byte(big) },
		"a large value":      func(b *engine.Batch) { b.Put["k"] = []byte(big) },
		"a long key":         func(b *engine.Batch) { b.Put[big[:1<<10+1]] = nil },
		"a long deleted key": func(b *engine.Batch) { b.Delete = []string{big[:1<<10+1]} },
		"put and deleted":    func(b *engine.Batch) { b.Delete = []string{"k"} },
		"too many": func(b *engine.Batch) {
			for i := range 5000 {
				b.Delete = append(b.Delete, fmt.Sprint(i))
			}
		},
		"too much": func(b *engine.Batch) {
			for i := range 9 {
				b.Put[fmt.Sprint(i)] = []byte(big[1:])
			}
		},
	} {
		b := engine.Batch{Run: "r", Expect: 1, Append: entries(1, "b", "c"), Put: puts("k", "w", "l", "w")}
		change(&b)
		if err := p.Apply(p.ctx, b); !errors.Is(err, engine.ErrBatch) {
			t.Errorf("apply a batch with %s = %v, want %v", name, err, engine.ErrBatch)
		}
	}
	if _, err := p.Load(p.ctx, "../r"); !errors.Is(err, engine.ErrBatch) {
		t.Errorf("load ../r = %v, want %v", err, engine.ErrBatch)
	}
	p.want("r", []string{"a"}, map[string]string{"k": "v"})
	p.wantRuns("r")
}

func testLarge(_ *testing.T, p *probe) {
	var want []string
	values := map[string]string{}
	b := engine.Batch{Run: "many", Put: map[string][]byte{}}
	for i := range 2000 {
		want = append(want, fmt.Sprint(i))
		k := fmt.Sprint("key ", i)
		b.Put[k], values[k] = []byte(k), k
	}
	b.Append = entries(0, want...)
	p.apply(b)
	p.want("many", want, values)

	want = nil
	for i := range 7 { // 64 KiB but a byte each
		want = append(want, strings.Repeat(fmt.Sprint(i), 64<<10-1))
	}
	p.apply(engine.Batch{Run: "large", Append: entries(0, want...)})
	p.want("large", want, nil)
}

func testOwned(t *testing.T, p *probe) {
	b := engine.Batch{Run: "r", Append: entries(0, "aaa"), Put: puts("k", "vvv")}
	p.apply(b)
	b.Append[0].Bytes[0], b.Put["k"][0] = 'X', 'X'
	log, err := p.Load(p.ctx, "r")
	if err != nil {
		t.Fatal(err)
	}
	log.Entries[0].Bytes[1], log.Values["k"][1] = 'Y', 'Y'
	log.Values["new"] = nil
	p.want("r", []string{"aaa"}, map[string]string{"k": "vvv"})
	if !bytes.Equal(log.Entries[0].Bytes, []byte("aYa")) {
		t.Errorf("what was loaded became %q after the store was closed, want aYa", log.Entries[0].Bytes)
	}
}

func testCancelled(t *testing.T, p *probe) {
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	if err := p.Apply(ctx, engine.Batch{Run: "r", Append: entries(0, "a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("apply = %v, want %v", err, context.Canceled)
	}
	if _, err := p.Load(ctx, "r"); !errors.Is(err, context.Canceled) {
		t.Errorf("load = %v, want %v", err, context.Canceled)
	}
	p.want("r", nil, nil)
}

// testBeside reads while batches of two entries and their count are written:
// a reader must see whole ones.
func testBeside(t *testing.T, p *probe) {
	const batches = 100
	written := make(chan error, 1)
	go func() {
		for i := 0; i < 2*batches; i += 2 {
			b := engine.Batch{Run: "r", Expect: uint64(i), Append: entries(i, "a", "b"), Put: puts("n", fmt.Sprint(i+2))}
			if err := p.Apply(p.ctx, b); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-written:
			if err != nil {
				t.Fatalf("apply: %v", err)
			}
			done = true
		default:
		}
		log, err := p.Load(p.ctx, "r")
		if err != nil {
			t.Fatalf("load: %v", err)
		}
		n := len(log.Entries)
		if got := string(log.Values["n"]); n > 0 && got != fmt.Sprint(n) || n%2 != 0 {
			t.Fatalf("read %d entries beside the count %q", n, got)
		}
		if runs, err := p.Runs(p.ctx); err != nil || len(runs) > 1 {
			t.Fatalf("runs = %q, %v", runs, err)
		}
	}
}

package reference

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// randomCopies covers parts of new with copies of any part of old.
func randomCopies(r *rand.Rand, old, new int) []Copy {
	var out []Copy
	for at := int64(0); at < int64(new); {
		n := min(1+r.Int64N(3000), int64(new)-at, int64(old))
		if n <= 0 {
			break
		}
		out = append(out, Copy{r.Int64N(int64(old) - n + 1), at, n})
		at += n + r.Int64N(100)
	}
	return out
}

// newCopier makes a Copier with one element in use.
func newCopier(e *Element, l *Layout, m *Map, old io.ReaderAt) *Copier {
	c := NewCopier()
	c.Use(1, e, l, m, old)
	return c
}

// roundTrip codes the copies and decodes them cut otherwise, and gives what
// both made.
func roundTrip(t testing.TB, old, new []byte, copies []Copy) (got, stream []byte) {
	t.Helper()
	e, n := mustParse(t, old), mustParse(t, new)
	l, m, _ := layoutOf(t, e, n, copies)
	c := newCopier(e, l, m, bytes.NewReader(old))
	enc := coder.NewEncoder()
	got = make([]byte, len(new))
	for _, x := range copies {
		if err := Encode(c, got[x.New:x.New+x.Length], new[x.New:x.New+x.Length], x, 0, enc); err != nil {
			t.Fatal(err)
		}
	}
	stream = enc.Finish()
	c = newCopier(e, l, m, bytes.NewReader(old))
	dec := coder.NewDecoder(stream)
	again := make([]byte, len(new))
	r := seeded(uint64(len(stream)))
	for _, x := range copies {
		for skip := int64(0); skip < x.Length; {
			k := min(1+r.Int64N(1+r.Int64N(2000)), x.Length-skip)
			if err := c.Decode(again[x.New+skip:x.New+skip+k], x, skip, dec); err != nil {
				t.Fatal(err)
			}
			skip += k
		}
	}
	if err := dec.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, again) {
		i := 0
		for got[i] == again[i] {
			i++
		}
		t.Fatalf("byte %d: decoded %#x, coded %#x", i, again[i], got[i])
	}
	checkFields(t, e, l, old, new, got, copies)
	return got, stream
}

// checkFields says that each field of a copy is as in new, and that no other
// byte differs from old.
func checkFields(t testing.TB, e *Element, l *Layout, old, new, got []byte, copies []Copy) {
	t.Helper()
	for _, x := range copies {
		want := bytes.Clone(old[x.Old : x.Old+x.Length])
		g := guide{e: e, l: l, m: &Map{size: e.size}}
		for _, f := range e.Scan(nil, old, 0, x.Old, x.Old+x.Length) {
			if f.Off+f.size() > x.Old+x.Length {
				continue
			}
			i := f.Off - x.Old
			if f.Kind == Switch32 || f.Kind == Base32 || f.Kind.space() == places {
				copy(want[i:i+f.size()], new[x.New+i:])
				continue
			}
			_, ok := g.from(f)
			to, more := g.to(f, x)
			if ok && more {
				f.set(want[i:], old[f.Off:], to, f.value(new[x.New+i:], old[f.Off:], to))
			}
		}
		made := got[x.New : x.New+x.Length]
		if !bytes.Equal(want, made) {
			// Bases may lie at no address of new; then a field stays as it is.
			for i := range made {
				if made[i] != want[i] && made[i] != old[x.Old+int64(i)] {
					t.Fatalf("copy %+v byte %d: %#x, want %#x", x, i, made[i], want[i])
				}
			}
		}
	}
}

func TestDecodeFollowsEncode(t *testing.T) {
	for _, machine := range []uint16{machineX86, machineArm64} {
		for seed := range uint64(8) {
			r := seeded(seed)
			old, new := noise(r, machine, 20<<10), noise(r, machine, 22<<10)
			if seed%2 == 0 {
				new = bytes.Clone(old)
				for range 500 {
					new[1000+r.IntN(len(new)-20000)] ^= byte(r.Uint32())
				}
			}
			roundTrip(t, old, new, randomCopies(r, len(old), len(new)))
		}
	}
}

// functions is a program of functions of 32 bytes that call each other, with
// a table of their addresses. Those in the second half lie shift bytes further.
func functions(machine uint16, shift int) []byte {
	const n = 1000
	place := func(i int) int {
		if i >= n/2 {
			return 32*i + shift
		}
		return 32 * i
	}
	r := seeded(7)
	code := bytes.Repeat(words(0xD503201F), place(n)/4)
	var table []byte
	for i := range n {
		at, to := place(i), place(r.IntN(n))
		for j := range 12 {
			code[at+j] = byte(r.Uint32()) & 0x0F
		}
		if machine == machineX86 {
			code[at+15] = 0xE8
			little.PutUint32(code[at+16:], uint32(to-at-20))
		} else {
			little.PutUint32(code[at+16:], 0x94000000|uint32((to-at-16)/4)&0x03FFFFFF)
		}
		table = append(table, longs(uint64(codeAddr+to))...)
	}
	return image(machine, elfFixed, codePiece(code), dataPiece(table))
}

func TestForecastNeedsLittle(t *testing.T) {
	for _, machine := range []uint16{machineX86, machineArm64} {
		old, new := functions(machine, 0), functions(machine, 4096)
		e, n := mustParse(t, old), mustParse(t, new)
		from, to := e.sections[1], n.sections[1]
		fromData, toData := e.sections[2], n.sections[2]
		got, stream := roundTrip(t, old, new, []Copy{
			{from.off, to.off, 16000},
			{from.off + 16000, to.off + 16000 + 4096, 16000},
			{fromData.off, toData.off, fromData.size},
		})
		if !bytes.Equal(got[to.off+16000+4096:to.off+to.size], new[to.off+16000+4096:to.off+to.size]) ||
			!bytes.Equal(got[toData.off:toData.off+toData.size], new[toData.off:toData.off+toData.size]) {
			t.Errorf("machine %d: references are not as in new", machine)
		}
		if len(stream) > 100 {
			t.Errorf("machine %d: %d bytes for 2000 references, want at most 100", machine, len(stream))
		}
	}
}

func TestCopierRefuses(t *testing.T) {
	old := noise(seeded(1), machineX86, 4096)
	e := mustParse(t, old)
	l, m, _ := layoutOf(t, e, e, nil)
	c := newCopier(e, l, m, bytes.NewReader(old[:len(old)-100]))
	dec := coder.NewDecoder(nil)
	if err := NewCopier().Decode(nil, Copy{}, 0, dec); err == nil {
		t.Error("bytes of no element were given")
	}
	size := e.size
	for _, tt := range []struct {
		name string
		in   Copy
		skip int64
		n    int
	}{
		{"a place before old", Copy{-1, 0, 9}, 0, 9},
		{"a place behind old", Copy{size - 8, 0, 9}, 0, 9},
		{"a length that wraps around", Copy{1 << 62, 1 << 62, 1 << 62}, 0, 9},
		{"more than the copy has", Copy{0, 0, 9}, 1, 9},
		{"a negative skip", Copy{0, 0, 9}, -1, 9},
		{"a negative length", Copy{0, 0, -9}, 0, 0},
		{"a place in new past 4 GiB", Copy{0, 1 << 32, 9}, 0, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := c.Decode(make([]byte, tt.n), tt.in, tt.skip, dec); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error = %v, want %v", err, ErrCorrupt)
			}
		})
	}
	if err := c.Decode(make([]byte, 50), Copy{size - 60, 0, 50}, 0, dec); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("old that ends too soon: error = %v, want one of reading", err)
	}
	if err := Encode(c, make([]byte, 5), make([]byte, 4), Copy{0, 0, 5}, 0, coder.NewEncoder()); err == nil {
		t.Error("too little of new was taken")
	}
}

func TestDecodeOfGarbageEnds(t *testing.T) {
	r := seeded(4)
	old := noise(r, machineX86, 20<<10)
	e := mustParse(t, old)
	copies := randomCopies(r, len(old), len(old))
	l, m, _ := layoutOf(t, e, e, slices.Clone(copies))
	c := newCopier(e, l, m, bytes.NewReader(old))
	for range 50 {
		b := make([]byte, r.IntN(400))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		c.Reset()
		dec := coder.NewDecoder(b)
		for _, x := range copies {
			if err := c.Decode(make([]byte, x.Length), x, 0, dec); err != nil {
				t.Fatal(err)
			}
		}
		if dec.Err() == nil {
			t.Error("garbage is long enough for all fields")
		}
	}
}

// TestElementsShareACopier codes copies of two elements in turn, with a frame
// that begins now and then.
func TestElementsShareACopier(t *testing.T) {
	type side struct {
		old, new []byte
		e        *Element
		l        *Layout
		m        *Map
		copies   []Copy
	}
	var sides [2]side
	count := 1 << 20
	for i := range sides {
		s := &sides[i]
		r := seeded(uint64(20 + i))
		s.old, s.new = noise(r, machineX86, 9000), noise(r, machineX86, 9000)
		s.copies = randomCopies(r, len(s.old), len(s.new))
		s.e = mustParse(t, s.old)
		s.l, s.m, _ = layoutOf(t, s.e, mustParse(t, s.new), s.copies)
		count = min(count, len(s.copies))
	}
	turns := func(c *Copier, do func(dst, new []byte, x Copy) error) (made []byte) {
		t.Helper()
		for k := range count {
			for i, s := range sides {
				c.Use(uint64(i), s.e, s.l, s.m, bytes.NewReader(s.old))
				x := s.copies[k]
				dst := make([]byte, x.Length)
				if err := do(dst, s.new[x.New:x.New+x.Length], x); err != nil {
					t.Fatal(err)
				}
				made = append(made, dst...)
			}
			if k%5 == 4 {
				c.Reset()
			}
		}
		return made
	}
	enc := coder.NewEncoder()
	c := NewCopier()
	want := turns(c, func(dst, new []byte, x Copy) error { return Encode(c, dst, new, x, 0, enc) })
	dec := coder.NewDecoder(enc.Finish())
	c = NewCopier()
	got := turns(c, func(dst, _ []byte, x Copy) error { return c.Decode(dst, x, 0, dec) })
	if err := dec.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("decoder differs from encoder")
	}
}

func TestElementsDoNotShareTargets(t *testing.T) {
	e := mustParse(t, functions(machineX86, 0))
	c := NewCopier()
	places := map[uint64]bool{}
	for id := range uint64(300) {
		c.Use(id, e, nil, nil, nil)
		g := guess{old: codeAddr, kind: Near32}
		c.model.find(&g)
		places[uint64(g.slot)<<16|uint64(g.tag)] = true
	}
	if len(places) != 300 {
		t.Errorf("one target of 300 elements has %d places in memory", len(places))
	}
}

// TestResetForgets codes the same again and again, past the number of epochs.
func TestResetForgets(t *testing.T) {
	old, new := functions(machineX86, 0), functions(machineX86, 4096)
	e, n := mustParse(t, old), mustParse(t, new)
	in := Copy{e.sections[1].off, n.sections[1].off, 2000}
	l, m, _ := layoutOf(t, e, n, []Copy{in})
	c := newCopier(e, l, m, bytes.NewReader(old))
	stream := func() []byte {
		enc := coder.NewEncoder()
		if err := Encode(c, make([]byte, in.Length), new[in.New:in.New+in.Length], in, 0, enc); err != nil {
			t.Fatal(err)
		}
		return enc.Finish()
	}
	want := stream()
	if bytes.Equal(stream(), want) {
		t.Fatal("nothing was learned, so that nothing is tested")
	}
	for i := range 1 << 16 {
		c.Reset()
		if i%9999 == 0 && !bytes.Equal(stream(), want) {
			t.Fatalf("stream after %d more resets differs", i+1)
		}
	}
	c.Reset()
	if !bytes.Equal(stream(), want) {
		t.Error("stream differs after the number of epochs")
	}
}

package coder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"
)

// block is an input for tests: kinds and parts.
type block struct {
	name  string
	kinds []Kind
	parts []Part
}

func (b block) size() (window int) {
	for _, p := range b.parts {
		window += len(p.Known) + len(p.Raw)
	}
	return window
}

// decode gives the raw bytes of all parts, or the error.
func (b block) decode(src []byte) ([][]byte, error) {
	parts := make([]Part, len(b.parts))
	var raw [][]byte
	for i, p := range b.parts {
		parts[i] = Part{Kind: p.Kind, Known: p.Known, Beside: p.Beside, Raw: make([]byte, len(p.Raw))}
		raw = append(raw, parts[i].Raw)
	}
	return raw, Decompress(make([]byte, b.size()), src, b.kinds, parts)
}

func (b block) same(raw [][]byte) bool {
	for i, p := range b.parts {
		if !bytes.Equal(p.Raw, raw[i]) {
			return false
		}
	}
	return true
}

func random(seed uint64, n, alphabet int) []byte {
	r := rand.New(rand.NewPCG(seed, 99))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.IntN(alphabet))
	}
	return out
}

// sparse looks like residue: small numbers, now and then a copy of what was a
// while ago with some bytes changed.
func sparse(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 98))
	out := make([]byte, 0, n)
	for len(out) < n {
		if len(out) > 100 && r.IntN(3) == 0 {
			from := r.IntN(len(out) - 50)
			out = append(out, out[from:from+3+r.IntN(47)]...)
			out[len(out)-1-r.IntN(3)]++
			continue
		}
		for range 1 + r.IntN(12) {
			out = append(out, byte(r.ExpFloat64()*6))
		}
	}
	return out[:n]
}

func one(name string, raw []byte) block {
	return block{name, []Kind{{LC: 3}}, []Part{{Raw: raw}}}
}

// gaps is text in small parts, each with the text it replaces known.
func gaps(n int) block {
	b := block{"gaps with known text", []Kind{{LC: 3, Expect: true}, {LP: 2, PB: 2}}, nil}
	old := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. Pack my box with five dozen jugs. ", 4))
	r := rand.New(rand.NewPCG(3, 3))
	for i := range n {
		from := r.IntN(200)
		known := old[from : from+r.IntN(100)]
		raw := bytes.Clone(old[from : from+r.IntN(40)])
		for j := range raw {
			if r.IntN(9) == 0 {
				raw[j] = byte(r.Uint32())
			}
		}
		beside := 0
		if i%3 != 0 {
			beside = len(known)
		}
		b.parts = append(b.parts, Part{Kind: i % 2, Known: known, Raw: raw, Beside: beside})
	}
	return b
}

func blocks() []block {
	far := slicesJoin(random(4, 3000, 256), make([]byte, 70_000), random(4, 3000, 256))
	return []block{
		{"nothing", nil, nil},
		one("no byte", nil),
		one("one byte", []byte{7}),
		one("two bytes", []byte{7, 7}),
		one("all zero", make([]byte, 100_000)),
		one("random", random(1, 20_000, 256)),
		one("random between zeros", slicesJoin(make([]byte, 50_000), random(1, 100_000, 256), make([]byte, 9_000))),
		one("two letters", random(2, 20_000, 2)),
		one("period 3", bytes.Repeat([]byte("abc"), 5000)),
		one("period 1000", bytes.Repeat(random(3, 1000, 256), 20)),
		one("far repeat", far),
		one("sparse", sparse(5, 60_000)),
		one("text", []byte(strings.Repeat("so it goes, and so it went; ", 30)+"and so it ends")),
		{"every shape", shapes(), shaped()},
		{"known only", []Kind{{}}, []Part{{Known: random(6, 500, 4)}}},
		{"empty parts", []Kind{{}}, []Part{{}, {Raw: []byte("x")}, {}, {Known: []byte("y")}}},
		gaps(300),
	}
}

func slicesJoin(all ...[]byte) []byte { return bytes.Join(all, nil) }

func shapes() []Kind {
	return []Kind{{Expect: true}, {LC: 4}, {LP: 4, Expect: true}, {PB: 4}, {LC: 2, LP: 2, PB: 2}, {LC: 0, LP: 2, PB: 2}, {LC: 3, PB: 2, Expect: true}, {LC: 1, LP: 3, PB: 1}}
}

func shaped() []Part {
	var parts []Part
	for i := range 40 {
		parts = append(parts, Part{Kind: i % MaxKinds, Raw: sparse(uint64(i%5), 50+i*37)})
	}
	return parts
}

func TestRoundTrip(t *testing.T) {
	for _, b := range blocks() {
		for _, level := range []Level{Fast, Default, Max} {
			t.Run(fmt.Sprintf("%s/%d", b.name, level), func(t *testing.T) {
				src := Compress(level, b.kinds, b.parts)
				raw, err := b.decode(src)
				if err != nil {
					t.Fatal(err)
				}
				if !b.same(raw) {
					t.Error("decoded bytes differ")
				}
				if again := Compress(level, b.kinds, b.parts); !bytes.Equal(again, src) {
					t.Error("the same input gave other bytes")
				}
			})
		}
	}
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		raw  []byte
		most int // bytes
	}{
		{nil, 4},
		{[]byte{7}, 6},
		{make([]byte, 100_000), 110},
		{random(1, 20_000, 256), 20_000 + 10},
		{random(2, 20_000, 2), 3_600},
		{bytes.Repeat(random(3, 1000, 256), 20), 1_080},
		{bytes.Repeat(random(4, 40_000, 256), 2), 40_400},
	} {
		for _, level := range []Level{Fast, Default, Max} {
			b := one("", tt.raw)
			if n := len(Compress(level, b.kinds, b.parts)); n > tt.most {
				t.Errorf("level %d: %d bytes from %d, want at most %d", level, n, len(tt.raw), tt.most)
			}
		}
	}
}

// The bytes are the same on every machine: patches are compared by digest.
func TestSameBytesEverywhere(t *testing.T) {
	for level, want := range map[Level]string{
		Fast:    "539edc985ec8e8a62dba712a30d21679024b1acb81362b4f5c9da478e6950bcc",
		Default: "f7fc1c27dd048e76f3bf97d1e65070b5de5e65a4283e652ce7228d99be7b7078",
		Max:     "83406d1be3c118b059be25f66c6885ea54241c4e35eb7fb7909fc22021fe7a45",
	} {
		h := sha256.New()
		for _, b := range blocks() {
			h.Write(Compress(level, b.kinds, b.parts))
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("level %d: digest of all blocks = %s, want %s", level, got, want)
		}
	}
}

func TestDamageIsNoticed(t *testing.T) {
	for _, b := range []block{gaps(12), one("sparse", sparse(8, 400)), one("zero", make([]byte, 5000))} {
		src := Compress(Default, b.kinds, b.parts)
		wrong := func(what string, src []byte) {
			raw, err := b.decode(src)
			if err == nil && b.same(raw) {
				t.Errorf("%s: %s: decoded without a difference", b.name, what)
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %s: %v, want %v", b.name, what, err, ErrCorrupt)
			}
		}
		for i := range src {
			wrong(fmt.Sprintf("cut to %d of %d", i, len(src)), src[:i])
			for bit := range 8 {
				src[i] ^= 1 << bit
				wrong(fmt.Sprintf("bit %d of byte %d", bit, i), src)
				src[i] ^= 1 << bit
			}
		}
		wrong("one byte more", append(bytes.Clone(src), 0))
	}
}

func TestWrongLength(t *testing.T) {
	b := one("sparse", sparse(9, 1000))
	src := Compress(Default, b.kinds, b.parts)
	for _, n := range []int{0, 1, 500, 999, 1001, 2000, 100_000} {
		err := Decompress(make([]byte, n), src, b.kinds, []Part{{Raw: make([]byte, n)}})
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes wanted of 1000: %v, want %v", n, err, ErrCorrupt)
		}
	}
}

func TestBlockRefuses(t *testing.T) {
	src := Compress(Default, []Kind{{}}, []Part{{Raw: make([]byte, 100)}})
	for _, tt := range []struct {
		name, want string
		do         func() error
	}{
		{"too many kinds", "9 kinds", func() error {
			_, err := NewBlock(NewDecoder(src), nil, make([]Kind, 9))
			return err
		}},
		{"literal context too large", "kind 1: lc 3, lp 2", func() error {
			_, err := NewBlock(NewDecoder(src), nil, []Kind{{}, {LC: 3, LP: 2}})
			return err
		}},
		{"context that overflows", "kind 0: lc 255", func() error {
			_, err := NewBlock(NewDecoder(src), nil, []Kind{{LC: 255, LP: 2}})
			return err
		}},
		{"position context too large", "pb 5", func() error {
			_, err := NewBlock(NewDecoder(src), nil, []Kind{{PB: 5}})
			return err
		}},
		{"unknown kind", "no kind 1", func() error { return read(src, 100, 1, 100) }},
		{"negative kind", "no kind -1", func() error { return read(src, 100, -1, 100) }},
		{"nothing to be beside", "1 bytes back from 0", func() error { return beside(src, 0, 1) }},
		{"beside itself", "0 bytes back from 0", func() error { return beside(src, 0, 0) }},
		{"beside, unknown kind", "no kind 1", func() error { return beside(src, 1, 1) }},
		{"window too small", "101 bytes for 100 left", func() error { return read(src, 100, 0, 101) }},
		{"negative length", "-1 bytes for 100 left", func() error { return read(src, 100, 0, -1) }},
		{"known bytes beyond the window", "5 known bytes for 4 left", func() error {
			b, err := NewBlock(NewDecoder(src), make([]byte, 4), []Kind{{}})
			if err != nil {
				return err
			}
			return b.Know(make([]byte, 5))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func read(src []byte, window, kind, n int) error {
	b, err := NewBlock(NewDecoder(src), make([]byte, window), []Kind{{}})
	if err != nil {
		return err
	}
	_, err = b.Read(kind, n)
	return err
}

func beside(src []byte, kind, distance int) error {
	b, err := NewBlock(NewDecoder(src), make([]byte, 100), []Kind{{}})
	if err != nil {
		return err
	}
	return b.Beside(kind, distance)
}

// An error of one read is that of all that follow.
func TestErrorStays(t *testing.T) {
	b, err := NewBlock(NewDecoder(nil), make([]byte, 100), []Kind{{}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.Read(0, 30); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want %v", err, ErrCorrupt)
		}
	}
}

// TestHostileMatches writes matches that no encoder would.
func TestHostileMatches(t *testing.T) {
	for _, tt := range []struct {
		name string
		code func(w *writer, m *kindModel)
		want string
	}{
		{"before the start", func(w *writer, m *kindModel) { w.match(m, 2, 2) }, "match at 1 reaches back 2"},
		{"far before the start", func(w *writer, m *kindModel) { w.match(m, 2, 1<<32-1) }, "reaches back 4294967295"},
		{"farther than 32 bits", func(w *writer, m *kindModel) { w.match(m, 2, 0) }, "match at 1 reaches back 0"},
		{"beyond the end", func(w *writer, m *kindModel) { w.match(m, 100, 1) }, "match of 100 bytes where 9 are left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := NewEncoder()
			w := startWriter(e, make([]byte, 1000))
			m := &w.models[0]
			w.literal(m)
			tt.code(w, m)
			src := append(e.Finish(), make([]byte, 100)...)
			b, err := NewBlock(NewDecoder(src), make([]byte, 1000), []Kind{{}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.Read(0, 10)
			if _, again := b.Read(0, 10); again != err {
				t.Errorf("a second read gives %v after %v", again, err)
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %v with %q", err, ErrCorrupt, tt.want)
			}
		})
	}
	t.Run("repeat at the very start", func(t *testing.T) {
		e := NewEncoder()
		w := startWriter(e, make([]byte, 1000))
		w.again(&w.models[0], 1, 0)
		if err := read(e.Finish(), 10, 0, 10); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want %v", err, ErrCorrupt)
		}
	})
}

func TestDecodingAllocatesNothing(t *testing.T) {
	b := gaps(50)
	src := Compress(Default, b.kinds, b.parts)
	window := make([]byte, b.size())
	var d Decoder
	var dec Block
	run := func() {
		d.Reset(src)
		err := dec.Reset(&d, window, b.kinds)
		for _, p := range b.parts {
			err = errors.Join(err, dec.Know(p.Known))
			if p.Beside != 0 {
				err = errors.Join(err, dec.Beside(p.Kind, p.Beside))
			}
			_, e := dec.Read(p.Kind, len(p.Raw))
			err = errors.Join(err, e)
		}
		if err = errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(5, run); n != 0 {
		t.Errorf("%v allocations for a block, want none after the first", n)
	}
}

// What the comments promise of the memory of models.
func TestModelsAreSmall(t *testing.T) {
	const most = 110 << 10
	literals := 2 * literalModels << maxLiteralBits * unsafe.Sizeof(Prob{})
	if n := unsafe.Sizeof(kindModel{}) + literals; n > most {
		t.Errorf("%d bytes for a kind, want at most %d", n, most)
	}
}

// A part beside known bytes it resembles costs less than without that hint.
func TestBesideAndExpectPay(t *testing.T) {
	sizes := map[bool]int{}
	for _, on := range []bool{false, true} {
		b := gaps(300)
		b.kinds = []Kind{{LC: 3, Expect: on}, {LC: 3, Expect: on}}
		for i, p := range b.parts {
			b.parts[i].Beside = 0
			if on {
				b.parts[i].Beside = len(p.Known)
			}
		}
		sizes[on] = len(Compress(Default, b.kinds, b.parts))
	}
	if sizes[true] > sizes[false]*85/100 {
		t.Errorf("%d bytes with the hints, %d without, want 15 %% less", sizes[true], sizes[false])
	}
}

// startWriter begins a block of one kind with a window that is filled already.
func startWriter(e *Encoder, window []byte) *writer {
	w := new(writer)
	w.reset(e, Default.effort(), []Kind{{}}, 0)
	w.window = window
	w.finder.reset(window, w.effort.nice, w.effort.depth, false)
	return w
}

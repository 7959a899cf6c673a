package coder

import (
	"bytes"
	"errors"
	"testing"
)

// partsFrom cuts raw into parts as the bytes of script say.
func partsFrom(script, raw []byte) block {
	b := block{kinds: shapes()}
	for len(script) >= 3 && len(raw) > 0 {
		known, n := min(int(script[1]), len(raw)), int(script[2])*(1+int(script[0]>>3))
		p := Part{Kind: int(script[0] & 7), Known: raw[:known]}
		if script[2]&1 != 0 {
			p.Beside = known
		}
		raw = raw[known:]
		n = min(n, len(raw))
		p.Raw, raw = raw[:n], raw[n:]
		b.parts = append(b.parts, p)
		script = script[3:]
	}
	if len(raw) > 0 {
		b.parts = append(b.parts, Part{Raw: raw})
	}
	return b
}

func FuzzRoundTrip(f *testing.F) {
	f.Add(byte(0), []byte{}, []byte("abcabcabcabcabcxabc"))
	f.Add(byte(1), []byte{0, 3, 4, 9, 0, 100}, sparse(1, 300))
	f.Add(byte(2), []byte{250, 30, 40, 5, 0, 1}, make([]byte, 2000))
	f.Fuzz(func(t *testing.T, level byte, script, raw []byte) {
		b := partsFrom(script, raw)
		src := Compress(Level(level%3), b.kinds, b.parts)
		got, err := b.decode(src)
		if err != nil {
			t.Fatal(err)
		}
		if !b.same(got) {
			t.Fatal("decoded bytes differ")
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, b := range []block{gaps(4), one("", sparse(1, 200)), one("", random(1, 300, 256))} {
		f.Add([]byte{}, []byte("known and more"), Compress(Default, b.kinds, b.parts))
	}
	f.Add([]byte{0, 3, 4, 9, 0, 100}, make([]byte, 300), bytes.Repeat([]byte{0xFF}, 40))
	f.Fuzz(func(t *testing.T, script, raw, src []byte) {
		b := partsFrom(script, raw)
		if _, err := b.decode(src); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func FuzzNumber(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, src []byte) {
		d := NewDecoder(src)
		var m, again Number
		e := NewEncoder()
		var values []uint64
		for d.Err() == nil && len(values) < 10_000 {
			v := m.Decode(d)
			values = append(values, v)
			again.Encode(e, v)
		}
		d = NewDecoder(e.Finish())
		m = Number{}
		for i, want := range values {
			if got := m.Decode(d); got != want {
				t.Fatalf("number %d = %d, want %d", i, got, want)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

package reference

import (
	"bytes"
	"testing"
)

// TestFieldValueIsExact sets each kind of field to the value that other bytes
// have, and expects those bytes.
func TestFieldValueIsExact(t *testing.T) {
	r := seeded(2)
	random := func(n int64) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	for k := range kinds {
		for range 2000 {
			f := Field{Kind: k}
			if k == Page21 {
				f.Aux = uint32(r.IntN(4) * 4)
			}
			n := f.size()
			old, new, origin := random(n), random(n), r.Uint64()
			got := bytes.Clone(old)
			f.set(got, old, origin, f.value(new, old, origin))
			again := bytes.Clone(new)
			f.set(again, old, origin, f.value(got, old, origin))
			if !bytes.Equal(again, new) {
				t.Fatalf("%s (%+v): value of %x from %x became %x, and that became %x", kindNames[k], f, new, old, got, again)
			}
			if k != Page21 && k != Branch26 && !bytes.Equal(got, new) {
				t.Fatalf("%s: value of %x became %x", kindNames[k], new, got)
			}
			before := bytes.Clone(got)
			f.set(got, old, origin, r.Uint64())
			f.set(got, old, origin, f.value(before, old, origin))
			if !bytes.Equal(got, before) {
				t.Fatalf("%s: bits outside of the field changed from %x to %x", kindNames[k], before, got)
			}
		}
	}
}

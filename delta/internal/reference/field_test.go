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
			whole := true // no bytes but the number
			switch k {
			case Page21:
				f.Aux, whole = uint32(r.IntN(4)*4), false
			case Pair32:
				f.Aux, whole = uint32(4+r.IntN(4)*2), false
			case Move32, MoveNear32:
				f.Aux, whole = uint32(4+r.IntN(4)*4|r.IntN(2)<<16), false
			case Branch26, Branch24, BranchThumb, Table31, Item16, Jump20, Page12, Branch12:
				whole = false
			case Short16, Load12:
				f.Aux, whole = uint32(r.IntN(2)), false
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
			if whole && !bytes.Equal(got, new) {
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

// TestFieldHolds compares what a field would hold with what it does.
func TestFieldHolds(t *testing.T) {
	r := seeded(3)
	for k := range kinds {
		for range 2000 {
			f := Field{Kind: k}
			if k == Page21 {
				f.Aux = uint32(r.IntN(4) * 4)
			}
			old := make([]byte, f.size())
			for i := range old {
				old[i] = byte(r.Uint32())
			}
			origin := r.Uint64() >> r.IntN(64)
			v := origin + r.Uint64()>>r.IntN(64)
			if r.IntN(2) == 0 {
				v = origin - r.Uint64()>>r.IntN(64)
			}
			b := bytes.Clone(old)
			f.set(b, old, origin, v)
			want := f.value(b, old, origin)
			if got := f.held(old, origin, v); got != want {
				t.Fatalf("%s: %#x from %#x is held as %#x, want %#x", kindNames[k], v, origin, got, want)
			}
		}
	}
}

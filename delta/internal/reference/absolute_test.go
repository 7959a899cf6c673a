package reference

import (
	"bytes"
	"slices"
	"testing"
)

func TestAbsoluteFormsOfTwoVersionsAgree(t *testing.T) {
	for _, machine := range []uint16{machineX86, machineArm64} {
		old, new := functions(machine, 0), functions(machine, 4096)
		e, n := mustParse(t, old), mustParse(t, new)
		from, to := e.sections[1], n.sections[1]
		l, m, _ := layoutOf(t, e, n, []Copy{{from.off, to.off, 16000}, {from.off + 16000, to.off + 16000 + 4096, 16000}})
		a, b := make([]byte, len(old)), make([]byte, len(new))
		for lo := int64(0); lo < e.size; lo += pieceSize / 4 {
			Absolute(e, a, old, lo, lo+pieceSize/4, &Forecast{Layout: l, Map: m})
		}
		Absolute(n, b, new, 0, n.size, nil)
		if bytes.Equal(old[from.off:from.off+16000], new[to.off:to.off+16000]) {
			t.Fatal("the versions do not differ, so that nothing is tested")
		}
		if !bytes.Equal(a[from.off:from.off+16000], b[to.off:to.off+16000]) ||
			!bytes.Equal(a[from.off+16000:from.off+32000], b[to.off+20096:to.off+36096]) {
			t.Errorf("machine %d: code that means the same differs", machine)
		}
		fromData, toData := e.sections[2], n.sections[2]
		if !bytes.Equal(a[fromData.off:fromData.off+fromData.size], b[toData.off:toData.off+toData.size]) {
			t.Errorf("machine %d: addresses of the same functions differ", machine)
		}
	}
}

func TestNumberingFollowsNames(t *testing.T) {
	types := func(names string, records ...uint32) []byte {
		head := words(0x0001EB9F, 24, 0, uint32(4*len(records)), uint32(4*len(records)), uint32(len(names)))
		return image(machineX86, elfShared, codePiece(fill(64)), piece{name: ".BTF", kind: 1, data: join(head, words(records...), []byte(names))})
	}
	// int a; pointer to it; typedef b of the pointer.
	old := types("\x00a\x00b\x00", 1, 1<<24, 4, 0, 0, 2<<24, 1, 3, 8<<24, 2)
	// The same after a new int and a pointer to that.
	new := types("\x00new\x00b\x00a\x00", 1, 1<<24, 4, 0, 0, 2<<24, 1, 7, 1<<24, 4, 0, 0, 2<<24, 3, 5, 8<<24, 4)
	e, n := mustParse(t, old), mustParse(t, new)
	num := NewNumbering(e, old, n, new)
	if num == nil || !slices.Equal(num.ids, []uint32{0, 3, 4, 5}) {
		t.Fatalf("numbering = %+v, want types 3, 4 and 5", num)
	}
	l, m, _ := layoutOf(t, e, n, nil)
	a := make([]byte, len(old))
	Absolute(e, a, old, 0, e.size, &Forecast{l, m, num})
	s, _ := e.section(".BTF")
	s2, _ := n.section(".BTF")
	if got, want := a[s.off+24:s.off+24+40], new[s2.off+24+28:s2.off+24+68]; !bytes.Equal(got, want) {
		t.Errorf("types = %x, want %x", got, want)
	}
	if NewNumbering(e, old, mustParse(t, functions(machineX86, 0)), functions(machineX86, 0)) != nil {
		t.Error("a numbering where new has no types")
	}
}

package reference

import (
	"bytes"
	"slices"
	"testing"
)

const kernelAddr = 0xFFFFFFFF81000000

// kernel is a program of functions with a kernel's tables of its symbols, which
// lie by address one after the other and by name in the order given.
func kernel(late bool, addrs []uint64, byName []int) []byte {
	var list, names, marks, numbers []byte
	for i, a := range addrs {
		list = little.AppendUint32(list, ^uint32(a))
		if i%256 == 0 {
			marks = little.AppendUint32(marks, uint32(len(names)))
		}
		names = append(names, 2, 'T', byte(i))
	}
	for _, n := range byName {
		numbers = append(numbers, byte(n>>16), byte(n>>8), byte(n))
	}
	even := func(b []byte) []byte { return append(b, make([]byte, -len(b)&7)...) }
	base, count := longs(kernelAddr), longs(uint64(len(addrs)))
	tables := join(longs(1, 2), even(list), base, count, even(names), even(marks), numbers)
	if late {
		tables = join(longs(1, 2), count, even(names), even(marks), even(list), base, numbers)
	}
	return image(machineX86, elfFixed, piece{name: ".text", kind: 1, flags: sectionLoaded | sectionCode, addr: kernelAddr, data: fill(1 << 16)},
		piece{name: ".rodata", kind: 1, flags: sectionLoaded | sectionWritable, addr: kernelAddr + 1<<24, data: append(tables, fill(100)...)})
}

// symbols gives n symbols of which one more lies before those from extra on,
// and what they are by name: the same, the new one last.
func symbols(n, extra int) (addrs []uint64, byName []int) {
	for _, i := range seeded(11).Perm(n) {
		if extra > 0 && i >= extra {
			i++
		}
		byName = append(byName, i)
	}
	if extra > 0 {
		byName = append(byName, extra)
		n++
	}
	for i := range n {
		addrs = append(addrs, uint64(16+32*i))
	}
	return addrs, byName
}

func TestNumbersOfSymbolsAreForetold(t *testing.T) {
	const n = 1500
	for _, late := range []bool{false, true} {
		old, new := kernel(late, symbolsOf(n, 0), namesOf(n, 0)), kernel(late, symbolsOf(n, 700), namesOf(n, 700))
		e, m := mustParse(t, old), mustParse(t, new)
		find := func(e *Element) (lo, base int64) {
			for _, g := range e.regions {
				if g.form == formListed {
					if g.hi-g.lo != 3*n && g.hi-g.lo != 3*(n+1) {
						t.Fatalf("late %v: %d bytes of numbers", late, g.hi-g.lo)
					}
					return g.lo, g.base
				}
			}
			t.Fatalf("late %v: no numbers of symbols were found", late)
			return 0, 0
		}
		from, list := find(e)
		to, newList := find(m)
		copies := []Copy{{list, newList, 4 * 700}, {list + 4*700, newList + 4*701, 4 * (n - 700)}, {from, to, 3 * n}}
		got, stream := roundTrip(t, old, new, copies)
		if !bytes.Equal(got[to:to+3*n], new[to:to+3*n]) {
			t.Errorf("late %v: numbers are not as in new", late)
		}
		if len(stream) > 400 {
			t.Errorf("late %v: %d bytes for %d numbers, want at most 400", late, len(stream), n)
		}
	}
}

func symbolsOf(n, extra int) []uint64 { a, _ := symbols(n, extra); return a }
func namesOf(n, extra int) []int      { _, b := symbols(n, extra); return b }

func TestNoNumbersWhereNoneAre(t *testing.T) {
	addrs, byName := symbols(1200, 0)
	twice := slices.Clone(byName)
	twice[5] = twice[6]
	for _, b := range [][]byte{
		kernel(false, addrs, twice), kernel(true, addrs, twice), kernel(false, addrs, byName[:1100]),
		image(machineX86, elfFixed, piece{name: ".text", kind: 1, flags: sectionLoaded | sectionCode, addr: kernelAddr, data: fill(64)},
			piece{name: ".rodata", kind: 1, flags: sectionLoaded | sectionWritable, addr: kernelAddr + 1<<24, data: bytes.Repeat(longs(kernelAddr, 2000), 9000)}),
	} {
		for _, g := range mustParse(t, b).regions {
			if g.form == formListed {
				t.Errorf("numbers of symbols from %d to %d of %d bytes", g.lo, g.hi, len(b))
			}
		}
	}
}

// TestShortCopies codes copies of a few bytes each, in which fields may just fit.
func TestShortCopies(t *testing.T) {
	r := seeded(13)
	old := kernel(true, symbolsOf(1500, 0), namesOf(1500, 0))
	var copies []Copy
	for at := int64(0); at+8 < int64(len(old)); {
		n := 1 + r.Int64N(5)
		copies = append(copies, Copy{at, at, n})
		at += n
	}
	e := mustParse(t, old)
	whole := e.Scan(nil, old, 0, 0, e.size)
	if got := cuts(e, old, func() int64 { return 1 + r.Int64N(5) }); !slices.Equal(got, whole) {
		t.Errorf("%d fields in small cuts, %d in one piece", len(got), len(whole))
	}
	if got, _ := roundTrip(t, old, old, copies); !bytes.Equal(got[:len(got)-8], old[:len(old)-8]) {
		t.Error("copies of old are not old")
	}
}

func TestSitesOfAKernelAreForetold(t *testing.T) {
	const n = 2000
	build := func(shift int) (b []byte, end int64) {
		code := join(fill(16*n/2), fill(shift), fill(16*n/2))
		b = image(machineX86, elfFixed, piece{name: ".text", kind: 1, flags: sectionLoaded | sectionCode, addr: kernelAddr, data: code})
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		end = int64(len(b))
		b = append(b, words(0)...)
		for i := range n {
			at := 16 * i
			if i >= n/2 {
				at += shift
			}
			b = append(b, words(uint32(kernelAddr&(1<<32-1))+uint32(at))...)
		}
		return b, end
	}
	old, oldEnd := build(0)
	new, newEnd := build(4096)
	for _, b := range [][]byte{old, new} {
		if size, ok := Sniff(bytes.NewReader(join(b, words(0, 0, 7, 9))), 0, int64(len(b))+16); !ok || size != int64(len(b)) {
			t.Errorf("size = %d, %v, want %d", size, ok, len(b))
		}
	}
	s, u := mustParse(t, old).sections[1], mustParse(t, new).sections[1]
	got, stream := roundTrip(t, old, new, []Copy{{s.off, u.off, 8 * n}, {s.off + 8*n, u.off + 8*n + 4096, 8 * n}, {oldEnd, newEnd, 4 * (n + 1)}})
	if !bytes.Equal(got[newEnd:], new[newEnd:]) {
		t.Error("addresses are not as in new")
	}
	if len(stream) > 100 {
		t.Errorf("%d bytes for %d addresses, want at most 100", len(stream), n)
	}
}

package reference

import "io"

// A kernel's tables of its own symbols (Linux, scripts/kallsyms.c): distances
// of all symbols by address, the address that they are counted from, and, since
// 6.2, the number of each symbol in the order of names, 3 bytes each with the
// highest first. Such a number means an entry of the first table, so that the
// map foretells it.
const (
	minListed = 1000 // symbols that a kernel has at least
	maxListed = 4 << 20
	// maxTries is how often the address that distances are counted from may
	// stand where the tables do not.
	maxTries = 16
)

// addListed splits g, read-only data of a kernel in which distances are counted
// from the first code, where numbers of symbols are found in it.
func (e *Element) addListed(r io.ReaderAt, g region) {
	first, numbers, count := e.findListed(r, g)
	if count == 0 {
		e.regions = append(e.regions, g)
		return
	}
	head, tail := g, g
	head.hi = numbers
	tail.lo = numbers + 3*count
	tail.addr += uint64(tail.lo - g.lo)
	e.anchors = append(e.anchors, anchor{"listed symbols", first})
	e.regions = append(e.regions, head, tail, region{lo: head.hi, hi: tail.lo, addr: g.addr + uint64(numbers-g.lo), form: formListed, base: first})
}

// findListed gives where the table of distances and that of numbers begin, and
// how many entries they have, or 0.
func (e *Element) findListed(r io.ReaderAt, g region) (first, numbers, count int64) {
	t := &tape{r: r, size: g.hi}
	tries := 0
	for at := g.lo + int64(-g.addr&7); at+16 <= g.hi && tries < maxTries; at += 8 {
		v, ok := t.uint64(at)
		if !ok {
			return 0, 0, 0
		}
		if v != e.code[0].lo {
			continue
		}
		tries++
		// Before 6.4, the number of symbols, their names and the places of each
		// 256th of these stand between the tables, later before both.
		numbers = at + 8
		if n, _ := t.uint64(at + 8); n >= minListed && n <= maxListed {
			numbers = skipNames(r, g, at+16, int64(n))
		}
		if count = countNumbers(r, g, numbers); count == 0 {
			continue
		}
		if first = at - (4*count+7)&^7; first >= g.lo {
			return first, numbers, count
		}
	}
	return 0, 0, 0
}

// skipNames is where the tables of n names from at on end, and of their places.
func skipNames(r io.ReaderAt, g region, at, n int64) int64 {
	t := &tape{r: r, size: g.hi}
	for range n {
		b, ok := t.bytes(at, 2)
		if !ok {
			return g.hi
		}
		length := int64(b[0])
		if length >= 128 { // of two bytes
			length = length&127 | int64(b[1])<<7
			at++
		}
		at += 1 + length
	}
	at = (at - g.lo + 7) &^ 7
	return min(g.lo+(at+(n+255)/256*4+7)&^7, g.hi)
}

// countNumbers says how many numbers of 3 bytes from at on are each number
// below their count once, as far as the largest tells.
func countNumbers(r io.ReaderAt, g region, at int64) int64 {
	t := &tape{r: r, size: g.hi}
	largest, sum := int64(0), int64(0)
	for n := int64(1); n <= maxListed; n++ {
		b, ok := t.bytes(at, 3)
		if !ok {
			return 0
		}
		v := int64(b[0])<<16 | int64(b[1])<<8 | int64(b[2])
		largest = max(largest, v)
		sum += v
		if n >= minListed && largest == n-1 && sum == n*(n-1)/2 {
			return n
		}
		at += 3
	}
	return 0
}

// isHigh says whether e is a kernel in the highest 2 GiB.
func (e *Element) isHigh() bool {
	return len(e.code) > 0 && e.isWide() && e.code[0].lo >= 1<<63
}

// sitesEnd is where the list ends that a kernel may have behind end: addresses
// in 32 bits, and zeros between those of different kinds.
func (e *Element) sitesEnd(r io.ReaderAt, end int64) int64 {
	e.findCode()
	e.findLoaded()
	if !e.isHigh() {
		return end
	}
	t := &tape{r: r, size: e.size}
	for at := (end + 3) &^ 3; ; at += 4 {
		v, ok := t.uint32(at)
		if !ok || v != 0 && !e.isSite(v) {
			return end
		}
		if v != 0 {
			end = at + 4
		}
	}
}

// isSite says whether v is an address of the kernel in 32 bits.
func (e *Element) isSite(v uint32) bool {
	return v >= 1<<31 && e.isLoaded(uint64(int64(int32(v))))
}

// addSites takes what follows the ELF file of a kernel that can be relocated:
// addresses of where that is to be done, in 32 bits each (Linux,
// arch/x86/tools/relocs.c).
func (e *Element) addSites(r io.ReaderAt) {
	var h [64]byte
	if !e.isHigh() || !readAt(r, h[:], 0, e.size) {
		return
	}
	end, ok := tableEnds(h[:])
	for _, s := range e.segments {
		end = max(end, s.off+s.file)
	}
	for _, s := range e.sections {
		if s.off > 0 {
			end = max(end, uint64(s.off+s.size))
		}
	}
	if ok && end < uint64(e.size) {
		e.regions = append(e.regions, region{lo: int64(end+3) &^ 3, hi: e.size, form: formSites})
	}
}

func (s *scanner) sites() {
	for p := s.align(s.lo, 4); p < s.hi; p += 4 {
		if v, ok := s.uint32(p); ok && s.e.isSite(v) {
			s.add(p, WideSite, 0)
		}
	}
}

func (s *scanner) listed() {
	for p := s.align(s.lo-2, 3); p < s.hi; p += 3 {
		s.add(p, Listed24, s.g.base)
	}
}

// listedNumber is the number in the 3 bytes of a [Listed24].
func listedNumber(b []byte) uint64 { return uint64(b[0])<<16 | uint64(b[1])<<8 | uint64(b[2]) }

func putListed(b []byte, v uint64) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }

package reference

import (
	"bytes"
	"io"
)

// Values of the headers of a PE file that are looked at (PE format, 2 to 4).
const (
	imageX86      = 0x8664
	imageWide     = 0x20B // addresses of 8 bytes
	imageSections = 96    // as many as a loader takes
	imageCode     = 0x20
	imageExecute  = 0x20000000
	imageWrite    = 0x80000000

	fixWide = 10 // a place that holds 8 bytes

	directoryUnwind = 3
	directoryFixes  = 5
)

// imageTables is where a PE file and its tables begin in memory, or 0, and what
// lies between the first and the last record that the table of functions leads
// to.
type imageTables struct {
	base, unwind, fixes uint64
	records             span
}

// readImage reads the headers of a PE file for x86-64. Its sections are noted
// as those of an ELF file that may be loaded at any address.
func (e *Element) readImage(r io.ReaderAt) bool {
	var b [1 << 12]byte
	head := b[:min(int64(len(b)), max(e.size, 0))]
	if len(head) < 64 || !readAt(r, head, 0, e.size) || head[0] != 'M' || head[1] != 'Z' {
		return false
	}
	at := int64(little.Uint32(head[60:]))
	if at > int64(len(head))-24-240 {
		return false
	}
	h := head[at:]
	if !bytes.Equal(h[:4], []byte("PE\x00\x00")) || little.Uint16(h[4:]) != imageX86 || little.Uint16(h[24:]) != imageWide {
		return false
	}
	n, optional := int64(little.Uint16(h[6:])), int64(little.Uint16(h[20:]))
	if optional < 240 || n > imageSections || 24+optional+40*n > int64(len(h)) {
		return false
	}
	base := little.Uint64(h[24+24:])
	size := min(uint64(little.Uint32(h[24+60:])), uint64(e.size))
	e.tables.base = base
	e.machine, e.kind, e.word, e.isImage = machineX86, elfShared, 8, true
	e.segments = []segment{{addr: base, file: size, mem: size}}
	e.sections = make([]section, 1, 1+n)
	if count := little.Uint32(h[24+108:]); count > directoryFixes {
		e.tables.unwind = base + uint64(little.Uint32(h[24+112+8*directoryUnwind:]))
		e.tables.fixes = base + uint64(little.Uint32(h[24+112+8*directoryFixes:]))
	}
	for table := h[24+optional:][:40*n]; len(table) > 0; table = table[40:] {
		e.addImageSection(table, base)
	}
	e.anchors = append(e.anchors, anchor{"image", 0})
	return true
}

func (e *Element) addImageSection(b []byte, base uint64) {
	flags := little.Uint32(b[36:])
	s := segment{
		off: uint64(little.Uint32(b[20:])), addr: base + uint64(little.Uint32(b[12:])),
		file: uint64(little.Uint32(b[16:])), mem: uint64(little.Uint32(b[8:])),
	}
	s.file = min(s.file, s.mem)
	if s.off == 0 || !s.valid(e.size) || !e.claim(int64(s.file)) {
		return
	}
	n := bytes.IndexByte(append(b[:8:8], 0), 0)
	t := section{name: string(b[:n]), off: int64(s.off), size: int64(s.file), addr: s.addr, kind: 1, flags: sectionLoaded}
	if flags&imageWrite != 0 {
		t.flags |= sectionWritable
		s.flags |= writable
	}
	if flags&(imageCode|imageExecute) != 0 {
		t.flags |= sectionCode
		s.flags |= executable
	}
	e.segments = append(e.segments, s)
	e.sections = append(e.sections, t)
	if s.mem > s.file {
		e.voids = append(e.voids, void{t.name, s.addr + s.file, s.mem - s.file})
	}
}

// addImageTable takes a section of a PE file that begins with a table: of
// functions, of which each has three distances from the base, or of places
// that hold addresses.
func (e *Element) addImageTable(r io.ReaderAt, s section, g *region) bool {
	switch s.addr {
	case e.tables.unwind:
		g.form, g.kind = formOffsets, Base32
	case e.tables.fixes:
		e.markPages(r, g)
	default:
		if s.flags&(sectionWritable|sectionCode) == 0 {
			e.splitRecords(g)
		}
		if _, ok := e.section(".symtab"); ok && s.name == ".rdata" {
			e.findFunctions(r, g) // Go's linker adds that section to all programs
		}
		return false
	}
	return true
}

// findFunctions looks for Go's table of functions, which no header mentions
// and which is the last thing in its section.
func (e *Element) findFunctions(r io.ReaderAt, g *region) {
	t := &tape{r: r, size: g.hi}
	for at := g.lo; at+8 <= g.hi; at += 8 {
		v, ok := t.uint64(at)
		if !ok {
			return
		}
		if v>>32 != 0x08010000 {
			continue
		}
		whole := *g
		whole.lo, whole.addr = at, g.addr+uint64(at-g.lo)
		if e.addFunctions(r, whole); e.golang.index > 0 {
			g.hi = at
			return
		}
	}
}

// findRecords notes where the unwind records of a PE file are.
func (e *Element) findRecords(r io.ReaderAt) {
	if !e.isImage {
		return
	}
	for _, s := range e.sections {
		if s.addr != e.tables.unwind {
			continue
		}
		t := &tape{r: r, size: s.off + s.size}
		low, high := uint32(1<<32-1), uint32(0)
		for at := s.off; at+12 <= t.size; at += 12 {
			if v, _ := t.uint32(at + 8); v != 0 {
				low, high = min(low, v), max(high, v)
			}
		}
		e.tables.records = span{e.tables.base + uint64(low), e.tables.base + uint64(high) + 1<<12}
		return
	}
}

// splitRecords makes regions of their own of the unwind records in g and of
// what follows them.
func (e *Element) splitRecords(g *region) {
	at := int64(e.tables.records.lo - g.addr)
	if at < 0 || at >= g.hi-g.lo {
		return
	}
	part, rest := *g, *g
	part.form, part.lo, part.addr = formRecords, g.lo+at, e.tables.records.lo
	part.hi = min(part.lo+int64(e.tables.records.hi-e.tables.records.lo), g.hi)
	rest.form, rest.lo, rest.addr = formConstants, part.hi, g.addr+uint64(part.hi-g.lo)
	g.hi = part.lo
	e.regions = append(e.regions, part, rest)
}

// records finds distances from the base and addresses in unwind records.
func (s *scanner) records() {
	for p := s.lo + int64(-s.address(s.lo)&3); p < s.hi; p += 4 {
		switch {
		case s.address(p)&7 == 0 && s.isAddress(p):
			s.note(p, ConstWord, 0)
		case s.isUnwind(p):
			s.note(p, Base32, 0)
		}
	}
}

// isUnwind says whether the word at p is a distance from the base: to a record
// near, or to code, with another distance to code around or to a record behind.
func (s *scanner) isUnwind(p int64) bool {
	base := s.e.tables.base
	v, ok := s.uint32(p)
	if s.isRecord(p) {
		return true
	}
	if !ok || v < 1<<16 || isUnwinding(v) || !s.e.inCode(base+uint64(v)) {
		return false
	}
	for q := p - 8; q <= p+8; q += 4 {
		if u, ok := s.uint32(q); ok && u != v && u-v+1<<16 < 1<<17 && s.e.inCode(base+uint64(u)) {
			return true
		}
	}
	return s.isRecord(p + 4)
}

// isUnwinding says whether v may be the start of a record, which has a version
// of 1 and few instructions, or one of these that stores a register at a
// small offset (x64 exception handling, UNWIND_INFO and UNWIND_CODE).
func isUnwinding(v uint32) bool {
	op := v >> 8 & 15
	return v < 32<<16 && (v&7 == 1 && v&255 < 0x28 || op == 4 || op == 8)
}

// isRecord says whether the word at p leads to an unwind record near p.
func (s *scanner) isRecord(p int64) bool {
	t := &s.e.tables
	v, ok := s.uint32(p)
	at := t.base + uint64(v)
	return ok && at-t.records.lo < t.records.hi-t.records.lo && at-s.address(p)+1<<16 < 1<<17
}

// markPages walks along the pages of the table of places: each has a distance
// from the base, a length, and 2 bytes for each place.
func (e *Element) markPages(r io.ReaderAt, g *region) {
	g.form = formPages
	t := &tape{r: r, size: g.hi}
	at := g.lo
	for at+8 <= g.hi {
		n, ok := t.uint32(at + 4)
		if !ok || n < 8 || int64(n) > g.hi-at {
			break
		}
		g.mark(at)
		at += int64(n)
	}
	g.closeAt(at)
}

// pages finds the fields of that table.
func (s *scanner) pages() {
	for p := s.g.record(s.lo); p < s.hi; {
		page, ok := s.uint32(p)
		n, more := s.uint32(p + 4)
		if !ok || !more || n < 8 {
			return
		}
		end := p + int64(n)
		if n <= reach {
			s.note(p, Base32, 0)
			for q := max(p+8, s.lo-(s.lo-p)&1); q < min(end, s.hi); q += 2 {
				if w, ok := s.uint32(q - 2); ok && w>>28 == fixWide {
					s.note(q, Page12, int64(page))
				}
			}
		}
		p = end
	}
}

// page is the address in new of the page that a Page12 lies in: any multiple
// of the size of pages does, since the rest is counted by it.
func (g *guide) page(f Field) (uint64, bool) {
	base, ok := address(g.l.segments, g.base(0))
	return base &^ 4095, ok
}

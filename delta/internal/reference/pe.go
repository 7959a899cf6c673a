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

// imageTables is where the tables of a PE file begin in memory, or 0.
type imageTables struct{ unwind, fixes uint64 }

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
	if s.off == 0 || !s.valid(e.size) {
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
			s.add(p, Base32, 0)
			for q := max(p+8, s.lo-(s.lo-p)&1); q < min(end, s.hi); q += 2 {
				if w, ok := s.uint32(q - 2); ok && w>>28 == fixWide {
					s.add(q, Page12, int64(page))
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

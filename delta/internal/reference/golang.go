package reference

import "io"

// goTables is where the tables of a Go program begin in the file. The layout
// is that of Go 1.18 and later (runtime/symtab.go, cmd/link/internal/ld/pcln.go).
type goTables struct {
	text, names, units, files, pcs, index, data, types int64
	typeSize, textSize                                 uint64
	textAddr                                           uint64
}

// Marks of the table by version, in its first 4 bytes.
const (
	goMagic118 = 0xFFFFFFF0
	goMagic120 = 0xFFFFFFF1

	goHeader = 72
	goFunc   = 44 // bytes of a function's record before its lists
	goInline = 16 // bytes of a record of an inlining table
)

// addFunctions takes apart Go's table of functions.
func (e *Element) addFunctions(r io.ReaderAt, g region) {
	var h [goHeader]byte
	if e.golang.index > 0 || g.hi-g.lo < goHeader || !readAt(r, h[:], g.lo, e.size) || h[7] != 8 {
		return
	}
	magic, count := little.Uint32(h[:]), little.Uint64(h[8:])
	if magic != goMagic118 && magic != goMagic120 {
		return
	}
	var part [5]int64
	for i := range part {
		v := little.Uint64(h[32+8*i:])
		if v > uint64(g.hi-g.lo) || i > 0 && int64(v) < part[i-1] {
			return
		}
		part[i] = int64(v)
	}
	if count > uint64(g.hi-g.lo)/8 {
		return
	}
	t := goTables{names: g.lo + part[0], units: g.lo + part[1], files: g.lo + part[2], pcs: g.lo + part[3], index: g.lo + part[4]}
	t.textAddr = little.Uint64(h[24:])
	e.golang = t
	e.findModule(r, g)
	if text, ok := place(e.segments, e.golang.textAddr); ok {
		e.golang.text = text
	} else if s, ok := e.section(".text"); ok {
		e.golang.text = s.off
	}
	t = e.golang
	for _, a := range []anchor{{"go text", t.text}, {"go names", t.names}, {"go units", t.units},
		{"go files", t.files}, {"go pcs", t.pcs}, {"go index", t.index}, {"go data", t.data}, {"go types", t.types}} {
		if a.off > 0 {
			e.anchors = append(e.anchors, a)
		}
	}
	e.regions = append(e.regions, region{
		lo: t.units, hi: t.files, addr: g.addr + uint64(t.units-g.lo),
		form: formOffsets, kind: Offset, base: t.files,
	})
	e.addRecords(r, g, int64(count))
}

// addRecords walks along the index once, to mark where records of functions
// begin, and adds the regions of the index, of the records and of the tables
// behind them.
func (e *Element) addRecords(r io.ReaderAt, g region, count int64) {
	t := e.golang
	index := region{lo: t.index, hi: min(t.index+8*count, g.hi), form: formFuncIndex, addr: g.addr + uint64(t.index-g.lo)}
	records := region{lo: index.hi, hi: g.hi, form: formFuncs}
	walk, fine := &tape{r: r, size: g.hi}, &tape{r: r, size: g.hi}
	end := index.hi
	for i := range count {
		v, ok := walk.uint32(t.index + 8*i + 4)
		at := t.index + int64(v)
		if !ok || at < end {
			break
		}
		h, ok := fine.bytes(at, goFunc)
		if !ok {
			break
		}
		lists := 4 * (int64(little.Uint32(h[28:])) + int64(h[43]))
		if lists > reach-goFunc-16 {
			break
		}
		if records.marks == nil {
			records.lo = at
		}
		records.mark(at)
		end = at + goFunc + lists
	}
	records.closeAt(min(max(end, records.lo), g.hi))
	records.addr = g.addr + uint64(records.lo-g.lo)
	e.regions = append(e.regions, index, records)
	if t.data >= records.hi && t.data < g.hi {
		e.regions = append(e.regions, region{lo: t.data, hi: g.hi, form: formInline, addr: g.addr + uint64(t.data-g.lo)})
	}
}

// findModule looks in writable sections for the runtime's description of the
// program, which begins with the addresses of the table and its names, and
// takes from it where code and data of functions begin.
func (e *Element) findModule(r io.ReaderAt, g region) {
	for _, s := range e.sections {
		if s.flags&sectionWritable == 0 || s.off == 0 {
			continue
		}
		t := &tape{r: r, size: s.off + s.size}
		for at := s.off; at+8*64 <= s.off+s.size; at += 8 {
			v, ok := t.uint64(at)
			if !ok {
				break
			}
			if v != g.addr {
				continue
			}
			if b, ok := t.bytes(at, 8*64); ok && little.Uint64(b[8:]) == g.addr+uint64(e.golang.names-g.lo) {
				e.useModule(b)
				return
			}
		}
	}
}

// useModule reads the words that follow: the list of sections had two more
// from Go 1.20 on.
func (e *Element) useModule(b []byte) {
	word := func(i int) uint64 { return little.Uint64(b[8*i:]) }
	e.golang.textAddr, e.golang.textSize = word(22), word(23)-word(22)
	for _, types := range []int{37, 35} {
		if e.mapped(word(types)) && word(types) < word(types+1) && e.mapped(word(types+2)) && e.mapped(word(types+3)) {
			if off, ok := place(e.segments, word(types+3)); ok {
				e.golang.data = off
			}
			if off, ok := place(e.segments, word(types)); ok {
				e.golang.types, e.golang.typeSize = off, min(word(types+1)-word(types), maxSize)
			}
			return
		}
	}
}

func (s *scanner) funcIndex() {
	t := &s.e.golang
	for p := s.align(s.lo-7, 8); p < s.hi; p += 8 {
		if t.text > 0 {
			s.add(p, Base32, t.text)
		}
		s.add(p+4, Offset, t.index)
	}
}

// funcs finds the fields of functions' records.
func (s *scanner) funcs() {
	for p := s.g.record(s.lo); p < s.hi; {
		lists, ok := s.uint32(p + 28)
		last, more := s.uint32(p + 40)
		if !ok || !more || lists > reach/4 {
			return
		}
		p = s.function(p, int64(lists), int64(last>>24))
	}
}

// function adds the fields of the record at p with pcs tables of places and
// datas of other data, and gives where the next one begins.
func (s *scanner) function(p, pcs, datas int64) int64 {
	t := &s.e.golang
	if t.text > 0 {
		s.add(p, Base32, t.text)
	}
	s.add(p+4, Name, t.names)
	for q := p + 16; q < p+28; q += 4 {
		s.nonzero(q, Offset, t.pcs)
	}
	s.add(p+32, Offset4, t.units)
	q := p + goFunc
	for ; pcs > 0; pcs-- {
		s.nonzero(q, Offset, t.pcs)
		q += 4
	}
	for ; datas > 0; datas-- {
		if v, ok := s.uint32(q); ok && v != 1<<32-1 && t.data > 0 {
			s.add(q, Offset, t.data)
		}
		q += 4
	}
	return p + (q-p+7)&^7
}

// nonzero adds an offset that is not 0, which stands for none.
func (s *scanner) nonzero(p int64, k Kind, base int64) {
	if v, ok := s.uint32(p); ok && v != 0 {
		s.add(p, k, base)
	}
}

// inline finds the names in records of inlining tables, which have no place
// of their own: a small number with three zero bytes, a name, a place in a
// function and a line.
func (s *scanner) inline() {
	t := &s.e.golang
	for p := s.align(s.lo-3, 4); p < s.hi; p += 4 {
		id, _ := s.uint32(p - 4)
		name, _ := s.uint32(p)
		pc, _ := s.uint32(p + 4)
		line, ok := s.uint32(p + 8)
		if ok && id < 32 && name > 64 && int64(name) < t.units-t.names && pc < 1<<20 && line > 0 && line < 1<<17 {
			s.add(p, Inline, t.names)
		}
	}
}

// goType says whether the 8 bytes at p are part of Go's type information
// (internal/abi/type.go) that refers to something, and adds its fields.
func (s *scanner) goType(p int64) bool {
	t := &s.e.golang
	switch {
	case s.isMethod(p - 8): // where its code is
		s.codeOffset(p)
		s.codeOffset(p + 4)
	case s.isType(p) || s.isMethod(p):
		s.add(p, GoName, t.types)
		s.nonzero(p+4, GoType, t.types)
	case s.isPackage(p):
		s.add(p, GoName, t.types)
	default:
		return false
	}
	return true
}

// isType says whether name and type stand at p at the end of a description of
// a type, behind the addresses of a function and a mask.
func (s *scanner) isType(p int64) bool {
	head, _ := s.uint32(p - 20)
	return typeHead(head) && s.isName(p) && s.isTypeOffset(p+4) && s.isNilOrAddress(p-16) && s.isNilOrAddress(p-8)
}

// isMethod says whether a method stands at p: name, type, two places of code.
func (s *scanner) isMethod(p int64) bool {
	t := &s.e.golang
	a, _ := s.uint32(p + 8)
	b, ok := s.uint32(p + 12)
	if !ok || !t.isFunc(a) || !t.isFunc(b) || !s.isName(p) || !s.isTypeOffset(p+4) {
		return false
	}
	typ, _ := s.uint32(p + 4)
	return typ != 0 || a != 0 && a%16 == 0
}

// isPackage says whether p begins what follows a type that has methods: its
// package, two counts, where the methods are, and a zero.
func (s *scanner) isPackage(p int64) bool {
	count, _ := s.uint32(p + 4)
	at, _ := s.uint32(p + 8)
	zero, ok := s.uint32(p + 12)
	return ok && zero == 0 && at >= 16 && at < 1<<16 && at%4 == 0 &&
		count != 0 && count>>16 <= count&0xFFFF && count&0xFFFF < 1<<10 && s.isName(p)
}

func (s *scanner) isName(p int64) bool {
	v, ok := s.uint32(p)
	return ok && v != 0 && uint64(v) < s.e.golang.typeSize
}

func (s *scanner) isTypeOffset(p int64) bool {
	v, ok := s.uint32(p)
	return ok && v%32 == 0 && uint64(v) < s.e.golang.typeSize
}

// typeHead says whether w may be the flags, alignment twice, and kind of a type.
func typeHead(w uint32) bool {
	align := w >> 8 & 255
	return w>>24 != 0 && w>>24&31 <= 26 && align != 0 && align&(align-1) == 0 && align <= 64 && w>>16&255 == align
}

// isFunc says whether a method may hold v as the place of its code: where a
// function may begin, or none.
func (t *goTables) isFunc(v uint32) bool {
	return v == 0 || v == 1<<32-1 || v%16 == 0 && uint64(v) < t.textSize
}

func (s *scanner) codeOffset(p int64) {
	if v, _ := s.uint32(p); v != 0 && v != 1<<32-1 && s.e.golang.text > 0 {
		s.add(p, Base32, s.e.golang.text)
	}
}

func (s *scanner) isNilOrAddress(p int64) bool {
	v, ok := s.uint64(p)
	return ok && (v == 0 || s.isAddress(p))
}

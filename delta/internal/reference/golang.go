package reference

import "io"

// goTables is where the tables of a Go program begin in the file. The layouts
// are those of Go 1.16 and later (runtime/symtab.go, debug/gosym/pclntab.go,
// cmd/link/internal/ld/pcln.go).
type goTables struct {
	text, names, units, files, pcs, index, data, types int64
	typeSize, textSize                                 uint64
	textAddr                                           uint64

	align  uint32 // what the place of a function is a multiple of
	legacy bool   // addresses where later versions have distances
	entry  int64  // bytes that say where a function begins
	record int64  // bytes of a function's record before its lists
}

// Marks of the table by version, in its first 4 bytes.
const (
	goMagic116 = 0xFFFFFFFA
	goMagic118 = 0xFFFFFFF0
	goMagic120 = 0xFFFFFFF1

	goHeader = 72
	goModule = 41 // words of the runtime's description that are looked at
)

// addFunctions takes apart Go's table of functions.
func (e *Element) addFunctions(r io.ReaderAt, g region) {
	var h [goHeader]byte
	if e.golang.index > 0 || g.hi-g.lo < goHeader || !readAt(r, h[:], g.lo, e.size) || int64(h[7]) != e.word {
		return
	}
	t := goTables{align: 16, entry: 4, record: 40}
	if e.machine == machineArm || e.machine == machineRiscv {
		t.align = 4
	}
	first := 8 + 3*e.word
	switch little.Uint32(h[:]) {
	case goMagic116:
		t.legacy, t.entry, t.record = true, e.word, e.word+36
		first -= e.word // no start of code
	case goMagic118:
	case goMagic120:
		t.record = 44
	default:
		return
	}
	count, last := e.long(h[:], 8, 8), int64(0)
	for i, place := range [...]*int64{&t.names, &t.units, &t.files, &t.pcs, &t.index} {
		v := e.long(h[first+int64(i)*e.word:], 0, 0)
		if v > uint64(g.hi-g.lo) || int64(v) < last {
			return
		}
		last = int64(v)
		*place = g.lo + last
	}
	if count > uint64(g.hi-g.lo)/8 {
		return
	}
	if !t.legacy {
		t.textAddr = e.at(h[first-e.word:], 0, 0)
	}
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
	step := t.entry * 2
	index := region{lo: t.index, hi: min(t.index+step*count, g.hi), form: formFuncIndex, addr: g.addr + uint64(t.index-g.lo)}
	records := region{lo: index.hi, hi: g.hi, form: formFuncs}
	walk, fine := &tape{r: r, size: g.hi}, &tape{r: r, size: g.hi}
	end := index.hi
	for i := range count {
		v, ok := walk.uint32(t.index + step*i + t.entry)
		at := t.index + int64(v)
		if !ok || at < end {
			break
		}
		h, ok := fine.bytes(at, int(t.record))
		if !ok {
			break
		}
		lists := 4 * int64(little.Uint32(h[t.entry+24:]))
		if lists > reach/2 {
			break
		}
		if records.marks == nil {
			records.lo = at
		}
		records.mark(at)
		end = at + t.record + lists
		if t.legacy {
			end += int64(-(g.addr+uint64(end-g.lo)))&(t.entry-1) + (t.entry-4)*int64(h[t.record-1])
		}
		end += 4 * int64(h[t.record-1])
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
	size := goModule * e.word
	for _, s := range e.sections {
		if s.flags&sectionWritable == 0 || s.off == 0 {
			continue
		}
		t := &tape{r: r, size: s.off + s.size}
		for at := s.off; at+size <= s.off+s.size; at += e.word {
			b, ok := t.bytes(at, int(size))
			if !ok {
				break
			}
			if e.at(b, 0, 0) == g.addr && e.at(b, 4, 8) == g.addr+uint64(e.golang.names-g.lo) {
				e.useModule(b)
				return
			}
		}
	}
}

// useModule reads the words that follow: the list of sections had two more
// from Go 1.20 on, and ended with the types before Go 1.18.
func (e *Element) useModule(b []byte) {
	word := func(i int) uint64 { return e.at(b[int64(i)*e.word:], 0, 0) }
	t := &e.golang
	t.textAddr, t.textSize = word(22), word(23)-word(22)
	for _, types := range []int{37, 35} {
		if t.legacy && types == 37 || !e.mapped(word(types)) || word(types) >= word(types+1) {
			continue
		}
		if !t.legacy {
			off, ok := place(e.segments, word(types+3))
			if !ok || !e.mapped(word(types+2)) {
				continue
			}
			t.data = off
		}
		if off, ok := place(e.segments, word(types)); ok {
			t.types, t.typeSize = off, min(word(types+1)-word(types), maxSize)
		}
		return
	}
}

func (s *scanner) funcIndex() {
	t := &s.e.golang
	step := 2 * t.entry
	for p := s.align(s.lo-step+1, step); p < s.hi; p += step {
		s.goEntry(p)
		s.add(p+t.entry, Offset, t.index)
	}
}

// goEntry adds where a function begins.
func (s *scanner) goEntry(p int64) {
	switch t := &s.e.golang; {
	case t.legacy:
		s.goAddress(p)
	case t.text > 0:
		s.add(p, Base32, t.text)
	}
}

// goAddress adds an address at p, if there is one.
func (s *scanner) goAddress(p int64) {
	switch {
	case s.e.word == 4 && s.isAddress32(p):
		s.add(p, ConstWord32, 0)
	case s.e.word == 8 && s.isAddress(p):
		s.add(p, ConstWord, 0)
	}
}

// funcs finds the fields of functions' records.
func (s *scanner) funcs() {
	t := &s.e.golang
	for p := s.g.record(s.lo); p < s.hi; {
		lists, ok := s.uint32(p + t.entry + 24)
		last, more := s.uint32(p + t.record - 4)
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
	s.goEntry(p)
	q := p + t.entry
	s.add(q, Name, t.names)
	for i := q + 12; i < q+24; i += 4 {
		s.nonzero(i, Offset, t.pcs)
	}
	s.add(q+28, Offset4, t.units)
	q = p + t.record
	for ; pcs > 0; pcs-- {
		s.nonzero(q, Offset, t.pcs)
		q += 4
	}
	if t.legacy {
		for q += int64(-s.address(q)) & (t.entry - 1); datas > 0; datas-- {
			s.goAddress(q)
			q += t.entry
		}
	}
	for ; datas > 0; datas-- {
		if v, ok := s.uint32(q); ok && v != 1<<32-1 && t.data > 0 {
			s.add(q, Offset, t.data)
		}
		q += 4
	}
	return p + (q-p+s.e.word-1)&^(s.e.word-1)
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

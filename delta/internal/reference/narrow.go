package reference

// addNarrow says how a section of a file with addresses of 4 bytes is read, if
// by its kind that is another way than in one with 8.
func (e *Element) addNarrow(s section, g *region) bool {
	if s.name == ".got" {
		e.got = s
	}
	switch linked := e.kind != elfRelocatable; {
	case s.kind == sectionSymbols || s.kind == sectionDynSyms:
		g.form, g.base = formSymbols32, e.sectionStart(s.link)
	case (s.kind == sectionRel || s.kind == sectionRela) && (!linked || s.flags&sectionLoaded != 0):
		g.form, g.target = formRel32, e.sectionStart(s.link)
		if !linked {
			g.base = e.sectionStart(s.info)
		}
		g.wide = s.kind == sectionRela
	case linked && (s.kind == sectionArmIndex || s.name == ".ARM.extab"):
		g.form = formArmIndex
	default:
		return false
	}
	return true
}

// narrow is the form for addresses of 4 bytes in place of one for 8. Read-only
// data of a library has none: a loader does not write to it.
func (e *Element) narrow(f form) form {
	switch f {
	case formWords:
		return formWords32
	case formConstants:
		if e.kind != elfFixed {
			return formNone
		}
		return formConstants32
	}
	return f
}

// word32 is the number at off, sign-extended as addresses are.
func (s *scanner) word32(off int64) (uint64, bool) {
	v, ok := s.uint32(off)
	return uint64(int64(int32(v))), ok
}

func (s *scanner) isAddress32(p int64) bool {
	v, ok := s.word32(p)
	return ok && (v >= 4096 && s.e.mapped(v))
}

// words32 finds addresses among the aligned words of 4 bytes, and what Go's
// type information refers to.
func (s *scanner) words32(k Kind) {
	for p := s.lo + int64(-s.address(s.lo)&3); p < s.hi; p += 4 {
		switch {
		case s.e.golang.types > 0 && s.goWord(p):
		case s.isAddress32(p):
			s.note(p, k, 0)
		}
	}
}

// symbols32 finds names and values of symbols of 16 bytes.
func (s *scanner) symbols32() {
	for p := s.align(s.lo-15, 16); p < s.hi; p += 16 {
		if v, ok := s.uint32(p); ok && v != 0 && s.g.base > 0 {
			s.note(p, Name, s.g.base)
		}
		index, ok := s.uint32(p + 12)
		switch start := s.e.sectionStart(index >> 16); {
		case !ok:
		case s.e.kind != elfRelocatable:
			if s.isAddress32(p + 4) {
				s.note(p+4, Symbol32, 0)
			}
		case start > 0:
			s.note(p+4, Section32, start)
		}
	}
}

// rel32 finds places, symbols and addends of relocations of 8 or 12 bytes.
func (s *scanner) rel32() {
	width := int64(8)
	if s.g.wide {
		width = 12
	}
	for p := s.align(s.lo-width+1, width); p < s.hi; p += width {
		if s.e.kind == elfRelocatable {
			if s.g.base > 0 {
				s.note(p, Section32, s.g.base)
			}
		} else if s.isAddress32(p) {
			s.note(p, Site32, 0)
		}
		if v, ok := s.uint32(p + 4); ok && v>>8 != 0 && s.g.target > 0 {
			s.note(p+4, Item16, s.g.target)
		}
		if s.g.wide && s.e.kind != elfRelocatable && s.isAddress32(p+8) {
			s.note(p+8, Word32, 0)
		}
	}
}

// armIndex finds distances in unwind tables, which are words whose highest bit
// is not set (Exception Handling ABI for the Arm Architecture, 6).
func (s *scanner) armIndex() {
	for p := s.align(s.lo, 4); p < s.hi; p += 4 {
		v, ok := s.uint32(p)
		if ok && v > 1 && v>>31 == 0 && s.e.mapped(s.address(p)+uint64(int64(int32(v<<1)>>1))) {
			s.note(p, Table31, 0)
		}
	}
}

// note is add for scanners that have many calls of it: it is not worth having
// in line at each.
//
//go:noinline
func (s *scanner) note(off int64, k Kind, aux int64) { s.add(off, k, aux) }

package reference

// words finds addresses among the aligned words of 8 bytes, and where they are
// looked for, distances in lists.
func (s *scanner) words(k Kind) {
	const tops = 1<<63 | 1<<31
	p := s.word(s.lo)
	if s.g.base > 0 {
		p = s.word(s.lo - 7) // the list may begin with the second half
	}
	for ; p < s.hi; p += 8 {
		v, ok := s.uint64(p)
		if ok && v >= 4096 && s.e.isLoaded(v) {
			s.add(p, k, 0)
			continue
		}
		if s.g.base == 0 || ok && v&tops == 0 {
			continue
		}
		for q := p; q < p+8; q += 4 {
			if s.isListed(q) {
				s.add(q, Down32, s.g.base)
			}
		}
	}
}

// isListed says whether the word at p is one of nine complements of distances
// from the start of code that rise from one to the next by less than 1 MiB.
func (s *scanner) isListed(p int64) bool {
	last, ok := s.uint32(p - 16)
	ok = ok && last>>31 != 0
	for q := p - 12; ok && q <= p+16; q += 4 {
		var v uint32
		if v, ok = s.uint32(q); last-v >= 1<<20 || v>>31 == 0 {
			return false
		}
		last = v
	}
	return ok && s.e.mapped(s.e.code[0].lo+uint64(^last))
}

// word is the first place from off on whose address is a multiple of 8.
func (s *scanner) word(off int64) int64 { return off + int64(-s.address(off)&7) }

func (s *scanner) isAddress(p int64) bool {
	v, ok := s.uint64(p)
	return ok && v >= 4096 && s.e.isLoaded(v)
}

// constants finds addresses, what Go's type information refers to, and else
// runs of at least three distances to code that lie close together: jump
// tables of compilers. A distance is counted from the start of its table, for
// which the start of the run stands: where several tables follow each other,
// what they lead to seems shifted, by the same in old and in new.
func (s *scanner) constants() {
	types := s.e.golang.types > 0
	run, last := int64(0), int64(-8) // the entry found last, and where its run starts
	for p := s.word(s.lo - 7); p < s.hi; p += 8 {
		if p = s.skipWords(p, types); p >= s.hi {
			return
		}
		if s.isAddress(p) {
			s.add(p, ConstWord, 0)
			continue
		}
		if types && s.goType(p) {
			continue
		}
		for q := p; q < p+8; q += 4 {
			if !s.inRun(q) {
				continue
			}
			if q != last+4 {
				run = s.runStart(q)
			}
			last, run = q, max(run, q&^(tablePage-1)-tablePage)
			s.add(q, Switch32, run)
		}
	}
}

// skipWords is the first place from p on, in steps of 8 bytes, where there may
// be a field: where the word is an address, or either half leads to code.
func (s *scanner) skipWords(p int64, types bool) int64 {
	if types || p < s.from {
		return p
	}
	end := min(s.hi, s.from+int64(len(s.data))-7)
	d := s.data
	addr := s.address(p)
	for p < end {
		v := little.Uint64(d[p-s.from:])
		if v >= 4096 && s.e.isLoaded(v) || s.e.inCode(addr+uint64(int64(int32(v)))) || s.e.inCode(addr+4+uint64(int64(v)>>32)) {
			return p
		}
		p += 8
		addr += 8
	}
	return p
}

// runStart is where the run of entries starts that the one at q is in, as far
// as it is looked for.
func (s *scanner) runStart(q int64) int64 {
	limit := q&^(tablePage-1) - tablePage
	for q > limit && s.isEntry(q-4) {
		q -= 4
	}
	return max(q, limit)
}

// isEntry says whether there is an entry of a jump table at q, as constants
// finds it.
func (s *scanner) isEntry(q int64) bool {
	p := s.word(q - 7)
	return s.inRun(q) && !s.isAddress(p) && !(s.e.golang.types > 0 && s.isGoType(p))
}

// isGoType is goType for those who only ask.
func (s *scanner) isGoType(p int64) bool {
	n := len(s.out)
	is := s.goType(p)
	s.out = s.out[:n]
	return is
}

// tablePage bounds how far back the start of a jump table is looked for: to
// the start of the page of this size before the one that the entry is in.
const tablePage = 1024

// inRun says whether the entry at p has two such neighbours.
func (s *scanner) inRun(p int64) bool {
	t, ok := s.entry(p)
	if !ok {
		return false
	}
	n := 0
	for q := p - 4; q >= p-8 && s.near(q, t); q -= 4 {
		n++
	}
	for q := p + 4; n < 2 && q <= p+8 && s.near(q, t); q += 4 {
		n++
	}
	return n >= 2
}

// entry is where the distance at p leads to, if that is code.
func (s *scanner) entry(p int64) (uint64, bool) {
	v, ok := s.uint32(p)
	if d := int32(v); !ok || d > -64 && d < 64 {
		return 0, false
	}
	t := s.address(p) + uint64(int64(int32(v)))
	return t, s.e.inCode(t)
}

func (s *scanner) near(p int64, t uint64) bool {
	u, ok := s.entry(p)
	return ok && u-t+1<<16 < 1<<17
}

// table finds distances to places outside of their own section.
func (s *scanner) table() {
	size := uint64(s.g.hi - s.g.lo)
	for p := s.align(s.lo, 4); p < s.hi; p += 4 {
		v, ok := s.uint32(p)
		if t := s.address(p) + uint64(int64(int32(v))); ok && t-s.g.addr >= size && s.e.isLoaded(t) {
			s.add(p, Table32, 0)
		}
	}
}

// debug finds addresses of code at any place. Where two could be that share
// bytes, it is the first.
func (s *scanner) debug() {
	last := s.lo - 8
	p := max(s.lo-7, s.g.lo, s.from)
	end := min(s.hi, s.from+int64(len(s.data))-7)
	for ; p < end; p++ {
		if v := little.Uint64(s.data[p-s.from:]); v < 1<<16 || !s.e.inCode(v) {
			continue
		}
		if p-last >= 8 {
			s.add(p, DebugWord, 0)
		}
		last = p
	}
}

// symbols finds names and values of symbols.
func (s *scanner) symbols() {
	for p := s.align(s.lo-23, 24); p < s.hi; p += 24 {
		if v, ok := s.uint32(p); ok && v != 0 && s.g.base > 0 {
			s.add(p, Name, s.g.base)
		}
		index, ok := s.uint32(p + 4)
		switch v, more := s.uint64(p + 8); {
		case !ok || !more:
		case s.e.kind != elfRelocatable:
			if v >= 4096 && s.e.isLoaded(v) {
				s.add(p+8, Symbol, 0)
			}
		default:
			if start := s.e.sectionStart(index >> 16); start > 0 {
				s.add(p+8, Section64, start)
			}
		}
	}
}

// rela finds places, symbols and addends of relocations.
func (s *scanner) rela() {
	for p := s.align(s.lo-23, 24); p < s.hi; p += 24 {
		symbol, _ := s.uint32(p + 12)
		if s.e.kind != elfRelocatable {
			if s.isAddress(p) {
				s.add(p, Site, 0)
			}
		} else if s.g.base > 0 {
			s.add(p, Section64, s.g.base)
		}
		if symbol != 0 && s.g.target > 0 {
			s.add(p+12, Offset24, s.g.target)
		}
		if s.e.kind != elfRelocatable {
			if s.isAddress(p + 16) {
				s.add(p+16, Word, 0)
			}
		} else if uint64(symbol) < uint64(len(s.e.symbolStart)) && s.e.symbolStart[symbol] > 0 {
			s.add(p+16, Section64, s.e.symbolStart[symbol])
		}
	}
}

// offsets finds distances within the file, one after the other.
func (s *scanner) offsets() {
	for p := s.align(s.lo, 4); p < s.hi; p += 4 {
		if v, ok := s.uint32(p); ok && v != 0 && v != 1<<32-1 {
			s.add(p, s.g.kind, s.g.base)
		}
	}
}

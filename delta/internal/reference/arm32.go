package reference

const (
	// armBlock is how many bytes of 32-bit arm code are taken to be in one
	// instruction set, Thumb or ARM, judged by them and as many before them.
	armBlock = 64
	// poolReach is how far before a word the load may be that reads it, in
	// whole blocks; armBehind adds what the mode there is judged by.
	poolReach = 65 * armBlock
	armBehind = poolReach + 2*armBlock
	// moveReach is how far behind a MOVW its MOVT may be.
	moveReach = 44
)

// armLoads has, by place of the word in memory, how far before it the first
// load is that reads it, in units of 2 bytes, or 0.
type armLoads [2048]uint16

// armThumb marks a load in Thumb mode.
const armThumb = 1 << 15

// arm reads 32-bit code at each place by itself (Arm ARM for A- and R-profile,
// A5 and A6). Which instruction set it is nothing says once symbols are gone,
// but nearly every ARM instruction is unconditional, and begins with E.
func (s *scanner) arm() {
	var loads armLoads
	p := max(s.lo&^(armBlock-1)-poolReach, s.g.lo, s.from)
	p += int64(s.address(p) & 1)
	block, quiet, thumb := int64(-1), int64(0), false
	for ; p < s.hi; p += 2 {
		if b := p &^ (armBlock - 1); b != block {
			block, thumb = b, s.isThumb(b)
		}
		a := s.address(p)
		if a&3 == 0 {
			d := &loads[a/4%uint64(len(loads))]
			if *d != 0 {
				if p >= s.lo {
					s.pooled(p, p-2*int64(*d&^armThumb), *d&armThumb != 0)
				}
				quiet = p + 4
			}
			*d = 0
		}
		switch w, ok := s.uint32(p); {
		case !ok:
			return
		case thumb:
			s.thumbAt(p, a, w, &loads, p < quiet)
		case a&3 == 0:
			s.armAt(p, a, w, &loads, p < quiet)
		}
	}
}

// isThumb says whether the block at b holds Thumb code.
func (s *scanner) isThumb(b int64) bool {
	n, always := 0, 0
	p := max(b-armBlock, s.g.lo)
	for p += int64(-s.address(p) & 3); p < b+armBlock; p += 4 {
		w, ok := s.uint32(p)
		if !ok {
			break
		}
		n++
		always += one(w>>28 == 14)
	}
	return 3*always < n
}

// load notes that the instruction at p reads the word d bytes behind it.
func (l *armLoads) load(p, d int64, a, thumb uint64) {
	if d <= 0 || d > poolReach || (a+uint64(d))&3 != 0 {
		return
	}
	if x := &l[(a+uint64(d))/4%uint64(len(l))]; *x == 0 {
		*x = uint16(d/2) | uint16(thumb)
	}
}

func (s *scanner) armAt(p int64, a uint64, w uint32, loads *armLoads, quiet bool) {
	switch {
	case w&0x0FFF0000 == 0x059F0000: // LDR from a pool
		loads.load(p, 8+int64(w&4095), a, 0)
		if !quiet {
			s.note(p, Load12, 0)
		}
	case quiet:
	case w>>25&7 == 5: // B, BL, BLX
		if s.e.inCode(armBranch(w, w, a)) {
			s.note(p, Branch24, 0)
		}
	case w&0x0FF00000 == 0x03000000 && w>>28 != 15: // MOVW
		s.move(p, w>>12&15, false)
	}
}

func (s *scanner) thumbAt(p int64, a uint64, w uint32, loads *armLoads, quiet bool) {
	switch {
	case w&0xF800 == 0x4800: // LDR from a pool
		loads.load(p, int64(4-a&2)+int64(w&255)*4, a, armThumb)
		if !quiet {
			s.note(p, Short16, 0)
		}
	case w&0xFFFF == 0xF8DF && w>>28 != 15:
		loads.load(p, int64(4-a&2)+int64(w>>16&4095), a, armThumb)
		if !quiet {
			s.note(p, Load12, 1)
		}
	case quiet:
	case w&0xF800 == 0xF000 && w>>31 == 1: // B, BL, BLX
		if w>>28&5 != 0 || w>>7&7 != 7 {
			if s.e.inCode(thumbBranch(w, w, a)) {
				s.note(p, BranchThumb, 0)
			}
		}
	case w&0x8000FBF0 == 0xF240: // MOVW
		s.move(p, w>>24&15, true)
	case w&0xF800 == 0xE000, w&0xF000 == 0xD000 && w>>9&7 != 7: // B
		s.note(p, Short16, 0)
	case w&0xF500 == 0xB100: // CBZ, CBNZ
		s.note(p, Short16, 0)
	}
}

// pooled adds the word at p of a pool, which the instruction at load reads.
// What it means is decided by what becomes of the register.
func (s *scanner) pooled(p, load int64, thumb bool) {
	v, ok := s.uint32(p)
	w, more := s.uint32(load)
	if !ok || !more {
		return
	}
	step, reg := int64(4), w>>12&15
	if thumb {
		step, reg = 2, w>>8&7
		if w&0xF000 == 0xF000 {
			reg = w >> 28
		}
	}
	for q := load + step; q < load+armBlock-4; q += step {
		w, ok := s.uint32(q)
		if !ok {
			return
		}
		switch use(w, reg, thumb) {
		case useNear:
			if a := s.address(q) + 2*uint64(step) + uint64(int64(int32(v))); s.e.mapped(a) {
				s.note(p, Pool32, (p-q)<<1|int64(one(thumb)))
			}
			return
		case useTable:
			if got := s.e.got; v&3 == 0 && int64(v) < got.size {
				s.note(p, Base32, got.off)
			}
			return
		case useNone:
			q = load + armBlock
		}
	}
	if a := uint64(int64(int32(v))); s.e.kind == elfFixed && a >= 4096 && s.e.mapped(a) {
		s.note(p, ConstWord32, 0)
	}
}

// What becomes of a register.
const (
	useOther = iota
	useNear  // the address of this instruction is added
	useTable // it is an index, as of a table of addresses
	useNone  // it is loaded again
)

// use is what instruction w does with register reg.
func use(w, reg uint32, thumb bool) int {
	if thumb {
		switch {
		case w&0xFFFF == 0x4478|reg&7|reg&8<<4:
			return useNear
		case w&0xFFC0 == 0x5800|reg<<6 && reg < 8 || w&0x0FFFFFF0 == reg<<16|0xF850 && w&15 != 15:
			return useTable
		case w&0xFF00 == 0x4800|reg<<8:
			return useNone
		}
		return useOther
	}
	switch {
	case w&0x0FFF0FFF == 0x008F0000|reg, w&0x0FFF0FFF == 0x079F0000|reg:
		return useNear
	case w&0x0FF00FFF == 0x07900000|reg:
		return useTable
	case w&0x0FFFF000 == 0x059F0000|reg<<12:
		return useNone
	}
	return useOther
}

// move adds the MOVW at p to register reg and the MOVT behind it, if they make
// an address, or the distance to one from where it is added.
func (s *scanner) move(p int64, reg uint32, thumb bool) {
	step, top := int64(4), int64(0)
	if thumb {
		step = 2
	}
	for q := p + 4; q < p+armBlock-4; q += step {
		w, ok := s.uint32(q)
		if !ok {
			return
		}
		switch {
		case top == 0 && movesTop(w, reg, thumb):
			if top = q - p; top > moveReach {
				return
			}
		case top > 0 && use(w, reg, thumb) == useNear:
			f := Field{Off: p, Kind: MoveNear32, Aux: uint32(top | (q-p)<<8 | int64(one(thumb))<<16)}
			from, _ := address(s.e.segments, q)
			if s.e.mapped(s.wide(f, from+2*uint64(step))) {
				s.note(p, f.Kind, int64(f.Aux))
			}
			return
		}
	}
	f := Field{Off: p, Kind: Move32, Aux: uint32(top | int64(one(thumb))<<16)}
	if top > 0 && s.e.kind == elfFixed {
		if v := s.wide(f, 0); v >= 4096 && s.e.mapped(v) {
			s.note(p, f.Kind, int64(f.Aux))
		}
	}
}

// wide is the value of a field whose bytes are at hand.
func (s *scanner) wide(f Field, origin uint64) uint64 {
	b := s.data[f.Off-s.from:]
	return f.value(b, b, origin)
}

// movesTop says whether w is a MOVT to register reg.
func movesTop(w, reg uint32, thumb bool) bool {
	if thumb {
		return w&0x8F00FBF0 == 0xF2C0|reg<<24
	}
	return w&0x0FF0F000 == 0x03400000|reg<<12
}

package reference

// pairReach is how far behind an ADRP the instruction is looked for that adds
// the low bits.
const pairReach = 48

// arm64 reads code word by word (Arm ARM, C4.1 and C6.2).
func (s *scanner) arm64() {
	for p := s.align(s.lo, 4); p < s.hi; p += 4 {
		w, ok := s.uint32(p)
		if !ok {
			return
		}
		switch {
		case w>>26 == 0x25 || w>>26 == 0x05: // BL, B
			if s.e.inCode(s.address(p) + uint64(branch(w))) {
				s.add(p, Branch26, 0)
			}
		case w&0x9F000000 == 0x90000000: // ADRP
			if page := s.address(p)&^4095 + uint64(pages(w)); s.e.mapped(page) || s.e.mapped(page+4095) {
				s.add(p, Page21, s.completion(p, w&31))
			}
		}
	}
}

// completion is how far behind the ADRP at p that sets register d the first
// instruction is that adds the low 12 bits to it, or 0.
func (s *scanner) completion(p int64, d uint32) int64 {
	for q := p + 4; q < p+pairReach; q += 4 {
		w, ok := s.uint32(q)
		if !ok || w&0x9F00001F == 0x90000000|d {
			return 0
		}
		if w>>5&31 == d && (w&0xFFC00000 == 0x91000000 || w&0x3B000000 == 0x39000000) {
			if low := w >> 10 & 4095; low>>(12-lowShift(w)) == 0 {
				return q - p
			}
		}
	}
	return 0
}

// branch is the distance that a B or BL holds, in bytes.
func branch(w uint32) int64 { return int64(int32(w<<6)>>6) * 4 }

// pages is the distance that an ADRP holds, in bytes.
func pages(w uint32) int64 {
	return int64(int32(w>>5&0x7FFFF<<13|w>>29&3<<11)>>11) << 12
}

func setPages(w uint32, d int64) uint32 {
	n := uint32(d >> 12)
	return w&0x9F00001F | n&3<<29 | n>>2&0x7FFFF<<5
}

// lowShift is the unit of the 12 bits of an ADD, load or store, as a power of
// two.
func lowShift(w uint32) uint {
	switch {
	case w&0xFFC00000 == 0x91000000:
		return 0
	case w&0x04000000 != 0 && w>>23&1 == 1 && w>>30 == 0:
		return 4 // 16 bytes
	}
	return uint(w >> 30)
}

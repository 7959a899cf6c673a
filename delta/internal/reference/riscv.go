package reference

const (
	// riscvBlock is how many bytes of riscv code are read together, riscvLead
	// how far before them reading begins in order to fall into step with
	// instructions of 2 and 4 bytes.
	riscvBlock = 256
	riscvLead  = 64
	// riscvReach is how far behind an AUIPC the instruction is looked for that
	// adds the low bits.
	riscvReach = 48
)

// riscv reads code in blocks (RISC-V unprivileged specification, 2.2 and 27).
func (s *scanner) riscv() {
	for block := s.lo &^ (riscvBlock - 1); block < s.hi; block += riscvBlock {
		p := max(block-riscvLead, s.g.lo, s.from)
		p += (p - s.g.lo) & 1
		for end := min(block+riscvBlock, s.hi); p < end; {
			w, ok := s.uint32(p)
			if !ok {
				return
			}
			if w&3 != 3 {
				if p >= block && w&3 == 1 && w>>15&1 == 1 && w>>13&3 != 0 { // C.J, C.BEQZ, C.BNEZ
					s.note(p, Short16, 1)
				}
				p += 2
				continue
			}
			if p >= block {
				s.riscvAt(p, w)
			}
			p += 4
		}
	}
}

func (s *scanner) riscvAt(p int64, w uint32) {
	switch w & 127 {
	case 0x63: // branches
		s.note(p, Branch12, 0)
	case 0x6F: // JAL
		if s.e.inCode(s.address(p) + uint64(jump(w))) {
			s.note(p, Jump20, 0)
		}
	case 0x17: // AUIPC
		f := Field{Off: p, Kind: Pair32, Aux: uint32(s.riscvPair(p, w>>7&31))}
		if b := s.data[p-s.from:]; f.Aux > 0 && s.e.mapped(f.value(b, b, s.address(p))) {
			s.note(p, Pair32, int64(f.Aux))
		}
	}
}

// riscvPair is how far behind the AUIPC at p that sets register d the first
// instruction is that adds 12 bits to it, or 0.
func (s *scanner) riscvPair(p int64, d uint32) int64 {
	for q := p + 4; q < p+riscvReach; q += 2 {
		w, ok := s.uint32(q)
		switch {
		case !ok || w&0xFFF == 0x17|d<<7:
			return 0
		case w&3 != 3:
			continue
		case w>>15&31 == d && addsLow(w):
			return q - p
		}
		q += 2
	}
	return 0
}

// addsLow says whether w is an ADDI, a load, a store or a JALR.
func addsLow(w uint32) bool {
	switch w & 127 {
	case 0x13:
		return w>>12&7 == 0
	case 0x03, 0x07, 0x23, 0x27, 0x67:
		return true
	}
	return false
}

// jump is the distance that a JAL holds, in bytes.
func jump(w uint32) int64 {
	return int64(int32(w&(1<<31))>>11 | int32(w&0xFF000|w>>9&0x800|w>>20&0x7FE))
}

func setJump(w uint32, d uint64) uint32 {
	n := uint32(d)
	return w&0xFFF | n>>20&1<<31 | n>>1&0x3FF<<21 | n>>11&1<<20 | n&0xFF000
}

// low is the number in the 12 bits of the instruction w; in stores they are in
// two parts. What kind it is the one in old says.
func low(w, old uint32) int64 {
	if isStore(old) {
		return int64(int32(w)>>25<<5) | int64(w>>7&31)
	}
	return int64(int32(w) >> 20)
}

func setLow(w, old, n uint32) uint32 {
	if isStore(old) {
		return w&0x1FFF07F | n>>5<<25 | n&31<<7
	}
	return w&0xFFFFF | n<<20
}

func isStore(w uint32) bool { return w&0x7B == 0x23 }

// riscvValue is [Field.value] for the kinds of riscv.
func (f Field) riscvValue(b, old []byte, origin uint64) uint64 {
	w := little.Uint32(b)
	switch f.Kind {
	case Jump20:
		return origin + uint64(jump(w))
	case Branch12:
		d := int32(w)>>31<<12 | int32(w<<4&0x800|w>>20&0x7E0|w>>7&30)
		return origin + uint64(int64(d))
	}
	d := int64(int32(w &^ 4095))
	if f.Aux > 0 {
		d += low(little.Uint32(b[f.Aux:]), little.Uint32(old[f.Aux:]))
	}
	return origin + uint64(d)
}

// riscvSet is [Field.set] for the kinds of riscv.
func (f Field) riscvSet(b, old []byte, origin, v uint64) {
	w, d := little.Uint32(b), v-origin
	switch f.Kind {
	case Jump20:
		little.PutUint32(b, setJump(w, d))
		return
	case Branch12:
		n := uint32(d)
		little.PutUint32(b, w&0x1FFF07F|n>>12&1<<31|n>>5&63<<25|n>>1&15<<8|n>>11&1<<7)
		return
	}
	little.PutUint32(b, w&4095|(uint32(d)+0x800)&^4095)
	if f.Aux > 0 {
		n := setLow(little.Uint32(b[f.Aux:]), little.Uint32(old[f.Aux:]), uint32(d)&4095)
		little.PutUint32(b[f.Aux:], n)
	}
}

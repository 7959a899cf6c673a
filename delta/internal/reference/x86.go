package reference

// How the first byte of an x86-64 instruction, behind its prefixes, decides
// where an operand is that is counted from the instruction pointer.
const (
	opOther  = iota
	opJump   // the operand follows
	opModRM  // ModRM, operand
	opModRM1 // the same and one more byte
	opModRM4 // the same and four more bytes
	opEscape // 0F
	opVex2   // C5
	opVex3   // C4
	opEvex   // 62
	opWide   // none, but an address may follow
)

// x86Ops has the instructions that compilers write with such operands
// (Intel SDM volume 2, opcode map).
var x86Ops = [256]uint8{
	0x01: opModRM, 0x03: opModRM, 0x09: opModRM, 0x0B: opModRM, 0x11: opModRM, 0x13: opModRM,
	0x19: opModRM, 0x1B: opModRM, 0x21: opModRM, 0x23: opModRM, 0x29: opModRM, 0x2B: opModRM,
	0x31: opModRM, 0x33: opModRM, 0x38: opModRM, 0x39: opModRM, 0x3A: opModRM, 0x3B: opModRM,
	0x63: opModRM, 0x84: opModRM, 0x85: opModRM, 0x86: opModRM, 0x87: opModRM, 0x88: opModRM, 0x89: opModRM,
	0x8A: opModRM, 0x8B: opModRM, 0x8D: opModRM, 0xF6: opModRM, 0xF7: opModRM, 0xFE: opModRM, 0xFF: opModRM,
	0xD1: opModRM, 0xD3: opModRM, 0xD9: opModRM, 0xDB: opModRM, 0xDD: opModRM,
	0x6B: opModRM1, 0x80: opModRM1, 0x83: opModRM1, 0xC0: opModRM1, 0xC1: opModRM1, 0xC6: opModRM1,
	0x69: opModRM4, 0x81: opModRM4, 0xC7: opModRM4,
	0xE8: opJump, 0xE9: opJump,
	0x05: opWide, 0x3D: opWide, 0x68: opWide,
	0xB8: opWide, 0xB9: opWide, 0xBA: opWide, 0xBB: opWide, 0xBC: opWide, 0xBD: opWide, 0xBE: opWide, 0xBF: opWide,
	0x0F: opEscape, 0xC5: opVex2, 0xC4: opVex3, 0x62: opEvex,
}

// A byte that may begin an instruction of interest, and the one behind it, have
// a bit of these in common. Where they have none, as most have, nothing else
// needs to be looked at.
const (
	pairAny   = 1 << iota // whatever follows
	pairNear              // ModRM without a register: counted from the instruction pointer
	pairIndex             // ModRM with a 32-bit displacement
	pairMove              // ModRM with a register only
	pairWide              // whatever follows, where addresses fit 32 bits
)

// x86First has the bits of a first byte.
var x86First = [256]uint8{
	0x01: pairNear, 0x03: pairNear | pairIndex, 0x09: pairNear, 0x0B: pairNear, 0x11: pairNear, 0x13: pairNear,
	0x19: pairNear, 0x1B: pairNear, 0x21: pairNear, 0x23: pairNear, 0x29: pairNear, 0x2B: pairNear,
	0x31: pairNear, 0x33: pairNear, 0x38: pairNear, 0x39: pairNear | pairIndex, 0x3A: pairNear, 0x3B: pairNear | pairIndex,
	0x63: pairNear | pairIndex, 0x84: pairNear | pairIndex, 0x85: pairNear, 0x86: pairNear, 0x87: pairNear,
	0x88: pairNear | pairIndex, 0x89: pairNear | pairIndex, 0x8A: pairNear | pairIndex, 0x8B: pairNear | pairIndex,
	0x8D: pairNear | pairIndex, 0xF6: pairNear | pairIndex, 0xF7: pairNear, 0xFE: pairNear, 0xFF: pairNear | pairIndex,
	0xD1: pairNear, 0xD3: pairNear, 0xD9: pairNear, 0xDB: pairNear, 0xDD: pairNear,
	0x6B: pairNear, 0x80: pairNear | pairIndex, 0x83: pairNear | pairIndex, 0xC0: pairNear, 0xC1: pairNear, 0xC6: pairNear,
	0x69: pairNear, 0x81: pairNear | pairMove, 0xC7: pairNear | pairMove | pairIndex,
	0xE8: pairAny, 0xE9: pairAny, 0x0F: pairAny, 0xC5: pairAny, 0xC4: pairAny, 0x62: pairAny,
	0x05: pairWide, 0x3D: pairWide, 0x68: pairWide, 0xB8: pairWide, 0xB9: pairWide, 0xBA: pairWide, 0xBB: pairWide,
	0xBC: pairWide, 0xBD: pairWide, 0xBE: pairWide, 0xBF: pairWide,
}

// secondBits are the bits of a second byte, by mod and r/m of a ModRM byte.
const (
	secondNear  = pairAny | pairWide | pairNear
	secondIndex = pairAny | pairWide | pairIndex
	secondMove  = pairAny | pairWide | pairMove
	secondNone  = pairAny | pairWide
)

// x86Second has the bits of a second byte, by its two highest and three lowest
// bits.
var x86Second = [32]uint8{
	secondNone, secondNone, secondNone, secondNone, secondIndex, secondNear, secondNone, secondNone,
	secondNone, secondNone, secondNone, secondNone, secondNone, secondNone, secondNone, secondNone,
	secondIndex, secondIndex, secondIndex, secondIndex, secondIndex, secondIndex, secondIndex, secondIndex,
	secondMove, secondMove, secondMove, secondMove, secondMove, secondMove, secondMove, secondMove,
}

// x86Next is the first place from i on and before end where the first two bytes
// of d allow an operand, or end. d has a byte at end.
func x86Next(d []byte, i, end int, bits uint8) int {
	d = d[:end+1]
	for ; i < end; i++ {
		if b := d[i+1]; x86First[d[i]]&x86Second[b>>3&0x18|b&7]&bits != 0 {
			return i
		}
	}
	return end
}

// x86Bits says which pairs count.
func x86Bits(wide bool) uint8 {
	if wide {
		return 0xFF
	}
	return pairAny | pairNear
}

// x86At finds an operand of the instruction at i of d, whose address is addr:
// where it begins and of which kind it is, or a negative place.
func (e *Element) x86At(d []byte, i int, addr uint64, wide bool) (int, Kind) {
	b := d[i:]
	op := x86Ops[b[0]]
	if op == opOther || len(b) < 8 || op == opWide && !wide {
		return -1, 0
	}
	p, tail := 0, 0
	switch op {
	case opJump:
		return e.jump(b, i, 1, addr)
	case opModRM:
		p = 2
	case opModRM1:
		p, tail = 2, 1
	case opModRM4:
		p, tail = 2, 4
	case opEscape:
		switch {
		case b[1]&0xF0 == 0x80:
			return e.jump(b, i, 2, addr)
		case b[1] == 0x38 || b[1] == 0x3A:
			p, tail = 4, int(b[1]>>1&1)
		default:
			p = 3
		}
	case opVex2:
		p = 4
	case opVex3:
		p = 5
	case opEvex:
		p = 6
	case opWide:
		return e.wideAt(b, i)
	}
	if b[p-1]&0xC7 != 0x05 || len(b) < p+4 {
		if wide {
			return e.wideAt(b, i)
		}
		return -1, 0
	}
	end := addr + uint64(p+4) + uint64(int64(int32(little.Uint32(b[p:]))))
	if op == opModRM1 || op == opModRM4 || !e.isLoaded(end) {
		if !e.isLoaded(end + uint64(tail)) {
			return -1, 0
		}
	}
	return i + p, Data32
}

func (e *Element) jump(b []byte, i, p int, addr uint64) (int, Kind) {
	if len(b) >= p+4 && e.inCode(addr+uint64(p+4)+uint64(int64(int32(little.Uint32(b[p:]))))) {
		return i + p, Near32
	}
	return -1, 0
}

// wideAt finds an address that an instruction holds as a sign-extended number:
// moved or compared at once, pushed, or the start of an indexed table.
func (e *Element) wideAt(b []byte, i int) (int, Kind) {
	p := 0
	switch c := b[0]; {
	case c == 0x68 || c >= 0xB8 && c <= 0xBF || c == 0x3D || c == 0x05:
		p = 1
	case (c == 0xC7 || c == 0x81) && b[1]&0xC0 == 0xC0:
		p = 2
	case c == 0x8B || c == 0x89 || c == 0x03 || c == 0x3B || c == 0x39 || c == 0x8D || c == 0xFF || c == 0x63 ||
		c == 0x83 || c == 0x80 || c == 0xC7 || c == 0x88 || c == 0x8A || c == 0x84 || c == 0xF6:
		p = indexed(b, 2)
	case c == 0x0F && (b[1] == 0xB6 || b[1] == 0xB7 || b[1] == 0xBE || b[1] == 0xBF || b[1] == 0xA3 || b[1] == 0xAB):
		p = indexed(b, 3)
	}
	if p == 0 || len(b) < p+4 {
		return -1, 0
	}
	if v := uint64(int64(int32(little.Uint32(b[p:])))); v < 4096 || !e.mapped(v) {
		return -1, 0
	}
	return i + p, Wide32
}

// indexed is where the 32-bit displacement begins whose ModRM byte ends at p,
// or 0 if there is none.
func indexed(b []byte, p int) int {
	m := b[p-1]
	switch {
	case m&0xC7 == 0x04 && b[p]&7 == 5: // no base
		return p + 1
	case m&0xC7 == 0x84: // base and index
		return p + 1
	case m&0xC0 == 0x80: // base
		return p
	}
	return 0
}

// settled is where reading from place on begins: place itself, or where an
// operand that lies across it ends. Such an operand begins at first, which is
// where reading begins if there is none.
func (s *scanner) settled(place int64, bits uint8) (begin, first int64, k Kind) {
	p := max(place-lead, s.g.lo)
	first = place
	for p < place && p >= s.from {
		i := int(p - s.from)
		if i = x86Next(s.data, i, min(int(place-s.from), len(s.data)-1), bits); s.from+int64(i) >= place {
			break
		}
		p = s.from + int64(i)
		at, kind := s.e.x86At(s.data, i, s.address(p), s.g.wide)
		if at < 0 {
			p++
			continue
		}
		first, k = s.from+int64(at), kind
		p = first + 4
	}
	if p <= place {
		return place, place, 0
	}
	return p, first, k
}

// x86 reads code in pieces between multiples of restart, each by itself. Where
// a field lies across one, both pieces agree by [scanner.settled] whose it is.
func (s *scanner) x86() {
	bits := x86Bits(s.g.wide)
	end := s.from + int64(len(s.data)) - 1 // what begins in the last byte is no instruction
	for piece := s.lo &^ (restart - 1); piece < s.hi; piece += restart {
		p := s.g.lo
		if piece > p {
			begin, first, k := s.settled(piece, bits)
			if p = begin; first >= piece && first < begin {
				s.add(first, k, 0)
			}
		}
		p = max(p, s.from)
		for stop := min(piece+restart, s.hi, end); p < stop; {
			i := x86Next(s.data, int(p-s.from), int(stop-s.from), bits)
			if p = s.from + int64(i); p >= stop {
				break
			}
			at, k := s.e.x86At(s.data, i, s.address(p), s.g.wide)
			if at < 0 {
				p++
				continue
			}
			off := s.from + int64(at)
			p = off + 4
			if p <= piece+restart {
				s.add(off, k, 0)
			} else if _, first, _ := s.settled(piece+restart, bits); off < piece+restart && off == first {
				s.add(off, k, 0)
			}
		}
	}
}

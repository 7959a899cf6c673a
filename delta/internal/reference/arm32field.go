package reference

// armBranch is where the ARM instruction w at address a branches to. Whether
// it is a BLX, which counts half words, the one in old says.
func armBranch(w, old uint32, a uint64) uint64 {
	d := int64(int32(w<<8) >> 6)
	if old>>28 == 15 {
		d += int64(w >> 23 & 2)
	}
	return a + 8 + uint64(d)
}

func setArmBranch(w, old uint32, d uint64) uint32 {
	d -= 8
	w = w&0xFF000000 | uint32(d)>>2&0xFFFFFF
	if old>>28 == 15 {
		w = w&^(1<<24) | uint32(d)<<23&(1<<24)
	}
	return w
}

// thumbBranch is where the Thumb instruction w at address a branches to: 4
// bytes whose first half is the lower one. The one in old says which it is.
func thumbBranch(w, old uint32, a uint64) uint64 {
	sign := w >> 10 & 1
	j1, j2 := w>>29&1, w>>27&1
	low := w >> 16 & 0x7FF << 1
	if old>>28&5 == 0 { // conditional B
		d := sign<<20 | j2<<19 | j1<<18 | w&63<<12 | low
		return a + 4 + uint64(int64(int32(d<<11)>>11))
	}
	d := sign<<24 | (j1^sign^1)<<23 | (j2^sign^1)<<22 | w&1023<<12 | low
	if old>>28&1 == 0 { // BLX, from a multiple of 4
		d &^= 3
		a &^= 3
	}
	return a + 4 + uint64(int64(int32(d<<7)>>7))
}

func setThumbBranch(w, old uint32, a, v uint64) uint32 {
	low := uint32(0x7FF)
	if old>>28&5 == 4 {
		a &^= 3
		low = 0x7FE
	}
	d := uint32(v - a - 4)
	high, j1, j2, sign := uint32(1023), d>>23&1, d>>22&1, d>>24&1
	if old>>28&5 == 0 {
		high, j1, j2, sign = 63, d>>18&1, d>>19&1, d>>20&1
	} else {
		j1, j2 = j1^sign^1, j2^sign^1
	}
	w &^= 1<<10 | high | 1<<29 | 1<<27 | low<<16
	return w | sign<<10 | d>>12&high | j1<<29 | j2<<27 | d>>1&low<<16
}

// half is the 16 bits that a MOVW or MOVT holds.
func half(w uint32, thumb bool) uint32 {
	if thumb {
		return w&15<<12 | w>>10&1<<11 | w>>28&7<<8 | w>>16&255
	}
	return w>>16&15<<12 | w&4095
}

func setHalf(w, v uint32, thumb bool) uint32 {
	if thumb {
		return w&^(15|1<<10|7<<28|255<<16) | v>>12&15 | v>>11&1<<10 | v>>8&7<<28 | v&255<<16
	}
	return w&^(15<<16|4095) | v>>12&15<<16 | v&4095
}

// move takes the parts of the Aux of a Move32 or MoveNear32: where the MOVT is
// and where the sum is made, from Off, and whether this is Thumb code.
func (f Field) move() (top, sum int64, thumb bool) {
	return int64(f.Aux & 255), int64(f.Aux >> 8 & 255), f.Aux>>16&1 != 0
}

// counter is how far behind a Thumb or ARM instruction the place is that it
// takes for its own.
func counter(thumb bool) uint64 {
	if thumb {
		return 4
	}
	return 8
}

// armFrom is the place and what is to be added to its address for the origin
// of a field that is counted from an instruction elsewhere.
func (f Field) armFrom() (at int64, more uint64) {
	if f.Kind == Pool32 {
		return f.Off - int64(int32(f.Aux)>>1), counter(f.Aux&1 != 0)
	}
	_, sum, thumb := f.move()
	return f.Off + sum, counter(thumb)
}

// narrowValue is [Field.value] for the kinds of 32-bit arm.
func (f Field) narrowValue(b, old []byte, origin uint64) uint64 {
	w := little.Uint32(b)
	switch f.Kind {
	case Branch24:
		return armBranch(w, little.Uint32(old), origin)
	case BranchThumb:
		return thumbBranch(w, little.Uint32(old), origin)
	case Move32, MoveNear32:
		top, _, thumb := f.move()
		w = half(w, thumb) | half(little.Uint32(b[top:]), thumb)<<16
	case Table31:
		w = uint32(int32(w<<1) >> 1)
	case Item16:
		return origin + 16*uint64(w>>8)
	}
	return origin + uint64(int64(int32(w))) // Pool32 and words
}

// narrowSet is [Field.set] for the kinds of 32-bit arm.
func (f Field) narrowSet(b, old []byte, origin, v uint64) {
	w := little.Uint32(b)
	switch f.Kind {
	case Branch24:
		w = setArmBranch(w, little.Uint32(old), v-origin)
	case BranchThumb:
		w = setThumbBranch(w, little.Uint32(old), origin, v)
	case Move32, MoveNear32:
		top, _, thumb := f.move()
		w = setHalf(w, uint32(v-origin), thumb)
		little.PutUint32(b[top:], setHalf(little.Uint32(b[top:]), uint32(v-origin)>>16, thumb))
	case Table31:
		w = w&(1<<31) | uint32(v-origin)&(1<<31-1)
	case Item16:
		w = w&255 | uint32((v-origin)/16)<<8
	default:
		w = uint32(v - origin)
	}
	little.PutUint32(b, w)
}

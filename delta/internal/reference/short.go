package reference

// shortForm says how an instruction of 2 bytes holds a distance.
type shortForm struct {
	bits string // for each bit of it, from the lowest on, its place
	sign bool   // the last bit counts below zero
	unit uint   // of the lowest bit, as a power of two
	base int64  // what is added to it
	even uint64 // what the address is rounded down to a multiple of, less one
}

// Forms of instructions of 2 bytes with a distance.
var (
	riscvJump   = shortForm{bits: "\x03\x04\x05\x0B\x02\x07\x06\x09\x0A\x08\x0C", sign: true, unit: 1}
	riscvBranch = shortForm{bits: "\x03\x04\x0A\x0B\x02\x05\x06\x0C", sign: true, unit: 1}
	thumbJump   = shortForm{bits: "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A", sign: true, unit: 1, base: 4}
	thumbIf     = shortForm{bits: "\x00\x01\x02\x03\x04\x05\x06\x07", sign: true, unit: 1, base: 4}
	thumbLoad   = shortForm{bits: "\x00\x01\x02\x03\x04\x05\x06\x07", unit: 2, base: 4, even: 3}
	thumbZero   = shortForm{bits: "\x03\x04\x05\x06\x07\x09", unit: 1, base: 4}
)

// shortForm is the form of the instruction in old. Aux is 0 for Thumb and 1 for
// riscv.
func (f Field) shortForm(old []byte) *shortForm {
	w := little.Uint16(old)
	if f.Aux != 0 { // riscv
		if w>>13 == 5 {
			return &riscvJump
		}
		return &riscvBranch
	}
	switch w >> 12 {
	case 4:
		return &thumbLoad
	case 11:
		return &thumbZero
	case 13:
		return &thumbIf
	}
	return &thumbJump
}

func (f Field) shortValue(b, old []byte, origin uint64) uint64 {
	x, w := f.shortForm(old), little.Uint16(b)
	d := int64(0)
	n := len(x.bits)
	for i := range n {
		d |= int64(w>>x.bits[i]&1) << i
	}
	if x.sign {
		d = d << (64 - n) >> (64 - n)
	}
	return origin&^x.even + uint64(d<<x.unit+x.base)
}

func (f Field) shortSet(b, old []byte, origin, v uint64) {
	x, w := f.shortForm(old), little.Uint16(b)
	d := (v - origin&^x.even - uint64(x.base)) >> x.unit
	for i := range len(x.bits) {
		w = w&^(1<<x.bits[i]) | uint16(d>>i&1)<<x.bits[i]
	}
	little.PutUint16(b, w)
}

// loadBase is what the distance of a Load12 is counted from, less its address.
func loadBase(f Field, origin uint64) uint64 {
	if f.Aux != 0 {
		return 4 - origin&2
	}
	return 8
}

// loadBits is the distance of a Load12, in the upper half in Thumb.
func (f Field) loadBits(b []byte) uint32 {
	return little.Uint32(b) >> (16 * f.Aux) & 4095
}

func (f Field) setLoadBits(b []byte, v uint32) {
	w := little.Uint32(b)
	little.PutUint32(b, w&^(4095<<(16*f.Aux))|v&4095<<(16*f.Aux))
}

// isLocal says whether fields of the kind refer to something near, mostly in
// the same function, so that they look alike wherever that lies.
func (k Kind) isLocal() bool { return k == Branch12 || k == Short16 || k == Load12 }

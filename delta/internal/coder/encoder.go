package coder

// topRange is the least range that a decision is coded in: whatever is
// narrower is first widened by one byte.
const topRange = 1 << 24

// Encoder turns decisions into bytes by range coding: each decision narrows an
// interval of numbers in proportion to its chance, and the output is the lower
// end of the last interval. [NewEncoder] makes one; it serves one goroutine.
//
// The interval is kept as in the public LZMA specification (I. Pavlov): a
// 32-bit width, a lower end of 33 bits, and one byte together with the 0xFF
// bytes behind it held back because a carry may still reach them. The leading
// byte that LZMA writes, always zero, is left out.
type Encoder struct {
	low   uint64
	width uint32
	held  byte  // the last byte that a carry can still change
	ones  int64 // how many 0xFF bytes follow it
	begun bool  // held is a byte of output, not the one before the first
	out   []byte
}

// NewEncoder makes an encoder that has written nothing.
func NewEncoder() *Encoder {
	return &Encoder{width: 1<<32 - 1}
}

// Bit codes one decision, 0 or not 0, and lets p learn from it.
func (e *Encoder) Bit(p *Prob, bit int) {
	bound := e.width >> probBits * p.zero()
	if bit == 0 {
		e.width = bound
		p.saw(0)
	} else {
		e.low += uint64(bound)
		e.width -= bound
		p.saw(-1)
	}
	if e.width < topRange {
		e.width <<= 8
		e.shift()
	}
}

// Direct codes the n low bits of v, highest first, each at even odds. n is at
// most 32.
func (e *Encoder) Direct(v uint32, n int) {
	for n--; n >= 0; n-- {
		e.width >>= 1
		if v>>n&1 != 0 {
			e.low += uint64(e.width)
		}
		if e.width < topRange {
			e.width <<= 8
			e.shift()
		}
	}
}

// DirectBytes codes b as [Encoder.Direct] would, 8 bits a byte. See
// [Decoder.DirectBytes].
func (e *Encoder) DirectBytes(b []byte) {
	have := 0 // bits of b[0] that are coded
	for len(b) > 0 && (e.width < 1<<31 || e.width&0xFF != 0) {
		e.Direct(uint32(b[0])>>(7-have), 1)
		if have++; have == 8 {
			b, have = b[1:], 0
		}
	}
	part := uint64(e.width >> 8)
	for ; len(b) > 1 || len(b) == 1 && have == 0; b = b[1:] {
		v := b[0]
		if have > 0 {
			v = v<<have | b[1]>>(8-have)
		}
		e.low += uint64(v) * part
		e.shift()
	}
	if len(b) > 0 {
		e.Direct(uint32(b[0]), 8-have)
	}
}

// shift moves the highest byte of low to the output, or holds it back.
func (e *Encoder) shift() {
	if e.low < 0xFF<<24 || e.low >= 1<<32 {
		carry := byte(e.low >> 32)
		if e.begun {
			e.out = append(e.out, e.held+carry)
		}
		for ; e.ones > 0; e.ones-- {
			e.out = append(e.out, 0xFF+carry)
		}
		e.held, e.begun = byte(e.low>>24), true
	} else {
		e.ones++
	}
	e.low = e.low & 0xFFFFFF << 8
}

// Len is how many bytes [Encoder.Finish] would give now, or one less.
func (e *Encoder) Len() int64 {
	n := int64(len(e.out)) + e.ones + 4
	if e.begun {
		n++
	}
	return n
}

// Finish gives all bytes. It codes a 1 at even odds, so that nothing can follow
// or be missing unnoticed, and the last four bytes are the lower end of the
// interval then. The encoder must not be used after it.
func (e *Encoder) Finish() []byte {
	e.Direct(1, 1)
	for range 5 {
		e.shift()
	}
	return e.out
}

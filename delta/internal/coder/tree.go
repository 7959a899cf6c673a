package coder

// Tree codes numbers of a fixed count of bits, highest bit first, each bit
// under a model of its own for each value of the bits before it. A tree for n
// bits is 1<<n models: index 1 is the first decision, index 2m or 2m+1 the
// decision after a 0 or a 1 at index m; index 0 is unused.
//
//	var tree [1 << 6]coder.Prob
//	coder.Tree(tree[:]).Encode(e, 6, v)
type Tree []Prob

// Encode codes the n low bits of v.
func (t Tree) Encode(e *Encoder, n int, v uint32) {
	m := uint32(1)
	for n--; n >= 0; n-- {
		bit := v >> n & 1
		e.Bit(&t[m], int(bit))
		m = m<<1 | bit
	}
}

// Decode gives the next number of n bits. It does what n calls of
// [Decoder.Bit] would do, without a branch that depends on the bit: half of
// those would be guessed wrong.
func (t Tree) Decode(d *Decoder, n int) uint32 {
	m := uint32(1)
	t = t[:1<<n]
	width, code := d.width, d.code
	for int(m) < len(t) {
		if width < topRange {
			width <<= 8
			code = code<<8 | uint32(d.next())
		}
		p := &t[m]
		bound := width >> probBits * p.zero()
		one := above(code, bound)
		width = bound&^one | (width-bound)&one
		code -= bound & one
		m = m<<1 - one
		p.saw(int32(one))
	}
	d.width, d.code = width, code
	return m - 1<<n
}

// Cost is what [Tree.Encode] would cost now, in units of [CostUnit].
func (t Tree) Cost(n int, v uint32) uint32 {
	m, sum := uint32(1), uint32(0)
	for n--; n >= 0; n-- {
		bit := v >> n & 1
		sum += t[m].Cost(int(bit))
		m = m<<1 | bit
	}
	return sum
}

// EncodeLow codes the n low bits of v, lowest bit first.
func (t Tree) EncodeLow(e *Encoder, n int, v uint32) {
	m := uint32(1)
	for range n {
		bit := v & 1
		e.Bit(&t[m], int(bit))
		m = m<<1 | bit
		v >>= 1
	}
}

// DecodeLow gives the next number of n bits that EncodeLow coded.
func (t Tree) DecodeLow(d *Decoder, n int) uint32 {
	m, v := uint32(1), uint32(0)
	width, code := d.width, d.code
	for i := range n {
		if width < topRange {
			width <<= 8
			code = code<<8 | uint32(d.next())
		}
		p := &t[m]
		bound := width >> probBits * p.zero()
		one := above(code, bound)
		width = bound&^one | (width-bound)&one
		code -= bound & one
		m = m<<1 - one
		v |= one & 1 << i
		p.saw(int32(one))
	}
	d.width, d.code = width, code
	return v
}

// CostLow is what [Tree.EncodeLow] would cost now, in units of [CostUnit].
func (t Tree) CostLow(n int, v uint32) uint32 {
	m, sum := uint32(1), uint32(0)
	for range n {
		bit := v & 1
		sum += t[m].Cost(int(bit))
		m = m<<1 | bit
		v >>= 1
	}
	return sum
}

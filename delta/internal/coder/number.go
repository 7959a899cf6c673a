package coder

import "math/bits"

// Number models whole numbers of any size: small ones exactly, large ones by
// their length in bits and the bits at both ends. The zero value is ready.
//
// A number v of n bits (n = 0 for v = 0; at most 63) is coded as
//
//  1. n, in a tree of 6 bits;
//  2. of the n-1 bits below its leading one, the highest three (or all, if
//     fewer), in a tree for this n;
//  3. of the rest, all but the lowest three, at even odds, highest first;
//  4. what is left, at most three bits, lowest first, in a tree for all n.
type Number struct {
	length [1 << 6]Prob
	high   [64][1 << endBits]Prob
	low    [1 << endBits]Prob
}

const endBits = 3

// split gives how many bits of a number of n bits are coded in steps 2 to 4.
func split(n int) (high, middle, low int) {
	rest := max(n-1, 0)
	high = min(rest, endBits)
	low = min(rest-high, endBits)
	return high, rest - high - low, low
}

// Encode codes v, which must be below 1<<63.
func (m *Number) Encode(e *Encoder, v uint64) {
	n := bits.Len64(v)
	if n > 63 {
		panic("coder: number of more than 63 bits")
	}
	high, middle, low := split(n)
	Tree(m.length[:]).Encode(e, 6, uint32(n))
	Tree(m.high[n][:]).Encode(e, high, uint32(v>>(middle+low)))
	if middle > 32 {
		e.Direct(uint32(v>>(low+32)), middle-32)
	}
	e.Direct(uint32(v>>low), min(middle, 32))
	Tree(m.low[:]).EncodeLow(e, low, uint32(v))
}

// Decode gives the next number.
func (m *Number) Decode(d *Decoder) uint64 {
	n := int(Tree(m.length[:]).Decode(d, 6))
	if n < 2 {
		return uint64(n)
	}
	high, middle, low := split(n)
	v := 1<<high | uint64(Tree(m.high[n][:]).Decode(d, high))
	if middle > 32 {
		v = v<<(middle-32) | uint64(d.Direct(middle-32))
		middle = 32
	}
	v = v<<middle | uint64(d.Direct(middle))
	return v<<low | uint64(Tree(m.low[:]).DecodeLow(d, low))
}

// Cost is what coding v would cost now, in units of [CostUnit].
func (m *Number) Cost(v uint64) uint32 {
	n := bits.Len64(v)
	high, middle, low := split(n)
	return Tree(m.length[:]).Cost(6, uint32(n)) +
		Tree(m.high[n&63][:]).Cost(high, uint32(v>>(middle+low))) +
		uint32(middle)*CostUnit +
		Tree(m.low[:]).CostLow(low, uint32(v))
}

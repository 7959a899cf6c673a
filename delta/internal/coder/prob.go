package coder

import "math/bits"

// Prob is the adaptive chance that a yes-or-no decision is 0. The zero value
// means even odds, so an array of Prob is ready for use, and clear resets it.
//
// It holds two estimates, one that follows quickly and one that follows
// slowly, each as the distance from one half: -32768 would be "never 0" and
// 32768 "always 0". The chance used is their mean (see [Prob.zero]).
type Prob struct{ quick, slow int16 }

const (
	quickRate = 4 // one sixteenth of the way to what was seen
	slowRate  = 7 // one 128th of it
	probBits  = 15
)

// zero is the chance of a 0 in 32,768ths: (quick + slow + 65,536) / 4, rounded
// down. It never leaves 35 … 32,732.
func (p *Prob) zero() uint32 {
	return uint32(int32(p.quick)+int32(p.slow)+1<<16) >> 2
}

// saw moves both estimates towards what was seen: a 0 (one is 0) or a 1 (one is
// -1). Each covers its part of the way to 32,767 or -32,768, rounded down, so
// that neither end is ever reached. There is no branch in it: a 1 is a 0 in the
// mirror that turns v into -1 - v.
func (p *Prob) saw(one int32) {
	quick, slow := int32(p.quick)^one, int32(p.slow)^one
	quick += (32767 - quick) >> quickRate
	slow += (32767 - slow) >> slowRate
	p.quick, p.slow = int16(quick^one), int16(slow^one)
}

// CostUnit is how many units of cost make one bit of output.
const CostUnit = 1 << costShift

const (
	costShift = 7
	costSteps = 10 // the table of costs has 1,024 entries
)

// costs has the cost of a decision by its chance in 1,024ths.
var costs = makeCosts()

// makeCosts takes binary logarithms by repeated squaring, in whole numbers, so
// that every machine finds the same patch.
func makeCosts() (table [1 << costSteps]uint16) {
	for i := range table {
		x := uint64(2*i + 1) // the middle of the step, in 2,048ths
		whole := 0
		for range costShift {
			x *= x
			whole *= 2
			if n := bits.Len64(x); n > 16 {
				x >>= n - 16
				whole += n - 16
			}
		}
		table[i] = uint16((costSteps+1)<<costShift - whole - (bits.Len64(x) - 1))
	}
	return table
}

// Cost is what coding bit costs at the present odds, in units of [CostUnit].
// An encoder compares choices with it; the decoder has no use for it.
func (p *Prob) Cost(bit int) uint32 {
	z := p.zero()
	if bit != 0 {
		z = 1<<probBits - z
	}
	return uint32(costs[z>>(probBits-costSteps)])
}

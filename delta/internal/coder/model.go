package coder

import (
	"fmt"
	"math/bits"
)

const (
	minMatch = 2
	maxMatch = minMatch + 8 + 8 + 256 - 1

	maxPositions = 1 << maxPositionBits

	// Parts are coded in pieces, the last one of which may be shorter. One of
	// minStored bytes or more can be stored.
	pieceSize = 32 << 10
	minStored = 256
	// minHopeless is how many bytes tell by themselves that they are random.
	minHopeless = 4 << 10
)

// state is what the last few steps were, from 0 (only literals for long) to
// 11. It is the context of the choice between literal, match and repeat; the
// twelve states and the moves between them are LZMA's.
type state uint8

const (
	states       = 12
	firstMatched = 7 // from here on the last step was no literal
)

func (s state) matched() bool { return s >= firstMatched }

func (s state) afterLiteral() state {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

// after gives the state after a step that was no literal, from its two forms:
// the one after literals and the one after something else.
func (s state) after(literals, other state) state {
	if s.matched() {
		return other
	}
	return literals
}

func (s state) afterMatch() state  { return s.after(7, 10) }
func (s state) afterRepeat() state { return s.after(8, 11) }
func (s state) afterShort() state  { return s.after(9, 11) }

// kindModel is all that is learned about one kind of bytes.
type kindModel struct {
	Kind
	state    state
	position uint32    // bytes of this kind so far
	repeat   [4]uint32 // the last distances, newest first; at least 1

	stored    Prob                       // a piece is not modelled at all
	isMatch   [states][maxPositions]Prob // literal or not
	isRepeat  [states]Prob               // new distance or one of repeat
	notFirst  [states]Prob               // repeat[0] or an older one
	isLong    [states][maxPositions]Prob // one byte at repeat[0], or a length
	notSecond [states]Prob
	notThird  [states]Prob

	matchLength, repeatLength lengthModel
	distance                  distanceModel

	// literals has 768 models for each context: a tree of 256 for a byte of
	// which nothing is expected, two of 256 for one that is compared with the
	// byte at repeat[0]. With Expect there are two such sets, the second for
	// bytes that do not follow a match.
	literals []Prob
}

const literalModels = 3 << 8

func (m *kindModel) reset(k Kind) {
	size := literalModels << (k.LC + k.LP)
	if k.Expect {
		size *= 2
	}
	literals := m.literals
	if cap(literals) < size {
		literals = make([]Prob, size)
	}
	literals = literals[:size]
	clear(literals)
	*m = kindModel{Kind: k, repeat: [4]uint32{1, 1, 1, 1}, literals: literals}
}

// beside makes what follows look as if a match at that distance had just
// ended. It panics unless there are that many bytes before at.
func (m *kindModel) beside(distance, at int) {
	if distance < 1 || distance > at {
		panic(fmt.Sprintf("coder: %d bytes back from %d", distance, at))
	}
	m.repeat = pushed(m.repeat, uint32(distance))
	m.state = m.state.afterMatch()
}

// slot is the position as context of choices and lengths.
func (m *kindModel) slot() uint32 { return m.position & (1<<m.PB - 1) }

// literal gives the models for a byte at that position of its kind and place in
// the window, after the byte before and the steps s, and whether the byte at
// the first repeat is expected.
func (m *kindModel) literal(position uint32, at int, before byte, s state) (models *[literalModels]Prob, expect bool) {
	set := (position&(1<<m.LP-1))<<m.LC + uint32(before)>>(8-m.LC)
	expect = s.matched()
	if m.Expect {
		set *= 2
		if !expect && at > 0 {
			set++
			expect = true
		}
	}
	return (*[literalModels]Prob)(m.literals[set*literalModels:]), expect
}

// promote makes repeat[i] the newest.
func (m *kindModel) promote(i int) { m.repeat = promoted(m.repeat, i) }

func promoted(r [4]uint32, i int) [4]uint32 {
	d := r[i]
	copy(r[1:i+1], r[:i])
	r[0] = d
	return r
}

func pushed(r [4]uint32, distance uint32) [4]uint32 {
	return [4]uint32{distance, r[0], r[1], r[2]}
}

// lengthModel codes 2 … 273: two choices, then a tree of 3, 3 or 8 bits.
type lengthModel struct {
	beyondLow, beyondMiddle Prob
	low, middle             [maxPositions][8]Prob
	high                    [256]Prob
}

func (m *lengthModel) encode(e *Encoder, slot, length uint32) {
	switch v := length - minMatch; {
	case v < 8:
		e.Bit(&m.beyondLow, 0)
		Tree(m.low[slot][:]).Encode(e, 3, v)
	case v < 16:
		e.Bit(&m.beyondLow, 1)
		e.Bit(&m.beyondMiddle, 0)
		Tree(m.middle[slot][:]).Encode(e, 3, v-8)
	default:
		e.Bit(&m.beyondLow, 1)
		e.Bit(&m.beyondMiddle, 1)
		Tree(m.high[:]).Encode(e, 8, v-16)
	}
}

func (m *lengthModel) decode(d *Decoder, slot uint32) uint32 {
	if d.Bit(&m.beyondLow) == 0 {
		return minMatch + Tree(m.low[slot][:]).Decode(d, 3)
	}
	if d.Bit(&m.beyondMiddle) == 0 {
		return minMatch + 8 + Tree(m.middle[slot][:]).Decode(d, 3)
	}
	return minMatch + 16 + Tree(m.high[:]).Decode(d, 8)
}

// distanceModel codes a distance less one by its slot: its length in bits and
// the bit below the leading one. Slots 0 to 3 are the value itself. Up to slot
// 13 the bits that are left have a tree for each slot, lowest bit first;
// beyond that the lowest four share one and the others are at even odds.
type distanceModel struct {
	slot  [4][64]Prob // by the length of the match: 2, 3, 4, longer
	near  [10][32]Prob
	align [1 << alignBits]Prob
}

const (
	alignBits   = 4
	firstTree   = 4  // the first slot with further bits
	firstDirect = 14 // the first slot with bits at even odds
)

func lengthClass(length uint32) uint32 { return min(length-minMatch, 3) }

// distanceSlot gives the slot of v, a distance less one.
func distanceSlot(v uint32) uint32 {
	if v < 4 {
		return v
	}
	n := uint32(bits.Len32(v)) - 1
	return n<<1 | v>>(n-1)&1
}

func (m *distanceModel) encode(e *Encoder, class, distance uint32) {
	v := distance - 1
	slot := distanceSlot(v)
	Tree(m.slot[class][:]).Encode(e, 6, slot)
	if slot < firstTree {
		return
	}
	n := int(slot>>1) - 1
	if slot < firstDirect {
		Tree(m.near[slot-firstTree][:]).EncodeLow(e, n, v)
		return
	}
	e.Direct(v>>alignBits, n-alignBits)
	Tree(m.align[:]).EncodeLow(e, alignBits, v)
}

// decode gives a distance from 1 up; 0 stands for 1<<32.
func (m *distanceModel) decode(d *Decoder, class uint32) uint32 {
	slot := Tree(m.slot[class][:]).Decode(d, 6)
	if slot < firstTree {
		return slot + 1
	}
	n := int(slot>>1) - 1
	v := (2 | slot&1) << n
	if slot < firstDirect {
		return v + Tree(m.near[slot-firstTree][:]).DecodeLow(d, n) + 1
	}
	v += d.Direct(n-alignBits) << alignBits
	return v + Tree(m.align[:]).DecodeLow(d, alignBits) + 1
}

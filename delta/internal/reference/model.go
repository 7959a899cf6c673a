package reference

import (
	"math/bits"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

const (
	cacheBits  = 16
	recent     = 12 // corrections that each kind remembers
	states     = 14 // what is remembered, see [model.known]
	aroundBits = 13
)

// link is either side of the coded stream: an encoder is given a decision and
// writes it, a decoder ignores what it is given; both return what was coded.
type link interface {
	bit(p *coder.Prob, v bool) bool
	number(m *coder.Number, v uint64) uint64
}

type writer struct{ *coder.Encoder }

func (w writer) bit(p *coder.Prob, v bool) bool {
	b := 0
	if v {
		b = 1
	}
	w.Bit(p, b)
	return v
}

func (w writer) number(m *coder.Number, v uint64) uint64 {
	m.Encode(w.Encoder, v)
	return v
}

type reader struct{ *coder.Decoder }

func (r reader) bit(p *coder.Prob, _ bool) bool          { return r.Bit(p) != 0 }
func (r reader) number(m *coder.Number, _ uint64) uint64 { return m.Decode(r.Decoder) }

// model is what both sides have learned about which forecasts are right. It is
// ready after reset.
type model struct {
	lessons [kinds]lesson
	touched uint64 // the kinds that have one
	salt    uint64 // tells targets of one element from those of others
	epoch   uint16 // how often what was learned has been forgotten, from 1 on, below epochs
	sum     uint16 // of what was looked up ahead, so that it is

	memory [1 << cacheBits]memory  // of targets
	around [1 << aroundBits]memory // of neighbourhoods: how far off the map was
}

// lesson is what was learned about fields of one kind.
type lesson struct {
	// first asks whether the best guess is right: by what is remembered,
	// whether map and old bytes agree, whether the target is near, whether the
	// field before was in the same copy, and the outcomes of the last three.
	first [states][2][2][2][8]coder.Prob
	// second and third ask the same of the map's guess and of the old bytes.
	second, third [states]coder.Prob
	again         [recent]coder.Prob // is it this recent correction?
	high, low     coder.Number

	past     uint8 // outcomes, the last in the lowest bit
	plain    int8  // above 0: old bytes were right more often
	fixes    [recent]uint64
	fixCount uint8
}

// memory is where a target went when it was last seen.
type memory struct {
	shift int32 // how far its value moved, or how far from the map's guess
	tag   uint16
	age   uint16 // the epoch, and in the lowest two bits how often in a row it was there
}

// epochs is how many there are before memory has to be cleared after all.
const epochs = 1 << 14

// reset forgets everything. Memories of targets stay where they are: that of
// another epoch counts as none, so that a small frame need not clear them all.
func (m *model) reset() {
	for ; m.touched != 0; m.touched &= m.touched - 1 {
		m.lessons[bits.TrailingZeros64(m.touched)] = lesson{}
	}
	if m.epoch++; m.epoch == epochs {
		m.memory, m.around = [1 << cacheBits]memory{}, [1 << aroundBits]memory{}
		m.epoch = 1
	}
}

// guess is what is known about a field before its value is.
type guess struct {
	kind       Kind
	old        uint64 // its value in old
	moved      uint64 // its value in new by the map
	plain      uint64 // its value in new if its bytes stay the same
	near, same bool

	slot, area   uint32 // where its value in old and what is around it are remembered
	tag, areaTag uint16 // what tells them from others that share the place
}

// code codes the value of a field: actual on the side that writes, anything on
// the side that reads.
func (m *model) code(l link, g *guess, actual uint64) uint64 {
	x := &m.lessons[g.kind]
	m.touched |= 1 << g.kind
	a, b := g.moved, g.plain
	if x.plain > 0 {
		a, b = b, a
	}
	mem, near := &m.memory[g.slot], &m.around[g.area]
	first, state := m.known(g, a)
	v := first
	p := &x.first[state][one(a == b)][one(g.near)][one(g.same)][x.past&7]
	var hit bool
	if r, ok := l.(reader); ok { // most are decoded here, at less cost
		hit = r.Bit(p) != 0
	} else {
		hit = l.bit(p, actual == first)
	}
	if !hit {
		v = x.correct(l, g.moved, first, a, b, state, actual)
	}
	x.past = x.past<<1 | uint8(one(!hit))
	if g.moved != g.plain {
		switch v {
		case g.plain:
			x.plain = min(x.plain+1, 32)
		case g.moved:
			x.plain = max(x.plain-1, -32)
		}
	}
	m.remember(mem, g.tag, v-g.old)
	m.remember(near, g.areaTag, v-g.moved)
	return v
}

// known gives the first guess for a value and what it rests on, where a is
// what it is if nothing is remembered: 0 is nothing; 1 to 4 a memory of this
// target that agrees with a, and 5 to 8 one that does not, by how often in a
// row it was right. 9 to 12 is a memory of its neighbourhood that says that
// the map is off, and 13 one that says that it is not.
func (m *model) known(g *guess, a uint64) (first uint64, state int) {
	mem, near := &m.memory[g.slot], &m.around[g.area]
	if mem.tag == g.tag && mem.age>>2 == m.epoch {
		if v := g.old + uint64(int64(mem.shift)); v != a {
			return v, 5 + int(mem.age&3)
		}
		return a, 1 + int(mem.age&3)
	}
	if near.tag == g.areaTag && near.age>>2 == m.epoch && near.age&3 >= surroundings[g.kind.space()].sure {
		if near.shift == 0 {
			return a, 13
		}
		return g.moved + uint64(int64(near.shift)), 9 + int(near.age&3)
	}
	return a, 0
}

// remember notes in mem how far something moved.
func (m *model) remember(mem *memory, tag uint16, by uint64) {
	shift := int32(by)
	switch {
	case uint64(int64(shift)) != by:
		*mem = memory{} // further than is remembered
	case mem.tag == tag && mem.age>>2 == m.epoch && mem.shift == shift:
		if mem.age&3 < 3 {
			mem.age++
		}
	default:
		*mem = memory{shift: shift, tag: tag, age: m.epoch << 2}
	}
}

// correct codes a value that the first guess missed: another guess, a
// correction of the map's guess that came up of late, or one in full.
func (x *lesson) correct(l link, moved, first, a, b uint64, state int, actual uint64) uint64 {
	if a != first && l.bit(&x.second[state], actual == a) {
		return a
	}
	if b != first && b != a && l.bit(&x.third[state], actual == b) {
		return b
	}
	d := actual - moved
	n := int(x.fixCount)
	fixes := x.fixes[:n]
	for i, fix := range fixes {
		if l.bit(&x.again[i], d == fix) {
			copy(fixes[1:i+1], fixes)
			fixes[0] = fix
			return moved + fix
		}
	}
	zigzag := d<<1 ^ -(d >> 63)
	zigzag = l.number(&x.low, zigzag&(1<<32-1)) | l.number(&x.high, zigzag>>32)<<32
	d = zigzag>>1 ^ -(zigzag & 1)
	if n < recent {
		x.fixCount++
		fixes = x.fixes[:n+1]
	}
	copy(fixes[1:], fixes)
	fixes[0] = d
	return moved + d
}

// surroundings says how large a neighbourhood is, as a power of two, and how
// often in a row its memory must have been right to count, by what is counted.
var surroundings = [spaces]struct {
	size uint
	sure uint16
}{addresses: {12, 3}, places: {8, 2}, numbers: {5, 0}, lowBits: {12, 3}}

// find notes where what is remembered of a target and of its neighbourhood is.
func (m *model) find(g *guess) {
	const spread = 0x9E3779B97F4A7C15
	space := g.kind.space()
	key := m.salt ^ space<<62
	if space == numbers {
		key = space << 62 // types of a kernel have one number in all of its modules
	}
	h := (g.old ^ key) * spread
	g.slot, g.tag = uint32(h>>(64-cacheBits)), uint16(h>>(48-cacheBits))
	h = (g.old>>surroundings[space].size ^ key) * spread
	g.area, g.areaTag = uint32(h>>(64-aroundBits)), uint16(h>>(48-aroundBits))
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

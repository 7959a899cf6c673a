package reference

import "github.com/updraft-ota/updraft/delta/internal/coder"

const (
	cacheBits = 16
	recent    = 12 // corrections that each kind remembers
	states    = 9  // what the memory says: nothing, the map's guess, or another
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
	lessons
	salt   uint64 // tells targets of one element from those of others
	epoch  uint16 // how often what was learned has been forgotten, from 1 on, below epochs
	sum    uint16 // of what was looked up ahead, so that it is
	memory [1 << cacheBits]memory
}

// lessons is the part of a model that is cleared to forget it.
type lessons struct {
	// first asks whether the best guess is right: by kind, what the memory
	// says, whether map and old bytes agree, whether the target is near,
	// whether the field before was in the same copy, and the outcomes of the
	// last three of this kind.
	first [kinds][states][2][2][2][8]coder.Prob
	// second and third ask the same of the map's guess and of the old bytes.
	second, third [kinds][states]coder.Prob
	again         [kinds][recent]coder.Prob // is it this recent correction?
	high, low     [kinds]coder.Number

	past     [kinds]uint8 // outcomes, the last in the lowest bit
	plain    [kinds]int8  // above 0: old bytes were right more often
	fixes    [kinds][recent]uint64
	fixCount [kinds]uint8
}

// memory is where a target went when it was last seen.
type memory struct {
	shift int32 // how far its value moved
	tag   uint16
	age   uint16 // the epoch, and in the lowest two bits how often in a row it was there
}

// epochs is how many there are before memory has to be cleared after all.
const epochs = 1 << 14

// reset forgets everything. Memories of targets stay where they are: that of
// another epoch counts as none, so that a small frame need not clear them all.
func (m *model) reset() {
	m.lessons = lessons{}
	if m.epoch++; m.epoch == epochs {
		m.memory = [1 << cacheBits]memory{}
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
	slot       uint32 // where in memory its value in old is, and by which tag
	tag        uint16
}

// code codes the value of a field: actual on the side that
// writes, anything on the side that reads.
func (m *model) code(l link, g *guess, actual uint64) uint64 {
	k := g.kind
	a, b := g.moved, g.plain
	if m.plain[k] > 0 {
		a, b = b, a
	}
	mem := &m.memory[g.slot]
	known := mem.tag == g.tag && mem.age>>2 == m.epoch
	first, state := a, 0
	if known {
		state = 1 + int(mem.age&3)
		if v := g.old + uint64(int64(mem.shift)); v != a {
			first, state = v, 5+int(mem.age&3)
		}
	}
	v := first
	p := &m.first[k][state][one(a == b)][one(g.near)][one(g.same)][m.past[k]&7]
	var hit bool
	if r, ok := l.(reader); ok { // most are decoded here, at less cost
		hit = r.Bit(p) != 0
	} else {
		hit = l.bit(p, actual == first)
	}
	if !hit {
		v = m.correct(l, g, first, a, b, state, actual)
	}
	m.past[k] = m.past[k]<<1 | uint8(one(!hit))
	if g.moved != g.plain {
		switch v {
		case g.plain:
			m.plain[k] = min(m.plain[k]+1, 32)
		case g.moved:
			m.plain[k] = max(m.plain[k]-1, -32)
		}
	}
	m.remember(mem, g, v)
	return v
}

// remember notes in mem where the value of a field went.
func (m *model) remember(mem *memory, g *guess, v uint64) {
	shift := int32(v - g.old)
	switch {
	case g.old+uint64(int64(shift)) != v:
		*mem = memory{} // further than is remembered
	case mem.tag == g.tag && mem.age>>2 == m.epoch && mem.shift == shift:
		if mem.age&3 < 3 {
			mem.age++
		}
	default:
		*mem = memory{shift: shift, tag: g.tag, age: m.epoch << 2}
	}
}

// correct codes a value that the first guess missed: another guess, a
// correction of the map's guess that came up of late, or one in full.
func (m *model) correct(l link, g *guess, first, a, b uint64, state int, actual uint64) uint64 {
	k := g.kind
	if a != first && l.bit(&m.second[k][state], actual == a) {
		return a
	}
	if b != first && b != a && l.bit(&m.third[k][state], actual == b) {
		return b
	}
	d := actual - g.moved
	n := int(m.fixCount[k])
	fixes := m.fixes[k][:n]
	for i, x := range fixes {
		if l.bit(&m.again[k][i], d == x) {
			copy(fixes[1:i+1], fixes)
			fixes[0] = x
			return g.moved + x
		}
	}
	zigzag := d<<1 ^ -(d >> 63)
	zigzag = l.number(&m.low[k], zigzag&(1<<32-1)) | l.number(&m.high[k], zigzag>>32)<<32
	d = zigzag>>1 ^ -(zigzag & 1)
	if n < recent {
		m.fixCount[k]++
		fixes = m.fixes[k][:n+1]
	}
	copy(fixes[1:], fixes)
	fixes[0] = d
	return g.moved + d
}

// place is where the memory of target v is, and what tells it from others that
// share the place.
func (m *model) place(v uint64, k Kind) (slot uint32, tag uint16) {
	salt := m.salt
	if k.space() == numbers {
		salt = 0 // types of a kernel have one number in all of its modules
	}
	h := (v ^ salt ^ k.space()<<62) * 0x9E3779B97F4A7C15
	return uint32(h >> (64 - cacheBits)), uint16(h >> (48 - cacheBits))
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

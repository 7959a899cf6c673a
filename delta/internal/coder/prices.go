package coder

const (
	lengths    = maxMatch - minMatch + 1
	nearValues = 128 // distances less one below slot 14
)

// prices are the costs of lengths and distances under a kind's models, taken
// down now and then because adding them up each time would cost too much.
type prices struct {
	left       int // steps until they are taken anew
	match, rep [maxPositions][lengths]uint32
	slot       [4][64]uint32
	near       [4][nearValues]uint32
	align      [1 << alignBits]uint32
}

func (p *prices) refresh(m *kindModel) {
	m.matchLength.costs(&p.match, 1<<m.PB)
	m.repeatLength.costs(&p.rep, 1<<m.PB)
	d := &m.distance
	for class := range p.slot {
		for slot := range uint32(64) {
			cost := Tree(d.slot[class][:]).Cost(6, slot)
			if slot >= firstDirect {
				cost += (slot>>1 - 1 - alignBits) * CostUnit
			}
			p.slot[class][slot] = cost
		}
		for v := range uint32(nearValues) {
			slot := distanceSlot(v)
			cost := p.slot[class][slot]
			if slot >= firstTree {
				cost += Tree(d.near[slot-firstTree][:]).CostLow(int(slot>>1)-1, v)
			}
			p.near[class][v] = cost
		}
	}
	for v := range p.align {
		p.align[v] = Tree(d.align[:]).CostLow(alignBits, uint32(v))
	}
}

// distance is what a distance costs in a match of that length class.
func (p *prices) distance(class, distance uint32) uint32 {
	v := distance - 1
	if v < nearValues {
		return p.near[class][v]
	}
	return p.slot[class][distanceSlot(v)] + p.align[v&(1<<alignBits-1)]
}

// costs fills in the cost of each length in the first slots. Long ones cost the
// same in all of them.
func (m *lengthModel) costs(out *[maxPositions][lengths]uint32, slots int) {
	low, beyond := m.beyondLow.Cost(0), m.beyondLow.Cost(1)
	middle, high := beyond+m.beyondMiddle.Cost(0), beyond+m.beyondMiddle.Cost(1)
	for v := range uint32(256) {
		out[0][16+v] = high + Tree(m.high[:]).Cost(8, v)
	}
	for slot := range slots {
		for v := range uint32(8) {
			out[slot][v] = low + Tree(m.low[slot][:]).Cost(3, v)
			out[slot][8+v] = middle + Tree(m.middle[slot][:]).Cost(3, v)
		}
		copy(out[slot][16:], out[0][16:])
	}
}

// literalCost is what the byte c costs, beside the expected one if expect says
// so.
func literalCost(models *[literalModels]Prob, c uint32, expect bool, expected uint32) uint32 {
	if !expect {
		return Tree(models[:]).Cost(8, c)
	}
	sum, sym, agree := uint32(0), uint32(1), uint32(0x100)
	for i := 7; i >= 0; i-- {
		expected <<= 1
		want := expected & agree
		bit := c >> i & 1
		sum += models[agree+want+sym].Cost(int(bit))
		sym = sym<<1 | bit
		if bit == 0 {
			agree &^= want
		} else {
			agree &= want
		}
	}
	return sum
}

// repeatCost is what choosing repeat i costs, the length not included.
func (m *kindModel) repeatCost(s state, slot uint32, i int) uint32 {
	if i == 0 {
		return m.notFirst[s].Cost(0) + m.isLong[s][slot].Cost(1)
	}
	cost := m.notFirst[s].Cost(1)
	if i == 1 {
		return cost + m.notSecond[s].Cost(0)
	}
	return cost + m.notSecond[s].Cost(1) + m.notThird[s].Cost(i-2)
}

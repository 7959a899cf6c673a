package match

import (
	"context"
	"math"
)

// history is how far back a path can change to a diagonal found later.
const history = 1 << 10

// verified is how many equal bytes from a place decide between it and others.
const verified = 64

// path looks for the cheapest way through a stretch of new. It keeps the best
// way to the current byte along each of a few diagonals, and along literals;
// any of them may be where another one branches off.
type path struct {
	x   *index
	old []byte
	new []byte
	e   effort

	lanes   []lane // diagonals followed, in no order
	literal lane   // the best way that ends in a literal; diagonal is the last copy's
	nodes   []node
	best    [history]mark // by place of new: the best way to just before it
	found   []int
	ahead   ahead
}

// lane is the best way to the current byte that ends on a diagonal.
type lane struct {
	diagonal int
	cost     int32
	node     int32
	changed  bool // the byte before was a changed one
	delta    byte // by how much the last changed byte changed
}

// node is where a way changed its diagonal, or began literals.
type node struct {
	diagonal int
	start    int
	parent   int32
	literal  bool
}

type mark struct {
	cost int32
	node int32
}

func newPath(x *index, new []byte, e effort) *path {
	p := &path{x: x, old: x.old, new: new, e: e, found: make([]int, 0, e.verify), lanes: make([]lane, 0, e.lanes)}
	p.ahead.picker = picker{key: x.key, radius: x.radius}
	return p
}

// copies gives the copies of the cheapest way through new[lo:hi], or nothing
// once ctx is done.
func (p *path) copies(ctx context.Context, long []Copy, lo, hi int) []Copy {
	if !p.walk(ctx, long, max(lo-warmUp, 0), hi) {
		return nil
	}
	return p.trace(lo, hi)
}

// walk goes through new[lo:hi], and says whether it came to the end.
func (p *path) walk(ctx context.Context, long []Copy, lo, hi int) bool {
	p.nodes = append(p.nodes[:0], node{start: lo, parent: -1, literal: true})
	p.lanes = p.lanes[:0]
	p.literal = lane{}
	p.ahead.from, p.ahead.n = lo, 0
	p.best[lo%history] = mark{}
	checked := lo
	for i := lo; i < hi; {
		if i-checked >= 1<<14 {
			if checked = i; ctx.Err() != nil {
				return false
			}
		}
		for len(long) > 0 && int64(i) >= long[0].New {
			if int64(i) < long[0].New+long[0].Length {
				p.follow(i, i, long[0].diagonal())
			}
			long = long[1:]
		}
		lead, diagonal, n := p.lead(), p.literal.diagonal, 0
		if lead >= 0 {
			diagonal = p.lanes[lead].diagonal
			n = matchLength(p.old[min(i+diagonal, len(p.old)):], p.new[i:hi])
		}
		if n > 0 {
			p.run(i, n, lead)
			if n < p.e.clear {
				for j := i; j < i+n; j++ {
					p.look(j, i+n, diagonal)
				}
			}
			i += n
			continue
		}
		p.look(i, i, diagonal)
		p.revisit(i)
		p.step(i)
		i++
	}
	return true
}

// lead is the lane with the least cost, or -1 when literals cost less.
func (p *path) lead() int {
	lead, cost := -1, p.literal.cost
	for k := range p.lanes {
		if c := p.lanes[k].cost; c < cost || c == cost && lead < 0 {
			lead, cost = k, c
		}
	}
	return lead
}

// run moves all lanes over n bytes that are equal on the lane lead.
func (p *path) run(i, n, lead int) {
	l := p.lanes[lead]
	for j := i + max(0, n-history); j < i+n; j++ {
		p.best[(j+1)%history] = mark{l.cost, l.node}
	}
	limit := l.cost + abandonCost
	keep := p.lanes[:0]
	for k, a := range p.lanes {
		if k == lead {
			a.changed = false
		} else if !p.advance(&a, i, i+n, limit) {
			continue
		}
		keep = append(keep, a)
	}
	p.lanes = keep
	p.literal.cost += int32(min(n, 1000)) * literalCost
	if p.literal.cost > limit {
		p.literal.cost = limit
	}
}

// advance moves a over new[i:hi], and says whether it stays within limit.
func (p *path) advance(a *lane, i, hi int, limit int32) bool {
	for i < hi {
		at := i + a.diagonal
		if at < 0 || at >= len(p.old) {
			return false
		}
		if n := matchLength(p.old[at:], p.new[i:hi]); n > 0 {
			a.changed = false
			i += n
			continue
		}
		if a.change(p.new[i] - p.old[at]); a.cost > limit {
			return false
		}
		i++
	}
	return true
}

// change moves a over a byte that is delta more than on its diagonal.
func (a *lane) change(delta byte) {
	a.cost += changePrice(delta, a.delta, a.changed)
	a.changed, a.delta = true, delta
}

// step moves all lanes over the byte at i.
func (p *path) step(i int) {
	least := p.literal
	for _, a := range p.lanes {
		if a.cost < least.cost {
			least = a
		}
	}
	if least.cost < p.literal.cost {
		p.nodes = append(p.nodes, node{diagonal: least.diagonal, start: i, parent: least.node, literal: true})
		p.literal = lane{diagonal: least.diagonal, cost: least.cost, node: int32(len(p.nodes) - 1)}
	}
	p.literal.cost += literalPrice(p.new[i], p.new[max(i-1, 0)])
	best := mark{p.literal.cost, p.literal.node}
	for k := range p.lanes {
		a := &p.lanes[k]
		if at := i + a.diagonal; at < 0 || at >= len(p.old) {
			a.cost = math.MaxInt32
			continue
		} else if p.old[at] == p.new[i] {
			a.changed = false
		} else {
			a.change(p.new[i] - p.old[at])
		}
		if a.cost < best.cost {
			best = mark{a.cost, a.node}
		}
	}
	p.best[(i+1)%history] = best
	keep := p.lanes[:0]
	for _, a := range p.lanes {
		if a.cost <= best.cost+abandonCost {
			keep = append(keep, a)
		}
	}
	p.lanes = keep
}

// look asks the index for the key at j, and follows the best place found, near
// the diagonal if there is a choice; the other lanes are at now.
func (p *path) look(j, now, diagonal int) {
	list, tag := p.ahead.at(p.x, p.new, j)
	if len(list) == 0 {
		return
	}
	p.found = p.x.near(p.found, list, tag, j+diagonal)
	length, place := 0, 0
	for _, at := range p.found {
		n := matchLength(p.old[at:], p.new[j:min(j+verified, len(p.new))])
		if n > length || n == length && distance(at, j+diagonal) < distance(place, j+diagonal) {
			length, place = n, at
		}
	}
	if length >= p.x.key {
		p.follow(j, now, place-j)
	}
}

// revisit tries the diagonals of the last copies at i.
func (p *path) revisit(i int) {
	if i+8 > len(p.new) {
		return
	}
	k := p.literal.node
	for range recentNodes {
		if k < 0 {
			return
		}
		n := &p.nodes[k]
		if at := i + n.diagonal; at >= 0 && at+8 <= len(p.old) && load64(p.old[at:]) == load64(p.new[i:]) {
			p.follow(i, i, n.diagonal)
		}
		k = n.parent
	}
}

// follow opens a lane on a diagonal that is good at j. It begins where that is
// cheapest, looking back from j, and moves on to now.
func (p *path) follow(j, now, diagonal int) {
	worst := -1
	for k := range p.lanes {
		if p.lanes[k].diagonal == diagonal {
			return
		}
		if worst < 0 || p.lanes[k].cost >= p.lanes[worst].cost {
			worst = k
		}
	}
	a, from, start := p.branch(j, now, diagonal)
	limit := p.best[now%history].cost + abandonCost
	if len(p.lanes) == cap(p.lanes) {
		limit = min(limit, p.lanes[worst].cost-1)
	}
	if a.cost > limit || !p.advance(&a, j, now, limit) {
		return
	}
	p.nodes = append(p.nodes, node{diagonal: diagonal, start: start, parent: from})
	a.node = int32(len(p.nodes) - 1)
	if len(p.lanes) < cap(p.lanes) {
		p.lanes = append(p.lanes, a)
	} else {
		p.lanes[worst] = a
	}
}

// branch finds the cheapest place at or before j to change to a diagonal: the
// lane at j, the node it comes from and where it starts. The best ways are
// known up to now.
func (p *path) branch(j, now, diagonal int) (a lane, from int32, start int) {
	a = lane{diagonal: diagonal, cost: math.MaxInt32}
	floor := max(p.nodes[0].start, now-history+1, -diagonal)
	// The cost from s to j is summed up backward, in a lane of its own.
	var back lane
	bound, price, last := int32(0), int32(0), int32(-1)
	for s := j; ; {
		m := p.best[s%history]
		if m.node != last {
			price, last = p.entry(m.node, diagonal), m.node
		}
		if c := m.cost + back.cost + price; c < a.cost {
			a.cost, from, start, bound = c, m.node, s, back.cost
		}
		if s == floor || back.cost > bound+4*changeCost {
			return a, from, start
		}
		s--
		if d := p.new[s] - p.old[s+diagonal]; d != 0 {
			if back.cost == 0 {
				a.delta = d // the last one before j
			}
			back.change(d)
		} else {
			back.changed = false
		}
	}
}

// entry is the price of a copy on a diagonal after the way that ends in k.
func (p *path) entry(k int32, diagonal int) int32 {
	n := &p.nodes[k]
	if n.parent < 0 {
		return shiftCost(diagonal)
	}
	if n.diagonal == diagonal {
		return resumeCost
	}
	price := shiftCost(diagonal - n.diagonal)
	for range recentNodes {
		if k = n.parent; k < 0 {
			break
		}
		if n = &p.nodes[k]; n.diagonal == diagonal && n.parent >= 0 {
			return min(price, returnCost)
		}
	}
	return price
}

// trace reads the best way backward and gives its copies within [lo, hi).
func (p *path) trace(lo, hi int) []Copy {
	var reversed []Copy
	end := hi
	for k := p.best[hi%history].node; k >= 0 && end > lo; k = p.nodes[k].parent {
		n := &p.nodes[k]
		if start := max(n.start, lo); !n.literal && start < end {
			reversed = append(reversed, Copy{Old: int64(start + n.diagonal), New: int64(start), Length: int64(end - start)})
		}
		end = min(end, n.start)
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return reversed
}

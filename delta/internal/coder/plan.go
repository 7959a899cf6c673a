package coder

const (
	horizon  = 4096 // how many bytes are planned at once, at most
	infinite = 1 << 31
)

// What a step of a plan is, beside a match with a new distance.
const (
	stepRepeat  = 0 // … 3: which one
	stepMatch   = 4 // plus the distance
	stepLiteral = 1<<32 - 1
)

// node is the cheapest way found so far to a position.
type node struct {
	cost uint32
	from uint32 // where the last step began
	// what and length are the last step. If first is not 0, it is three
	// steps from there: first bytes as what says, a literal, and the rest
	// at the then newest distance.
	what, length, first uint32

	state  state
	repeat [4]uint32
}

type step struct{ what, length uint32 }

// plan is the search for the cheapest way through the next bytes: forward over
// positions, each with the one cheapest way to it, as in the public LZMA
// sources. Beside single steps it tries each step followed by a literal and a
// repeat, because the way to the literal's end is seldom the cheapest yet.
type plan struct {
	nodes [horizon + 1]node
	far   int // the farthest node with a way to it
	steps []step
}

// best codes the cheapest way through the next bytes.
func (w *writer) best(m *kindModel, p *prices, end int) {
	if p.left <= 0 {
		p.refresh(m)
		p.left = w.effort.refresh
	}
	n := w.search(m, p, end)
	w.plan.trace(n)
	for i := len(w.plan.steps) - 1; i >= 0; i-- {
		s := w.plan.steps[i]
		switch {
		case s.what == stepLiteral:
			w.literal(m)
		case s.what < stepMatch:
			w.again(m, s.length, int(s.what))
		default:
			w.match(m, s.length, s.what-stepMatch)
		}
		p.left--
	}
}

// search finds ways from w.at and gives where the plan ends. The finder is then
// at that position, or one past it and w.ahead has the matches there.
func (w *writer) search(m *kindModel, p *prices, end int) int {
	g := &w.plan
	g.nodes[0] = node{state: m.state, repeat: m.repeat}
	g.far = 0
	for i := 0; ; i++ {
		at := w.at + i
		if i > 0 {
			if i == g.far {
				return i
			}
			g.settle(i)
		}
		limit := min(end-at, horizon-i, maxMatch)
		var all []found
		if w.have {
			all, w.have = w.ahead, false
		} else {
			all = w.finder.find()
		}
		all = clip(w.window, at, all, min(end-at, maxMatch))
		if len(all) > 0 && int(all[len(all)-1].length) >= w.effort.nice || w.longRepeat(i, at, end) {
			if i > 0 {
				w.ahead, w.have = all, true
				return i
			}
			return w.long(all, end)
		}
		w.expand(m, p, i, at, limit, clip(w.window, at, all, limit))
	}
}

// longRepeat tells whether one of the repeats at node i is as long as ends a
// search.
func (w *writer) longRepeat(i, at, end int) bool {
	if end-at < w.effort.nice {
		return false
	}
	for _, d := range w.plan.nodes[i].repeat {
		if w.repeatLength(at, d, w.effort.nice) >= w.effort.nice {
			return true
		}
	}
	return false
}

// long takes the longest repeat or match at the start as the whole plan, if it
// is as long as ends a search.
func (w *writer) long(all []found, end int) int {
	what, length := uint32(0), 0
	limit := min(end-w.at, maxMatch)
	for i, d := range w.plan.nodes[0].repeat {
		if n := w.repeatLength(w.at, d, limit); n > length {
			what, length = uint32(i), n
		}
	}
	if length < w.effort.nice {
		last := all[len(all)-1]
		what, length = stepMatch+last.distance, int(last.length)
	}
	w.plan.nodes[length] = node{from: 0, what: what, length: uint32(length)}
	w.finder.skip(length - 1)
	return length
}

// reach makes nodes up to to ready to be compared with.
func (g *plan) reach(to int) {
	for g.far < to {
		g.far++
		g.nodes[g.far].cost = infinite
	}
}

func (g *plan) offer(to int, cost uint32, from int, what, length, first uint32) {
	n := &g.nodes[to]
	if cost < n.cost {
		n.cost, n.from, n.what, n.length, n.first = cost, uint32(from), what, length, first
	}
}

// settle works out the state and the repeats at node i.
func (g *plan) settle(i int) {
	n := &g.nodes[i]
	prev := &g.nodes[n.from]
	n.state, n.repeat = prev.state, prev.repeat
	if n.first == 0 {
		n.apply(n.what, n.length)
		return
	}
	if n.what == stepLiteral {
		n.state = n.state.afterLiteral()
	} else {
		n.apply(n.what, n.first)
		n.state = n.state.afterLiteral()
	}
	n.state = n.state.afterRepeat()
}

func (n *node) apply(what, length uint32) {
	switch {
	case what == stepLiteral:
		n.state = n.state.afterLiteral()
	case what >= stepMatch:
		n.state = n.state.afterMatch()
		n.repeat = pushed(n.repeat, what-stepMatch)
	case length == 1:
		n.state = n.state.afterShort()
	default:
		n.state = n.state.afterRepeat()
		n.repeat = promoted(n.repeat, int(what))
	}
}

// trace writes down the steps to node n, last first.
func (g *plan) trace(n int) {
	g.steps = g.steps[:0]
	for n > 0 {
		x := &g.nodes[n]
		switch {
		case x.first == 0:
			g.steps = append(g.steps, step{x.what, x.length})
		case x.what == stepLiteral:
			g.steps = append(g.steps, step{stepRepeat, x.length - 1}, step{stepLiteral, 1})
		default:
			g.steps = append(g.steps, step{stepRepeat, x.length - x.first - 1}, step{stepLiteral, 1}, step{x.what, x.first})
		}
		n = int(x.from)
	}
}

// place is a node while ways on from it are offered.
type place struct {
	m     *kindModel
	p     *prices
	i, at int    // number of the node and where it is in the window
	limit int    // how long a step can be
	slot  uint32 // of the position
	node  *node
}

// expand offers every way on from node i, at window position at, by at most
// limit bytes. all are the matches there.
func (w *writer) expand(m *kindModel, p *prices, i, at, limit int, all []found) {
	slot := (m.position + uint32(i)) & (1<<m.PB - 1)
	x := place{m, p, i, at, limit, slot, &w.plan.nodes[i]}
	w.expandByte(x)
	if limit >= minMatch {
		toMatch := x.node.cost + m.isMatch[x.node.state][slot].Cost(1)
		w.expandRepeats(x, toMatch+m.isRepeat[x.node.state].Cost(1))
		w.expandMatches(x, toMatch+m.isRepeat[x.node.state].Cost(0), all)
	}
}

// expandByte offers a step of one byte, as a literal or at the first repeat,
// and a literal with a repeat after it.
func (w *writer) expandByte(x place) {
	m, n, s, at := x.m, x.node, x.node.state, x.at
	c := w.window[at]
	var before, expected byte
	if at > 0 {
		before = w.window[at-1]
	}
	same := false
	if r := int(n.repeat[0]); r <= at {
		expected = w.window[at-r]
		same = expected == c
	}
	w.plan.reach(x.i + 1)
	models, expect := m.literal(m.position+uint32(x.i), at, before, s)
	literal := n.cost + m.isMatch[s][x.slot].Cost(0) + literalCost(models, uint32(c), expect, uint32(expected))
	w.plan.offer(x.i+1, literal, x.i, stepLiteral, 1, 0)
	if same {
		short := n.cost + m.isMatch[s][x.slot].Cost(1) + m.isRepeat[s].Cost(1) +
			m.notFirst[s].Cost(0) + m.isLong[s][x.slot].Cost(0)
		w.plan.offer(x.i+1, short, x.i, stepRepeat, 1, 0)
	} else {
		w.thenRepeat(x, 0, literal, s.afterLiteral(), n.repeat[0], stepLiteral)
	}
}

// expandRepeats offers repeats of every length. The way to where a repeat is
// chosen costs cost.
func (w *writer) expandRepeats(x place, cost uint32) {
	s, table := x.node.state, &x.p.rep[x.slot]
	for r, d := range x.node.repeat {
		length := w.repeatLength(x.at, d, x.limit)
		if length < minMatch {
			continue
		}
		w.plan.reach(x.i + length)
		base := cost + x.m.repeatCost(s, x.slot, r)
		for l := minMatch; l <= length; l++ {
			w.plan.offer(x.i+l, base+table[l-minMatch], x.i, uint32(r), uint32(l), 0)
		}
		w.thenLiteral(x, length, base+table[length-minMatch], s.afterRepeat(), d, uint32(r))
	}
}

// expandMatches offers a match of every length, at the nearest distance that
// has it. The way to where its length is coded costs cost.
func (w *writer) expandMatches(x place, cost uint32, all []found) {
	l, table := minMatch, &x.p.match[x.slot]
	for _, f := range all {
		w.plan.reach(x.i + int(f.length))
		var to uint32
		for ; l <= int(f.length); l++ {
			to = cost + table[l-minMatch] + x.p.distance(lengthClass(uint32(l)), f.distance)
			w.plan.offer(x.i+l, to, x.i, stepMatch+f.distance, uint32(l), 0)
		}
		w.thenLiteral(x, int(f.length), to, x.node.state.afterMatch(), f.distance, stepMatch+f.distance)
	}
}

// thenLiteral offers a step of length bytes, which costs cost up to there,
// followed by a literal and a repeat at the same distance.
func (w *writer) thenLiteral(x place, length int, cost uint32, s state, distance, what uint32) {
	next := x.at + length
	if length+1+minMatch > x.limit || w.repeatLength(next+1, distance, minMatch) < minMatch {
		return
	}
	position := x.m.position + uint32(x.i+length)
	models, _ := x.m.literal(position, next, w.window[next-1], s)
	cost += x.m.isMatch[s][position&(1<<x.m.PB-1)].Cost(0) +
		literalCost(models, uint32(w.window[next]), true, uint32(w.window[next-int(distance)]))
	w.thenRepeat(x, length, cost, s.afterLiteral(), distance, what)
}

// thenRepeat offers a repeat at a distance, after first bytes that are the step
// what, and a literal, which together cost cost and led to state s. If what is
// a literal, there is nothing before it.
func (w *writer) thenRepeat(x place, first int, cost uint32, s state, distance, what uint32) {
	at := x.at + first + 1
	length := w.repeatLength(at, distance, x.limit-first-1)
	if length < minMatch {
		return
	}
	slot := (x.m.position + uint32(x.i+first+1)) & (1<<x.m.PB - 1)
	cost += x.m.isMatch[s][slot].Cost(1) + x.m.isRepeat[s].Cost(1) +
		x.m.repeatCost(s, slot, 0) + x.p.rep[slot][length-minMatch]
	whole := first + 1 + length
	w.plan.reach(x.i + whole)
	if what == stepLiteral {
		first = 1
	}
	w.plan.offer(x.i+whole, cost, x.i, what, uint32(whole), uint32(first))
}

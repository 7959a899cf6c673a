package meter

// structured reads the instructions that branch, join or call.
func (s *scan) structured(op byte, at int) {
	switch op {
	case opUnreachable:
		s.pay(1)
		s.leave()
	case opBlock, opLoop, opIf:
		s.begin(op, at)
	case opElse:
		s.otherwise(at)
	case opEnd:
		s.finished()
	case opBr:
		s.pay(1)
		s.target(s.label())
		s.leave()
	case opBrIf:
		s.pay(1)
		s.stack(1, 0)
		s.target(s.label())
		s.split()
	case opBrTable:
		s.table()
	case opReturn:
		s.pay(1)
		s.escape(0)
		s.edits = append(s.edits, bodyEdit{at: at, to: s.at, kind: returned, value: uint32(len(s.constructs) - 1), loop: s.inner})
		s.leave()
	case opCall:
		s.call()
	case opCallIndirect:
		typ := s.index("type", len(s.types))
		s.index("table", s.tables)
		s.stack(1, 0)
		s.called(typ)
		s.calls = true
	}
}

// leave is behind an instruction after which nothing is executed.
func (s *scan) leave() {
	s.close()
	s.height = s.constructs[len(s.constructs)-1].height
}

// split is behind a branch that may not be taken.
func (s *scan) split() {
	if s.open {
		s.close()
		s.start(s.last())
		s.follow(s.place)
	}
}

// label reads the label of a branch.
func (s *scan) label() uint32 {
	from := s.at
	l := s.index("label", len(s.constructs))
	if s.err == nil && s.inner >= 0 && len(s.constructs)-1-int(l) < s.around {
		s.edits = append(s.edits, bodyEdit{at: from, to: s.at, kind: label, value: l, loop: s.inner})
	}
	return l
}

// target notes that a branch leads to a label.
func (s *scan) target(label uint32) {
	if s.err == nil && s.open {
		to := len(s.constructs) - 1 - int(label)
		s.constructs[to].joined = true
		s.escape(to)
		s.arrive(&s.constructs[to])
	}
}

// escape notes that control may go from here to the end or header of an outer
// construct.
func (s *scan) escape(to int) {
	if top := &s.constructs[len(s.constructs)-1]; s.open {
		top.out = min(top.out, to)
	}
}

func (s *scan) table() {
	s.pay(priceBranches)
	s.stack(1, 0)
	n := s.count("branch targets", 1, s.budget.Targets)
	for range n + 1 {
		s.target(s.label())
		if s.err != nil {
			return
		}
	}
	s.work += effortTarget * int64(n)
	s.leave()
}

func (s *scan) call() {
	from := s.at
	f := s.index("function", s.functions())
	if s.err != nil {
		return
	}
	if f >= uint32(len(s.imported)) {
		s.calls = true
		s.edits = append(s.edits, bodyEdit{at: from, to: s.at, kind: callee, value: f + 1, loop: -1})
	}
	s.called(s.typeOf(f))
}

func (s *scan) called(typ uint32) {
	if s.err != nil {
		return
	}
	t := s.types[typ]
	s.pay(priceCall)
	s.stack(t.params, t.results)
	s.values += int64(t.results)
	s.work += int64(t.params) + passed(t.params) + s.info.Globals // which are read again behind it
	s.steps += s.known
}

// begin opens a block, loop or if.
func (s *scan) begin(op byte, at int) {
	c := construct{op: op, open: s.open, results: s.blockType()}
	if op == opIf {
		s.pay(1)
		s.stack(1, 0)
	}
	c.height, c.segment = s.height, s.last()
	if s.err != nil {
		return
	}
	if len(s.constructs) >= maxNesting {
		s.fail(s.at, "blocks stand deeper than %d in each other", maxNesting)
		return
	}
	c.out, c.sets = len(s.constructs), s.sets
	c.from, c.met = s.place, nowhere
	s.constructs = append(s.constructs, c)
	if op == opLoop {
		s.f.Loops++
	}
	if !s.open || op == opBlock {
		return
	}
	s.close()
	s.start(c.segment)
	if op == opIf {
		s.follow(s.place)
	} else {
		top := &s.constructs[len(s.constructs)-1]
		for range 3 { // the header, and what the metering puts around it
			s.arrive(top)
			s.merge(top)
		}
		g := &s.segments[s.last()]
		g.own, g.loop = true, len(s.loops)
		s.nested++
		s.work += s.live() * s.nested
		s.inner = len(s.loops)
		s.loops = append(s.loops, loop{at: at})
		s.constructs[len(s.constructs)-1].loop = s.inner
		s.around = len(s.constructs) - 1
		s.edits = append(s.edits, bodyEdit{at: at, to: at, kind: turns, loop: s.inner})
	}
}

// maxNesting bounds how deep blocks may stand in each other; compilers write
// a few hundred.
const maxNesting = 10_000

func (s *scan) blockType() (results int) {
	at := s.at
	switch b := s.byte("the type of a block"); {
	case s.err != nil || b == 0x40:
		return 0
	case b < 0x40 || b >= 0x80:
		s.fail(at, "a block of type %#02x belongs to multi-value, which modules may not use", b)
		return 0
	}
	s.at = at
	if s.value() == 'v' {
		s.vectors = true
	}
	return 1
}

// otherwise reads else.
func (s *scan) otherwise(at int) {
	c := &s.constructs[len(s.constructs)-1]
	if c.op != opIf {
		s.fail(at, "else without if")
		return
	}
	c.op = opElse
	if s.open {
		c.joined = true
		s.arrive(c)
	}
	s.close()
	s.height = c.height
	if c.open {
		s.start(c.segment)
		s.follow(c.from)
	}
}

// finished reads end.
func (s *scan) finished() {
	c := s.constructs[len(s.constructs)-1]
	if c.op == opLoop && c.open {
		s.work += (c.arrivals + 1) * s.changed(&c)
		s.loops[c.loop].inner = c.joined && s.inner == c.loop
		s.edits = append(s.edits, bodyEdit{at: s.at, to: s.at, kind: turned, loop: c.loop})
		s.inner = -1
		s.nested--
	}
	// Where control joins, each local that was set may need a slot more.
	s.values += int64(c.results) + s.changed(&c)
	joined := c.joined && c.op != opLoop // branches to a loop lead to its header
	if c.op == opIf {
		joined = joined || c.open // the condition may be false
	}
	s.behind(&c, joined)
	split := joined || s.open && c.op != opBlock
	if split {
		s.close()
	}
	if c.op == opLoop && c.open && !c.joined {
		s.once(c.segment + 1)
	}
	inner := len(s.constructs) - 1
	s.constructs = s.constructs[:inner]
	s.height = c.height + c.results
	if inner == 0 {
		s.close()
		return
	}
	outer := &s.constructs[inner-1]
	outer.out = min(outer.out, c.out)
	if split {
		s.start(c.segment)
		s.segments[s.last()].equal = c.out >= inner
	}
}

// once is for a loop that nothing branches back to: it needs no look at the
// tank. Its first segment is closed.
func (s *scan) once(segment int) {
	s.points[s.segments[segment].point].look = false
}

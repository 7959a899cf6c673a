package meter

import "strings"

// Prices. They are part of [Version].
const (
	priceCall     = 10 // a call pays for entering and leaving, and for a body that is not worth a charge
	priceBranches = 2  // br_table
	localsAFuel   = 8  // locals that are set to zero when a function is entered
	freeBody      = 10 // a function that calls nothing, has no loop and costs no more is not charged
	lookAt        = 64 // one that costs more looks at the tank when it is entered

	// A segment behind a branch or a join that costs at most foldMost is added
	// to the charge before the branch, as long as no more than foldAll of such
	// cost is added to one charge: so much may be paid for and not executed.
	foldMost = 8
	foldAll  = 16
)

// scan reads the bodies of functions and finds out where each has to be
// charged. Its slices are used again for the next body.
type scan struct {
	*module
	*added
	f          *Function
	params     int
	locals     int
	code       extent // of the instructions, without the last end
	calls      bool   // of functions of its own
	vectors    bool
	height     int   // of the operand stack, as far as the code is valid
	highest    int   // that the operand stack was
	values     int64 // that a compiler may have to keep in the frame, besides locals
	effort           // of compiling the body
	constructs []construct
	segments   []segment
	points     []point
	edits      []bodyEdit
	open       bool // the code here can be reached, and belongs to the last segment
	sets       int  // how many locals were set so far
	inner      int  // loop that is being read and in which no other was seen, -1 for none
	around     int  // the construct that it is
	loops      []loop
}

// construct is a block, loop or if that is not closed yet; the first one is
// the function itself.
type construct struct {
	op       byte // opElse once the else was seen
	open     bool // it can be entered
	joined   bool // a branch or the first arm of an if leads to its end
	results  int
	height   int   // of the stack where it begins
	segment  int   // that it was entered from
	loop     int   // of a loop that can be entered
	sets     int   // how many locals were set before
	out      int   // the outermost construct that control may go to from inside
	from     place // where it begins
	met      place // the least of the places from which control goes to its end or header
	arrivals int64 // how often it does
}

// segment is straight code between two places where branches split or join.
type segment struct {
	at     int // where a charge would stand
	cost   int64
	before int  // the segment that is always executed as often and earlier, if own is not set
	equal  bool // it is executed exactly as often as that, unless a trap comes between
	own    bool // the entry of a function or the header of a loop
	point  int  // that pays for it, once it is closed
	loop   int  // whose header it begins with, -1 if it is none
}

// point is a charge.
type point struct {
	at     int
	cost   int64
	folded int64
	look   bool // at the tank
	loop   int  // whose header it is, -1 if it is none
}

// loop is one that can be entered.
type loop struct {
	at    int  // of its opcode
	inner bool // it is branched back to, and no other loop is in it
}

// bodyEdit changes an instruction, or stands before it.
type bodyEdit struct {
	at, to int
	kind   edited
	value  uint32 // the new index or label, or the function that is called before
	loop   int    // that the instruction is in or, for turns and turned, that it is; -1 if that cannot be an inner one
}

type edited byte

const (
	callee   edited = iota // the index of a call
	returned               // a return: a branch out of all blocks
	label                  // of a branch that leaves the loop
	measured               // a bulk instruction: a call of a helper stands before
	turns                  // a loop begins here
	turned                 // a loop ended before here
)

// body reads one function of type typ, which begins at m.at.
func (s *scan) body(typ uint32) {
	start := s.at
	size := s.u32("the size of a function")
	if s.err != nil {
		return
	}
	if int64(size) > s.budget.Body {
		s.fail(start, "a function of %d bytes, at most %d", size, s.budget.Body)
		return
	}
	if int64(size) > int64(s.left()) {
		s.fail(start, "a function of %d bytes does not fit into the %d left", size, s.left())
		return
	}
	section := s.end
	s.end = s.at + int(size)
	s.reset(typ)
	s.f.Offset, s.f.Size = int64(s.at), int64(size)
	s.declared()
	s.code.from = s.at
	s.enter()
	for s.err == nil && len(s.constructs) > 0 {
		s.instruction()
	}
	if s.err == nil && s.at != s.end {
		s.fail(s.at, "the function ends %d bytes early", s.end-s.at)
	}
	s.code.to = s.at - 1
	if s.err != nil {
		return
	}
	s.end = section
	s.judge()
}

func (s *scan) reset(typ uint32) {
	s.f.Type = s.info.Types[typ]
	s.params, s.locals = s.types[typ].params, s.types[typ].params
	s.calls, s.vectors = false, strings.Contains(s.f.Type, "v")
	s.height, s.highest, s.values = 0, 0, 0
	s.effort = effort{}
	s.constructs, s.segments = s.constructs[:0], s.segments[:0]
	s.points, s.edits = s.points[:0], s.edits[:0]
	s.sets, s.loops, s.inner = 0, s.loops[:0], -1
}

// judge fills in what is known once the body is read.
func (s *scan) judge() {
	s.f.Calls = s.calls
	s.f.Complexity = s.complexity()
	if s.calls {
		slot := int64(8)
		if s.vectors {
			slot = 16
		}
		s.f.Weight = 1 + slot*(int64(s.locals)+max(s.values, int64(s.highest)))/frameBytes
	}
	if s.free() {
		return
	}
	total := int64(0)
	for _, p := range s.points {
		s.f.Largest = max(s.f.Largest, p.cost)
		total += p.cost
	}
	s.f.Entry = s.points[0].cost
	s.points[0].look = s.calls || total > lookAt
}

// declared reads the declarations of locals.
func (s *scan) declared() {
	start := s.at
	n := s.count("declarations of locals", 2, s.budget.Body)
	total := int64(s.params)
	for range n {
		total += int64(s.u32("the number of locals"))
		if s.value() == 'v' {
			s.vectors = true
		}
		if s.err != nil {
			return
		}
		if total > s.budget.Locals {
			s.fail(start, "a function has more than %d locals", s.budget.Locals)
			return
		}
	}
	s.locals = int(total)
	s.f.Locals = total
}

// enter opens the function and its first segment.
func (s *scan) enter() {
	s.constructs = append(s.constructs, construct{op: opCall, open: true, met: nowhere})
	s.segments = append(s.segments, segment{at: s.at, own: true, loop: -1, cost: int64(s.locals-s.params) / localsAFuel})
	s.open = true
}

// start opens a segment behind the current instruction.
func (s *scan) start(before int) {
	s.segments = append(s.segments, segment{at: s.at, before: before, loop: -1})
	s.open = true
}

// last is the index of the segment that is being read.
func (s *scan) last() int { return len(s.segments) - 1 }

// close decides who pays for the segment that is being read.
func (s *scan) close() {
	if !s.open {
		return
	}
	s.open = false
	g := &s.segments[s.last()]
	if !g.own {
		g.point = s.segments[g.before].point
		p := &s.points[g.point]
		if g.equal {
			p.cost += g.cost
			return
		}
		if g.cost <= foldMost && p.folded+g.cost <= foldAll {
			p.cost += g.cost
			p.folded += g.cost
			return
		}
	}
	s.work += effortCharge
	s.steps += 2 * s.path
	g.point = len(s.points)
	s.points = append(s.points, point{at: g.at, cost: g.cost, look: g.loop >= 0, loop: g.loop})
}

// pay adds to the segment that is being read.
func (s *scan) pay(price int64) {
	if s.open {
		s.segments[s.last()].cost += price
	}
}

// stack moves the height of the operand stack.
func (s *scan) stack(pop, push int) {
	top := &s.constructs[len(s.constructs)-1]
	s.height = max(s.height-pop, top.height) + push // lower only in dead or invalid code
	s.highest = max(s.highest, s.height)
	if push > 0 && s.locals+s.height > registers {
		s.work += effortSpilled
	}
}

// frameBytes is what a function's frame may have for each unit of its weight.
// Compilers keep a value that is needed after a call in a slot of its own; an
// interpreter has its operand stack, copies of locals included.
const frameBytes = 8 << 10

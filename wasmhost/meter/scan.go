package meter

// Prices. They are part of [Version].
const (
	priceCall     = 10 // a call pays for entering and leaving, and for a body that is not worth a charge
	priceBranches = 2  // br_table
	localsAFuel   = 8  // locals that are set to zero when a function is entered
	freeBody      = 10 // a function that calls nothing, has no loop and costs no more is not charged

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
	results    int
	locals     int
	code       extent // of the instructions, without the last end
	calls      bool   // of functions of its own
	vectors    bool
	height     int // of the operand stack, as far as the code is valid
	most       int // of height
	values     int64 // that a compiler may have to keep in the frame, besides locals
	joins      int64 // places where branches split or join
	nested     int64 // loops around here
	work       int64 // of compiling, besides that for each instruction and for joins
	constructs []construct
	segments   []segment
	points     []point
	edits      []bodyEdit
	open       bool     // the code here can be reached, and belongs to the last segment
	locality   []byte   // the type of each local, as a letter
	sets       []uint32 // locals in the order in which the code sets them
	inner      int      // loop that is being read and in which no loop and no call was seen, -1 for none
	loops      []loop
}

// construct is a block, loop or if that is not closed yet; the first one is
// the function itself.
type construct struct {
	op      byte // opElse once the else was seen
	open    bool // it can be entered
	joined  bool // a branch or the first arm of an if leads to its end
	results int
	height  int // of the stack where it begins
	segment int // that it was entered from
	loop    int // of a loop that can be entered
	sets    int // how many locals were set before
	out     int // the outermost construct that control may go to from inside
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
	loop   int // whose header it is, -1 if it is none
}

// loop is what the check in its header has to know.
type loop struct {
	from, to int // the part of scan.sets that the loop sets; empty unless it is an innermost loop without calls
}

// bodyEdit changes an instruction.
type bodyEdit struct {
	at, to int
	kind   byte   // opCall: the index becomes value; opReturn: a branch by value; opMisc: a call of function value goes before
	value  uint32 // in the rewritten module
}

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
	s.params, s.results = s.types[typ].params, s.types[typ].results
	s.locals = s.params
	s.calls, s.vectors = false, false
	s.height, s.most, s.values = 0, 0, 0
	s.joins, s.nested, s.work = 0, 0, 0
	s.constructs, s.segments = s.constructs[:0], s.segments[:0]
	s.points, s.edits = s.points[:0], s.edits[:0]
	s.sets, s.loops, s.inner = s.sets[:0], s.loops[:0], -1
	s.f.Type = s.info.Types[typ]
	s.locality = append(s.locality[:0], s.f.Type[:s.params]...)
	s.vectors = hasVector(s.f.Type)
}

func hasVector(typ string) bool {
	for i := range len(typ) {
		if typ[i] == 'v' {
			return true
		}
	}
	return false
}

// judge fills in what is known once the body is read.
func (s *scan) judge() {
	s.f.Calls = s.calls
	s.f.Complexity = perFunction + s.f.Instructions + s.work + s.joins*s.joins/32
	if s.calls {
		slot := int64(8)
		if s.vectors {
			slot = 16
		}
		s.f.Weight = 1 + slot*(int64(s.locals)+s.values)/frameBytes
	}
	if s.free() {
		return
	}
	s.f.Entry = s.points[0].cost
	for _, p := range s.points {
		s.f.Largest = max(s.f.Largest, p.cost)
	}
}

// declared reads the declarations of locals.
func (s *scan) declared() {
	start := s.at
	n := s.count("declarations of locals", 2, s.budget.Body)
	total := int64(s.params)
	for range n {
		more := int64(s.u32("the number of locals"))
		total += more
		v := s.value()
		if v == 'v' {
			s.vectors = true
		}
		if s.err != nil {
			return
		}
		if total > s.budget.Locals {
			s.fail(start, "a function has more than %d locals", s.budget.Locals)
			return
		}
		for range more {
			s.locality = append(s.locality, v)
		}
	}
	s.locals = int(total)
	s.f.Locals = total
}

// enter opens the function and its first segment.
func (s *scan) enter() {
	s.constructs = append(s.constructs, construct{op: opCall, open: true, results: s.results})
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
	g.point = len(s.points)
	s.points = append(s.points, point{at: g.at, cost: g.cost, loop: g.loop})
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
	s.most = max(s.most, s.height)
}

// live is how many values code that branches here may have to carry along.
func (s *scan) live() int64 { return int64(s.locals + s.height) }

func (s *scan) instruction() {
	at := s.at
	op := s.byte("an instruction")
	o := core[op]
	s.f.Instructions++
	switch {
	case s.err != nil:
	case op == opMisc:
		s.misc(at)
	case op == opVector:
		s.vector(at)
	case o.immediate == unknown:
		s.fail(at, "%s", disabled(op))
	case o.immediate == structure:
		s.structured(op, at)
	default:
		s.pay(1)
		if op == opMemoryGrow {
			s.measure(at, helperGrow)
		}
		s.immediate(o, at)
		s.stack(int(o.pop), int(o.push))
		if o.immediate != localIndex {
			s.values += int64(o.push)
		}
	}
}

// immediate reads what follows an opcode.
func (s *scan) immediate(o opcode, at int) {
	switch o.immediate {
	case localIndex:
		l := s.index("local", s.locals)
		if o.pop > 0 {
			s.sets = append(s.sets, l)
		}
	case globalIndex:
		s.index("global", int(s.info.Globals))
	case address, addressLane:
		s.address(o, at)
	case lane:
		s.lane(o.limit)
	case bytes4:
		s.skip(4, "a constant")
	case bytes8:
		s.skip(8, "a constant")
	case bytes16:
		s.skip(16, "a constant")
	case shuffle:
		for range 16 {
			s.lane(o.limit)
		}
	case number32:
		s.signed(32, "a constant")
	case number64:
		s.signed(64, "a constant")
	case zero:
		s.memory(at)
	case dataIndex:
		s.index("data segment", s.data)
		if s.counted < 0 {
			s.fail(at, "a data segment is named, but there is no data count section")
		}
	case entryList:
		s.index("element segment", s.elements)
	}
}

// memory reads the index of the only memory, which must be written as one
// zero byte.
func (s *scan) memory(at int) {
	if s.memories() == 0 {
		s.fail(at, "an instruction for memory, but there is none")
	}
	from := s.at
	if b := s.byte("the index of a memory"); b != 0 {
		s.fail(from, "memory %#02x, there is one memory, written as 0", b)
	}
}

func (s *scan) address(o opcode, at int) {
	if s.memories() == 0 {
		s.fail(at, "an instruction for memory, but there is none")
	}
	s.work += 2 // a check, and a way out
	from := s.at
	if a := s.u32("an alignment"); a > align(o) {
		s.fail(from, "alignment %d, at most %d", a, align(o))
	}
	s.u32("an offset")
	if o.immediate == addressLane {
		s.lane(16 >> o.limit)
	}
}

func align(o opcode) uint32 { return uint32(o.limit) }

func (s *scan) lane(have uint8) {
	from := s.at
	if l := s.byte("a lane"); l >= have {
		s.fail(from, "lane %d, there are %d", l, have)
	}
}

// measure has the length on the stack charged before the instruction at at.
func (s *scan) measure(at int, h helper) {
	s.edits = append(s.edits, bodyEdit{at: at, to: at, kind: opMisc, value: s.helpers[h]})
}

// misc reads what follows the byte 0xfc.
func (s *scan) misc(at int) {
	from := s.at
	code := s.byte("an instruction")
	o := misc[code]
	switch {
	case s.err != nil:
		return
	case code >= 0x0f && code <= 0x11:
		s.fail(at, "instruction 0xfc %#02x belongs to reference types, which modules may not use", code)
		return
	case o.immediate == unknown:
		s.fail(from, "instruction 0xfc %#02x is not known, or its number is longer than it need be", code)
		return
	}
	s.pay(1)
	switch code {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
		s.measure(at, helperBytes)
	case miscTableInit, miscTableCopy:
		s.measure(at, helperEntries)
	}
	s.immediate(o, at)
	switch code {
	case miscMemoryInit, miscMemoryCopy:
		s.memory(at)
	case miscTableInit:
		s.index("table", s.tables)
	case miscTableCopy:
		s.index("table", s.tables)
		s.index("table", s.tables)
	}
	s.stack(int(o.pop), int(o.push))
	s.values += int64(o.push)
}

// vector reads what follows the byte 0xfd. The number is written in as many
// bytes as it needs and no more: some readers know the first byte alone.
func (s *scan) vector(at int) {
	s.vectors = true
	code := s.byte("an instruction")
	if code >= 0x80 {
		from := s.at
		high := s.byte("an instruction")
		if s.err == nil && high != 1 {
			s.fail(from, "instruction 0xfd %#02x %#02x is relaxed SIMD, not known, or its number is longer than it need be", code, high)
		}
	}
	o := vector[code]
	if o.immediate == unknown && s.err == nil {
		s.fail(at, "instruction 0xfd %#02x is not known", code)
	}
	if s.err != nil {
		return
	}
	s.pay(1)
	s.immediate(o, at)
	s.stack(int(o.pop), int(o.push))
	s.values += int64(o.push)
}

// frameBytes is what a function's frame may have for each unit of its weight.
// Compilers keep a value that is needed after a call in a slot of its own.
const frameBytes = 8 << 10

// perFunction is the work of compiling an empty function.
const perFunction = 32

package meter

// A unit of complexity is at most half a microsecond of compiling on a
// desk, 200 bytes while its function is being compiled, or 3 bytes of the
// machine's code, whichever is most. What things take was measured on wazero
// 1.12 with modules of one kind of thing each; see
// docs/decisions/0010-compilation.md and TestCompileBound in package wasmhost.

// effort is what compiling a function takes, as far as it was read.
type effort struct {
	place        // here
	nested int64 // loops around here
	work   int64 // units, besides one for each instruction
	steps  int64 // of which there are stepsAUnit in a unit
}

// place is what code has before it that a compiler walks back along, looking
// for a definition or a loop, or carries along.
type place struct {
	depth int64 // blocks that lead here on every way
	path  int64 // of them, those since ways joined the last time
	known int64 // addresses that were checked on every way here
}

// nowhere is beyond all places.
var nowhere = place{depth: most, path: most, known: most}

// most is more than any budget, and small enough to be added up.
const most = 1 << 40

// What takes more than a unit.
const (
	effortFunction = 32
	effortBlock    = 8
	effortTarget   = 12 // of br_table: a block of its own
	effortCharge   = 10 // of fuel
	effortAddress  = 28 // a check of the bounds, and a way out
	effortSpilled  = 2  // a value that is kept in the frame, and fetched from there
	effortPassed   = 5  // an argument that is passed in the frame
	effortSaturate = 42
	effortBulk     = 110 // a call with many arguments
	effortFill     = 300 // and a loop of them

	stepsAUnit  = 32
	stepsADepth = 3 // for each block that leads to another
	stepsAPath  = 4
	stepsALive  = 8 // to look up a value where ways join
	stepsAKnown = 6 // to remember a checked address for another block

	registers = 14 // values that a compiler is sure to keep at hand
)

// work is what an instruction takes. Most become one or two of the machine's;
// those with high figures become checks, calls and loops.
func work(op byte) int64 {
	switch {
	case op == opSelect:
		return 6
	case op == opSize:
		return 10
	case op >= 0x43 && op <= 0x44, op >= 0x5b && op <= 0x66:
		return 7 // constants and comparisons of floats
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82:
		return 58 // division and remainder of integers: two traps
	case op >= 0x67 && op <= 0x69, op >= 0x74 && op <= 0x7b, op >= 0x86 && op <= 0x8a:
		return 7 // counts of bits, shifts
	case op >= 0xa8 && op <= 0xab, op >= 0xae && op <= 0xb1:
		return 74 // floats to integers: three traps
	case op >= 0x8b && op <= 0xa6, op >= 0xb2 && op <= 0xbb:
		return 17 // floats
	case op == opMemoryGrow:
		return 20
	case op == opCall:
		return 24
	case op == opCallIndirect:
		return 112
	case op == opVector:
		return 34
	case op == 0x45, op == 0x50, op >= 0xc0:
		return 6 // plain, of one operand
	case op >= 0x41:
		return 2
	}
	return 0
}

// instruct adds an instruction.
func (e *effort) instruct(op byte) {
	e.work = min(e.work, most) + work(op)
	e.steps = min(e.steps, most)
}

// passed is the work for those of so many parameters that do not fit into
// registers.
func passed(params int) int64 { return effortPassed * int64(max(0, params-registers/2)) }

// entrance is the work for a type: code by which the host calls functions of it.
func entrance(params int) int64 { return effortFunction + 2*effortPassed*int64(params) }

// complexity is what [Function.Complexity] says, once the body is read.
func (s *scan) complexity() int64 {
	return effortFunction + int64(s.locals) + passed(s.params) + s.f.Instructions + s.work + s.steps/stepsAUnit
}

// live is how many values code that branches here may have to carry along, and
// more than that where they are too many to be carried easily.
func (s *scan) live() int64 {
	n := int64(s.locals + s.height)
	return n + n*n/256
}

// changed is how many locals may have another value than where c began.
func (s *scan) changed(c *construct) int64 { return int64(min(s.locals, s.sets-c.sets)) }

// follow begins a block that only code at p leads to.
func (s *scan) follow(p place) {
	s.place = place{p.depth + 1, p.path + 1, p.known}
	s.work += effortBlock
	s.steps += stepsADepth*s.depth + stepsAPath*s.path + stepsAKnown*s.known
}

// arrive notes that control goes from here to the end or header of c. Each
// value that is alive may have to be looked up on the way back from there.
func (s *scan) arrive(c *construct) {
	c.met.depth, c.met.known = min(c.met.depth, s.depth), min(c.met.known, s.known)
	c.arrivals++
	s.steps = min(s.steps, most) + stepsADepth*s.depth + s.live()*(stepsALive+s.path) + s.known
}

// merge begins a block where the ways join that arrived at c.
func (s *scan) merge(c *construct) {
	s.place = place{c.met.depth + 1, 0, c.met.known}
	s.work += effortBlock
	s.steps += stepsADepth*s.depth + stepsALive*s.live() + stepsAKnown*s.known
}

// behind begins what follows the end of c, where ways join or do not.
func (s *scan) behind(c *construct, joined bool) {
	if !joined {
		if s.open {
			s.follow(s.place) // a block of its own all the same
		}
		return
	}
	if s.open {
		s.arrive(c)
	}
	if c.op == opIf && c.open { // the condition was false
		s.place = c.from
		s.arrive(c)
	}
	s.work += (c.arrivals + 1) * (int64(c.results) + s.changed(c))
	s.merge(c)
}

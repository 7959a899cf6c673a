package meter

import (
	"encoding/binary"
)

// helper is a function that the rewriting adds behind those of the module.
// Each takes the length that is on the stack, charges for it and gives it back.
type helper int

const (
	helperBytes   helper = iota // of memory.copy, memory.fill, memory.init
	helperGrow                  // pages of memory.grow
	helperEntries               // of table.copy, table.init
	helpers
)

const (
	bytesAFuel  = 3 // as a shift: one for 8 bytes
	pageAsBytes = 16
)

// indices are those of what is added to the module.
type added struct {
	refill       uint32
	fuel, frames uint32
	helpers      [helpers]uint32
	refillType   uint32
	helperType   uint32
}

func uleb(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

func sleb(b []byte, v int64) []byte {
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// Instructions that are added.
const (
	opLocalGet  = 0x20
	opGlobalGet = 0x23
	opGlobalSet = 0x24
	opI64Const  = 0x42
	opI64LtS    = 0x53
	opI64LeU    = 0x58
	opI64Add    = 0x7c
	opI64Sub    = 0x7d
	opI64Or     = 0x84
	opI64Shl    = 0x86
	opI64ShrU   = 0x88
	opExtendU   = 0xad
	opSelect    = 0x1b
	opSize      = 0x3f
	noResult    = 0x40
)

func get(b []byte, global uint32) []byte { return uleb(append(b, opGlobalGet), global) }
func set(b []byte, global uint32) []byte { return uleb(append(b, opGlobalSet), global) }
func i64(b []byte, v int64) []byte       { return sleb(append(b, opI64Const), v) }

// move adds to a tank or, with opI64Sub, takes from it.
func move(b []byte, global uint32, op byte, v int64) []byte {
	b = i64(get(b, global), v)
	return set(append(b, op), global)
}

// refilled calls refill if the i64 on the stack is below zero.
func (a *added) refilled(b []byte) []byte {
	b = append(i64(b, 0), opI64LtS, opIf, noResult, opCall)
	return append(uleb(b, a.refill), opEnd)
}

// charge takes fuel, and looks at the tank where p says so: before it takes,
// at the header of an inner loop.
func (s *scan) charge(b []byte, p point) []byte {
	inner := p.loop >= 0 && s.loops[p.loop].inner
	if inner {
		b = append(i64(get(b, s.fuel), 0), opI64LtS, opBrIf, 1) // the block of turnsBegin
	}
	b = move(b, s.fuel, opI64Sub, p.cost)
	if p.look && !inner {
		b = s.refilled(get(b, s.fuel))
	}
	return b
}

// turnsBegin and turnsEnd put an inner loop L into one that refills the tank:
//
//	block
//	  loop
//	    block
//	      L: leave this block if the tank is below zero; take from it; ...; end
//	      leave the outer block
//	    end
//	    refill, again
//	  end
//	end
//
// A call within L, however rare, would have a compiler keep all that goes
// around in L where it outlives the call, on each turn. This way loops run up
// to half faster.
func (s *scan) turnsBegin(b []byte, l loop) []byte {
	t := s.wasm[l.at+1] // of the result, one byte
	return append(b, opBlock, t, opLoop, t, opBlock, noResult)
}

func (s *scan) turnsEnd(b []byte) []byte {
	b = uleb(append(b, opBr, 2, opEnd, opCall), s.refill)
	return append(b, opBr, 0, opEnd, opEnd)
}

// wrapped is how many labels that puts around L.
const wrapped = 3

// prologue takes fuel and frames, and looks at both tanks at once.
func (a *added) prologue(b []byte, cost, weight int64) []byte {
	b = move(b, a.fuel, opI64Sub, cost)
	b = move(b, a.frames, opI64Sub, weight)
	b = append(get(get(b, a.fuel), a.frames), opI64Or)
	return a.refilled(b)
}

// helper writes the body of a helper: it takes n shifted to bytes and then to
// fuel if n is at most what the instruction can do, and nothing if it will
// fail.
func (a *added) helper(h helper, m *module) []byte {
	n := []byte{opLocalGet, 0, opExtendU}
	b := []byte{0} // no locals
	b = get(b, a.fuel)
	b = append(b, n...)
	switch h {
	case helperGrow:
		b = append(i64(b, pageAsBytes-bytesAFuel), opI64Shl)
	case helperBytes:
		b = append(i64(b, bytesAFuel), opI64ShrU)
	}
	b = append(i64(b, 0), n...)
	switch h {
	case helperBytes:
		b = append(b, opSize, 0, opExtendU)
		b = append(i64(b, pageAsBytes), opI64Shl)
	case helperGrow:
		b = i64(b, int64(m.pages))
	case helperEntries:
		b = i64(b, m.info.Table)
	}
	b = append(b, opI64LeU, opSelect, opI64Sub)
	b = a.refilled(get(set(b, a.fuel), a.fuel))
	return append(b, opLocalGet, 0, opEnd)
}

// emit writes the metered form of the body that was scanned.
func (s *scan) emit(out []byte) []byte {
	out = append(out, s.wasm[s.f.Offset:s.code.from]...) // locals
	at, points := s.code.from, s.points
	if s.calls {
		out = s.prologue(out, points[0].cost, s.f.Weight)
		out = append(out, opBlock, blockOf(s.f.Type))
		points = points[1:]
	} else if s.free() {
		points = points[1:]
	}
	charged := func(until int) {
		for len(points) > 0 && points[0].at < until {
			out = s.charge(append(out, s.wasm[at:points[0].at]...), points[0])
			at, points = points[0].at, points[1:]
		}
	}
	for _, e := range s.edits {
		if !s.needed(e) {
			continue
		}
		if e.kind == turned { // what is charged here comes behind the loop
			charged(e.at)
		} else {
			charged(e.at + 1)
		}
		out = s.edit(append(out, s.wasm[at:e.at]...), e)
		at = e.to
	}
	charged(s.code.to + 1)
	out = append(out, s.wasm[at:s.code.to]...)
	if s.calls {
		out = move(append(out, opEnd), s.frames, opI64Add, s.f.Weight)
	}
	return append(out, opEnd)
}

// needed reports whether an edit has to be made, which is known once the
// whole body is read.
func (s *scan) needed(e bodyEdit) bool {
	switch e.kind {
	case returned:
		return s.calls
	case label, turns, turned:
		return s.loops[e.loop].inner
	}
	return true
}

// edit writes what takes the place of the bytes of e.
func (s *scan) edit(out []byte, e bodyEdit) []byte {
	if e.loop >= 0 && s.loops[e.loop].inner {
		e.value += wrapped
	}
	switch e.kind {
	case callee, label:
		return uleb(out, e.value)
	case returned:
		return uleb(append(out, opBr), e.value)
	case measured:
		return uleb(append(out, opCall), e.value)
	case turns:
		return s.turnsBegin(out, s.loops[e.loop])
	}
	return s.turnsEnd(out)
}

// free reports whether the price of calling the function pays for all of it.
func (s *scan) free() bool {
	return !s.calls && s.f.Loops == 0 && len(s.points) == 1 && s.points[0].cost <= freeBody
}

// blockOf is the block type of a function's results.
func blockOf(typ string) byte {
	if b, ok := valueTypes[typ[len(typ)-1]]; ok {
		return b
	}
	return noResult
}

// valueTypes are the letters of [Import.Type].
var valueTypes = map[byte]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c, 'v': 0x7b}

package meter

import "encoding/binary"

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

// charge takes fuel, and looks at the tank if p is the header of a loop.
func (s *scan) charge(b []byte, p point) []byte {
	b = move(b, s.fuel, opI64Sub, p.cost)
	if p.loop < 0 {
		return b
	}
	b = append(i64(get(b, s.fuel), 0), opI64LtS, opIf, noResult)
	l := s.loops[p.loop]
	b = s.renew(b, s.sets[l.from:l.to])
	return append(uleb(append(b, opCall), s.refill), opEnd)
}

// renew gives each of the locals to itself, by way of an instruction.
func (s *scan) renew(b []byte, locals []uint32) []byte {
	done := map[uint32]bool{}
	for _, l := range locals {
		if done[l] || len(done) >= mostRenewed {
			continue
		}
		done[l] = true
		b = uleb(append(b, opLocalGet), l)
		switch s.locality[l] {
		case 'i':
			b = append(b, 0x41, 0, 0x72)
		case 'I':
			b = append(b, 0x42, 0, 0x84)
		case 'f':
			b = append(b, 0x8c, 0x8c)
		case 'F':
			b = append(b, 0x9a, 0x9a)
		case 'v':
			b = append(b, 0xfd, 0x4d, 0xfd, 0x4d)
		}
		b = uleb(append(b, 0x21), l)
	}
	return b
}

const mostRenewed = 32

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
	for _, e := range s.edits {
		for len(points) > 0 && points[0].at <= e.at {
			out = append(out, s.wasm[at:points[0].at]...)
			out = s.charge(out, points[0])
			at, points = points[0].at, points[1:]
		}
		if e.kind == opReturn && !s.calls {
			continue
		}
		out = append(out, s.wasm[at:e.at]...)
		at = e.to
		switch e.kind {
		case opCall:
			out = uleb(out, e.value)
		case opReturn:
			out = uleb(append(out, opBr), e.value)
		case opMisc:
			out = uleb(append(out, opCall), e.value)
		}
	}
	for _, p := range points {
		out = append(out, s.wasm[at:p.at]...)
		out = s.charge(out, p)
		at = p.at
	}
	out = append(out, s.wasm[at:s.code.to]...)
	if s.calls {
		out = move(append(out, opEnd), s.frames, opI64Add, s.f.Weight)
	}
	return append(out, opEnd)
}

// free reports whether the price of calling the function pays for all of it.
func (s *scan) free() bool {
	return !s.calls && s.f.Loops == 0 && len(s.points) == 1 && s.points[0].cost <= freeBody
}

// blockOf is the block type of a function's results.
func blockOf(typ string) byte {
	switch typ[len(typ)-1] {
	case 'i':
		return 0x7f
	case 'I':
		return 0x7e
	case 'f':
		return 0x7d
	case 'F':
		return 0x7c
	case 'v':
		return 0x7b
	}
	return noResult
}

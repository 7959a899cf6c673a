package meter

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
)

// generator makes valid modules whose control flow follows the bytes of src.
// They may run for ever, recurse without end or trap.
type generator struct {
	src    []byte
	code   []byte
	types  []string // of all functions
	locals string   // types, parameters first
	result byte     // of the function, 0 for none
	labels []byte   // innermost last: the type that a branch carries, 0 for none
	room   int      // instructions that the function may still have
}

const generated = "iIFv"

// randomBytes is a source for a generator.
func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// pick gives a number below n; 0 once the source is used up.
func (g *generator) pick(n int) int {
	if len(g.src) == 0 {
		return 0
	}
	b := g.src[0]
	g.src = g.src[1:]
	return int(b) % n
}

// generate makes a module that exports f: i:I, a memory and two globals.
func generate(src []byte) asm {
	g := &generator{src: src, types: []string{"i:I"}}
	for range g.pick(4) {
		g.types = append(g.types, []string{":", "i:i", "iI:I", "F:F", ":v", "vi:"}[g.pick(6)])
	}
	a := asm{memory: []byte{1, 1, 3}, table: len(g.types) + 1, globals: 2, data: []string{"some data", "more"}, passive: true}
	for i, t := range g.types {
		f := function{typ: t}
		if i == 0 {
			f.name = "f"
		}
		for range g.pick(6) {
			f.locals += string(generated[g.pick(len(generated))])
		}
		params, result, _ := strings.Cut(t, ":")
		g.locals, g.code, g.room, g.result = params+f.locals, nil, 300, 0
		if result != "" {
			g.result = result[0]
		}
		g.labels = []byte{g.result}
		g.statements(5)
		if g.result != 0 {
			g.value(g.result, 3)
		}
		f.code = g.code
		a.functions = append(a.functions, f)
	}
	return a
}

func (g *generator) put(list ...any) { g.code = append(g.code, codes(list...)...) }

// local gives a local of type t, or -1.
func (g *generator) local(t byte) int {
	var list []int
	for i := range len(g.locals) {
		if g.locals[i] == t {
			list = append(list, i)
		}
	}
	if list == nil {
		return -1
	}
	return list[g.pick(len(list))]
}

// value puts one value of type t on the stack.
func (g *generator) value(t byte, depth int) {
	g.room--
	if depth <= 0 || g.room < 0 || len(g.src) == 0 {
		g.simple(t)
		return
	}
	switch g.pick(8) {
	case 0:
		g.simple(t)
	case 1: // a block of its own, which a branch may leave with a value
		g.put(opBlock, int(valueTypes[t]))
		g.labels = append(g.labels, t)
		g.statements(depth - 1)
		g.value(t, depth-1)
		g.labels = g.labels[:len(g.labels)-1]
		g.put(opEnd)
	case 2:
		g.value('i', depth-1)
		g.put(opIf, int(valueTypes[t]))
		g.labels = append(g.labels, t)
		g.statements(depth - 2)
		g.value(t, depth-1)
		g.put(opElse)
		g.value(t, depth-1)
		g.labels = g.labels[:len(g.labels)-1]
		g.put(opEnd)
	case 3:
		g.value(t, depth-1)
		g.value(t, depth-1)
		g.value('i', depth-1)
		g.put(opSelect)
	case 4:
		if !g.call(t, depth) {
			g.simple(t)
		}
	case 5:
		if l := g.local(t); l >= 0 {
			g.value(t, depth-1)
			g.put(0x22, num(l))
			return
		}
		g.simple(t)
	default:
		g.operate(t, depth)
	}
}

func (g *generator) simple(t byte) {
	if l := g.local(t); l >= 0 && g.pick(3) > 0 {
		g.put(0x20, num(l))
		return
	}
	n := g.pick(256) - 100
	switch t {
	case 'i':
		g.put(i32(n))
	case 'I':
		g.put(i64(nil, int64(n)*1_000_003))
	case 'F':
		g.put(i32(n), 0xb7)
	case 'v':
		g.put(i32(n), opVector, 0x11)
	}
}

// address puts an address on the stack that lies in the first page.
func (g *generator) address(depth int) {
	g.value('i', depth)
	g.put(i32(0xfff0), 0x71)
}

func (g *generator) operate(t byte, depth int) {
	two := func(t byte) { g.value(t, depth-1); g.value(t, depth-1) }
	switch t {
	case 'i':
		switch g.pick(6) {
		case 0:
			g.address(depth - 1)
			g.put(0x28, 2, 0)
		case 1:
			two('I')
			g.put(0x51 + g.pick(10))
		case 2:
			g.value('F', depth-1)
			g.put(opMisc, 2)
		case 3:
			g.value('v', depth-1)
			g.put(opVector, 0x1b, g.pick(4))
		case 4:
			g.value('i', depth-1)
			g.put(i32(1), 0x71, opMemoryGrow, 0)
		default:
			two('i')
			g.put(0x6a + g.pick(15))
		}
	case 'I':
		switch g.pick(4) {
		case 0:
			g.address(depth - 1)
			g.put(0x29, 3, 0)
		case 1:
			g.value('i', depth-1)
			g.put(0xac)
		case 2:
			g.put(opGlobalGet, g.pick(2))
		default:
			two('I')
			g.put(0x7c + g.pick(15))
		}
	case 'F':
		two('F')
		g.put(0xa0 + g.pick(3))
	case 'v':
		if g.pick(2) == 0 {
			g.address(depth - 1)
			g.put(opVector, 0, 0, 0)
			return
		}
		two('v')
		g.put(opVector, []int{0x4e, 0x50, 0x51}[g.pick(3)])
	}
}

// call calls a function that gives t; 0 takes any and drops what it gives.
func (g *generator) call(t byte, depth int) bool {
	at := g.pick(len(g.types))
	params, result, _ := strings.Cut(g.types[at], ":")
	if t != 0 && result != string(t) {
		return false
	}
	for i := range len(params) {
		g.value(params[i], depth-1)
	}
	if g.pick(3) == 0 { // any entry of the table, of the right type or not
		g.value('i', depth-1)
		g.put(i32(3), 0x71, opCallIndirect, at, 0)
	} else {
		g.put(opCall, at)
	}
	if t == 0 && result != "" {
		g.put(0x1a)
	}
	return true
}

func (g *generator) statements(depth int) {
	for range 1 + g.pick(6) {
		g.statement(depth)
	}
}

// branch leaves what the label at distance to carries on the stack.
func (g *generator) carried(to, depth int) bool {
	t := g.labels[len(g.labels)-1-to]
	if t == 0 {
		return false
	}
	g.value(t, depth-1)
	return true
}

func (g *generator) statement(depth int) {
	g.room--
	if depth <= 0 || g.room < 0 || len(g.src) == 0 {
		return
	}
	switch g.pick(14) {
	case 0:
		if t := generated[g.pick(len(generated))]; g.local(t) >= 0 {
			g.value(t, depth-1)
			g.put(0x21, num(g.local(t)))
		}
	case 1:
		g.address(depth - 1)
		g.value('i', depth-1)
		g.put(0x36, 2, 0)
	case 2:
		g.nested(opBlock, depth)
	case 3, 4:
		g.nested(opLoop, depth)
	case 5:
		g.value('i', depth-1)
		g.nested(opIf, depth)
	case 6, 7:
		to := g.pick(len(g.labels))
		carried := g.carried(to, depth)
		g.value('i', depth-1)
		g.put(opBrIf, to)
		if carried {
			g.put(0x1a)
		}
	case 8:
		to := g.pick(len(g.labels))
		g.carried(to, depth)
		g.put(opBr, to)
	case 9:
		g.table(depth)
	case 10:
		if g.result != 0 {
			g.value(g.result, depth-1)
		}
		g.put([]int{opReturn, opReturn, opUnreachable}[g.pick(3)])
	case 11:
		g.call(0, depth)
	case 12:
		g.value('I', depth-1)
		g.put(opGlobalSet, g.pick(2))
	case 13:
		g.bulk(depth)
	}
}

func (g *generator) nested(op, depth int) {
	g.put(op, noResult)
	g.labels = append(g.labels, 0)
	g.statements(depth - 1)
	if op == opIf && g.pick(2) == 0 {
		g.put(opElse)
		g.statements(depth - 1)
	}
	g.labels = g.labels[:len(g.labels)-1]
	g.put(opEnd)
}

// table branches to labels that carry the same type.
func (g *generator) table(depth int) {
	first := g.pick(len(g.labels))
	var same []int
	for to := range g.labels {
		if g.labels[len(g.labels)-1-to] == g.labels[len(g.labels)-1-first] {
			same = append(same, to)
		}
	}
	g.carried(first, depth)
	g.value('i', depth-1)
	n := g.pick(4)
	g.put(opBrTable, n)
	for range n + 1 {
		g.put(same[g.pick(len(same))])
	}
}

func (g *generator) bulk(depth int) {
	g.address(depth - 1)
	switch g.pick(4) {
	case 0:
		g.value('i', depth-1)
		g.value('i', depth-1)
		g.put(i32(0x1f), 0x71, opMisc, miscMemoryFill, 0)
	case 1:
		g.address(depth - 1)
		g.value('i', depth-1)
		g.put(i32(0xff), 0x71, opMisc, miscMemoryCopy, 0, 0)
	case 2:
		g.put(i32(0), i32(g.pick(12)), opMisc, miscMemoryInit, g.pick(2), 0)
	case 3:
		g.put(0x1a, i32(0), i32(0), i32(g.pick(4)), opMisc, miscTableCopy, 0, 0)
	}
}

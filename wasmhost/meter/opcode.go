package meter

import "fmt"

// immediate says what follows an opcode.
type immediate byte

const (
	unknown immediate = iota
	none
	structure // decided one by one in scan
	localIndex
	globalIndex
	address     // alignment and offset
	addressLane // and a lane
	lane
	bytes4
	bytes8
	bytes16
	shuffle // 16 lanes
	number32
	number64
	zero      // a reserved byte
	dataIndex // of a segment
	entryList // of elements
)

// opcode is what the scan has to know of an instruction.
type opcode struct {
	immediate immediate
	pop, push int8
	limit     uint8 // the largest alignment (a power of 2), or the number of lanes
}

// span gives the same opcode to a range of codes.
type span struct {
	from, to byte
	opcode
}

// The instructions of WebAssembly 1.0 and of sign extension, as far as their
// shape is more than a code: core specification, "Binary Format".
var core = spread([]span{
	{0x00, 0x00, opcode{structure, 0, 0, 0}}, // unreachable
	{0x01, 0x01, opcode{none, 0, 0, 0}},
	{0x02, 0x05, opcode{structure, 0, 0, 0}}, // block, loop, if, else
	{0x0b, 0x11, opcode{structure, 0, 0, 0}}, // end, br, br_if, br_table, return, call, call_indirect
	{0x1a, 0x1a, opcode{none, 1, 0, 0}},      // drop
	{0x1b, 0x1b, opcode{none, 3, 1, 0}},      // select
	{0x20, 0x20, opcode{localIndex, 0, 1, 0}},
	{0x21, 0x21, opcode{localIndex, 1, 0, 0}},
	{0x22, 0x22, opcode{localIndex, 1, 1, 0}},
	{0x23, 0x23, opcode{globalIndex, 0, 1, 0}},
	{0x24, 0x24, opcode{globalIndex, 1, 0, 0}},
	{0x28, 0x28, opcode{address, 1, 1, 2}}, // loads
	{0x29, 0x29, opcode{address, 1, 1, 3}},
	{0x2a, 0x2a, opcode{address, 1, 1, 2}},
	{0x2b, 0x2b, opcode{address, 1, 1, 3}},
	{0x2c, 0x2d, opcode{address, 1, 1, 0}},
	{0x2e, 0x2f, opcode{address, 1, 1, 1}},
	{0x30, 0x31, opcode{address, 1, 1, 0}},
	{0x32, 0x33, opcode{address, 1, 1, 1}},
	{0x34, 0x35, opcode{address, 1, 1, 2}},
	{0x36, 0x36, opcode{address, 2, 0, 2}}, // stores
	{0x37, 0x37, opcode{address, 2, 0, 3}},
	{0x38, 0x38, opcode{address, 2, 0, 2}},
	{0x39, 0x39, opcode{address, 2, 0, 3}},
	{0x3a, 0x3a, opcode{address, 2, 0, 0}},
	{0x3b, 0x3b, opcode{address, 2, 0, 1}},
	{0x3c, 0x3c, opcode{address, 2, 0, 0}},
	{0x3d, 0x3d, opcode{address, 2, 0, 1}},
	{0x3e, 0x3e, opcode{address, 2, 0, 2}},
	{0x3f, 0x3f, opcode{zero, 0, 1, 0}}, // memory.size
	{0x40, 0x40, opcode{zero, 1, 1, 0}}, // memory.grow
	{0x41, 0x41, opcode{number32, 0, 1, 0}},
	{0x42, 0x42, opcode{number64, 0, 1, 0}},
	{0x43, 0x43, opcode{bytes4, 0, 1, 0}},
	{0x44, 0x44, opcode{bytes8, 0, 1, 0}},
	{0x45, 0x45, opcode{none, 1, 1, 0}}, // comparisons
	{0x46, 0x4f, opcode{none, 2, 1, 0}},
	{0x50, 0x50, opcode{none, 1, 1, 0}},
	{0x51, 0x66, opcode{none, 2, 1, 0}},
	{0x67, 0x69, opcode{none, 1, 1, 0}}, // arithmetic: i32, i64, f32, f64
	{0x6a, 0x78, opcode{none, 2, 1, 0}},
	{0x79, 0x7b, opcode{none, 1, 1, 0}},
	{0x7c, 0x8a, opcode{none, 2, 1, 0}},
	{0x8b, 0x91, opcode{none, 1, 1, 0}},
	{0x92, 0x98, opcode{none, 2, 1, 0}},
	{0x99, 0x9f, opcode{none, 1, 1, 0}},
	{0xa0, 0xa6, opcode{none, 2, 1, 0}},
	{0xa7, 0xc4, opcode{none, 1, 1, 0}}, // conversions, sign extension
})

// Behind the byte 0xfc: saturating conversions and bulk instructions.
var misc = spread([]span{
	{0x00, 0x07, opcode{none, 1, 1, 0}},
	{0x08, 0x08, opcode{dataIndex, 3, 0, 0}}, // memory.init
	{0x09, 0x09, opcode{dataIndex, 0, 0, 0}}, // data.drop
	{0x0a, 0x0b, opcode{zero, 3, 0, 0}},      // memory.copy, memory.fill
	{0x0c, 0x0c, opcode{entryList, 3, 0, 0}},
	{0x0d, 0x0d, opcode{entryList, 0, 0, 0}}, // elem.drop
	{0x0e, 0x0e, opcode{structure, 3, 0, 0}}, // table.copy
})

// Behind the byte 0xfd: vectors of 128 bits.
var vector = spread([]span{
	{0x00, 0x00, opcode{address, 1, 1, 4}}, // loads, store
	{0x01, 0x06, opcode{address, 1, 1, 3}},
	{0x07, 0x07, opcode{address, 1, 1, 0}},
	{0x08, 0x08, opcode{address, 1, 1, 1}},
	{0x09, 0x09, opcode{address, 1, 1, 2}},
	{0x0a, 0x0a, opcode{address, 1, 1, 3}},
	{0x0b, 0x0b, opcode{address, 2, 0, 4}},
	{0x0c, 0x0c, opcode{bytes16, 0, 1, 0}},
	{0x0d, 0x0d, opcode{shuffle, 2, 1, 32}},
	{0x0e, 0x0e, opcode{none, 2, 1, 0}},
	{0x0f, 0x14, opcode{none, 1, 1, 0}}, // splats
	{0x15, 0x16, opcode{lane, 1, 1, 16}},
	{0x17, 0x17, opcode{lane, 2, 1, 16}},
	{0x18, 0x19, opcode{lane, 1, 1, 8}},
	{0x1a, 0x1a, opcode{lane, 2, 1, 8}},
	{0x1b, 0x1b, opcode{lane, 1, 1, 4}},
	{0x1c, 0x1c, opcode{lane, 2, 1, 4}},
	{0x1d, 0x1d, opcode{lane, 1, 1, 2}},
	{0x1e, 0x1e, opcode{lane, 2, 1, 2}},
	{0x1f, 0x1f, opcode{lane, 1, 1, 4}},
	{0x20, 0x20, opcode{lane, 2, 1, 4}},
	{0x21, 0x21, opcode{lane, 1, 1, 2}},
	{0x22, 0x22, opcode{lane, 2, 1, 2}},
	{0x23, 0x4c, opcode{none, 2, 1, 0}}, // comparisons
	{0x4d, 0x4d, opcode{none, 1, 1, 0}},
	{0x4e, 0x51, opcode{none, 2, 1, 0}},
	{0x52, 0x52, opcode{none, 3, 1, 0}}, // bitselect
	{0x53, 0x53, opcode{none, 1, 1, 0}},
	{0x54, 0x54, opcode{addressLane, 2, 1, 0}}, // loads and stores of a lane
	{0x55, 0x55, opcode{addressLane, 2, 1, 1}},
	{0x56, 0x56, opcode{addressLane, 2, 1, 2}},
	{0x57, 0x57, opcode{addressLane, 2, 1, 3}},
	{0x58, 0x58, opcode{addressLane, 2, 0, 0}},
	{0x59, 0x59, opcode{addressLane, 2, 0, 1}},
	{0x5a, 0x5a, opcode{addressLane, 2, 0, 2}},
	{0x5b, 0x5b, opcode{addressLane, 2, 0, 3}},
	{0x5c, 0x5c, opcode{address, 1, 1, 2}},
	{0x5d, 0x5d, opcode{address, 1, 1, 3}},
	{0x5e, 0x64, opcode{none, 1, 1, 0}},
	{0x65, 0x66, opcode{none, 2, 1, 0}},
	{0x67, 0x6a, opcode{none, 1, 1, 0}},
	{0x6b, 0x73, opcode{none, 2, 1, 0}},
	{0x74, 0x75, opcode{none, 1, 1, 0}},
	{0x76, 0x79, opcode{none, 2, 1, 0}},
	{0x7a, 0x7a, opcode{none, 1, 1, 0}},
	{0x7b, 0x7b, opcode{none, 2, 1, 0}},
	{0x7c, 0x81, opcode{none, 1, 1, 0}},
	{0x82, 0x82, opcode{none, 2, 1, 0}},
	{0x83, 0x84, opcode{none, 1, 1, 0}},
	{0x85, 0x86, opcode{none, 2, 1, 0}},
	{0x87, 0x8a, opcode{none, 1, 1, 0}},
	{0x8b, 0x93, opcode{none, 2, 1, 0}},
	{0x94, 0x94, opcode{none, 1, 1, 0}},
	{0x95, 0x99, opcode{none, 2, 1, 0}},
	{0x9b, 0x9f, opcode{none, 2, 1, 0}},
	{0xa0, 0xa1, opcode{none, 1, 1, 0}},
	{0xa3, 0xa4, opcode{none, 1, 1, 0}},
	{0xa7, 0xaa, opcode{none, 1, 1, 0}},
	{0xab, 0xae, opcode{none, 2, 1, 0}},
	{0xb1, 0xb1, opcode{none, 2, 1, 0}},
	{0xb5, 0xba, opcode{none, 2, 1, 0}},
	{0xbc, 0xbf, opcode{none, 2, 1, 0}},
	{0xc0, 0xc1, opcode{none, 1, 1, 0}},
	{0xc3, 0xc4, opcode{none, 1, 1, 0}},
	{0xc7, 0xca, opcode{none, 1, 1, 0}},
	{0xcb, 0xce, opcode{none, 2, 1, 0}},
	{0xd1, 0xd1, opcode{none, 2, 1, 0}},
	{0xd5, 0xdf, opcode{none, 2, 1, 0}},
	{0xe0, 0xe1, opcode{none, 1, 1, 0}},
	{0xe3, 0xe3, opcode{none, 1, 1, 0}},
	{0xe4, 0xeb, opcode{none, 2, 1, 0}},
	{0xec, 0xed, opcode{none, 1, 1, 0}},
	{0xef, 0xef, opcode{none, 1, 1, 0}},
	{0xf0, 0xf7, opcode{none, 2, 1, 0}},
	{0xf8, 0xff, opcode{none, 1, 1, 0}},
})

func spread(list []span) *[256]opcode {
	var t [256]opcode
	for _, s := range list {
		for c := int(s.from); c <= int(s.to); c++ {
			t[c] = s.opcode
		}
	}
	return &t
}

// Codes that the scan decides one by one.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opMemoryGrow   = 0x40
	opMisc         = 0xfc
	opVector       = 0xfd

	miscMemoryInit = 0x08
	miscMemoryCopy = 0x0a
	miscMemoryFill = 0x0b
	miscTableInit  = 0x0c
	miscTableCopy  = 0x0e
)

// feature names what an instruction that is not enabled belongs to.
func feature(op byte) string {
	switch {
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return "exceptions"
	case op == 0x12, op == 0x13:
		return "tail calls"
	case op == 0x14, op == 0x15, op >= 0xd3 && op <= 0xd6:
		return "typed function references"
	case op == 0x1c, op == 0x25, op == 0x26, op >= 0xd0 && op <= 0xd2:
		return "reference types"
	case op == 0xfb:
		return "garbage collection"
	case op == 0xfe:
		return "threads"
	}
	return ""
}

// disabled says why an instruction is refused.
func disabled(op byte) string {
	if f := feature(op); f != "" {
		return fmt.Sprintf("instruction %#02x belongs to %s, which modules may not use", op, f)
	}
	return fmt.Sprintf("instruction %#02x is not known", op)
}

package asm

import (
	"encoding/binary"
	"math"
	"slices"
)

// Code is a piece of a function's body: instructions one behind the other.
// Pieces are put together by [Seq] and by the functions that take a body. An
// instruction without an operand is a constant below, used as Op(I32Add); any
// other is written as its bytes: Code{0xfc, 0x0b, 0x00}.
type Code []byte

// Instructions without operands; [Op] makes code of them.
const (
	Unreachable  = 0x00
	Nop          = 0x01
	Return       = 0x0f
	Drop         = 0x1a
	Select       = 0x1b
	I32Eqz       = 0x45
	I32Eq        = 0x46
	I32Ne        = 0x47
	I32LtS       = 0x48
	I32LtU       = 0x49
	I32GtS       = 0x4a
	I32GtU       = 0x4b
	I32LeS       = 0x4c
	I32GeS       = 0x4e
	I32GeU       = 0x4f
	I64Eqz       = 0x50
	I64Eq        = 0x51
	I64Ne        = 0x52
	I64LtS       = 0x53
	I64GtS       = 0x55
	I32Add       = 0x6a
	I32Sub       = 0x6b
	I32Mul       = 0x6c
	I32DivS      = 0x6d
	I32And       = 0x71
	I32Or        = 0x72
	I32Xor       = 0x73
	I32Shl       = 0x74
	I32ShrU      = 0x76
	I64Add       = 0x7c
	I64Sub       = 0x7d
	I64Mul       = 0x7e
	I64DivS      = 0x7f
	I64And       = 0x83
	I32WrapI64   = 0xa7
	I64ExtendI32 = 0xac // signed
)

// Instructions of loads and stores, for [Mem].
const (
	I32Load   = 0x28
	I64Load   = 0x29
	I32Load8U = 0x2d
	I32Store  = 0x36
	I64Store  = 0x37
	I32Store8 = 0x3a
)

// None is the type of a block without a result.
const None byte = 0x40

// Seq puts pieces of code one behind the other.
func Seq(parts ...Code) Code { return slices.Concat(parts...) }

// Op gives instructions without operands.
func Op(codes ...byte) Code { return codes }

// I32 pushes a constant.
func I32(v int32) Code { return append(Code{0x41}, Int(int64(v))...) }

// I64 pushes a constant.
func I64(v int64) Code { return append(Code{0x42}, Int(v)...) }

// F32 pushes a constant.
func F32(v float32) Code {
	return binary.LittleEndian.AppendUint32(Code{0x43}, math.Float32bits(v))
}

// F64 pushes a constant.
func F64(v float64) Code {
	return binary.LittleEndian.AppendUint64(Code{0x44}, math.Float64bits(v))
}

// Get pushes a local; parameters are the first locals.
func Get(local uint32) Code { return with(0x20, local) }

// Set pops a value into a local.
func Set(local uint32) Code { return with(0x21, local) }

// Tee copies the top value into a local.
func Tee(local uint32) Code { return with(0x22, local) }

// GetGlobal pushes a global.
func GetGlobal(g Global) Code { return with(0x23, uint32(g)) }

// SetGlobal pops a value into a global.
func SetGlobal(g Global) Code { return with(0x24, uint32(g)) }

// Call calls a function.
func Call(f Func) Code { return with(0x10, uint32(f)) }

// CallIndirect calls the entry of the first table whose number is on the
// stack, with a type of [Module.Type].
func CallIndirect(typ uint32) Code { return append(with(0x11, typ), 0) }

// Block is a block of a type's letter, or [None]; a branch leaves it.
func Block(typ byte, body ...Code) Code { return nest(0x02, typ, body) }

// Loop is a block whose branch begins it again.
func Loop(typ byte, body ...Code) Code { return nest(0x03, typ, body) }

// If runs its body if the value on the stack is not zero. An Else may stand
// between two parts of it.
func If(typ byte, body ...Code) Code { return nest(0x04, typ, body) }

// Else begins the other part of an If.
func Else() Code { return Code{0x05} }

// Br leaves depth blocks more than the innermost one.
func Br(depth uint32) Code { return with(0x0c, depth) }

// BrIf is Br if the value on the stack is not zero.
func BrIf(depth uint32) Code { return with(0x0d, depth) }

// BrTable is Br to the target whose number is on the stack, or to the last
// one, otherwise.
func BrTable(otherwise uint32, targets ...uint32) Code {
	b := append(Code{0x0e}, Uint(uint64(len(targets)))...)
	for _, t := range targets {
		b = append(b, Uint(uint64(t))...)
	}
	return append(b, Uint(uint64(otherwise))...)
}

// Mem is a load or store with a constant offset.
func Mem(code byte, offset uint32) Code { return append(Code{code, 0}, Uint(uint64(offset))...) }

// MemorySize pushes the memory's pages.
func MemorySize() Code { return Code{0x3f, 0} }

// MemoryGrow adds the pages on the stack and pushes how many there were, or -1.
func MemoryGrow() Code { return Code{0x40, 0} }

// MemoryCopy pops target, source and length.
func MemoryCopy() Code { return Code{0xfc, 0x0a, 0, 0} }

// MemoryFill pops target, value and length.
func MemoryFill() Code { return Code{0xfc, 0x0b, 0} }

// MemoryInit pops target, source and length, for a segment of [Module.Passive].
func MemoryInit(segment uint32) Code {
	return append(append(Code{0xfc, 0x08}, Uint(uint64(segment))...), 0)
}

func with(code byte, n uint32) Code { return append(Code{code}, Uint(uint64(n))...) }

func nest(code, typ byte, body []Code) Code {
	if typ != None {
		typ = valueType(typ)
	}
	return slices.Concat(Code{code, typ}, Seq(body...), Code{0x0b})
}

// Uint is an unsigned LEB128 number.
func Uint(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// Int is a signed LEB128 number.
func Int(v int64) []byte {
	var b []byte
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// Name is a length and bytes.
func Name(s string) []byte { return append(Uint(uint64(len(s))), s...) }

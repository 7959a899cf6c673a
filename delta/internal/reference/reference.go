// Package reference finds the fields of an executable that hold addresses, and
// foretells what they hold in the next version of it.
//
// When code moves, every call, pointer and table that leads to it changes,
// although nothing of substance did. The list of copies between two versions
// already says where each old byte went, so it also says what most of those
// fields hold now. Both sides of a patch work that out alike, from old bytes
// only; the patch has to say merely where the forecast is wrong.
//
// The order of calls, for one element (an executable inside old and its
// counterpart inside new):
//
//	e, ok := reference.Parse(old, size)        // headers and bounded tables of old
//	m, err := reference.NewMap(copies, size)   // where old bytes went, before any frame
//	l, err := e.ReadLayout(record, m)          // new's segments, from the patch
//	c := reference.NewCopier()                 // one for all elements
//	c.Reset()                                  // at the start of each frame
//	c.Use(id, e, l, m, old)                    // where copies of another element follow
//	c.Decode(dst, copy, skip, decoder)         // the bytes of a copy, in order
//
// An encoder parses both files, asks [Element.Measure] whether an element is
// worth it, writes the record with [AppendLayout],
// and calls [Encode] where an applier calls [Copier.Decode]: both are
// one function, so that they cannot disagree. [Absolute] gives it the
// form of an image in which equal code has equal bytes, wherever it lies.
//
// Old may be damaged or hostile. Any bytes give a bounded answer: fewer fields
// or no element, never a panic, and work in proportion to their length. What
// is held: the headers of old, 4 bytes for each 4 KiB of its unwind, type and
// function records, 8 bytes for each part of the map and 4 bytes for each 4 KiB
// of old, 1 MiB of models (half of it the memory of targets), and 512 KiB around
// the places that are read.
//
// What is understood is little-endian: ELF for x86-64, arm64, riscv64 and 32-bit
// arm, and PE for x86-64. Nothing here vouches for the result: compare its
// digest.
package reference

import "errors"

// ErrCorrupt is the error for a layout or a map that no encoder wrote.
var ErrCorrupt = errors.New("corrupt reference data")

// Copy says that Length bytes of new, from New on, come from old, from Old on,
// most of them unchanged. Both places are counted from the element's start.
type Copy struct{ Old, New, Length int64 }

// Kind says how a field holds its number, and what the number counts.
type Kind uint8

// The kinds of fields. "Address" is an address of the running program.
const (
	// Near32 is a 32-bit distance to an address, from the end of the field.
	Near32 Kind = iota
	// Data32 is Near32 in an operand of an instruction rather than in a jump.
	Data32
	// Branch26 is the distance in words of an arm64 B or BL.
	Branch26
	// Page21 is an arm64 ADRP, with the ADD, load or store that completes it.
	Page21
	// Wide32 is an address in 32 bits that are sign-extended when used.
	Wide32
	// Word is an address in 8 bytes, in data that a loader or program writes.
	Word
	// ConstWord is an address in 8 bytes of read-only data.
	ConstWord
	// Site is an address in 8 bytes that says where a relocation applies.
	Site
	// DebugWord is an address in 8 bytes of information for debuggers.
	DebugWord
	// Symbol is an address in 8 bytes of a symbol table.
	Symbol
	// Table32 is a 32-bit distance to an address, from the start of the field.
	Table32
	// Switch32 is a 32-bit distance to an address, from the start of its table.
	Switch32
	// Frame32 is Table32 in an unwind record.
	Frame32
	// Down32 is the complement of a 32-bit distance to an address, from the
	// start of code, as in a kernel's list of its symbols.
	Down32
	// Back32 is a 32-bit distance back within the file, from the field.
	Back32
	// Base32 is a 32-bit distance to an address, from the address of a base.
	Base32
	// Name is a 32-bit distance within the file, from a base, to a string.
	Name
	// Offset is a 32-bit distance within the file, from a base.
	Offset
	// Offset4 counts Offset in units of 4 bytes.
	Offset4
	// Offset24 counts Offset in units of 24 bytes.
	Offset24
	// Section64 is a 64-bit distance within the file, from a section's start.
	Section64
	// TypeName is a name in BTF type information.
	TypeName
	// OuterName is a name in BTF type information whose strings go on where
	// another file's end.
	OuterName
	// TypeID is a type's number in BTF type information.
	TypeID
	// Inline is Name in a record of Go's inlining tables.
	Inline
	// GoName is Name in Go's type information.
	GoName
	// GoType is Offset in Go's type information.
	GoType
	// Branch24 is the distance of an ARM B, BL or BLX of 32-bit arm.
	Branch24
	// BranchThumb is the distance of a Thumb B, BL or BLX of 4 bytes.
	BranchThumb
	// Pool32 is a 32-bit distance to an address, from an instruction elsewhere
	// that adds it to its own address.
	Pool32
	// Move32 is an address in a MOVW and a MOVT of 32-bit arm.
	Move32
	// MoveNear32 is what Pool32 is, in a MOVW and a MOVT.
	MoveNear32
	// Word32 is Word in 4 bytes.
	Word32
	// ConstWord32 is ConstWord in 4 bytes.
	ConstWord32
	// Site32 is Site in 4 bytes.
	Site32
	// Symbol32 is Symbol in 4 bytes.
	Symbol32
	// Table31 is Table32 in the lower 31 bits.
	Table31
	// Item16 counts Offset in units of 16 bytes, in the upper 24 bits.
	Item16
	// Section32 is Section64 in 4 bytes.
	Section32
	// Jump20 is the distance of a riscv JAL.
	Jump20
	// Pair32 is a distance to an address in a riscv AUIPC and the instruction
	// that completes it.
	Pair32
	// Page12 is the lower 12 bits of an address, in 2 bytes.
	Page12
	// Branch12 is the distance of a riscv conditional branch.
	Branch12
	// Short16 is the distance of a branch or a load in 2 bytes.
	Short16
	// Load12 is the distance of an LDR of 32-bit arm from its pool.
	Load12
	// Listed24 counts the entries of a kernel's list of its symbols, in 3 bytes
	// with the highest first.
	Listed24
	// WideSite is an address in 32 bits that are sign-extended when used, in a
	// list of where a kernel is to be relocated.
	WideSite

	kinds
)

// Field is one reference in old. Fields are found in order of Off.
type Field struct {
	Off  int64  // where it starts, from the element's start
	Aux  uint32 // Page21, Pair32: where the completing instruction is, from Off; kinds of 32-bit arm: as [Field.move], [Field.armFrom] and [Field.shortForm] read it; else the place of the base
	Kind Kind
}

// size is how many bytes from Off on belong to the field.
func (f Field) size() int64 {
	switch f.Kind {
	case Word, ConstWord, Site, DebugWord, Symbol, Section64:
		return 8
	case Page21, Pair32:
		return int64(f.Aux) + 4
	case Move32, MoveNear32:
		return int64(f.Aux&255) + 4
	case Page12, Short16:
		return 2
	case Listed24:
		return 3
	}
	return 4
}

// limits of what an element may have; beyond them it is none.
const (
	maxSize     = 1<<32 - 1
	maxSegments = 256
	maxSections = 8192
	maxNames    = 256 << 10
	maxRecord   = 64 << 10
)

// Package asm writes WebAssembly modules, good ones and bad ones.
//
// A [Module] is filled call by call, and [Module.Bytes] gives its binary form.
// Nothing is validated: a module with a table of a hundred million entries, two
// exports of one name or a body that ends early is as easy to write as a right
// one, which is what the package is for. Code is a concatenation of
// instructions; see [Code].
//
//	var m asm.Module
//	log := m.Import("updraft_v1", "log", "iii:")
//	m.Memory(1, -1)
//	m.Data(0, "hello")
//	f := m.Func("i:i", nil,
//		asm.I32(1), asm.I32(0), asm.I32(5), asm.Call(log),
//		asm.I32(0))
//	m.ExportFunc("updraft_phase", f)
//	wasm := m.Bytes()
//
// Types are written with a letter for each value: i and I are i32 and i64, f and
// F are f32 and f64, v is v128, r and e are funcref and externref. A function's
// type is its parameters, a colon and its results.
package asm

import (
	"fmt"
	"slices"
	"strings"
)

// Func is a function's number: imports come first.
type Func uint32

// Global is a global's number.
type Global uint32

// Module is a module that is being written. The zero value is an empty one.
// It may not be shared.
type Module struct {
	types    []string
	imports  [][]byte
	imported Func // functions among them
	globals  int
	code     [][]byte // bodies with their sizes
	funcs    [][]byte // type numbers
	lists    [13][][]byte
	start    []byte
	count    bool // a data count section is wanted
	raw      []section
	custom   []section
}

type section struct {
	id   byte
	data []byte
}

// Ids of the sections.
const (
	SecCustom    = 0
	SecType      = 1
	SecImport    = 2
	SecFunction  = 3
	SecTable     = 4
	SecMemory    = 5
	SecGlobal    = 6
	SecExport    = 7
	SecStart     = 8
	SecElement   = 9
	SecCode      = 10
	SecData      = 11
	SecDataCount = 12
)

// What an import or export can be.
const (
	KindFunc   = 0
	KindTable  = 1
	KindMemory = 2
	KindGlobal = 3
)

// Type gives the number of a function type, which is added if it is new.
func (m *Module) Type(signature string) uint32 {
	if i := slices.Index(m.types, signature); i >= 0 {
		return uint32(i)
	}
	m.types = append(m.types, signature)
	return uint32(len(m.types) - 1)
}

// Import adds an imported function. All imports come before the first Func,
// whose number would change otherwise; it panics if one comes later.
func (m *Module) Import(module, name, signature string) Func {
	if len(m.funcs) > 0 {
		panic(fmt.Sprintf("asm: import %s.%s after a function", module, name))
	}
	m.RawImport(module, name, KindFunc, Uint(uint64(m.Type(signature)))...)
	m.imported++
	return m.imported - 1
}

// RawImport adds an import of any kind. It does not count as a function.
func (m *Module) RawImport(module, name string, kind byte, description ...byte) {
	m.imports = append(m.imports, slices.Concat(Name(module), Name(name), []byte{kind}, description))
}

// Locals is a run of locals of one type.
type Locals struct {
	Count uint32
	Type  byte // letter
}

// Func adds a function with a body, whose end is added.
func (m *Module) Func(signature string, locals []Locals, body ...Code) Func {
	b := Uint(uint64(len(locals)))
	for _, l := range locals {
		b = append(append(b, Uint(uint64(l.Count))...), valueType(l.Type))
	}
	return m.RawFunc(signature, slices.Concat(b, Seq(body...), []byte{0x0b}))
}

// RawFunc adds a function whose body, with locals and end, is given as bytes.
func (m *Module) RawFunc(signature string, body []byte) Func {
	m.funcs = append(m.funcs, Uint(uint64(m.Type(signature))))
	m.code = append(m.code, slices.Concat(Uint(uint64(len(body))), body))
	return m.imported + Func(len(m.funcs)-1)
}

// limits is a minimum and, if not negative, a maximum.
func limits(low, high int64) []byte {
	if high < 0 {
		return append([]byte{0}, Uint(uint64(low))...)
	}
	return slices.Concat([]byte{1}, Uint(uint64(low)), Uint(uint64(high)))
}

// Memory adds a memory of pages of 64 KiB; no maximum if it is negative.
func (m *Module) Memory(pages, maximum int64) { m.Add(SecMemory, limits(pages, maximum)) }

// Table adds a table of functions; no maximum if it is negative.
func (m *Module) Table(entries, maximum int64) {
	m.Add(SecTable, append([]byte{valueType('r')}, limits(entries, maximum)...))
}

// Global adds a global of a type's letter, with code that gives its first value.
func (m *Module) Global(typ byte, mutable bool, value Code) Global {
	flag := byte(0)
	if mutable {
		flag = 1
	}
	m.Add(SecGlobal, slices.Concat([]byte{valueType(typ), flag}, value, []byte{0x0b}))
	m.globals++
	return Global(m.globals - 1)
}

// Export adds an export of any kind.
func (m *Module) Export(name string, kind byte, index uint32) {
	m.Add(SecExport, slices.Concat(Name(name), []byte{kind}, Uint(uint64(index))))
}

// ExportFunc adds an export of a function.
func (m *Module) ExportFunc(name string, f Func) { m.Export(name, KindFunc, uint32(f)) }

// Start makes f the function that runs when the module is instantiated.
func (m *Module) Start(f Func) { m.start = Uint(uint64(f)) }

// Elements puts functions into the first table, from an entry on.
func (m *Module) Elements(at int32, functions ...Func) {
	b := slices.Concat([]byte{0}, I32(at), []byte{0x0b}, Uint(uint64(len(functions))))
	for _, f := range functions {
		b = append(b, Uint(uint64(f))...)
	}
	m.Add(SecElement, b)
}

// Data puts bytes into the memory, from an address on.
func (m *Module) Data(at int32, bytes string) {
	m.Add(SecData, slices.Concat([]byte{0}, I32(at), []byte{0x0b}, Name(bytes)))
}

// Passive adds bytes for memory.init and gives the segment's number.
func (m *Module) Passive(bytes string) uint32 {
	m.count = true
	m.Add(SecData, append([]byte{1}, Name(bytes)...))
	return uint32(len(m.lists[SecData]) - 1)
}

// Custom adds a custom section behind all others.
func (m *Module) Custom(name string, data []byte) {
	m.custom = append(m.custom, section{SecCustom, append(Name(name), data...)})
}

// Add adds an item to a section that is a list, as bytes.
func (m *Module) Add(id byte, item []byte) { m.lists[id] = append(m.lists[id], item) }

// Raw adds a whole section as bytes without its header, before the module's
// own section of that id.
func (m *Module) Raw(id byte, data []byte) { m.raw = append(m.raw, section{id, data}) }

// Bytes gives the module's binary form.
func (m *Module) Bytes() []byte {
	var types [][]byte
	for _, t := range m.types {
		params, results, _ := strings.Cut(t, ":")
		types = append(types, slices.Concat([]byte{0x60}, values(params), values(results)))
	}
	lists := m.lists
	lists[SecType], lists[SecImport], lists[SecFunction] = types, m.imports, m.funcs
	lists[SecCode] = append(slices.Clone(m.code), m.lists[SecCode]...)
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []byte{SecType, SecImport, SecFunction, SecTable, SecMemory, SecGlobal, SecExport,
		SecStart, SecElement, SecDataCount, SecCode, SecData} {
		for _, s := range m.raw {
			if s.id == id {
				out = appendSection(out, id, s.data)
			}
		}
		switch {
		case id == SecStart && m.start != nil:
			out = appendSection(out, id, m.start)
		case id == SecDataCount && m.count:
			out = appendSection(out, id, Uint(uint64(len(lists[SecData]))))
		case len(lists[id]) > 0:
			out = appendSection(out, id, append(Uint(uint64(len(lists[id]))), slices.Concat(lists[id]...)...))
		}
	}
	for _, s := range m.raw {
		if s.id == SecCustom || s.id > SecDataCount {
			out = appendSection(out, s.id, s.data)
		}
	}
	for _, s := range m.custom {
		out = appendSection(out, s.id, s.data)
	}
	return out
}

func appendSection(out []byte, id byte, data []byte) []byte {
	return append(append(append(out, id), Uint(uint64(len(data)))...), data...)
}

func values(letters string) []byte {
	b := Uint(uint64(len(letters)))
	for i := range len(letters) {
		b = append(b, valueType(letters[i]))
	}
	return b
}

// valueType gives the code of a type's letter. What is no letter stands for
// itself, so that an unknown type can be written.
func valueType(letter byte) byte {
	if code, ok := map[byte]byte{'i': 0x7f, 'I': 0x7e, 'f': 0x7d, 'F': 0x7c, 'v': 0x7b, 'r': 0x70, 'e': 0x6f}[letter]; ok {
		return code
	}
	return letter
}

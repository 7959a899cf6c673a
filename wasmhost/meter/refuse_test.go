package meter

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// one is a module of one function without parameters and results.
func one(code ...byte) asm {
	return asm{functions: []function{{"f", ":", "i", code}}, memory: []byte{0, 1}, table: 1}
}

// raw is a module of sections.
func raw(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

func custom(name string, size int) []byte {
	return section(nil, secCustom, append(text(nil, name), make([]byte, size)...))
}

func TestRefuse(t *testing.T) {
	var (
		types  = sec(secType, []byte{0x60, 0, 0})
		empty  = []byte{2, 0, opEnd}
		plain  = one().bytes()
		global = func(b ...byte) []byte { return raw(types, sec(secGlobal, b)) }
		table  = func(b ...byte) []byte { return raw(types, sec(secTable, b)) }
		mem    = func(b ...byte) []byte { return raw(types, sec(secMemory, b)) }
		fn     = sec(secFunction, []byte{0})
		code   = sec(secCode, empty)
		elem   = func(b ...byte) []byte {
			return raw(types, fn, sec(secTable, []byte{0x70, 0, 4}), sec(secElement, b), code)
		}
		imp = func(module string, b ...byte) []byte {
			return raw(types, sec(secImport, append(text(text(nil, module), "f"), b...)))
		}
		export = func(name string, b ...byte) []byte {
			return raw(types, fn, sec(secExport, append(text(nil, name), b...)), code)
		}
	)
	for _, tt := range []struct {
		name   string
		wasm   []byte
		offset int64 // -1: anywhere
		want   string
	}{
		{"nothing", nil, 0, "the file is empty"},
		{"text", []byte("  (module)"), 0, "text format"},
		{"something else", []byte("\x7fELF1234"), 0, "not a WebAssembly module"},
		{"half a header", []byte("\x00asm\x01"), 5, "truncated: want its header"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), 4, "this is a component"},
		{"another version", []byte("\x00asm\x02\x00\x00\x00"), 4, "version 02 00 00 00"},
		{"an unknown section", raw([]byte{14, 0}), 8, "section 14 is not known"},
		{"tags", raw([]byte{13, 0}), 8, "exceptions"},
		{"no size", raw([]byte{1}), 9, "truncated: want the size of a section"},
		{"a section beyond the end", raw([]byte{1, 9, 0}), 8, `section "type" has 9 bytes, 1 are left`},
		{"a section twice", raw(types, types), 14, "twice or in the wrong place"},
		{"sections out of order", raw(sec(secFunction), types), 8 + 3, "twice or in the wrong place"},
		{"bytes too many in a section", raw([]byte{1, 2, 0, 0}), 11, "1 bytes too many"},
		{"a number too long", raw([]byte{1, 6, 0x80, 0x80, 0x80, 0x80, 0x80, 0}), 10, "not a number of 32 bits"},
		{"a number too large", raw([]byte{1, 5, 0xff, 0xff, 0xff, 0xff, 0x1f}), 10, "not a number of 32 bits"},
		{"more items than bytes", raw([]byte{1, 1, 9}), 10, "does not fit"},
		{"too many types", raw(section(nil, secType, append(num(20001), bytes.Repeat([]byte{0x60, 0, 0}, 20001)...))), 12, "20001 types, at most 20000"},
		{"a type form", raw(sec(secType, []byte{0x5f, 0, 0})), 11, "type form 0x5f"},
		{"two results", raw(sec(secType, []byte{0x60, 0, 2, 0x7f, 0x7f})), 13, "multi-value"},
		{"a reference as parameter", raw(sec(secType, []byte{0x60, 1, 0x6f, 0})), 13, "reference types"},
		{"an unknown type", raw(sec(secType, []byte{0x60, 1, 1, 0})), 13, "value type 0x01 is not known"},
		{"an imported memory", imp("env", 2, 0, 1), 8 + 6 + 3 + 6, "env.f is not a function"},
		{"an import of a missing type", imp("env", 0, 1), 8 + 6 + 3 + 7, "type 1 does not exist"},
		{"an import that is reserved", imp(Module, 0, 0), 8 + 6 + 3, "reserved"},
		{"an import whose name is no text", imp("\xff", 0, 0), 8 + 6 + 4, "not UTF-8"},
		{"an import with a long name", imp(strings.Repeat("n", 513), 0, 0), -1, "has 513 bytes, at most 512"},
		{"a function of a missing type", raw(types, sec(secFunction, []byte{1})), 8 + 6 + 3, "type 1 does not exist"},
		{"too many functions", raw(types, section(nil, secFunction, append(num(20001), make([]byte, 20001)...))), -1, "20001 functions, at most 20000"},
		{"functions without bodies", raw(types, fn), -1, "1 functions have a type, 0 have a body"},
		{"bodies without functions", raw(types, code), -1, "0 functions have a type, 1 have a body"},
		{"two tables", raw(sec(secTable, []byte{0x70, 0, 1}, []byte{0x70, 0, 1})), 10, "2 tables, at most 1"},
		{"a table of references", table(0x6f, 0, 1), -1, "want functions"},
		{"a shared table", table(0x70, 2, 1), -1, "shared or of 64 bits"},
		{"a large table", table(0x70, 0, 0x81, 0x80, 0x04), -1, "65537 entries, at most 65536"},
		{"a table whose maximum is below", table(0x70, 1, 2, 1), -1, "maximum of 1 below its minimum of 2"},
		{"two memories", raw(sec(secMemory, []byte{0, 1}, []byte{0, 1})), 10, "2 memories, at most 1"},
		{"a shared memory", mem(3, 1, 1), -1, "shared or of 64 bits"},
		{"a memory of 64 bits", mem(4, 1), -1, "shared or of 64 bits"},
		{"a memory of 65,537 pages", mem(0, 0x81, 0x80, 0x04), -1, "more than 65536 pages"},
		{"a maximum of 65,537 pages", mem(1, 0, 0x81, 0x80, 0x04), -1, "more than 65536 pages"},
		{"too many globals", raw(section(nil, secGlobal, append(num(4097), bytes.Repeat([]byte{0x7f, 0, 0x41, 0, opEnd}, 4097)...))), 12, "4097 globals, at most 4096"},
		{"a global that may be mutable", global(0x7f, 2, 0x41, 0, opEnd), -1, "mutability 0x02"},
		{"a global that is a sum", global(0x7f, 0, 0x41, 0, 0x41, 0, 0x6a, opEnd), -1, "want the end of the expression"},
		{"a global of another", global(0x7f, 0, 0x23, 0, opEnd), -1, "is not a constant"},
		{"a global of a reference", global(0x70, 0, 0xd0, 0x70, opEnd), -1, "reference types"},
		{"an export twice", raw(types, fn, sec(secExport, append(text(nil, "a"), 0, 0), append(text(nil, "a"), 0, 0)), code), 8 + 6 + 4 + 7, `export "a" stands there twice`},
		{"an export that is reserved", export(Fuel, 0, 0), 8 + 6 + 4 + 3, "reserved"},
		{"an exported tag", export("a", 4, 0), -1, "of kind 4"},
		{"an export of a missing function", export("a", 0, 1), -1, "function 1 does not exist, there are 1"},
		{"an export of a missing memory", export("a", 2, 0), -1, "memory 0 does not exist"},
		{"an export of a tank", export("a", 3, 0), -1, "global 0 does not exist"},
		{"a start section", raw(types, fn, section(nil, secStart, []byte{0}), code), 8 + 6 + 4 + 2, "a start section"},
		{"elements of an unknown kind", elem(8, 0, 0), -1, "kind 8"},
		{"elements of another table", elem(2, 1, 0x41, 0, opEnd, 0, 0), -1, "table 1 does not exist"},
		{"elements of another type", elem(1, 1, 0), -1, "elements of type 0x01"},
		{"an element that does not exist", elem(1, 0, 1, 9), -1, "function 9 does not exist"},
		{"an element that is a number", elem(5, 0x70, 1, 0x41, 0, opEnd), -1, "is not an element"},
		{"an element of the meter", elem(0, 0x41, 0, opEnd, 1, 1), -1, "function 1 does not exist"},
		{"data of an unknown kind", raw(sec(secData, []byte{3, 0})), -1, "kind 3"},
		{"data without its bytes", raw(sec(secMemory, []byte{0, 1}), sec(secData, []byte{1, 9, 'a'})), -1, "does not fit"},
		{"a wrong count of data", raw(section(nil, secDataCount, []byte{2})), 10, "2 data segments are announced, there are 0"},
		{"custom sections of more than 1 MiB", raw(custom("a", 1<<19), custom("b", 1<<19+1)), -1, "more than 1048576 bytes"},
		{"300 custom sections", raw(bytes.Repeat(custom("a", 0), 300)), -1, "more than 256 custom sections"},
		{"two sections of names", raw(custom("name", 0), custom("name", 0)), -1, "a second section of names"},
		{"truncated in a body", plain[:len(plain)-2], -1, "truncated"},

		{"a body without an end", raw(types, fn, sec(secCode, []byte{1, 0})), -1, "truncated: want an instruction"},
		{"a body that ends early", raw(types, fn, sec(secCode, []byte{3, 0, opEnd, 1})), -1, "the function ends 1 bytes early"},
		{"bytes behind the bodies", raw(types, fn, section(nil, secCode, []byte{1, 2, 0, opEnd, 0})), -1, "1 bytes too many"},
		{"a body larger than the section", raw(types, fn, sec(secCode, []byte{9, 0, opEnd})), -1, "does not fit into the 2 left"},
		{"a large body", one(make([]byte, 1<<20)...).bytes(), -1, "at most 1048576"},
		{"too many locals", raw(types, fn, sec(secCode, []byte{5, 1, 0xd1, 0x0f, 0x7f, opEnd})), -1, "more than 2000 locals"},
		{"4 billion locals", raw(types, fn, sec(secCode, []byte{8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, opEnd})), -1, "more than 2000 locals"},
		{"a local that does not exist", one(0x20, 1).bytes(), -1, "local 1 does not exist, there are 1"},
		{"a tank", one(0x23, 0, 0x1a).bytes(), -1, "global 0 does not exist"},
		{"a call of the meter", one(opCall, 1).bytes(), -1, "function 1 does not exist"},
		{"a type of the meter", one(0x41, 0, opCallIndirect, 1, 0).bytes(), -1, "type 1 does not exist"},
		{"a label outside", one(opBr, 1).bytes(), -1, "label 1 does not exist, there are 1"},
		{"a label outside in a table", one(0x41, 0, opBrTable, 1, 0, 1).bytes(), -1, "label 1 does not exist"},
		{"too many targets", one(append(append(i32(0), opBrTable, 0x81, 0x20), make([]byte, 4098)...)...).bytes(), -1, "4097 branch targets, at most 4096"},
		{"else without if", one(opBlock, noResult, opElse, opEnd).bytes(), -1, "else without if"},
		{"else twice", one(0x41, 0, opIf, noResult, opElse, opElse, opEnd).bytes(), -1, "else without if"},
		{"a block of a type", one(opBlock, 0, opEnd).bytes(), -1, "multi-value"},
		{"deep blocks", one(append(bytes.Repeat([]byte{opBlock, noResult}, 10_001), bytes.Repeat([]byte{opEnd}, 10_001)...)...).bytes(), -1, "deeper than 10000"},
		{"an alignment", one(0x41, 0, 0x28, 3, 0, 0x1a).bytes(), -1, "alignment 3, at most 2"},
		{"memory 1", one(0x3f, 1, 0x1a).bytes(), -1, "memory 0x01"},
		{"a load without memory", asm{functions: []function{{"f", ":", "", []byte{0x41, 0, 0x28, 2, 0, 0x1a}}}}.bytes(), -1, "there is none"},
		{"memory.grow without memory", asm{functions: []function{{"f", ":", "", []byte{0x41, 0, 0x40, 0, 0x1a}}}}.bytes(), -1, "there is none"},
		{"memory.copy without memory", asm{functions: []function{{"f", ":", "", []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 10, 0, 0}}}}.bytes(), -1, "there is none"},
		{"table.copy without table", asm{functions: []function{{"f", ":", "", []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 14, 0, 0}}}}.bytes(), -1, "table 0 does not exist"},
		{"memory.init without a count", one(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 8, 0, 0).bytes(), -1, "data segment 0 does not exist"},
		{"tail calls", one(0x12, 0).bytes(), -1, "tail calls"},
		{"typed select", one(0x1c, 1, 0x7f).bytes(), -1, "reference types"},
		{"table.grow", one(0xfc, 15, 0).bytes(), -1, "reference types"},
		{"threads", one(0xfe, 0x03, 0).bytes(), -1, "threads"},
		{"exceptions", one(0x06, noResult, opEnd).bytes(), -1, "exceptions"},
		{"garbage collection", one(0xfb, 0).bytes(), -1, "garbage collection"},
		{"relaxed SIMD", one(0xfd, 0x80, 2).bytes(), -1, "relaxed SIMD"},
		{"an unknown instruction", one(0x27).bytes(), -1, "instruction 0x27 is not known"},
		{"an unknown vector instruction", one(0xfd, 0x9a, 1).bytes(), -1, "0xfd 0x9a is not known"},
		{"a vector instruction in disguise", one(0xfd, 0x8c, 0).bytes(), -1, "longer than it need be"},
		{"a bulk instruction in disguise", one(0xfc, 0x8a, 0).bytes(), -1, "longer than it need be"},
		{"a lane", one(0xfd, 0x15, 16).bytes(), -1, "lane 16, there are 16"},
		{"a constant of 33 bits", one(0x41, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a).bytes(), -1, "not a number of 32 bits"},
		{"a constant of 65 bits", one(0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 0x1a).bytes(), -1, "not a number of 64 bits"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Rewrite(tt.wasm, Budget{})
			var e *Error
			if !errors.As(err, &e) || p != nil {
				t.Fatalf("error = %v", err)
			}
			if e.Code != Invalid || !strings.Contains(e.Detail, tt.want) || tt.offset >= 0 && e.Offset != tt.offset {
				t.Errorf("error = %v, want %q at byte %d", e, tt.want, tt.offset)
			}
			if e.Offset < 0 || e.Offset > int64(len(tt.wasm)) {
				t.Errorf("byte %d is outside the %d bytes", e.Offset, len(tt.wasm))
			}
		})
	}
}

func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limits  []byte
		granted int64
		max     uint32 // pages in the rewritten module
		err     string
	}{
		{"no maximum", []byte{0, 1}, 0, 256, ""},
		{"a small maximum", []byte{1, 1, 3}, 0, 3, ""},
		{"a large maximum", []byte{1, 1, 0x80, 0x80, 0x04}, 1 << 20, 16, ""},
		{"all of it", []byte{0, 16}, 1 << 20, 16, ""},
		{"too much", []byte{0, 17}, 1 << 20, 0, "byte 27: a memory of 1114112 bytes at the start, 1048576 are granted"},
		{"4 GiB", []byte{0, 0x80, 0x80, 0x04}, 0, 0, "byte 27: a memory of 4294967296 bytes at the start, 16777216 are granted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := one()
			a.memory = tt.limits
			p, err := Rewrite(a.bytes(), Budget{Memory: tt.granted})
			var e *Error
			if tt.err != "" {
				if !errors.As(err, &e) || e.Code != TooLarge || e.Error() != tt.err {
					t.Errorf("error = %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			i := start(t, p.Wasm, engines["interpreted"](), tanks{})
			if got, ok := i.Memory().Definition().Max(); !ok || got != tt.max {
				t.Errorf("maximum = %d %v, want %d", got, ok, tt.max)
			}
			if p.Info.Memory.Granted != int64(tt.max)*pageSize {
				t.Errorf("granted = %d", p.Info.Memory.Granted)
			}
		})
	}
}

func TestComplexity(t *testing.T) {
	loops := bytes.Repeat([]byte{opLoop, noResult, 0x20, 0, opBrIf, 0, opEnd}, 5000)
	nested := append(bytes.Repeat([]byte{opLoop, noResult}, 500), bytes.Repeat([]byte{0x20, 0, opBrIf, 0, opEnd}, 500)...)
	many := asm{}
	for range 200 {
		many.functions = append(many.functions, function{"", ":", "i", bytes.Repeat([]byte{0x20, 0, 0x1a}, 3000)})
	}
	types := asm{}
	for range 100 {
		types.functions = append(types.functions, function{"", strings.Repeat("i", 1900) + ":", "", nil})
	}
	// Each of these is accepted, and so are as many uses of a local alone.
	branches := bytes.Repeat([]byte{0x20, 0, opBrIf, 0}, 1000)
	loads := bytes.Repeat([]byte{0x20, 0, 0x28, 0, 0, 0x21, 0}, 4000)
	for _, part := range [][]byte{branches, loads, bytes.Repeat([]byte{0x20, 0, 0x1a}, 50_000)} {
		if _, err := Rewrite(one(part...).bytes(), Budget{}); err != nil {
			t.Error(err)
		}
	}
	for _, tt := range []struct {
		name string
		a    asm
		most int64
		want string
	}{
		{"loops in a row", one(loops...), 0, "compiling this function is too much work"},
		{"loops in loops", asm{functions: []function{{"f", ":", strings.Repeat("i", 100), nested}}}, 0, "compiling this function is too much work"},
		{"much code", many, 1 << 20, "compiling all functions up to here is too much work"},
		{"many parameters", types, 1 << 20, "compiling all types up to here is too much work"},
		{"uses far from a definition", one(append(branches, bytes.Repeat([]byte{0x20, 0, 0x1a}, 50_000)...)...), 0, "compiling this function is too much work"},
		{"branches with many checked addresses", one(append(loads, branches...)...), 0, "compiling this function is too much work"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Rewrite(tt.a.bytes(), Budget{Complexity: tt.most})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

// All segments together may have as many entries as a table.
func TestElementsTogether(t *testing.T) {
	segment := []byte{1, 0, 3, 0, 0, 0} // passive
	wasm := func(segments ...[]byte) []byte {
		return raw(sec(secType, []byte{0x60, 0, 0}), sec(secFunction, []byte{0}), sec(secTable, []byte{0x70, 0, 4}),
			sec(secElement, segments...), sec(secCode, []byte{2, 0, opEnd}))
	}
	if _, err := Rewrite(wasm(segment), Budget{Table: 5}); err != nil {
		t.Error(err)
	}
	_, err := Rewrite(wasm(segment, segment), Budget{Table: 5})
	if err == nil || !strings.Contains(err.Error(), "3 elements, at most 2") {
		t.Errorf("error = %v", err)
	}
}

// The manifest does not count as a custom section that takes room.
func TestManifestApart(t *testing.T) {
	wasm := raw(custom("a", 1<<20), custom(abi.ManifestSection, 100))
	p, err := Rewrite(wasm, Budget{})
	if err != nil {
		t.Fatal(err)
	}
	want := Custom{Name: abi.ManifestSection, Offset: int64(len(wasm) - 100), Size: 100}
	if len(p.Info.Custom) != 2 || p.Info.Custom[1] != want {
		t.Errorf("custom sections = %+v", p.Info.Custom)
	}
}

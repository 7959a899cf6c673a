package meter

import (
	"slices"
	"strings"
)

// asm is a module that is put together by hand.
type asm struct {
	imports   []string // types, of functions of the module "env" named f
	functions []function
	memory    []byte // limits
	table     int    // entries, filled with all functions
	globals   int    // mutable i64
	data      []string
	passive   bool   // the data
	extra     []byte // sections behind all others
}

// function is exported under its name, if it has one.
type function struct {
	name, typ string
	locals    string // letters as in types
	code      []byte // without the last end
}

func values(s string) []byte {
	b := uleb(nil, uint32(len(s)))
	for i := range len(s) {
		b = append(b, valueTypes[s[i]])
	}
	return b
}

func sec(id byte, items ...[]byte) []byte {
	return section(nil, id, slices.Concat(append([][]byte{uleb(nil, uint32(len(items)))}, items...)...))
}

func num(n int) []byte { return uleb(nil, uint32(n)) }

func i32(v int) []byte { return sleb([]byte{0x41}, int64(v)) }

func codes(list ...any) []byte {
	var b []byte
	for _, v := range list {
		switch v := v.(type) {
		case int:
			b = append(b, byte(v))
		case []byte:
			b = append(b, v...)
		}
	}
	return b
}

// bytes gives the binary form.
func (a asm) bytes() []byte {
	var types, imports, functions, exports, bodies, globals, elements, data [][]byte
	typ := func(s string) []byte {
		params, results, _ := strings.Cut(s, ":")
		types = append(types, slices.Concat([]byte{0x60}, values(params), values(results)))
		return num(len(types) - 1)
	}
	for _, t := range a.imports {
		imports = append(imports, slices.Concat(text(text(nil, "env"), "f"), []byte{0}, typ(t)))
	}
	for i, f := range a.functions {
		functions = append(functions, typ(f.typ))
		if f.name != "" {
			exports = append(exports, slices.Concat(text(nil, f.name), []byte{0}, num(len(a.imports)+i)))
		}
		locals := [][]byte{num(len(f.locals))}
		for i := range len(f.locals) {
			locals = append(locals, []byte{1, valueTypes[f.locals[i]]})
		}
		body := slices.Concat(slices.Concat(locals...), f.code, []byte{opEnd})
		bodies = append(bodies, append(num(len(body)), body...))
		elements = append(elements, num(len(a.imports)+i))
	}
	for range a.globals {
		globals = append(globals, []byte{0x7e, 1, opI64Const, 0, opEnd})
	}
	for _, d := range a.data {
		head := []byte{0, 0x41, 0, opEnd}
		if a.passive {
			head = []byte{1}
		}
		data = append(data, append(head, text(nil, d)...))
	}
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	wasm = append(wasm, sec(secType, types...)...)
	if imports != nil {
		wasm = append(wasm, sec(secImport, imports...)...)
	}
	wasm = append(wasm, sec(secFunction, functions...)...)
	if a.table > 0 {
		wasm = append(wasm, sec(secTable, append([]byte{0x70, 0}, num(a.table)...))...)
	}
	if a.memory != nil {
		wasm = append(wasm, sec(secMemory, a.memory)...)
		exports = append(exports, append(text(nil, "memory"), 2, 0))
	}
	if globals != nil {
		wasm = append(wasm, sec(secGlobal, globals...)...)
	}
	wasm = append(wasm, sec(secExport, exports...)...)
	if a.table > 0 {
		list := slices.Concat(append([][]byte{{0, 0x41, 0, opEnd}, num(len(elements))}, elements...)...)
		wasm = append(wasm, sec(secElement, list)...)
	}
	if data != nil {
		wasm = append(wasm, section(nil, secDataCount, num(len(data)))...)
	}
	wasm = append(wasm, sec(secCode, bodies...)...)
	if data != nil {
		wasm = append(wasm, sec(secData, data...)...)
	}
	return append(wasm, a.extra...)
}

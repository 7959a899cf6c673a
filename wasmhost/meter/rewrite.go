package meter

import (
	"cmp"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Rewrite checks a module and gives its metered form. The error is an
// [*Error]. It keeps nothing of wasm and may be called at the same time by
// many.
func Rewrite(wasm []byte, b Budget) (*Program, error) {
	b = b.withDefaults()
	m := &module{reader: reader{wasm: wasm, end: len(wasm)}, budget: b, counted: -1}
	m.info.Size = int64(len(wasm))
	if int64(len(wasm)) > b.Module {
		m.fail(0, "a module of %d bytes, at most %d", len(wasm), b.Module)
		return nil, m.err
	}
	m.read()
	if m.err != nil {
		return nil, m.err
	}
	w := &writer{module: m}
	w.number()
	code := w.code()
	if m.err != nil {
		return nil, m.err
	}
	m.readNames()
	m.nameFunctions()
	return &Program{Wasm: w.assemble(code), Info: m.info}, nil
}

func (b Budget) withDefaults() Budget {
	for field, value := range map[*int64]int64{
		&b.Memory: abi.DefaultMemory, &b.Module: abi.MaxModule, &b.Types: abi.MaxFunctions, &b.Imports: 1024,
		&b.Functions: abi.MaxFunctions, &b.Table: abi.MaxTable, &b.Globals: abi.MaxGlobals, &b.Exports: abi.MaxExports,
		&b.Segments: 100_000, &b.Locals: abi.MaxLocals, &b.Targets: abi.MaxTargets, &b.Body: abi.MaxBody,
		&b.Custom: abi.MaxCustom, &b.Name: abi.MaxName, &b.Complexity: defaultComplexity,
	} {
		*field = cmp.Or(*field, value)
	}
	return b
}

// The worst that these allow takes less than half of the 30 seconds and, with
// two functions at a time, little more than half of the 512 MiB that compiling
// may take. A Go module of 3 MB takes a second or two, and 100 MiB.
const (
	defaultComplexity = 24 << 20
	partComplexity    = 64 // of it, for one function
)

// writer puts the rewritten module together.
type writer struct {
	*module
	added
}

// number gives indices to what is added.
func (w *writer) number() {
	w.refill = uint32(len(w.imported))
	w.refillType = uint32(len(w.types))
	w.helperType = w.refillType + 1
	w.fuel = uint32(w.info.Globals)
	w.frames = w.fuel + 1
	for i, h := range w.useful() {
		w.helpers[h] = uint32(w.functions()) + 1 + uint32(i)
	}
}

// useful gives the helpers that the module can have a use for.
func (w *writer) useful() []helper {
	var list []helper
	if w.memories() > 0 {
		list = append(list, helperBytes, helperGrow)
	}
	if w.tables > 0 {
		list = append(list, helperEntries)
	}
	return list
}

// code reads all bodies and gives the section of the rewritten ones.
func (w *writer) code() []byte {
	e := w.sections[secCode]
	w.at, w.end = e.from, e.to
	have := 0
	if e.to > 0 {
		have = w.count("bodies", 2, w.budget.Functions)
	}
	if w.err == nil && have != len(w.bodies) {
		w.fail(e.from, "%d functions have a type, %d have a body", len(w.bodies), have)
	}
	if w.err != nil {
		return nil
	}
	helpers := w.useful()
	out := uleb(make([]byte, 0, 2*(e.to-e.from)+1024), uint32(have+len(helpers)))
	w.info.Functions = make([]Function, have)
	s := &scan{module: w.module, added: &w.added}
	var body []byte
	for i, typ := range w.bodies {
		s.f = &w.info.Functions[i]
		s.body(typ)
		if w.err != nil {
			return nil
		}
		w.info.Code += s.f.Size
		if most := w.budget.Complexity / partComplexity; s.f.Complexity > most {
			w.fail(int(s.f.Offset), "compiling this function is too much work: complexity %d, at most %d", s.f.Complexity, most)
			return nil
		}
		if w.info.Complexity += s.f.Complexity; w.info.Complexity > w.budget.Complexity {
			w.fail(int(s.f.Offset), "compiling all functions up to here is too much work: complexity %d, at most %d", w.info.Complexity, w.budget.Complexity)
			return nil
		}
		body = s.emit(body[:0])
		out = append(uleb(out, uint32(len(body))), body...)
	}
	if w.at != e.to {
		w.fail(w.at, "section %q has %d bytes too many", sectionNames[secCode], e.to-w.at)
	}
	for _, h := range helpers {
		body := w.helper(h, w.module)
		out = append(uleb(out, uint32(len(body))), body...)
	}
	return out
}

package meter

import "strconv"

// assemble writes the sections of the rewritten module.
func (w *writer) assemble(code []byte) []byte {
	out := append(make([]byte, 0, len(w.wasm)+len(code)), w.wasm[:8]...)
	out = section(out, secType, w.extended(secType, len(w.types), 2, []byte{0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f}))
	refill := append(text(text(nil, Module), Refill), 0)
	out = section(out, secImport, w.extended(secImport, len(w.imported), 1, uleb(refill, w.refillType)))
	var types []byte
	for range w.useful() {
		types = uleb(types, w.helperType)
	}
	out = section(out, secFunction, w.extended(secFunction, len(w.bodies), len(w.useful()), types))
	out = w.unchanged(out, secTable)
	if w.memories() > 0 {
		out = section(out, secMemory, uleb(uleb([]byte{1, 1}, uint32(w.info.Memory.Min/pageSize)), w.pages))
	}
	tank := []byte{0x7e, 1, opI64Const, 0, opEnd}
	out = section(out, secGlobal, w.extended(secGlobal, int(w.info.Globals), 2, append(tank, tank...)))
	tanks := uleb(append(text(nil, Fuel), byte(KindGlobal)), w.fuel)
	tanks = uleb(append(text(tanks, Frames), byte(KindGlobal)), w.frames)
	out = section(out, secExport, w.extended(secExport, len(w.info.Exports), 2, tanks))
	if w.elements > 0 {
		out = section(out, secElement, w.shifted(w.sections[secElement]))
	}
	out = w.unchanged(out, secDataCount)
	out = section(out, secCode, code)
	out = w.unchanged(out, secData)
	return section(out, secCustom, w.nameSection())
}

func section(out []byte, id byte, content []byte) []byte {
	return append(uleb(append(out, id), uint32(len(content))), content...)
}

func text(b []byte, s string) []byte { return append(uleb(b, uint32(len(s))), s...) }

// unchanged copies a section.
func (w *writer) unchanged(out []byte, id int) []byte {
	e := w.sections[id]
	if e.to == 0 {
		return out
	}
	return section(out, byte(id), w.wasm[e.from:e.to])
}

// extended gives a list of have items with more behind them.
func (w *writer) extended(id, have, more int, tail []byte) []byte {
	e := w.sections[id]
	if e.to > 0 { // the items begin behind their number
		r := reader{wasm: w.wasm, at: e.from, end: e.to}
		r.u32("")
		e.from = r.at
	}
	out := uleb(nil, uint32(have+more))
	return append(append(out, w.shifted(e)...), tail...)
}

// shifted copies bytes, with the function indices in them moved.
func (w *writer) shifted(e extent) []byte {
	out := make([]byte, 0, e.to-e.from+16)
	for _, i := range w.indices {
		if i.at < e.from || i.to > e.to {
			continue
		}
		out = append(out, w.wasm[e.from:i.at]...)
		out = uleb(out, i.index+1)
		e.from = i.to
	}
	return append(out, w.wasm[e.from:e.to]...)
}

// nameSection names the module and all functions. One that has no name is
// called by its index in the original, so that a stack tells it as other
// tools do.
func (w *writer) nameSection() []byte {
	out := text(nil, "name")
	if w.info.Name != "" {
		out = section(out, 0, text(nil, w.info.Name))
	}
	var list []byte
	count := 0
	add := func(index uint32, name string) {
		list = text(uleb(list, index), name)
		count++
	}
	for i := range w.imported {
		if name := w.named[uint32(i)]; name != "" {
			add(uint32(i), name)
		}
	}
	add(w.refill, Module+"."+Refill)
	for i := range w.info.Functions {
		index := uint32(len(w.imported) + i)
		name := w.info.Functions[i].Name
		if name == "" {
			name = "$" + strconv.Itoa(int(index))
		}
		add(index+1, name)
	}
	for _, h := range w.useful() {
		add(w.helpers[h], Module+"."+helperNames[h])
	}
	return section(out, 1, append(uleb(nil, uint32(count)), list...))
}

var helperNames = [...]string{"bytes", "grow", "entries"}

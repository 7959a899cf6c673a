package meter

import "strings"

// Subsections of the section of names.
const (
	namesModule    = 0
	namesFunctions = 1
)

// readNames takes the names of the module and its functions out of the
// section of names. That section has no meaning for the code, so a damaged
// one counts as none.
func (m *module) readNames() {
	m.named = map[uint32]string{}
	r := reader{wasm: m.wasm, at: m.names.from, end: m.names.to}
	for r.at < r.end {
		id := r.byte("")
		size := r.u32("")
		if r.err != nil || int64(size) > int64(r.left()) {
			return
		}
		next := r.at + int(size)
		s := reader{wasm: m.wasm, at: r.at, end: next}
		switch id {
		case namesModule:
			m.info.Name = s.name("", m.budget.Custom)
		case namesFunctions:
			m.readFunctionNames(&s)
		}
		r.at = next
	}
}

func (m *module) readFunctionNames(r *reader) {
	for range r.count("names", 2, m.budget.Custom) {
		index := r.index("function", m.functions())
		name := r.name("", m.budget.Custom)
		if r.err != nil {
			return
		}
		m.named[index] = strings.ToValidUTF8(name[:min(len(name), maxFunctionName)], "")
	}
}

// maxFunctionName is how many bytes of a function's name are kept: a trap
// writes a name for each frame of the stack.
const maxFunctionName = 512

// nameFunctions fills in the names once the functions are known.
func (m *module) nameFunctions() {
	exported := map[uint32]string{}
	for _, e := range m.info.Exports {
		if e.Kind == KindFunction && exported[e.Index] == "" {
			exported[e.Index] = e.Name
		}
	}
	for i := range m.info.Functions {
		index := uint32(len(m.imported) + i)
		name := m.named[index]
		if name == "" {
			name = exported[index]
		}
		m.info.Functions[i].Name = name
	}
}

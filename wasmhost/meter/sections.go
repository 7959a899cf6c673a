package meter

import "strings"

func (m *module) readTypes() {
	n := m.count("types", 3, m.budget.Types)
	for range n {
		at := m.at
		if form := m.byte("a type"); form != 0x60 && m.err == nil {
			m.fail(at, "type form %#02x, want a function type 0x60", form)
		}
		var text strings.Builder
		params := m.values(&text, "parameters", m.budget.Locals)
		text.WriteByte(':')
		at = m.at
		results := m.values(&text, "results", m.budget.Locals)
		if results > 1 {
			m.fail(at, "%d results belong to multi-value, which modules may not use", results)
		}
		if m.err != nil {
			return
		}
		if m.info.Complexity += entrance(params); m.info.Complexity > m.budget.Complexity {
			m.fail(at, "compiling all types up to here is too much work: complexity %d, at most %d", m.info.Complexity, m.budget.Complexity)
			return
		}
		m.types = append(m.types, funcType{params, results})
		m.info.Types = append(m.info.Types, text.String())
	}
}

func (m *module) values(text *strings.Builder, what string, most int64) int {
	n := m.count(what, 1, most)
	for range n {
		text.WriteByte(m.value())
	}
	return n
}

// value reads a value type and gives its letter.
func (m *module) value() byte {
	at := m.at
	switch b := m.byte("a value type"); b {
	case 0x7f:
		return 'i'
	case 0x7e:
		return 'I'
	case 0x7d:
		return 'f'
	case 0x7c:
		return 'F'
	case 0x7b:
		return 'v'
	case 0x70, 0x6f, 0x69, 0x63, 0x64:
		m.fail(at, "value type %#02x belongs to reference types, which modules may not use", b)
	default:
		m.fail(at, "value type %#02x is not known", b)
	}
	return 0
}

func (m *module) readImports() {
	n := m.count("imports", 4, m.budget.Imports)
	for range n {
		start := m.at
		i := Import{Module: m.name("an import's module", m.budget.Name), Name: m.name("an import's name", m.budget.Name)}
		at := m.at
		kind := m.byte("the kind of an import")
		switch {
		case m.err != nil:
			return
		case kind != 0:
			m.fail(at, "import %s.%s is not a function", i.Module, i.Name)
		case i.Module == Module:
			m.fail(start, "import from %s, which is reserved", Module)
		}
		typ := m.index("type", len(m.types))
		if m.err != nil {
			return
		}
		i.Type = m.info.Types[typ]
		m.info.Imports = append(m.info.Imports, i)
		m.imported = append(m.imported, typ)
	}
}

func (m *module) readFunctions() {
	n := m.count("functions", 1, m.budget.Functions)
	m.bodies = make([]uint32, 0, n)
	for range n {
		m.bodies = append(m.bodies, m.index("type", len(m.types)))
		if m.err != nil {
			return
		}
	}
}

// functions is the number of all of them, imported ones included.
func (m *module) functions() int { return len(m.imported) + len(m.bodies) }

// typeOf gives the type of a function that exists.
func (m *module) typeOf(function uint32) uint32 {
	if n := uint32(len(m.imported)); function >= n {
		return m.bodies[function-n]
	}
	return m.imported[function]
}

// limits reads a minimum and an optional maximum, -1 without one.
func (m *module) limits(what string) (low, high int64) {
	at := m.at
	flags := m.byte("the limits of a " + what)
	if flags > 1 {
		m.fail(at, "limits %#02x of the %s: it is shared or of 64 bits, which modules may not use", flags, what)
	}
	low, high = int64(m.u32("the minimum of a "+what)), -1
	if flags == 1 {
		at = m.at
		if high = int64(m.u32("the maximum of a " + what)); high < low {
			m.fail(at, "the %s has a maximum of %d below its minimum of %d", what, high, low)
		}
	}
	return low, high
}

func (m *module) readTable() {
	m.tables = m.count("tables", 3, 1)
	if m.tables == 0 {
		return
	}
	at := m.at
	if typ := m.byte("the type of a table"); typ != 0x70 {
		m.fail(at, "a table of type %#02x, want functions 0x70", typ)
	}
	at = m.at
	low, _ := m.limits("table")
	if low > m.budget.Table {
		m.fail(at, "a table of %d entries, at most %d", low, m.budget.Table)
	}
	m.info.Table = low
}

func (m *module) readMemory() {
	if m.count("memories", 2, 1) == 0 {
		return
	}
	const most = 1 << 16
	at := m.at
	low, high := m.limits("memory")
	if m.err != nil {
		return
	}
	granted := min(m.budget.Memory/pageSize, most)
	switch {
	case low > most || high > most:
		m.fail(at, "a memory of more than %d pages", most)
	case low > granted:
		m.refuse(TooLarge, at, "a memory of %d bytes at the start, %d are granted", low*pageSize, m.budget.Memory)
	}
	info := Memory{Declared: true, Min: low * pageSize, Max: -1, Granted: granted * pageSize}
	if high >= 0 {
		info.Max = high * pageSize
		info.Granted = min(info.Granted, info.Max)
	}
	m.pages = uint32(info.Granted / pageSize)
	m.info.Memory = info
}

func (m *module) readGlobals() {
	n := m.count("globals", 4, m.budget.Globals)
	for range n {
		m.value()
		at := m.at
		if mutable := m.byte("whether a global is mutable"); mutable > 1 {
			m.fail(at, "mutability %#02x of a global, want 0 or 1", mutable)
		}
		m.constant()
		if m.err != nil {
			return
		}
	}
	m.info.Globals = int64(n)
}

// constant reads one constant and the end of its expression.
func (m *module) constant() {
	at := m.at
	switch op := m.byte("a constant"); op {
	case 0x41:
		m.signed(32, "a constant")
	case 0x42:
		m.signed(64, "a constant")
	case 0x43:
		m.skip(4, "a constant")
	case 0x44:
		m.skip(8, "a constant")
	case opVector:
		if code := m.byte("a constant"); code != 0x0c {
			m.fail(at, "instruction 0xfd %#02x is not a constant", code)
		}
		m.skip(16, "a constant")
	default:
		m.fail(at, "instruction %#02x is not a constant that modules may use here", op)
	}
	m.finish()
}

func (m *module) finish() {
	at := m.at
	if op := m.byte("the end of an expression"); op != opEnd {
		m.fail(at, "instruction %#02x, want the end of the expression", op)
	}
}

func (m *module) readExports() {
	n := m.count("exports", 3, m.budget.Exports)
	seen := make(map[string]bool, n)
	for range n {
		start := m.at
		e := Export{Name: m.name("an export's name", m.budget.Name)}
		at := m.at
		e.Kind = Kind(m.byte("the kind of an export"))
		switch {
		case m.err != nil:
			return
		case seen[e.Name]:
			m.fail(start, "export %q stands there twice", e.Name)
		case strings.HasPrefix(e.Name, Module):
			m.fail(start, "export %q begins with %s, which is reserved", e.Name, Module)
		}
		seen[e.Name] = true
		from := m.at
		switch e.Kind {
		case KindFunction:
			e.Index = m.index("function", m.functions())
			if m.err == nil {
				e.Type = m.info.Types[m.typeOf(e.Index)]
				m.moved(from, e.Index)
			}
		case KindTable:
			e.Index = m.index("table", m.tables)
		case KindMemory:
			e.Index = m.index("memory", m.memories())
		case KindGlobal:
			e.Index = m.index("global", int(m.info.Globals))
		default:
			m.fail(at, "export %q of kind %d, want a function, table, memory or global", e.Name, e.Kind)
		}
		if m.err != nil {
			return
		}
		m.info.Exports = append(m.info.Exports, e)
	}
}

// moved notes a function index between from and here.
func (m *module) moved(from int, index uint32) {
	if index >= uint32(len(m.imported)) {
		m.indices = append(m.indices, edit{from, m.at, index})
	}
}

func (m *module) memories() int {
	if m.info.Memory.Declared {
		return 1
	}
	return 0
}

func (m *module) readElements() {
	m.elements = m.count("element segments", 3, m.budget.Segments)
	for range m.elements {
		at := m.at
		flags := m.u32("the kind of an element segment")
		if flags > 7 {
			m.fail(at, "element segment of kind %d, want 0 to 7", flags)
		}
		if flags&1 == 0 { // active
			if flags&2 != 0 {
				m.index("table", m.tables)
			}
			m.constant()
		}
		if flags&3 != 0 {
			at = m.at
			// Lists of indices are of kind 0, lists of expressions of a type.
			want := byte(0)
			if flags&4 != 0 {
				want = 0x70
			}
			if typ := m.byte("the type of elements"); typ != want {
				m.fail(at, "elements of type %#02x, want functions %#02x", typ, want)
			}
		}
		n := m.count("elements", 1, m.budget.Table-m.entries)
		m.entries += int64(n)
		for range n {
			m.element(flags&4 != 0)
			if m.err != nil {
				return
			}
		}
		m.info.Segments++
	}
}

func (m *module) element(expression bool) {
	at := m.at
	if expression {
		switch op := m.byte("an element"); op {
		case 0xd2: // ref.func
		case 0xd0: // ref.null
			at = m.at
			if typ := m.byte("the type of an empty element"); typ != 0x70 {
				m.fail(at, "an empty element of type %#02x, want functions 0x70", typ)
			}
			m.finish()
			return
		default:
			m.fail(at, "instruction %#02x is not an element", op)
		}
		at = m.at
	}
	if f := m.index("function", m.functions()); m.err == nil {
		m.moved(at, f)
	}
	if expression {
		m.finish()
	}
}

func (m *module) readData() {
	m.data = m.count("data segments", 2, m.budget.Segments)
	for range m.data {
		at := m.at
		flags := m.u32("the kind of a data segment")
		switch flags {
		case 0:
			m.constant()
		case 1:
		case 2:
			m.index("memory", m.memories())
			m.constant()
		default:
			m.fail(at, "data segment of kind %d, want 0 to 2", flags)
		}
		n := m.count("bytes of data", 1, int64(len(m.wasm)))
		m.skip(n, "data")
		if m.err != nil {
			return
		}
		m.info.Segments++
		m.info.Data += int64(n)
	}
}

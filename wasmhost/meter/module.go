package meter

import (
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// module is what the rewriting needs of the original besides its [Info].
type module struct {
	reader
	budget   Budget
	info     Info
	imported []uint32          // type of each imported function
	bodies   []uint32          // type of each function of its own
	types    []funcType        // as Info.Types
	sections [13]extent        // what follows the id and the size, by id
	names    extent            // of the name section's content
	named    map[uint32]string // functions by their index in the original
	indices  []edit            // function indices in exports and elements
	tables   int
	elements int   // segments
	entries  int64 // of all of them
	data     int   // segments
	counted  int   // what the data count section says, -1 without one
	pages    uint32
}

// extent is a range of bytes of the original; empty if to is 0.
type extent struct{ from, to int }

// funcType is what the scan needs of a type.
type funcType struct{ params, results int }

// edit replaces the bytes of an index by its value moved by one.
type edit struct {
	at, to int
	index  uint32
}

// Section ids.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count",
}

// order is where each section belongs: the data count stands before the code.
var order = [...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10}

const pageSize = 64 << 10

// header checks the first eight bytes.
func (m *module) header() {
	w := m.wasm
	switch {
	case len(w) == 0:
		m.fail(0, "the file is empty, want a WebAssembly module")
	case len(w) < 8 && strings.HasPrefix("\x00asm\x01\x00\x00\x00", string(w)):
		m.fail(len(w), "the module is truncated: want its header of 8 bytes")
	case len(w) < 8 || string(w[:4]) != "\x00asm":
		what := "it does not begin with 00 61 73 6d"
		if strings.HasPrefix(strings.TrimLeft(string(w[:min(len(w), 64)]), " \t\r\n"), "(") {
			what = "it looks like the text format, which has to be assembled"
		}
		m.fail(0, "not a WebAssembly module: %s", what)
	case w[6] == 1 && w[7] == 0:
		m.fail(4, "this is a component, build a core module")
	case string(w[4:8]) != "\x01\x00\x00\x00":
		m.fail(4, "version % x of WebAssembly, want 01 00 00 00", w[4:8])
	}
	m.at = min(8, len(w))
}

// read takes all sections apart but for the bodies of functions.
func (m *module) read() {
	m.header()
	last := 0
	for m.err == nil && m.at < len(m.wasm) {
		start := m.at
		id := m.byte("a section")
		size := m.u32("the size of a section")
		if m.err != nil {
			return
		}
		if int(id) >= len(sectionNames) {
			what := ""
			if id == 13 {
				what = " (exceptions)"
			}
			m.fail(start, "section %d%s is not known", id, what)
			return
		}
		if int64(size) > int64(m.left()) {
			m.fail(start, "the module is truncated: section %q has %d bytes, %d are left", sectionNames[id], size, m.left())
			return
		}
		if id != secCustom {
			if order[id] <= last {
				m.fail(start, "section %q stands twice or in the wrong place", sectionNames[id])
				return
			}
			last = order[id]
		}
		m.section(int(id), extent{m.at, m.at + int(size)})
	}
	m.together()
}

// section reads one section to its last byte.
func (m *module) section(id int, e extent) {
	m.end = e.to
	m.sections[id] = e
	switch id {
	case secCustom:
		m.readCustom()
	case secType:
		m.readTypes()
	case secImport:
		m.readImports()
	case secFunction:
		m.readFunctions()
	case secTable:
		m.readTable()
	case secMemory:
		m.readMemory()
	case secGlobal:
		m.readGlobals()
	case secExport:
		m.readExports()
	case secStart:
		m.fail(m.at, "a start section, which would run code before any phase")
	case secElement:
		m.readElements()
	case secDataCount:
		m.counted = int(m.u32("the number of data segments"))
	case secCode:
		m.at = m.end // after everything that it refers to
	case secData:
		m.readData()
	}
	if m.err != nil {
		return
	}
	if m.at != e.to {
		m.fail(m.at, "section %q has %d bytes too many", sectionNames[id], e.to-m.at)
		return
	}
	m.end = len(m.wasm)
}

// together checks what several sections say.
func (m *module) together() {
	if m.err != nil {
		return
	}
	if m.counted >= 0 && m.counted != m.data {
		m.fail(m.sections[secDataCount].from, "%d data segments are announced, there are %d", m.counted, m.data)
	}
	custom := int64(0)
	for _, c := range m.info.Custom {
		if c.Name == abi.ManifestSection {
			continue
		}
		if custom += c.Size; custom > m.budget.Custom {
			m.fail(int(c.Offset), "custom sections have more than %d bytes", m.budget.Custom)
			return
		}
	}
}

func (m *module) readCustom() {
	name := m.name("the name of a custom section", m.budget.Name)
	if m.err != nil {
		return
	}
	if len(m.info.Custom) >= maxCustoms {
		m.fail(m.at, "more than %d custom sections", maxCustoms)
		return
	}
	m.info.Custom = append(m.info.Custom, Custom{Name: name, Offset: int64(m.at), Size: int64(m.left())})
	if name == "name" {
		if m.names.to != 0 {
			m.fail(m.at, "a second section of names")
			return
		}
		m.names = extent{m.at, m.end}
	}
	m.at = m.end
}

// maxCustoms is how many custom sections there may be; compilers write a dozen.
const maxCustoms = 256

// Error says where and what, in one line.
func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Detail) }

package wasmhost

import (
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// outline is what the host wants to know of a module before it is compiled:
// who it wants to talk to, and whether its sizes are sane.
type outline struct {
	types     []string // in the notation of abi.Function
	imports   []imported
	exports   map[string]exported
	functions []uint32 // type of each function of its own
	minPages  uint32
}

type imported struct {
	module, name string
	typ          uint32
}

type exported struct {
	kind  byte // 0 function, 2 memory
	index uint32
}

// Section ids, and what imports and exports can be.
const (
	secType, secImport, secFunction, secTable, secMemory = 1, 2, 3, 4, 5
	secExport, secStart                                  = 7, 8
	kindFunction, kindMemory                             = 0, 2
)

// cursor reads a section. After the first error it gives zeros.
type cursor struct {
	b   []byte
	at  int // of b[0] in the module
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("byte %d: %s", c.at, fmt.Sprintf(format, args...))
		c.b = nil
	}
}

func (c *cursor) skip(n int) {
	c.b = c.b[n:]
	c.at += n
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.fail("the section is cut off")
		return 0
	}
	v := c.b[0]
	c.skip(1)
	return v
}

func (c *cursor) number() uint32 {
	v, n := abi.Uint32(c.b)
	if n == 0 {
		c.fail("want a number")
		return 0
	}
	c.skip(n)
	return v
}

// count reads the length of a list whose items take at least one byte each,
// so that it cannot promise more than the section holds.
func (c *cursor) count() int {
	n := c.number()
	if int64(n) > int64(len(c.b)) {
		c.fail("a list of %d items does not fit", n)
		return 0
	}
	return int(n)
}

func (c *cursor) name() string {
	n := c.count()
	if n > abi.MaxName {
		c.fail("a name of %d bytes, at most %d", n, abi.MaxName)
		return ""
	}
	s := string(c.b[:n])
	c.skip(n)
	return s
}

// read takes a module apart as far as the outline goes. Errors name the byte.
func read(wasm []byte) (*outline, error) {
	o := &outline{exports: map[string]exported{}}
	for s, err := range abi.Sections(wasm) {
		if err != nil {
			return nil, err
		}
		c := &cursor{b: s.Data, at: s.Offset}
		switch s.ID {
		case secType:
			o.readTypes(c)
		case secImport:
			o.readImports(c)
		case secFunction:
			o.readFunctions(c)
		case secTable:
			readTables(c)
		case secMemory:
			o.readMemory(c)
		case secExport:
			o.readExports(c)
		case secStart:
			c.fail("a start section, which would run code before any phase")
		}
		if c.err != nil {
			return nil, c.err
		}
	}
	return o, nil
}

func (o *outline) readTypes(c *cursor) {
	for range c.count() {
		if form := c.byte(); form != 0x60 {
			c.fail("type form %#x, want a function", form)
		}
		params := c.values()
		o.types = append(o.types, params+":"+c.values())
	}
}

func (c *cursor) values() string {
	var s strings.Builder
	for range c.count() {
		switch c.byte() {
		case 0x7f:
			s.WriteByte('i')
		case 0x7e:
			s.WriteByte('I')
		default: // floats and vectors: no import of ours has them
			s.WriteByte('f')
		}
	}
	return s.String()
}

func (o *outline) readImports(c *cursor) {
	for range c.count() {
		i := imported{module: c.name(), name: c.name()}
		if kind := c.byte(); kind != kindFunction && c.err == nil {
			c.fail("module imports %s.%s, which is not a function", i.module, i.name)
		}
		i.typ = c.number()
		o.imports = append(o.imports, i)
	}
}

func (o *outline) readFunctions(c *cursor) {
	n := c.count()
	if n > abi.MaxFunctions {
		c.fail("%d functions, at most %d", n, abi.MaxFunctions)
		return
	}
	for range n {
		o.functions = append(o.functions, c.number())
	}
}

func readTables(c *cursor) {
	if n := c.count(); n > 1 {
		c.fail("%d tables, at most 1", n)
	} else if n == 1 {
		c.byte() // type of its elements
		c.byte() // whether a maximum follows
		if size := c.number(); size > abi.MaxTable {
			c.fail("a table of %d entries, at most %d", size, abi.MaxTable)
		}
	}
}

func (o *outline) readMemory(c *cursor) {
	if n := c.count(); n > 1 {
		c.fail("%d memories, at most 1", n)
	} else if n == 1 {
		c.byte() // flags: whether a maximum follows; wazero refuses the rest
		o.minPages = c.number()
	}
}

func (o *outline) readExports(c *cursor) {
	for range c.count() {
		name := c.name()
		e := exported{kind: c.byte(), index: c.number()}
		if _, twice := o.exports[name]; twice {
			c.fail("export %q stands there twice", name)
		}
		o.exports[name] = e
	}
}

// signature gives the type of function index, "" if there is none.
func (o *outline) signature(index uint32) string {
	typ := uint32(len(o.types))
	if n := uint32(len(o.imports)); index < n {
		typ = o.imports[index].typ
	} else if index-n < uint32(len(o.functions)) {
		typ = o.functions[index-n]
	}
	if typ >= uint32(len(o.types)) {
		return ""
	}
	return o.types[typ]
}

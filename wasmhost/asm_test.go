package wasmhost

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// asm is a module that is put together by hand: an exported phase function
// with a body, and whatever a case wants to be wrong.
type asm struct {
	imports  [][3]string // module, name, type
	marker   string      // "" for the right one, "-" for none
	phase    string      // type, "" for the right one
	locals   byte        // i32 locals of the body
	body     []byte      // without the end
	data     string      // at 0 of the memory
	pages    uint32
	table    uint32
	manifest func(*abi.Manifest)
	extra    []byte // sections before the code
	exports  []string
}

func leb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// sleb is a signed LEB128 number.
func sleb(v int64) []byte {
	var b []byte
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

func text(s string) []byte { return append(leb(len(s)), s...) }

func sec(id byte, items ...[]byte) []byte {
	b := slices.Concat(append([][]byte{leb(len(items))}, items...)...)
	return slices.Concat([]byte{id}, leb(len(b)), b)
}

func typ(s string) []byte {
	values := func(s string) []byte {
		b := leb(len(s))
		for _, r := range s {
			b = append(b, map[rune]byte{'i': 0x7f, 'I': 0x7e}[r])
		}
		return b
	}
	params, results, _ := strings.Cut(s, ":")
	return slices.Concat([]byte{0x60}, values(params), values(results))
}

func (a asm) bytes(t testing.TB) []byte {
	t.Helper()
	marker := a.marker
	if marker == "" {
		marker = "updraft_abi_1_0"
	}
	phase := a.phase
	if phase == "" {
		phase = "i:i"
	}
	types := [][]byte{typ(":"), typ(phase)}
	var imports [][]byte
	for i, f := range a.imports {
		types = append(types, typ(f[2]))
		imports = append(imports, slices.Concat(text(f[0]), text(f[1]), []byte{0}, leb(i+2)))
	}
	n := len(imports)
	exports := [][]byte{
		append(text("memory"), 2, 0),
		slices.Concat(text("updraft_phase"), []byte{0}, leb(n+1)),
	}
	if marker != "-" {
		exports = append(exports, slices.Concat(text(marker), []byte{0}, leb(n)))
	}
	for _, name := range a.exports {
		exports = append(exports, slices.Concat(text(name), []byte{0}, leb(n)))
	}
	body := slices.Concat([]byte{1, a.locals, 0x7f}, a.body, []byte{0x0b})
	table := []byte(nil)
	if a.table > 0 {
		table = sec(4, slices.Concat([]byte{0x70, 0}, leb(int(a.table))))
	}
	wasm := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		sec(1, types...), sec(2, imports...), sec(3, []byte{0}, []byte{1}), table,
		sec(5, append([]byte{0}, leb(int(max(a.pages, 1)))...)), sec(7, exports...), a.extra,
		sec(10, []byte{2, 0, 0x0b}, append(leb(len(body)), body...)),
		sec(11, slices.Concat([]byte{0, 0x41, 0, 0x0b}, text(a.data))))
	m := abi.Manifest{
		Name: "case", Version: "1.0.0", Kind: abi.KindStep, ABI: abi.Range{Min: "1.0"},
		Phases:       []string{"compat", "prepare", "install", "commit", "rollback", "health", "cleanup"},
		Capabilities: abi.Capabilities(),
	}
	if a.manifest != nil {
		a.manifest(&m)
	}
	return append(wasm, manifestSection(t, m)...)
}

func manifestSection(t testing.TB, m abi.Manifest) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b = append(text(abi.ManifestSection), b...)
	return slices.Concat([]byte{0}, leb(len(b)), b)
}

// op is a call of an import with constants; the last one's answer is returned.
type op struct {
	name string
	args []int64
}

func calls(ops ...op) asm {
	var a asm
	for i, o := range ops {
		at := slices.IndexFunc(abi.Functions(), func(f abi.Function) bool { return f.Name == o.name })
		f := abi.Functions()[at]
		a.imports = append(a.imports, [3]string{abi.Module, o.name, f.Wasm()})
		params, result, _ := strings.Cut(f.Wasm(), ":")
		for j, v := range o.args {
			code := byte(0x41) // i32.const
			if params[j] == 'I' {
				code = 0x42
			}
			a.body = append(append(a.body, code), sleb(v)...)
		}
		a.body = append(append(a.body, 0x10), leb(i)...)
		switch {
		case result == "I":
			a.body = append(a.body, 0xa7) // i32.wrap_i64
		case result == "":
			a.body = append(a.body, 0x41, 0)
		}
		if i < len(ops)-1 {
			a.body = append(a.body, 0x1a) // drop
		}
	}
	return a
}

// try loads a and runs one phase of it.
func try(t *testing.T, a asm, phase abi.Phase, limits Limits, g Grants) (Result, error) {
	t.Helper()
	m, err := tryLoad(t, a.bytes(t), limits)
	if err != nil {
		return Result{}, err
	}
	return m.Call(t.Context(), phase, g)
}

func tryLoad(t *testing.T, wasm []byte, limits Limits) (*Module, error) {
	t.Helper()
	h, err := New(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Load(t.Context(), wasm, limits)
	if err == nil {
		t.Cleanup(func() { m.Close(context.Background()) })
	}
	return m, err
}

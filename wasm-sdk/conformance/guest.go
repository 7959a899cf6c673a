package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
)

// guest is a module of the contract that is put together by hand. Code for its
// phases is made with call, text and room, then given to bytes.
type guest struct {
	asm.Module
	manifest abi.Manifest
	imported map[string]asm.Func
	used     int32 // of the memory
}

// reserved is where bytes of a guest begin; below it is room for its own use.
const reserved = 1 << 10

func newGuest(name string, kind string, phases ...abi.Phase) *guest {
	g := &guest{imported: map[string]asm.Func{}, used: reserved}
	g.manifest = abi.Manifest{Name: name, Version: "1.0.0", Kind: kind, ABI: abi.Range{Min: "1.0"}}
	for _, p := range phases {
		g.manifest.Phases = append(g.manifest.Phases, p.String())
	}
	return g
}

// function finds a function of the contract.
func function(name string) abi.Function {
	all := abi.Functions()
	at := slices.IndexFunc(all, func(f abi.Function) bool { return f.Name == name })
	if at < 0 {
		panic("conformance: the contract has no function " + name)
	}
	return all[at]
}

// call is a call of a function of the contract, which is imported and declared.
func (g *guest) call(name string, args ...asm.Code) asm.Code {
	f := function(name)
	if _, have := g.imported[name]; !have {
		g.imported[name] = g.Import(abi.Module, name, f.Wasm())
		if f.Needs != "" && !slices.Contains(g.manifest.Capabilities, f.Needs) {
			g.manifest.Capabilities = append(g.manifest.Capabilities, f.Needs)
		}
	}
	return asm.Seq(asm.Seq(args...), asm.Call(g.imported[name]))
}

// text puts bytes into the memory and pushes pointer and length.
func (g *guest) text(s string) asm.Code {
	at := g.used
	if s != "" {
		g.Data(at, s)
		g.used += int32(len(s))
	}
	return asm.Seq(asm.I32(at), asm.I32(int32(len(s))))
}

// room pushes pointer and capacity of the first n bytes of the memory.
func room(n int32) asm.Code { return asm.Seq(asm.I32(0), asm.I32(n)) }

// fail is code that ends the phase as failed, with a reason.
func (g *guest) fail(reason string) asm.Code {
	text := fmt.Sprintf(`{"details":%q}`, reason)
	return asm.Seq(g.call("result_set", g.text(text)), asm.Op(asm.Drop), asm.I32(int32(abi.Failed)), asm.Op(asm.Return))
}

// want fails the phase unless the value of code, an i32 or i64 by the type of
// the function, is n. The error names what was called.
func (g *guest) want(what string, n int64, name string, args ...asm.Code) asm.Code {
	value := g.call(name, args...)
	compare := asm.Seq(asm.I32(int32(n)), asm.Op(asm.I32Ne))
	if strings.HasSuffix(function(name).Type, ":I") {
		compare = asm.Seq(asm.I64(n), asm.Op(asm.I64Ne))
	}
	return asm.Seq(value, compare, asm.If(asm.None, g.fail(fmt.Sprintf("%s: want %s to answer %d", what, name, n))))
}

// holds fails the phase unless the memory from 0 on holds s.
func (g *guest) holds(what, s string) asm.Code {
	var code asm.Code
	for i := range len(s) {
		code = asm.Seq(code, asm.I32(int32(i)), asm.Mem(asm.I32Load8U, 0), asm.I32(int32(s[i])), asm.Op(asm.I32Ne),
			asm.BrIf(0))
	}
	// The failure stands behind the inner block, which a difference leaves.
	return asm.Block(asm.None, asm.Block(asm.None, code, asm.Br(1)), g.fail(fmt.Sprintf("%s: want the bytes %q", what, s)))
}

// bytes ends the module: each phase has its code, which may fall through to ok.
func (g *guest) bytes(pages int64, phases map[abi.Phase]asm.Code) []byte {
	var body asm.Code
	for p := abi.Compat; p <= abi.Enumerate; p++ {
		if code, ok := phases[p]; ok {
			body = asm.Seq(body, asm.Get(0), asm.I32(int32(p)), asm.Op(asm.I32Eq), asm.If(asm.None, code))
		}
	}
	phase := g.Func("i:i", []asm.Locals{{Count: 4, Type: 'i'}, {Count: 4, Type: 'I'}}, body, asm.I32(int32(abi.OK)))
	g.Memory(pages, -1)
	g.Export(abi.MemoryExport, asm.KindMemory, 0)
	g.ExportFunc(abi.PhaseExport, phase)
	g.ExportFunc(fmt.Sprintf("%s%d_%d", abi.MarkerPrefix, abi.Major, abi.Minor), g.Func(":", nil))
	wasm, err := abi.WithManifest(g.Bytes(), g.manifest)
	if err != nil {
		panic(fmt.Sprintf("conformance: guest %s: %v", g.manifest.Name, err))
	}
	return wasm
}

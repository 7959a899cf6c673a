package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// blocks is a body of n joins, each of which sets a local: what a compiler
// carries through every one of them.
func blocks(n, locals int) asm.Code {
	var b asm.Code
	for i := range n {
		l := uint32(1 + i%locals)
		b = append(b, asm.Block(asm.None, asm.Get(0), asm.BrIf(0), asm.Get(l), asm.I64(int64(i)), asm.Op(asm.I64Add), asm.Set(l))...)
	}
	return b
}

// bomb has functions with many locals and joins, that are never called.
func bomb(functions, n, locals int) []byte {
	g := newStep()
	body := blocks(n, locals)
	for range functions {
		g.Func("i:", []asm.Locals{{Count: uint32(locals), Type: 'I'}}, body)
	}
	return g.doing(1, asm.Op(asm.Unreachable))
}

// heaviest is a bomb that is only just accepted.
func heaviest(locals int) []byte {
	accepted := func(wasm []byte) bool {
		_, err := meter.Rewrite(wasm, meter.Budget{})
		return err == nil
	}
	n := 4000
	for !accepted(bomb(1, n, locals)) {
		n = n * 15 / 16
	}
	functions := 1
	for accepted(bomb(functions+1, n, locals)) {
		functions++
	}
	return bomb(functions, n, locals)
}

func compileBomb() []trial {
	var nested asm.Code
	for range 200_000 {
		nested = append(nested, 0x02, asm.None)
	}
	nested = append(nested, bytes.Repeat([]byte{0x0b}, 200_000)...)
	deep := newStep()
	deep.Func("i:", nil, nested)
	return []trial{
		{name: "1,999 locals, 50,000 blocks", wasm: bomb(1, 50_000, 1999), want: wasmhost.InvalidModule},
		{name: "1,999 locals, 20,000 blocks", wasm: bomb(1, 20_000, 1999), want: wasmhost.InvalidModule},
		{name: "200 locals, as many blocks as are accepted", wasm: heaviest(200), want: wasmhost.GuestTrap, compiles: true},
		{name: "200,000 blocks, one in the other", wasm: deep.doing(1), want: wasmhost.InvalidModule},
		{name: "a body of 2 MiB", wasm: shaped(func(g *guest) { g.Func("i:", nil, asm.Code(strings.Repeat("\x01", 2<<20))) }), want: wasmhost.InvalidModule},
	}
}

func bigBranchTable() []trial {
	table := func(n int) []byte {
		g := newStep()
		g.Func("i:", nil, asm.Get(0), asm.BrTable(0, make([]uint32, n)...))
		return g.doing(1)
	}
	return []trial{
		{name: "200,000", wasm: table(200_000), want: wasmhost.InvalidModule},
		{name: "one more than allowed", wasm: table(abi.MaxTargets + 1), want: wasmhost.InvalidModule},
		{name: "4,294,967,295 that are not there", wasm: shaped(func(g *guest) {
			g.RawFunc("i:", []byte{0, 0x20, 0, 0x0e, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0b})
		}), want: wasmhost.InvalidModule},
	}
}

// emptyFunctions is a module that traps, with n functions more than it needs.
func emptyFunctions(n int) []byte {
	g := newStep()
	for range n {
		g.Func(":", nil)
	}
	return g.doing(1, asm.Op(asm.Unreachable))
}

func manyFunctions() []trial {
	return []trial{
		{name: "300,000", wasm: emptyFunctions(300_000), want: wasmhost.InvalidModule},
		{name: "as many as allowed, and the two that there are", wasm: emptyFunctions(abi.MaxFunctions - 1), want: wasmhost.InvalidModule},
		{name: "as many as allowed", wasm: emptyFunctions(abi.MaxFunctions - 2), want: wasmhost.GuestTrap},
		{name: "4 billion that are not there", wasm: shaped(func(g *guest) { g.Raw(asm.SecFunction, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}) }), want: wasmhost.InvalidModule},
	}
}

func manyLocals() []trial {
	locals := func(runs ...asm.Locals) []byte {
		return shaped(func(g *guest) { g.Func(":", runs) })
	}
	return []trial{
		{name: "49,000", wasm: locals(asm.Locals{Count: 49_000, Type: 'i'}), want: wasmhost.InvalidModule},
		{name: "one more than allowed", wasm: locals(asm.Locals{Count: abi.MaxLocals + 1, Type: 'v'}), want: wasmhost.InvalidModule},
		{name: "twice 2,147,483,648", wasm: locals(asm.Locals{Count: 1 << 31, Type: 'I'}, asm.Locals{Count: 1 << 31, Type: 'I'}), want: wasmhost.InvalidModule},
		{name: "a million runs of none", wasm: locals(make([]asm.Locals, 1_000_000)...), want: wasmhost.InvalidModule},
		{name: "3,000 parameters", wasm: shaped(func(g *guest) { g.Func(strings.Repeat("i", 3000)+":", nil) }), want: wasmhost.InvalidModule},
	}
}

func nameBombs() []trial {
	long := strings.Repeat("n", 1<<20)
	with := func(add func(g *guest)) []byte { return shaped(add) }
	phase := strings.Repeat("x", 600)
	good := newStep().doing(1)
	text, err := abi.ReadManifest(good)
	if err != nil {
		panic(err)
	}
	twice := asm.Module{}
	twice.Custom(abi.ManifestSection, []byte(fmt.Sprintf(`{"name":%q}`, text.Name)))
	second := twice.Bytes()[8:]
	list := []trial{
		{name: "an export of 1 MiB", wasm: with(func(g *guest) { g.ExportFunc(long, 0) }), want: wasmhost.InvalidModule},
		{name: "an import of 1 MiB", wasm: with(func(g *guest) { g.Import(abi.WASI, long, ":") }), want: wasmhost.InvalidModule},
		{name: "two exports of one name", wasm: with(func(g *guest) { g.ExportFunc(phase, 0); g.ExportFunc(phase, 0) }), want: wasmhost.InvalidModule},
		{name: "two phases", wasm: with(func(g *guest) { g.Export(abi.PhaseExport, asm.KindFunc, 0) }), want: wasmhost.InvalidModule},
		{name: "two memories exported", wasm: with(func(g *guest) { g.Export(abi.MemoryExport, asm.KindMemory, 0) }), want: wasmhost.InvalidModule},
		{name: "5,000 exports", wasm: with(func(g *guest) {
			for i := range 5000 {
				g.Export(fmt.Sprintf("e%d", i), asm.KindMemory, 0)
			}
		}), want: wasmhost.InvalidModule},
		{name: "a custom section of 2 MiB", wasm: with(func(g *guest) { g.Custom("noise", make([]byte, 2<<20)) }), want: wasmhost.InvalidModule},
		{name: "100,000 custom sections", wasm: with(func(g *guest) {
			for range 100_000 {
				g.Custom("custom-sections-all-together", nil)
			}
		}), want: wasmhost.InvalidModule},
		{name: "a second manifest", wasm: append(good[:len(good):len(good)], second...), want: wasmhost.InvalidModule},
		{name: "exports under the host's names", wasm: with(func(g *guest) { g.Export("updraft_meter.fuel", asm.KindMemory, 0) }), want: wasmhost.InvalidModule},
		{name: "the host's own import", wasm: with(func(g *guest) { g.Import("updraft_meter", "refill", ":") }), want: wasmhost.InvalidModule},
	}
	marked := newStep()
	for i := range 1000 {
		marked.ExportFunc(fmt.Sprintf("%s9_%d%s", abi.MarkerPrefix, i, phase[:490]), marked.Func(":", nil))
	}
	ours := fmt.Sprintf("%s%d_%d", abi.MarkerPrefix, abi.Major, abi.Minor)
	other := fmt.Sprintf("%s8_0", abi.MarkerPrefix)
	nested := asm.Module{}
	nested.Custom(abi.ManifestSection, []byte(`{"settings":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`}`))
	list = append(list,
		trial{name: "1,000 versions with long names", wasm: bytes.ReplaceAll(marked.doing(1), []byte(ours), []byte(other)), want: wasmhost.ABI},
		trial{name: "a manifest of 60,000 brackets", wasm: nested.Bytes(), want: wasmhost.InvalidModule},
		trial{name: "an import that clears a terminal", wasm: with(func(g *guest) { g.Import(abi.Module, "\x1b[2J\r\n", ":") }), want: wasmhost.Denied},
	)
	// Sections of names that promise four billion of them, and that have one of
	// a million bytes, are not needed to run the module.
	lying := newStep().doing(1, asm.Op(asm.Unreachable))
	deep := newStep()
	wasm := deep.doing(1, asm.Call(deep.Func(":", nil, asm.Call(0))))
	return append(list,
		trial{name: "four billion names that are not there", wasm: withNames(lying, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}), want: wasmhost.GuestTrap},
		trial{name: "a function's name of a million bytes on each frame", want: wasmhost.Depth,
			wasm: withNames(wasm, append([]byte{1, 0}, asm.Name(strings.Repeat("\x1b", 1_000_000))...))})
}

// withNames adds a section of names whose functions' part is as given.
func withNames(wasm, functions []byte) []byte {
	var names asm.Module
	names.Custom("name", append(append([]byte{1}, asm.Uint(uint64(len(functions)))...), functions...))
	return append(wasm, names.Bytes()[8:]...)
}

// packedZeros is n MiB of zeros as gzip has them, in about a thousandth of that.
func packedZeros(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return bytes.Repeat(b.Bytes(), n)
}

func bombs() []trial {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(newStep().doing(1)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	padding := asm.Module{}
	padding.Custom("padding", make([]byte, abi.MaxModule))
	list := []trial{
		{name: "a module in gzip", wasm: packed.Bytes(), want: wasmhost.InvalidModule},
		{name: "a module in zstd", wasm: []byte("\x28\xb5\x2f\xfd" + strings.Repeat("x", 100)), want: wasmhost.InvalidModule},
		{name: "a gigabyte in gzip", wasm: packedZeros(1024), want: wasmhost.InvalidModule},
		{name: "more than 16 MiB", wasm: append(newStep().doing(1), padding.Bytes()[8:]...), want: wasmhost.InvalidModule},
	}
	list = append(list, trial{name: "svc_inflate of a gigabyte", wasm: inflating(), want: wasmhost.GuestFailed, setup: image(packedZeros(1024))})
	for name, head := range map[string]string{
		"zstd with a window of 3.75 TiB":    "\x28\xb5\x2f\xfd\x00\xff" + strings.Repeat("\x00", 100),
		"xz with a dictionary of 4 GiB - 1": "\xfd7zXZ\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x28\x00\x00\x00\xe6\xa0\x11\xb3" + strings.Repeat("\x00", 100),
	} {
		list = append(list, trial{name: name, wasm: inflating(), want: wasmhost.GuestFailed, setup: image([]byte(head))})
	}
	far := newStep()
	list = append(list, trial{name: "a byte a terabyte away", want: wasmhost.GuestFailed,
		wasm: far.doing(1, far.openTarget("out"), far.refused("tgt_write", asm.Get(localTarget), asm.I64(1<<40), room(1)))})
	unpack := newStep()
	return append(list, trial{name: "svc_unpack of a gigabyte", want: wasmhost.GuestFailed, setup: image(append(gzipped(tarHead("big", '0', "", 1<<30)), packedZeros(1025)...)),
		wasm: unpack.doing(1, unpack.openArtifact("image"), unpack.openTarget("tree"),
			unpack.refused("svc_unpack", asm.Get(localArtifact), asm.Get(localTarget)))})
}

// inflating is a module that inflates the artifact, whatever it is.
func inflating() []byte {
	g := newStep()
	return g.doing(1, g.openArtifact("image"), g.openTarget("out"),
		g.refused("svc_inflate", asm.I32(0), asm.Get(localArtifact), asm.Get(localTarget)))
}

// image makes b the artifact.
func image(b []byte) func(*Setup) {
	return func(s *Setup) { s.Artifacts = map[string]*Blob{"image": Bytes(b)} }
}

// refused ends the phase as failed if the answer is an errno.
func (g *guest) refused(name string, args ...asm.Code) asm.Code {
	zero, less := asm.I32(0), byte(asm.I32LtS)
	if strings.HasSuffix(function(name).Type, "I") {
		zero, less = asm.I64(0), asm.I64LtS
	}
	return asm.Seq(g.call(name, args...), zero, asm.Op(less), asm.If(asm.None, g.fail(name+" was refused")))
}

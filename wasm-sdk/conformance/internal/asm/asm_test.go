package asm_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
)

// everything is a module that uses each part of the package; its function f
// gives 0 for 0 and a number of a branch table else.
func everything() *asm.Module {
	var m asm.Module
	add := m.Import("env", "add", "ii:i")
	m.Memory(1, 2)
	m.Table(4, 8)
	counter := m.Global('i', true, asm.I32(40))
	m.Data(16, "\x07\x00\x00\x00")
	passive := m.Passive("\x01\x02")
	double := m.Func("i:i", nil, asm.Get(0), asm.Get(0), asm.Call(add))
	m.Elements(1, double)
	f := m.Func("i:i", []asm.Locals{{Count: 1, Type: 'i'}, {Count: 2, Type: 'I'}, {Count: 1, Type: 'F'}},
		// A loop that counts local 1 up to the parameter.
		asm.Block(asm.None, asm.Loop(asm.None,
			asm.Get(1), asm.Get(0), asm.Op(asm.I32GeS), asm.BrIf(1),
			asm.Get(1), asm.I32(1), asm.Op(asm.I32Add), asm.Set(1), asm.Br(0))),
		asm.I64(math.MinInt64), asm.Set(2), asm.F64(1.5), asm.Set(4), asm.F32(2.5), asm.Op(asm.Drop),
		asm.I32(32), asm.I32(0), asm.I32(2), asm.MemoryInit(passive),
		asm.I32(64), asm.I32(0x55), asm.I32(4), asm.MemoryFill(),
		asm.I32(68), asm.I32(16), asm.I32(4), asm.MemoryCopy(),
		asm.I32(0), asm.MemorySize(), asm.Mem(asm.I32Store, 128),
		asm.I32(1), asm.MemoryGrow(), asm.Op(asm.Drop),
		asm.GetGlobal(counter), asm.I32(1), asm.Op(asm.I32Add), asm.SetGlobal(counter),
		// 7 from the data, doubled through the table, and the byte of the passive segment.
		asm.I32(0), asm.Mem(asm.I32Load, 68), asm.I32(1), asm.CallIndirect(m.Type("i:i")),
		asm.I32(33), asm.Mem(asm.I32Load8U, 0), asm.Op(asm.I32Add),
		asm.GetGlobal(counter), asm.Op(asm.I32Add), asm.Set(1), // 14 + 2 + 41
		asm.Block(asm.None, asm.Block(asm.None, asm.Block(asm.None, asm.Get(0), asm.BrTable(2, 0, 1)),
			asm.I32(100), asm.Op(asm.Return)),
			asm.I32(200), asm.Op(asm.Return)),
		asm.Get(0), asm.If('i', asm.Get(1), asm.Else(), asm.I32(-1)))
	m.ExportFunc("f", f)
	m.Export("memory", asm.KindMemory, 0)
	m.Custom("note", []byte("hello"))
	return &m
}

func TestTheModuleRuns(t *testing.T) {
	ctx := t.Context()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	_, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func(a, b int32) int32 { return a + b }).Export("add").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, everything().Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int32{100, 200, 14 + 2 + 43} {
		got, err := m.ExportedFunction("f").Call(ctx, uint64(i))
		if err != nil || int32(got[0]) != want {
			t.Errorf("f(%d) = %d, %v; want %d", i, int32(got[0]), err, want)
		}
	}
}

func TestBadModulesAreWrittenAsTheyAre(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(m *asm.Module)
		want string // in the bytes
	}{
		{"a start section", func(m *asm.Module) { m.Start(m.Func(":", nil)) }, "\x08\x01\x00"},
		{"a huge table", func(m *asm.Module) { m.Table(100_000_000, -1) }, "\x70\x00\x80\xc2\xd7\x2f"},
		{"many locals in few bytes", func(m *asm.Module) { m.Func(":", []asm.Locals{{Count: 49_000, Type: 'v'}}) }, "\x01\xe8\xfe\x02\x7b\x0b"},
		{"a body that ends early", func(m *asm.Module) { m.RawFunc(":", []byte{0, 0x41}) }, "\x0a\x04\x01\x02\x00\x41"},
		{"two exports of a name", func(m *asm.Module) { m.Export("x", 9, 1); m.Export("x", 9, 1) }, "\x01x\x09\x01\x01x\x09\x01"},
		{"an unknown section", func(m *asm.Module) { m.Raw(77, []byte("?")) }, "\x4d\x01?"},
		{"an unknown type", func(m *asm.Module) { m.Type("\x01:") }, "\x60\x01\x01\x00"},
		{"a section twice", func(m *asm.Module) { m.Memory(1, -1); m.Raw(asm.SecMemory, []byte{1, 0, 2}) }, "\x05\x03\x01\x00\x02\x05\x03\x01\x00\x01"},
		{"a memory that is imported", func(m *asm.Module) { m.RawImport("e", "m", asm.KindMemory, 0, 1) }, "\x01e\x01m\x02\x00\x01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m asm.Module
			tt.make(&m)
			if got := m.Bytes(); !bytes.Contains(got, []byte(tt.want)) {
				t.Errorf("% x, want % x in it", got, tt.want)
			}
		})
	}
}

func TestAnImportAfterAFunctionPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var m asm.Module
	m.Func(":", nil)
	m.Import("a", "b", ":")
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		want []byte
	}{{0, []byte{0}}, {63, []byte{0x3f}}, {64, []byte{0xc0, 0}}, {-1, []byte{0x7f}}, {-65, []byte{0xbf, 0x7f}},
		{math.MaxInt32, []byte{0xff, 0xff, 0xff, 0xff, 7}}} {
		if got := asm.Int(tt.n); !bytes.Equal(got, tt.want) {
			t.Errorf("Int(%d) = % x, want % x", tt.n, got, tt.want)
		}
	}
}

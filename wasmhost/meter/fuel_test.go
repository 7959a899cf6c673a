package meter

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

// straight is n instructions that do nothing and cost one each.
func straight(n int) []byte { return bytes.Repeat([]byte{0x01}, n) }

func TestFuel(t *testing.T) {
	const local = 0x20
	for _, tt := range []struct {
		name    string
		a       asm
		arg     uint64
		fuel    int64
		frames  int64
		refills bool // whether an empty tank is noticed
	}{
		{name: "a short function is paid for by the call", a: leaf(straight(freeBody)...), fuel: 0},
		{name: "a longer one pays", a: leaf(straight(freeBody + 1)...), fuel: freeBody + 1},
		{name: "dead code is free", a: leaf(codes(straight(20), opReturn, straight(500))...), fuel: 21},
		{name: "a trap costs the region", a: leaf(codes(straight(20), opUnreachable)...), fuel: 21},
		{
			name: "a branch that is not taken costs what follows",
			a:    leaf(codes(opBlock, noResult, local, 0, opBrIf, 0, straight(100), opEnd, straight(50))...),
			arg:  0, fuel: 2 + 50 + 100, refills: true,
		}, {
			name: "a branch that is taken does not",
			a:    leaf(codes(opBlock, noResult, local, 0, opBrIf, 0, straight(100), opEnd, straight(50))...),
			arg:  1, fuel: 2 + 50, refills: true,
		}, {
			name: "few instructions behind a branch are paid for at once",
			a:    leaf(codes(opBlock, noResult, local, 0, opBrIf, 0, straight(foldMost), opEnd, straight(50))...),
			arg:  1, fuel: 2 + foldMost + 50,
		}, {
			name: "an arm pays for itself",
			a:    leaf(codes(local, 0, opIf, noResult, straight(30), opElse, straight(70), opEnd, straight(20))...),
			arg:  1, fuel: 2 + 30 + 20, refills: true,
		}, {
			name: "the other arm too",
			a:    leaf(codes(local, 0, opIf, noResult, straight(30), opElse, straight(70), opEnd, straight(20))...),
			arg:  0, fuel: 2 + 70 + 20, refills: true,
		}, {
			name: "an if without else",
			a:    leaf(codes(local, 0, opIf, noResult, straight(30), opEnd, straight(20))...),
			arg:  0, fuel: 2 + 20,
		}, {
			name: "what a return may skip pays for itself",
			a:    leaf(codes(local, 0, opIf, noResult, opReturn, opEnd, straight(20))...),
			arg:  1, fuel: 2 + 1,
		}, {
			name: "each turn of a loop pays",
			a:    leaf(codes(opLoop, noResult, straight(3), local, 0, 0x41, 1, 0x6b, 0x22, 0, opBrIf, 0, opEnd, straight(20))...),
			arg:  10, fuel: 10*8 + 20, refills: true,
		}, {
			name: "loops in loops",
			a: leaf(codes(opLoop, noResult,
				0x41, 4, 0x21, 1, opLoop, noResult, local, 1, 0x41, 1, 0x6b, 0x22, 1, opBrIf, 0, opEnd,
				local, 0, 0x41, 1, 0x6b, 0x22, 0, opBrIf, 0, opEnd)...),
			arg: 3, fuel: 3 * (2 + 4*5 + 5), refills: true,
		}, {
			name: "a table of branches",
			a: leaf(codes(opBlock, noResult, opBlock, noResult, local, 0, opBrTable, 1, 0, 1, opEnd,
				straight(30), opEnd, straight(10))...),
			arg: 1, fuel: 1 + priceBranches + 10,
		}, {
			name: "locals are set to zero",
			a:    asm{functions: []function{{"f", "i:", strings.Repeat("I", 80), straight(5)}}},
			fuel: 5 + 80/localsAFuel,
		}, {
			name: "calls",
			a: asm{functions: []function{
				{"f", "i:", "", codes(opCall, 1, opCall, 1)}, {"", ":", "", straight(30)},
			}},
			fuel: 2*priceCall + 2*30, frames: 1, refills: true,
		}, {
			name: "a call of the host is no frame",
			a:    asm{imports: []string{":"}, functions: []function{{"f", "i:", "", codes(opCall, 0, opCall, 0)}}},
			fuel: 2 * priceCall,
		}, {
			name: "a call by table",
			a: asm{table: 2, functions: []function{
				{"f", "i:", "", codes(0x41, 1, opCallIndirect, 1, 0)}, {"", ":", "", straight(30)},
			}},
			fuel: 1 + priceCall + 30, frames: 1, refills: true,
		}, {
			name: "recursion",
			a: asm{functions: []function{{"f", "i:", "", codes(
				local, 0, opIf, noResult, local, 0, 0x41, 1, 0x6b, opCall, 0, opEnd)}}},
			arg: 5, fuel: 6*2 + 5*(3+priceCall), frames: 6, refills: true,
		}, {
			name: "a heavy function weighs more",
			a: asm{functions: []function{{"f", "i:", strings.Repeat("I", 1999), codes(
				local, 0, opIf, noResult, local, 0, 0x41, 1, 0x6b, opCall, 0, opEnd)}}},
			arg: 5, fuel: 6*(2+1999/localsAFuel) + 5*(3+priceCall), frames: 6 * 2, refills: true,
		}, {
			name: "memory.fill by length",
			a:    memory(codes(0x41, 0, 0x41, 0, local, 0, 0xfc, 11, 0)...),
			arg:  4096, fuel: 4096 / 8, refills: true,
		}, {
			name: "memory.copy by length",
			a:    memory(codes(0x41, 0, 0x41, 8, local, 0, 0xfc, 10, 0, 0)...),
			arg:  80, fuel: 10, refills: true,
		}, {
			name: "memory.copy of more than there is only fails",
			a:    memory(codes(0x41, 0, 0x41, 8, local, 0, 0xfc, 10, 0, 0)...),
			arg:  1 << 31, fuel: 0,
		}, {
			name: "memory.grow by pages",
			a:    memory(codes(local, 0, 0x40, 0, 0x1a)...),
			arg:  2, fuel: 2 * 65536 / 8, refills: true,
		}, {
			name: "memory.grow of more than is granted only fails",
			a:    memory(codes(local, 0, 0x40, 0, 0x1a)...),
			arg:  1 << 31, fuel: 0,
		}, {
			name: "table.copy by entries",
			a:    asm{table: 100, functions: []function{{"f", "i:", "", codes(0x41, 0, 0x41, 0, local, 0, 0xfc, 14, 0, 0)}}},
			arg:  90, fuel: 90, refills: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := rewrite(t, tt.a.bytes())
			for name, config := range engines {
				i := start(t, p.Wasm, config(), tanks{slice: 1})
				_, err := i.ExportedFunction("f").Call(i.ctx, tt.arg)
				if errors.Is(err, errFuel) || errors.Is(err, errDepth) {
					t.Fatal(err)
				}
				if got := i.tanks.used(); got != tt.fuel || i.tanks.givenFrames != tt.frames {
					t.Errorf("%s: fuel %d, frames %d, want %d and %d", name, got, i.tanks.givenFrames, tt.fuel, tt.frames)
				}
				if err == nil && int64(i.tanks.frames.Get()) != i.tanks.givenFrames {
					t.Errorf("%s: %d frames are left of %d", name, int64(i.tanks.frames.Get()), i.tanks.givenFrames)
				}
				if (i.tanks.refills > 0) != tt.refills {
					t.Errorf("%s: %d refills", name, i.tanks.refills)
				}
			}
		})
	}
}

// leaf is a function of an i32 that calls nothing.
func leaf(code ...byte) asm {
	return asm{functions: []function{{"f", "i:", "i", code}}}
}

func memory(code ...byte) asm {
	a := asm{functions: []function{{"f", "i:", "", code}}}
	a.memory = []byte{1, 1, 4}
	return a
}

// What is used and where a module stops depends on the budget alone.
func TestStops(t *testing.T) {
	endless := codes(opLoop, noResult, 0x23, 0, 0x42, 1, opI64Add, 0x24, 0, opBr, 0, opEnd)
	recursion := codes(0x20, 0, opCall, 0)
	grown := codes(opLoop, noResult, 0x41, 1, 0x40, 0, 0x1a, opBr, 0, opEnd)
	filled := codes(opLoop, noResult, 0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0, opBr, 0, opEnd)
	twice := codes(0x20, 0, 0x45, opIf, noResult, opReturn, opEnd,
		0x20, 0, 0x41, 1, 0x6b, opCall, 0, 0x20, 0, 0x41, 1, 0x6b, opCall, 0)
	// Each value is needed after its call, and so kept in the frame.
	heavy := bytes.Repeat(codes(0x20, 0, 0x41, 3, 0x6c, 0x20, 0, opCall, 0, 0x21, 0), 2000)
	for _, tt := range []struct {
		name string
		code []byte
		want error
	}{
		{"endless loop", endless, errFuel},
		{"endless recursion", recursion, errDepth},
		{"recursion with large frames", heavy, errDepth},
		{"a tree of calls", twice, errFuel},
		{"memory.grow for ever", grown, errFuel},
		{"memory.fill for ever", filled, errFuel},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := rewrite(t, asm{functions: []function{{"f", "i:", "", tt.code}}, globals: 1, memory: []byte{1, 1, 9}, table: 1}.bytes())
			used := int64(-1)
			for name, config := range engines {
				for _, slice := range []int64{1 << 40, 1000, 7} {
					if slice == 7 && tt.want == errFuel && name == "interpreted" {
						continue // many refills, no other answer
					}
					most := int64(1_000_000)
					if tt.want == errDepth {
						most = 1 << 40
					}
					i := start(t, p.Wasm, config(), tanks{slice: slice, most: most})
					_, err := i.ExportedFunction("f").Call(i.ctx, 60)
					if !errors.Is(err, tt.want) {
						t.Fatalf("%s, slices of %d: error = %v, want %v", name, slice, err, tt.want)
					}
					if used < 0 {
						used = i.tanks.used()
					}
					if got := i.tanks.used(); got != used {
						t.Errorf("%s, slices of %d: used %d, before %d", name, slice, got, used)
					}
				}
			}
			if tt.want == errFuel && (used <= 1_000_000 || used > 1_100_000) {
				t.Errorf("used %d of 1000000", used)
			}
		})
	}
}

// A host function that looks at the tank sees what was used, and may charge.
func TestHostCharges(t *testing.T) {
	a := asm{imports: []string{":"}, functions: []function{{"f", ":", "", codes(straight(20), opCall, 0, opLoop, noResult, straight(10), opEnd)}}}
	p := rewrite(t, a.bytes())
	for name, config := range engines {
		i := start(t, p.Wasm, config(), tanks{})
		i.tanks.fuel.Set(100)
		i.tanks.givenFuel = 100
		var seen int64
		i.hosts["env"] = func(_ context.Context, _ api.Module) {
			seen = i.tanks.used()
			i.tanks.fuel.Set(i.tanks.fuel.Get() - 1000)
		}
		if _, err := i.ExportedFunction("f").Call(i.ctx); err != nil {
			t.Fatal(err)
		}
		if seen != 20+priceCall || i.tanks.used() != 20+priceCall+1000+10 {
			t.Errorf("%s: the host saw %d, used %d at the end", name, seen, i.tanks.used())
		}
	}
}

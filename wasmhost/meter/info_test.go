package meter

import (
	"reflect"
	"strings"
	"testing"
)

func TestInfo(t *testing.T) {
	names := section(nil, secCustom, append(text(nil, "name"),
		append(section(nil, 0, text(nil, "demo")), section(nil, 1, append([]byte{2, 0}, append(text(nil, "log"), append([]byte{2}, text(nil, "helper")...)...)...))...)...))
	a := asm{
		imports: []string{"iI:"},
		functions: []function{
			{"run", "i:I", "", codes(0x20, 0, opIf, noResult, opCall, 2, opEnd, 0x42, 1)},
			{"", ":", "iI", codes(opLoop, noResult, straight(20), 0x20, 0, opBrIf, 0, opEnd)},
		},
		memory: []byte{0, 2}, table: 7, globals: 3, data: []string{"abc", "de"}, extra: names,
	}
	wasm := a.bytes()
	p := rewrite(t, wasm)
	got := p.Info
	offset := func(part []byte) int64 { return int64(strings.Index(string(wasm), string(part))) }
	body := a.functions[0].code
	want := Info{
		Size: int64(len(wasm)), Name: "demo",
		Types:   []string{"iI:", "i:I", ":"},
		Imports: []Import{{"env", "f", "iI:"}},
		Exports: []Export{{"run", KindFunction, 1, "i:I"}, {"memory", KindMemory, 0, ""}},
		Functions: []Function{
			{
				Name: "run", Type: "i:I", Offset: offset(body) - 1, Size: int64(len(body)) + 2, Locals: 1, Calls: true,
				Instructions: 6, Entry: 3, Largest: priceCall, Weight: 1, Complexity: got.Functions[0].Complexity,
			}, {
				Name: "helper", Type: ":", Offset: offset(a.functions[1].code) - 5, Size: int64(len(a.functions[1].code)) + 6, Locals: 2, Loops: 1,
				Instructions: 25, Largest: 22, Complexity: got.Functions[1].Complexity,
			},
		},
		Memory: Memory{Declared: true, Min: 2 * pageSize, Max: -1, Granted: 64 << 20},
		Table:  7, Globals: 3, Segments: 3, Code: int64(len(body)+2) + int64(len(a.functions[1].code)+6), Data: 5,
		Custom:     []Custom{{"name", int64(len(wasm)) - int64(len(names)) + 7, int64(len(names)) - 7}},
		Complexity: entrance(2) + entrance(1) + entrance(0) + got.Functions[0].Complexity + got.Functions[1].Complexity,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("info =\n%+v, want\n%+v", got, want)
	}
}

// A stack names functions as the original does, by name or by index.
func TestNames(t *testing.T) {
	a := asm{
		imports: []string{":"},
		functions: []function{
			{"f", "i:", "", codes(opCall, 2)},
			{"", ":", "", codes(opCall, 3)},
			{"", ":", "", codes(straight(20), opUnreachable)},
		},
	}
	names := section(nil, secCustom, append(text(nil, "name"), section(nil, 1, append([]byte{1, 3}, text(nil, "fail")...))...))
	a.extra = names
	damaged := a
	damaged.extra = section(nil, secCustom, append(text(nil, "name"), 1, 9, 1, 3))
	for _, tt := range []struct {
		name string
		a    asm
		want []string
	}{
		{"named", a, []string{".fail()", ".$2()", ".f(i32)"}},
		{"names that are damaged", damaged, []string{".$3()", ".$2()", ".f(i32)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := start(t, rewrite(t, tt.a.bytes()).Wasm, engines["interpreted"](), tanks{})
			_, err := i.ExportedFunction("f").Call(i.ctx, 1)
			if err == nil {
				t.Fatal("no trap")
			}
			at := -1
			for _, w := range tt.want {
				if next := strings.Index(err.Error(), w); next <= at {
					t.Errorf("error = %v, want %q in this order", err, tt.want)
				} else {
					at = next
				}
			}
		})
	}
}

// A metered module is not metered again.
func TestTwice(t *testing.T) {
	p := rewrite(t, one().bytes())
	if _, err := Rewrite(p.Wasm, Budget{}); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("error = %v", err)
	}
}

// An empty module needs no sections.
func TestEmpty(t *testing.T) {
	p := rewrite(t, raw())
	i := start(t, p.Wasm, engines["interpreted"](), tanks{})
	if i.tanks.used() != 0 {
		t.Errorf("used %d", i.tanks.used())
	}
}

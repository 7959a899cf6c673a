package meter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// outcome is what a call left behind.
type outcome struct {
	result uint64
	trap   string
	memory []byte
}

func (o outcome) String() string {
	return fmt.Sprintf("%#x %q memory of %d bytes", o.result, o.trap, len(o.memory))
}

func (i *instance) outcome(arg uint64) (outcome, error) {
	list, err := i.ExportedFunction("f").Call(i.ctx, arg)
	o := outcome{}
	if err != nil {
		o.trap, _, _ = strings.Cut(err.Error(), "\n")
	} else if len(list) > 0 {
		o.result = list[0]
	}
	if m := i.Memory(); m != nil {
		b, _ := m.Read(0, m.Size())
		o.memory = bytes.Clone(b)
	}
	return o, err
}

// agree runs a module metered and as it is, compiled and interpreted.
func agree(t *testing.T, wasm []byte, arg uint64) {
	t.Helper()
	p, err := Rewrite(wasm, Budget{})
	if err != nil {
		t.Fatal(err)
	}
	bounded(t, wasm, p)
	var first outcome
	used := int64(-1)
	for _, name := range []string{"interpreted", "compiled"} {
		i := start(t, p.Wasm, engines[name](), tanks{slice: 1000, most: 200_000, deepest: 200})
		o, err := i.outcome(arg)
		if used < 0 {
			first, used = o, i.tanks.used()
		}
		if o.String() != first.String() || !bytes.Equal(o.memory, first.memory) || i.tanks.used() != used {
			t.Fatalf("%s: %v with %d fuel, interpreted %v with %d", name, o, i.tanks.used(), first, used)
		}
		if errors.Is(err, errFuel) || errors.Is(err, errDepth) {
			return // the original would not stop
		}
	}
	for name, config := range engines {
		i := start(t, wasm, config(), tanks{})
		if o, _ := i.outcome(arg); o.String() != first.String() || !bytes.Equal(o.memory, first.memory) {
			t.Fatalf("%s: %v, metered %v", name, o, first)
		}
	}
}

// bounded checks that a rewritten module is not much larger.
func bounded(t *testing.T, wasm []byte, p *Program) {
	t.Helper()
	if most := 8*len(wasm) + 80*len(p.Info.Functions) + 1024; len(p.Wasm) > most {
		t.Errorf("%d bytes become %d, at most %d with %d functions", len(wasm), len(p.Wasm), most, len(p.Info.Functions))
	}
}

func TestGenerated(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 50
	}
	for seed := range n {
		wasm := generate(randomBytes(uint64(seed), 1500)).bytes()
		if err := accepted(t, wasm); err != nil {
			t.Fatalf("seed %d: the generator made an invalid module: %v", seed, err)
		}
		agree(t, wasm, uint64(seed%7))
	}
}

func FuzzRun(f *testing.F) {
	for seed := range 8 {
		f.Add(randomBytes(uint64(seed), 400))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 2000 {
			return
		}
		agree(t, generate(src).bytes(), uint64(len(src)%5))
	})
}

// A module in which one byte is wrong is valid before and after rewriting, or
// in neither.
func TestMutated(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 20
	}
	rewritten, valid := 0, 0
	for seed := range n {
		random := randomBytes(uint64(seed), 200)
		wasm := generate(randomBytes(uint64(seed), 300)).bytes()
		for k := 0; k < len(random); k += 4 {
			mutant := bytes.Clone(wasm)
			mutant[8+(int(random[k])<<8+int(random[k+1]))%(len(wasm)-8)] = random[k+2]
			if same, ok := alike(t, mutant); ok {
				rewritten++
				if same {
					valid++
				}
			}
		}
	}
	t.Logf("%d of %d mutants were rewritten, %d of them are valid", rewritten, n*50, valid)
	if valid == 0 || valid == rewritten {
		t.Error("want valid mutants and invalid ones")
	}
}

// alike compares what wazero says of a module and of its metered form.
func alike(t *testing.T, wasm []byte) (valid, rewritten bool) {
	t.Helper()
	p, err := Rewrite(wasm, Budget{})
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Offset < 0 || e.Offset > int64(len(wasm)) || e.Detail == "" {
			t.Fatalf("error = %#v", err)
		}
		return false, false
	}
	bounded(t, wasm, p)
	if len(wasm) > 4096 {
		return false, false
	}
	before, after := judged(t, withoutCustom(wasm)), judged(t, p.Wasm)
	if (before == nil) != (after == nil) {
		t.Errorf("%x:\nwazero says %v of the original, %v of the rewritten module", wasm, before, after)
	}
	return after == nil, true
}

func FuzzRewrite(f *testing.F) {
	for seed := range 8 {
		f.Add(generate(randomBytes(uint64(seed), 200)).bytes())
	}
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Add(append(one(0x41, 0, opIf, noResult, opReturn, opEnd).bytes(), custom("name", 5)...))
	f.Fuzz(func(t *testing.T, wasm []byte) { alike(t, wasm) })
}

// judged is accepted, for modules that make wazero panic as well.
func judged(t *testing.T, wasm []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return accepted(t, wasm)
}

// withoutCustom leaves out what the meter leaves out.
func withoutCustom(wasm []byte) []byte {
	out := wasm[:8:8]
	r := reader{wasm: wasm, at: 8, end: len(wasm)}
	for r.at < r.end {
		id, size := r.byte(""), int(r.u32(""))
		if id != secCustom {
			out = section(out, id, wasm[r.at:r.at+size])
		}
		r.at += size
	}
	return out
}

package meter

import (
	"context"
	"fmt"
	"testing"

	"github.com/tetratelabs/wazero"
)

// accepted reports whether wazero takes a module.
func accepted(t testing.TB, wasm []byte) error {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer r.Close(ctx)
	_, err := r.CompileModule(ctx, wasm)
	return err
}

// example gives the bytes that follow an opcode. lead is the opcode itself.
func example(o opcode, lead ...byte) []byte {
	switch o.immediate {
	case localIndex, globalIndex, lane, zero, number32, number64, dataIndex:
		lead = append(lead, 0)
	case address:
		lead = append(lead, 0, 0)
	case addressLane:
		lead = append(lead, 0, 0, 0)
	case bytes4:
		lead = append(lead, make([]byte, 4)...)
	case bytes8:
		lead = append(lead, make([]byte, 8)...)
	case bytes16, shuffle:
		lead = append(lead, make([]byte, 16)...)
	case entryList:
		lead = append(lead, 0)
	}
	if lead[0] == opMisc {
		switch lead[1] {
		case miscMemoryInit, miscMemoryCopy, miscTableInit:
			lead = append(lead, 0)
		case miscTableCopy:
			lead = append(lead, 0, 0)
		}
	}
	return lead
}

// Each instruction stands where any operands are right. What wazero takes,
// the meter takes, and the other way round; and both leave as many values on
// the stack.
func TestEveryInstruction(t *testing.T) {
	check := func(t *testing.T, o opcode, code []byte) {
		a := asm{
			functions: []function{{"f", ":", "i", nil}}, memory: []byte{0, 1}, table: 1, globals: 1,
			data: []string{"data"}, passive: true,
		}
		for drops := range 3 {
			body := append([]byte{opBlock, noResult, opUnreachable}, code...)
			for range drops {
				body = append(body, 0x1a)
			}
			// Behind unreachable a drop finds a value always, so too few drops alone are wrong.
			a.functions[0].code = append(body, opEnd)
			wasm := a.bytes()
			host := accepted(t, wasm)
			p, err := Rewrite(wasm, Budget{})
			if o.immediate == unknown {
				if err == nil || host == nil {
					t.Errorf("% x: wazero says %v, the meter %v; want both to refuse it", code, host, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("% x is refused: %v", code, err)
				continue
			}
			if again := accepted(t, p.Wasm); (host == nil) != (again == nil) {
				t.Errorf("% x: wazero says %v, rewritten %v", code, host, again)
			}
			if (host == nil) != (drops >= int(o.push)) {
				t.Errorf("% x leaves %d values in the table, wazero says %v for %d", code, o.push, host, drops)
			}
		}
	}
	for c := range 256 {
		code := byte(c)
		if core[code].immediate == structure || code == opMisc || code == opVector {
			continue
		}
		t.Run(fmt.Sprintf("%#02x", c), func(t *testing.T) { check(t, core[code], example(core[code], code)) })
	}
	for c := range 0x20 {
		code := byte(c)
		t.Run(fmt.Sprintf("0xfc %#02x", c), func(t *testing.T) { check(t, misc[code], example(misc[code], opMisc, code)) })
	}
	for c := range 256 {
		code := byte(c)
		lead := []byte{opVector, code}
		if code >= 0x80 {
			lead = append(lead, 1)
		}
		t.Run(fmt.Sprintf("0xfd %#02x", c), func(t *testing.T) { check(t, vector[code], example(vector[code], lead...)) })
	}
}

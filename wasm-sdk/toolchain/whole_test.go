package toolchain_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// TestWholeContract builds guests that call all that an SDK offers, and
// compares what they import with the contract, names and types.
func TestWholeContract(t *testing.T) {
	for _, tt := range []struct {
		language toolchain.Language
		guests   []string
	}{
		{toolchain.Go, []string{"go/internal/every", "go/internal/services"}},
		{toolchain.C, []string{"c/testdata/whole"}},
		{toolchain.AssemblyScript, []string{"assemblyscript/testdata/whole"}},
	} {
		t.Run(string(tt.language), func(t *testing.T) {
			t.Parallel()
			need(t, tt.language)
			found := map[string]string{}
			for _, guest := range tt.guests {
				out := filepath.Join(t.TempDir(), "whole.wasm")
				if err := toolchain.Build(t.Context(), toolchain.Options{Dir: "../" + guest, Out: out}); err != nil {
					t.Fatal(err)
				}
				wasm, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				imports(t, wasm, found)
				t.Logf("%s: %d bytes", guest, len(wasm))
			}
			for _, f := range abi.Functions() {
				if found[f.Name] != f.Wasm() {
					t.Errorf("%s is imported as %q, want %q", f.Name, found[f.Name], f.Wasm())
				}
				delete(found, f.Name)
			}
			for name := range found {
				t.Errorf("%s is imported and not in the contract", name)
			}
		})
	}
}

// imports adds what a module imports from the contract's module to found, as
// types that [abi.Function.Wasm] gives.
func imports(t *testing.T, wasm []byte, found map[string]string) {
	t.Helper()
	var types []string
	for s, err := range abi.Sections(wasm) {
		if err != nil {
			t.Fatal(err)
		}
		r := reader{t, s.Data}
		switch s.ID {
		case 1:
			for range r.number() {
				if r.take(1)[0] != 0x60 {
					t.Fatal("a type that is no function")
				}
				types = append(types, r.values()+":"+r.values())
			}
		case 2:
			for range r.number() {
				module, name := string(r.take(r.number())), string(r.take(r.number()))
				if kind := r.take(1)[0]; kind != 0 {
					t.Fatalf("%s.%s is no function", module, name)
				}
				typ := types[r.number()]
				if module == abi.Module {
					found[name] = typ
				}
			}
		}
	}
}

// reader takes a section of a module apart that a compiler has just written.
type reader struct {
	t    *testing.T
	left []byte
}

func (r *reader) number() int {
	v, n := abi.Uint32(r.left)
	if n == 0 {
		r.t.Fatal("a number is cut off")
	}
	r.left = r.left[n:]
	return int(v)
}

func (r *reader) take(n int) []byte {
	if n > len(r.left) {
		r.t.Fatal("a section is cut off")
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}

// values reads a list of i32 and i64.
func (r *reader) values() string {
	b := slices.Clone(r.take(r.number()))
	for i, v := range b {
		name, ok := map[byte]byte{0x7f: 'i', 0x7e: 'I'}[v]
		if !ok {
			name = '?'
		}
		b[i] = name
	}
	return string(b)
}

// Package sample makes files to test with.
package sample

import (
	"encoding/binary"
	"math/rand/v2"
)

// Program gives an ELF file for x86-64 with functions that call each other, of
// about 70 bytes each. Each has the same bytes in any program, but for where
// its calls lead; those in without are left out.
func Program(functions int, without ...int) []byte {
	const base, start = 0x400000, 64 + 56
	gone := map[int]bool{}
	for _, i := range without {
		gone[i] = true
	}
	code := make([][]byte, functions)
	at := make([]int, functions)
	type call struct{ off, to int }
	calls := make([][]call, functions)
	size := 0
	for i := range functions {
		r := rand.New(rand.NewPCG(uint64(i), 77))
		for range 4 + r.IntN(12) {
			for range 1 + r.IntN(6) {
				code[i] = append(code[i], 0x48, 0x89, byte(0xC0+r.IntN(64))) // mov between registers
			}
			calls[i] = append(calls[i], call{len(code[i]) + 1, r.IntN(functions)})
			code[i] = append(code[i], 0xE8, 0, 0, 0, 0)
		}
		code[i] = append(code[i], 0xC3)
		at[i] = size
		if !gone[i] {
			size += len(code[i])
		}
	}
	b := make([]byte, start, start+size)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := b[64:]
	le.PutUint32(p, 1)
	le.PutUint32(p[4:], 5)
	le.PutUint64(p[16:], base)
	le.PutUint64(p[32:], uint64(start+size))
	le.PutUint64(p[40:], uint64(start+size))
	for i := range functions {
		if gone[i] {
			continue
		}
		for _, c := range calls[i] {
			le.PutUint32(code[i][c.off:], uint32(at[c.to]-at[i]-c.off-4))
		}
		b = append(b, code[i]...)
	}
	return b
}

// Programs gives two versions of one program: what calls lead to has moved.
func Programs(functions int) (old, new []byte) {
	return Program(functions, 3, functions/2), Program(functions, functions/3, functions/3+1)
}

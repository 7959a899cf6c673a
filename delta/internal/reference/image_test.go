package reference

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// part of an image that a test puts together.
type piece struct {
	name       string
	kind       uint32
	flags      uint64
	addr       uint64
	link, info uint32
	data       []byte
	empty      uint64 // size of a section without bytes
}

// image makes an ELF file with one segment for each section that is loaded.
func image(machine, kind uint16, pieces ...piece) []byte {
	pieces = append([]piece{{}}, pieces...)
	names := []byte{0}
	var nameAt []uint32
	for _, p := range append(pieces, piece{name: ".shstrtab"}) {
		nameAt = append(nameAt, uint32(len(names)))
		names = append(append(names, p.name...), 0)
	}
	pieces = append(pieces, piece{name: ".shstrtab", kind: sectionStrings, data: names})
	var loads []piece
	for _, p := range pieces {
		if p.flags&sectionLoaded != 0 {
			loads = append(loads, p)
		}
	}
	out := make([]byte, 64+56*len(loads))
	copy(out, "\x7fELF\x02\x01\x01")
	little.PutUint16(out[16:], kind)
	little.PutUint16(out[18:], machine)
	little.PutUint64(out[32:], 64)
	little.PutUint16(out[54:], 56)
	little.PutUint16(out[56:], uint16(len(loads)))
	little.PutUint16(out[58:], 64)
	little.PutUint16(out[60:], uint16(len(pieces)))
	little.PutUint16(out[62:], uint16(len(pieces)-1))
	table := make([]byte, 64*len(pieces))
	load := 0
	for i, p := range pieces {
		for len(out)%64 != 0 {
			out = append(out, 0)
		}
		h := table[64*i:]
		if i == 0 {
			continue
		}
		little.PutUint32(h, nameAt[i])
		little.PutUint32(h[4:], p.kind)
		little.PutUint64(h[8:], p.flags)
		little.PutUint64(h[16:], p.addr)
		little.PutUint64(h[24:], uint64(len(out)))
		little.PutUint64(h[32:], uint64(len(p.data))+p.empty)
		little.PutUint32(h[40:], p.link)
		little.PutUint32(h[44:], p.info)
		if p.flags&sectionLoaded != 0 {
			h := out[64+56*load:]
			load++
			flags := uint32(4)
			if p.flags&sectionCode != 0 {
				flags |= executable
			}
			if p.flags&sectionWritable != 0 {
				flags |= writable
			}
			little.PutUint32(h, loadSegment)
			little.PutUint32(h[4:], flags)
			little.PutUint64(h[8:], uint64(len(out)))
			little.PutUint64(h[16:], p.addr)
			little.PutUint64(h[32:], uint64(len(p.data)))
			little.PutUint64(h[40:], uint64(len(p.data))+p.empty)
		}
		out = append(out, p.data...)
	}
	little.PutUint64(out[40:], uint64(len(out)))
	return append(out, table...)
}

// words are 32-bit numbers one after the other.
func words(v ...uint32) []byte {
	var b []byte
	for _, x := range v {
		b = little.AppendUint32(b, x)
	}
	return b
}

// longs are 64-bit numbers one after the other.
func longs(v ...uint64) []byte {
	var b []byte
	for _, x := range v {
		b = little.AppendUint64(b, x)
	}
	return b
}

func join(b ...[]byte) []byte { return bytes.Join(b, nil) }

// fill is n bytes that mean nothing.
func fill(n int) []byte { return bytes.Repeat([]byte{0x90}, n) }

const (
	codeAddr  = 0x401000
	constAddr = 0x480000
	dataAddr  = 0x4C0000
)

// codePiece is a section of instructions at codeAddr.
func codePiece(b []byte) piece {
	return piece{name: ".text", kind: 1, flags: sectionLoaded | sectionCode, addr: codeAddr, data: b}
}

func constPiece(name string, b []byte) piece {
	return piece{name: name, kind: 1, flags: sectionLoaded, addr: constAddr, data: b}
}

func dataPiece(b []byte) piece {
	return piece{name: ".data", kind: 1, flags: sectionLoaded | sectionWritable, addr: dataAddr, data: b}
}

// noise is an image with much of everything, little of which makes sense.
func noise(r *rand.Rand, machine uint16, n int) []byte {
	code := make([]byte, n)
	for i := range code {
		code[i] = byte(r.Uint32())
	}
	for i := 0; i+16 < n; i += 1 + r.IntN(12) {
		switch r.IntN(6) {
		case 0:
			code[i] = 0xE8
			little.PutUint32(code[i+1:], uint32(r.IntN(n)-i))
		case 1:
			copy(code[i:], []byte{0x48, 0x8D, 0x05})
			little.PutUint32(code[i+3:], uint32(constAddr-codeAddr-i+r.IntN(n)))
		case 2:
			copy(code[i:], []byte{0xC7, 0x05})
			little.PutUint32(code[i+2:], uint32(dataAddr-codeAddr-i+r.IntN(n)))
		case 3:
			little.PutUint32(code[i&^3:], 0x94000000|uint32(r.IntN(n)/4))
		case 4:
			little.PutUint32(code[i&^3:], 0x90000000|r.Uint32N(4)<<29|uint32(i)%8)
			little.PutUint32(code[i&^3+8:], 0x91000000|uint32(i)%8<<5|r.Uint32N(4096)<<10)
		}
	}
	constants := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		switch r.IntN(4) {
		case 0:
			little.PutUint64(constants[i:], uint64(codeAddr+r.IntN(n)))
		case 1, 2:
			little.PutUint32(constants[i:], uint32(codeAddr-constAddr-i+r.IntN(n)))
			little.PutUint32(constants[i+4:], uint32(codeAddr-constAddr-i+r.IntN(n)))
		}
	}
	var frames []byte
	for len(frames) < n {
		size := 16 + 4*r.IntN(40)
		f := make([]byte, size+4)
		little.PutUint32(f, uint32(size))
		little.PutUint32(f[4:], uint32(len(frames)+4))
		little.PutUint32(f[8:], uint32(codeAddr-0x4A0000-len(frames)-8+r.IntN(n)))
		f[16] = 4
		frames = append(frames, f...)
	}
	return image(machine, elfFixed, codePiece(code), constPiece(".rodata", constants),
		piece{name: ".eh_frame", kind: 1, flags: sectionLoaded, addr: 0x4A0000, data: frames},
		dataPiece(constants), piece{name: ".BTF", kind: 1, data: typeInfo(r, n)}, goTable(r, n/64),
		piece{name: ".debug_info", kind: 1, data: constants[1:]})
}

// typeInfo is BTF with about n bytes of types.
func typeInfo(r *rand.Rand, n int) []byte {
	var types []byte
	for len(types) < n {
		info := uint32(r.IntN(20))<<24 | uint32(r.IntN(9))
		_, size := typeTail(info)
		types = append(types, words(r.Uint32N(1000), info, r.Uint32N(100))...)
		for range size / 4 {
			types = append(types, words(r.Uint32N(1000))...)
		}
	}
	head := words(0x0001EB9F, 24, 0, uint32(len(types)), uint32(len(types)), 1000)
	return join(head, types, make([]byte, 1000))
}

// goTable is a table of n Go functions.
func goTable(r *rand.Rand, n int) piece {
	const names, units, files, pcs, index = 72, 200, 280, 300, 400
	b := make([]byte, index+8*n)
	copy(b, join(words(goMagic120, 0x08010000), longs(uint64(n), 1, codeAddr, names, units, files, pcs, index)))
	for i := range n {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		little.PutUint32(b[index+8*i:], uint32(16*i))
		little.PutUint32(b[index+8*i+4:], uint32(len(b)-index))
		tables, datas := r.IntN(4), r.IntN(4)
		b = append(b, words(uint32(16*i), r.Uint32N(100), 8, 0, r.Uint32N(90), r.Uint32N(90), r.Uint32N(90), uint32(tables), r.Uint32N(9), 1, uint32(datas)<<24)...)
		for range tables + datas {
			b = append(b, words(r.Uint32N(90))...)
		}
	}
	return piece{name: ".gopclntab", kind: 1, flags: sectionLoaded, addr: 0x4E0000, data: b}
}

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func mustParse(t testing.TB, b []byte) *Element {
	t.Helper()
	e, ok := Parse(bytes.NewReader(b), int64(len(b)))
	if !ok {
		t.Fatal("image of the test is not understood")
	}
	return e
}

package reference

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// image32 is image with headers and addresses of 4 bytes, for 32-bit arm.
func image32(kind uint16, pieces ...piece) []byte {
	wide := image(machineArm, kind, pieces...)
	n := int(little.Uint16(wide[56:]))
	count := int(little.Uint16(wide[60:]))
	table := int(little.Uint64(wide[40:]))
	out := bytes.Clone(wide[:table])
	clear(out[:64+56*n])
	copy(out, wide[:20])
	out[4] = 1
	little.PutUint32(out[28:], 52)
	little.PutUint32(out[32:], uint32(table))
	for i, v := range []uint16{32, uint16(n), 40, uint16(count), little.Uint16(wide[62:])} {
		little.PutUint16(out[42+2*i:], v)
	}
	for i := range n {
		h := wide[64+56*i:]
		copy(out[52+32*i:], words(little.Uint32(h), little.Uint32(h[8:]), little.Uint32(h[16:]), 0,
			little.Uint32(h[32:]), little.Uint32(h[40:]), little.Uint32(h[4:]), 1))
	}
	for i := range count {
		h := wide[table+64*i:]
		out = append(out, words(little.Uint32(h), little.Uint32(h[4:]), little.Uint32(h[8:]), little.Uint32(h[16:]), little.Uint32(h[24:]),
			little.Uint32(h[32:]), little.Uint32(h[40:]), little.Uint32(h[44:]), 1, 0)...)
	}
	return out
}

// halves are 16-bit numbers one after the other.
func halves(v ...uint16) []byte {
	var b []byte
	for _, x := range v {
		b = little.AppendUint16(b, x)
	}
	return b
}

// nops are n bytes of ARM code that do nothing.
func nops(n int) []byte { return bytes.Repeat(words(0xE1A00000), n/4) }

// noise32 has ARM and Thumb code in turn, in which little makes sense.
func noise32(r *rand.Rand, kind uint16, n int) []byte {
	code := nops(n)
	for i := 0; i+80 < n; i += 2 * (1 + r.IntN(20)) {
		j := i &^ 3
		if i/1024%2 == 0 {
			switch r.IntN(4) {
			case 0: // BL
				little.PutUint32(code[j:], 0xEB000000|uint32(r.IntN(n)-j-8)>>2&0xFFFFFF)
			case 1: // LDR from a pool, ADD to the counter or LDR from a table
				d := 8 + 4*r.IntN(15)
				little.PutUint32(code[j:], 0xE59F3000|uint32(d-8))
				little.PutUint32(code[j+4:], []uint32{0xE08F3003, 0xE7913003, 0xE1A00000}[r.IntN(3)])
				little.PutUint32(code[j+d:], uint32(r.IntN(dataAddr-codeAddr)*r.IntN(2)))
			case 2: // MOVW, MOVT
				little.PutUint32(code[j:], 0xE3012000|uint32(r.IntN(4096)))
				little.PutUint32(code[j+8:], 0xE3402048)
				little.PutUint32(code[j+12:], []uint32{0xE08F2002, 0xE1A00000}[r.IntN(2)])
			case 3:
				little.PutUint32(code[j:], r.Uint32())
			}
			continue
		}
		switch r.IntN(4) {
		case 0: // BL, B, BLX
			little.PutUint16(code[i:], 0xF000|uint16(r.IntN(2)*0x7FF))
			little.PutUint16(code[i+2:], uint16(r.Uint32())|0x8000)
		case 1:
			copy(code[i:], halves(0x4B00|uint16(r.IntN(14)), 0x447B, 0xF8DF, 0x5000|uint16(r.IntN(60)), []uint16{0x447D, 0x5973}[r.IntN(2)]))
		case 2:
			copy(code[i:], halves(0xF240|uint16(r.IntN(16)), 0x0300|uint16(r.IntN(256)), 0xF2C0, 0x0348, 0x447B))
		case 3:
			copy(code[i:], halves(uint16(r.Uint32()), uint16(r.Uint32())))
		}
	}
	data := make([]byte, n)
	for i := 0; i+4 <= n; i += 4 {
		little.PutUint32(data[i:], uint32(codeAddr+r.IntN(2*n)))
	}
	index := make([]byte, n/4)
	for i := 0; i+4 <= len(index); i += 4 {
		little.PutUint32(index[i:], uint32(r.IntN(n)-(0x4A0000-codeAddr))&^(1<<31))
	}
	return image32(kind, codePiece(code), constPiece(".rodata", data),
		piece{name: ".ARM.exidx", kind: sectionArmIndex, flags: sectionLoaded, addr: 0x4A0000, data: index},
		dataPiece(data), piece{name: ".got", kind: 1, flags: sectionLoaded | sectionWritable, addr: 0x500000, data: data[:n/16&^3]},
		piece{name: ".rel.dyn", kind: sectionRel, flags: sectionLoaded, addr: 0x510000, link: 7, data: data[:n/8&^7]},
		piece{name: ".dynsym", kind: sectionDynSyms, flags: sectionLoaded, addr: 0x520000, link: 8, data: data[:n/8&^15]},
		piece{name: ".dynstr", kind: sectionStrings, flags: sectionLoaded, addr: 0x530000, data: fill(64)})
}

// strangers are images with much of everything for each kind of executable
// that noise does not make.
func strangers(r *rand.Rand, n int) map[string][]byte {
	return map[string][]byte{
		"arm program": noise32(r, elfFixed, n),
		"arm library": noise32(r, elfShared, n),
		"arm object":  noise32(r, elfRelocatable, n),
		"riscv":       riscvNoise(r, n),
		"PE":          imageNoise(r, n),
		"old Go":      image(machineX86, elfFixed, codePiece(fill(n)), oldGoTable(r, n/16, 8, goMagic116)),
		"small Go":    image32(elfFixed, codePiece(nops(n)), oldGoTable(r, n/16, 4, goMagic120)),
	}
}

func TestStrangersDoNotDependOnCuts(t *testing.T) {
	for seed := range uint64(4) {
		r := seeded(seed)
		for name, b := range strangers(r, 12<<10) {
			e := mustParse(t, b)
			whole := e.Scan(nil, b, 0, 0, e.size)
			if len(whole) < 200 {
				t.Fatalf("%s: %d fields, too few to test with", name, len(whole))
			}
			for _, step := range []int64{3, 40, 700, 9000} {
				if got := cuts(e, b, func() int64 { return 1 + r.Int64N(step) }); !slices.Equal(got, whole) {
					t.Errorf("%s seed %d: %d fields in cuts of %d, %d in one piece, or others", name, seed, len(got), step, len(whole))
				}
			}
		}
	}
}

func TestStrangersDecodeAsEncoded(t *testing.T) {
	for seed := range uint64(4) {
		r := seeded(seed)
		olds, news := strangers(r, 9<<10), strangers(r, 10<<10)
		for name, old := range olds {
			new := news[name]
			roundTrip(t, old, new, randomCopies(r, len(old), len(new)))
		}
	}
}

func TestScanFindsArm(t *testing.T) {
	rel := func(from, to int) uint32 { return uint32(to - from) }
	for _, tt := range []struct {
		name   string
		kind   uint16
		pieces []piece
		want   string
	}{
		{"ARM branches", elfShared, []piece{codePiece(join(words(0xEB000010, 0x1A000000, 0xFA000004, 0xEA700000), nops(128)))},
			".text+0:Branch24 .text+4:Branch24 .text+8:Branch24"},
		{"Thumb branches", elfShared, []piece{codePiece(join(halves(0xF000, 0xF804, 0xF000, 0x8008, 0xF000, 0xE804, 0xF3BF, 0x8F5F, 0xF300, 0xF804), make([]byte, 128)))},
			".text+0:BranchThumb .text+4:BranchThumb .text+8:BranchThumb"},
		{"distances in a pool", elfShared, []piece{codePiece(join(words(0xE59F3010, 0xE59F2010, 0xE08F3003, 0xE7921002, 0xE7912002, 0xE1A00000, rel(16, constAddr-codeAddr), 8), nops(64))),
			constPiece(".rodata", fill(64)), {name: ".got", kind: 1, flags: sectionLoaded | sectionWritable, addr: dataAddr, data: words(0, 0, codeAddr)}},
			".text+0:Load12 .text+4:Load12 .text+24:Pool32 .text+28:Base32 .got+8:Word32"},
		{"the same in Thumb", elfShared, []piece{codePiece(join(halves(0x4B03, 0x4A04, 0x447B, 0x588A, 0xF8DF, 0x800C, 0x44F8, 0), words(rel(8, constAddr-codeAddr), 4, rel(16, constAddr-codeAddr)), make([]byte, 64))),
			constPiece(".rodata", fill(64)), {name: ".got", kind: 1, flags: sectionLoaded | sectionWritable, addr: dataAddr, data: words(0, 0, 0)}},
			".text+0:Short16 .text+2:Short16 .text+8:Load12 .text+16:Pool32 .text+20:Base32 .text+24:Pool32"},
		{"addresses in a pool of a program", elfFixed, []piece{codePiece(join(words(0xE59F3000, 0xE1A00000, constAddr), nops(64))), constPiece(".rodata", words(1, codeAddr))},
			".text+0:Load12 .text+8:ConstWord32 .rodata+4:ConstWord32"},
		{"none in a library", elfShared, []piece{codePiece(join(words(0xE59F3000, 0xE1A00000, constAddr), nops(64))), constPiece(".rodata", words(1, codeAddr))}, ".text+0:Load12"},
		{"moves of both halves", elfFixed, []piece{codePiece(join(words(0xE3012000, 0xE1A00000, 0xE3402040, 0xE30E3FE4, 0xE3403007, 0xE08F3003), nops(64))), constPiece(".rodata", fill(4096))},
			".text+0:Move32 .text+12:MoveNear32"},
		{"the same in Thumb", elfFixed, []piece{codePiece(join(halves(0xF241, 0x0200, 0, 0xF2C0, 0x0240, 0xF64E, 0x73EA, 0xF2C0, 0x0307, 0x447B), make([]byte, 64))), constPiece(".rodata", fill(4096))},
			".text+0:Move32 .text+10:MoveNear32"},
		{"unwind tables", elfShared, []piece{codePiece(nops(64)), {name: ".ARM.exidx", kind: sectionArmIndex, flags: sectionLoaded, addr: constAddr,
			data: words(rel(constAddr, codeAddr)&^(1<<31), 1, rel(constAddr+8, codeAddr+8)&^(1<<31), 0x80B0B0B0)}}, ".ARM.exidx+0:Table31 .ARM.exidx+8:Table31"},
		{"symbols and relocations", elfShared, []piece{codePiece(nops(64)),
			{name: ".dynsym", kind: sectionDynSyms, flags: sectionLoaded, addr: 0x2000, link: 3, data: join(make([]byte, 16), words(5, codeAddr, 8, 0))},
			{name: ".dynstr", kind: sectionStrings, flags: sectionLoaded, addr: 0x3000, data: fill(16)},
			{name: ".rel.dyn", kind: sectionRel, flags: sectionLoaded, addr: 0x5000, link: 2, data: words(codeAddr, 0x115, codeAddr+4, 23)}},
			".dynsym+16:Name .dynsym+20:Symbol32 .rel.dyn+0:Site32 .rel.dyn+4:Item16 .rel.dyn+8:Site32"},
		{"an object", elfRelocatable, []piece{{name: ".text", kind: 1, flags: 6, data: nops(64)},
			{name: ".symtab", kind: sectionSymbols, link: 3, data: join(make([]byte, 16), words(1, 16, 8, 1<<16|2))},
			{name: ".strtab", kind: sectionStrings, data: fill(16)},
			{name: ".rel.text", kind: sectionRel, link: 2, info: 1, data: words(8, 0x11C)}},
			".symtab+16:Name .symtab+20:Section32 .rel.text+0:Section32 .rel.text+4:Item16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := image32(tt.kind, tt.pieces...)
			if got := found(mustParse(t, b), b); got != tt.want {
				t.Errorf("fields = %s\nwant     %s", got, tt.want)
			}
		})
	}
}

func TestHighAddressesOfArm(t *testing.T) {
	code := codePiece(nops(64))
	code.addr = 0xC0008000
	data := dataPiece(words(0xC0008010, 0xC0108000, 7))
	data.addr = 0xC0100000
	b := image32(elfFixed, code, data)
	if got, want := found(mustParse(t, b), b), ".data+0:Word32"; got != want {
		t.Errorf("fields = %s, want %s", got, want)
	}
}

// TestArmBranches compares with what an assembler makes of "b", "bl", "blx"
// and "beq" to known places.
func TestArmBranches(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind Kind
		w    uint32
		at   uint64
		to   uint64
	}{
		{"ARM BL forwards", Branch24, 0xEB000001, 0x1000, 0x100C},
		{"ARM B to itself", Branch24, 0xEAFFFFFE, 0x1000, 0x1000},
		{"ARM BLX to a half word", Branch24, 0xFB000001, 0x1000, 0x100E},
		{"Thumb BL", BranchThumb, 0xF804F000, 0x1000, 0x100C},
		{"Thumb BL backwards", BranchThumb, 0xFFFEF7FF, 0x1000, 0x1000},
		{"Thumb BL over 4 MiB", BranchThumb, 0xD000F000, 0x1000, 0xC01004},
		{"Thumb BLX from a half word", BranchThumb, 0xE804F000, 0x1002, 0x100C},
		{"Thumb BEQ", BranchThumb, 0x8004F000, 0x1000, 0x100C},
		{"Thumb BEQ backwards", BranchThumb, 0xAFFEF43F, 0x1000, 0x1000},
		{"Thumb B", Short16, 0xE7FE, 0x1000, 0x1000},
		{"Thumb BNE", Short16, 0xD104, 0x1000, 0x100C},
		{"Thumb CBZ", Short16, 0xB123, 0x1000, 0x100C},
		{"Thumb CBNZ over 64 bytes", Short16, 0xBB03, 0x1000, 0x1044},
		{"Thumb LDR from a pool", Short16, 0x4B02, 0x1002, 0x100C},
		{"ARM LDR from a pool", Load12, 0xE59F3010, 0x1000, 0x1018},
	} {
		b := words(tt.w)
		f := Field{Kind: tt.kind}
		if got := f.value(b, b, tt.at); got != tt.to {
			t.Errorf("%s: target = %#x, want %#x", tt.name, got, tt.to)
		}
	}
}

package reference

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// found lists the fields of an image by section and place in it.
func found(e *Element, b []byte) string {
	var out []string
	for _, f := range e.Scan(nil, b, 0, 0, e.size) {
		for _, s := range e.sections {
			if s.off > 0 && f.Off >= s.off && f.Off < s.off+s.size {
				out = append(out, fmt.Sprintf("%s+%d:%s", s.name, f.Off-s.off, kindNames[f.Kind]))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestScanFinds(t *testing.T) {
	rel := func(from, to int) uint32 { return uint32(to - from) }
	for _, tt := range []struct {
		name    string
		machine uint16
		kind    uint16
		pieces  []piece
		want    string
	}{
		{"a call and a jump", machineX86, elfShared, []piece{codePiece(join([]byte{0xE8}, words(rel(5, 64)), []byte{0x0F, 0x84}, words(rel(11, 0)), fill(64)))},
			".text+1:Near32 .text+7:Near32"},
		{"no call where no code is", machineX86, elfShared, []piece{codePiece(join([]byte{0xE8}, words(rel(5, 640)), fill(64)))}, ""},
		{"operands counted from the instruction", machineX86, elfShared, []piece{codePiece(join([]byte{0x48, 0x8D, 0x05}, words(rel(7, constAddr-codeAddr)),
			[]byte{0xC5, 0xFA, 0x6F, 0x05}, words(rel(15, constAddr-codeAddr)), fill(16))), constPiece(".rodata", fill(16))},
			".text+3:Data32 .text+11:Data32"},
		{"an operand before a constant", machineX86, elfShared, []piece{codePiece(join([]byte{0x81, 0x3D}, words(rel(10, constAddr-codeAddr), 7), fill(16))),
			constPiece(".rodata", fill(16))}, ".text+2:Data32"},
		{"addresses in instructions of a fixed program", machineX86, elfFixed, []piece{codePiece(join([]byte{0x48, 0xC7, 0xC7}, words(codeAddr), fill(16)))},
			".text+3:Wide32"},
		{"none in a library", machineX86, elfShared, []piece{codePiece(join([]byte{0x48, 0xC7, 0xC7}, words(codeAddr), fill(16)))}, ""},
		{"branches and pages", machineArm64, elfShared, []piece{codePiece(words(0x94000002, 0xD503201F, 0x17FFFFFE, 0xB0000003, 0x91004063, 0x94100000)),
			{name: ".data", kind: 1, flags: sectionLoaded | sectionWritable, addr: codeAddr + 0x1000, data: fill(4096)}},
			".text+0:Branch26 .text+8:Branch26 .text+12:Page21"},
		{"addresses in data", machineX86, elfShared, []piece{codePiece(fill(16)), dataPiece(longs(codeAddr, 12, dataAddr+8, 1<<40))},
			".data+0:Word .data+16:Word"},
		{"constants and a jump table", machineX86, elfShared, []piece{codePiece(fill(4096)), constPiece(".rodata",
			join(longs(codeAddr, 7), words(rel(constAddr, codeAddr), rel(constAddr, codeAddr+90), rel(constAddr, codeAddr+70), 1), fill(64)))},
			".rodata+0:ConstWord .rodata+16:Switch32 .rodata+20:Switch32 .rodata+24:Switch32"},
		{"two distances are no table", machineX86, elfShared, []piece{codePiece(fill(4096)), constPiece(".rodata",
			join(words(rel(constAddr, codeAddr), rel(constAddr, codeAddr+90)), make([]byte, 256)))}, ""},
		{"a kernel's list of its symbols", machineX86, elfFixed, []piece{{name: ".text", kind: 1, flags: sectionLoaded | sectionCode, addr: 0xFFFFFFFF81000000, data: fill(4096)},
			{name: ".rodata", kind: 1, flags: sectionLoaded | sectionWritable, addr: 0xFFFFFFFF82000000, data: words(0, 0, 0, ^uint32(0), ^uint32(0), ^uint32(7), ^uint32(30), ^uint32(100), ^uint32(101), ^uint32(200), ^uint32(300), ^uint32(600), 0, 0)}},
			".rodata+28:Down32"},
		{"addresses in information for debuggers", machineX86, elfFixed, []piece{codePiece(fill(4096)),
			{name: ".debug_info", kind: 1, data: join([]byte{1, 2, 3}, longs(codeAddr+0x100), []byte{9}, longs(codeAddr+4096), []byte{5, 5}, longs(codeAddr))}},
			".debug_info+3:DebugWord .debug_info+22:DebugWord"},
		{"a section of distances", machineX86, elfShared, []piece{codePiece(fill(4096)), constPiece("__ex_table",
			words(rel(constAddr, codeAddr), rel(constAddr+4, codeAddr+9), 3, rel(constAddr+12, codeAddr), 0, 0, 0, 0, 0))},
			"__ex_table+0:Table32 __ex_table+4:Table32 __ex_table+12:Table32"},
		{"symbols and relocations", machineX86, elfShared, []piece{codePiece(fill(4096)),
			{name: ".dynsym", kind: sectionDynSyms, flags: sectionLoaded, addr: 0x2000, link: 3, data: join(make([]byte, 24), words(5, 0), longs(codeAddr, 9))},
			{name: ".dynstr", kind: sectionStrings, flags: sectionLoaded, addr: 0x3000, data: fill(16)},
			{name: ".rela.dyn", kind: sectionRela, flags: sectionLoaded, addr: 0x5000, link: 2, data: join(longs(codeAddr+8, 1<<32|6, 0), longs(codeAddr, 8, codeAddr+16))}},
			".dynsym+24:Name .dynsym+32:Symbol .rela.dyn+0:Site .rela.dyn+12:Offset24 .rela.dyn+24:Site .rela.dyn+40:Word"},
		{"a relocatable file", machineX86, elfRelocatable, []piece{{name: ".text", kind: 1, flags: 6, data: fill(64)},
			{name: ".symtab", kind: sectionSymbols, link: 3, data: join(make([]byte, 24), words(0, 1<<16|3), longs(0, 0), words(1, 1<<16|2), longs(16, 4))},
			{name: ".strtab", kind: sectionStrings, data: fill(16)},
			{name: ".rela.text", kind: sectionRela, link: 2, info: 1, data: longs(8, 1<<32|1, 40)}},
			".symtab+32:Section64 .symtab+48:Name .symtab+56:Section64 .rela.text+0:Section64 .rela.text+12:Offset24 .rela.text+16:Section64"},
		{"unwind records and their index", machineX86, elfShared, []piece{codePiece(fill(4096)),
			{name: ".eh_frame", kind: 1, flags: sectionLoaded, addr: constAddr, data: join(words(12, 0, 1, 1), words(20, 20, rel(constAddr+24, codeAddr), 8, 4), words(0, 0), words(0))},
			{name: ".eh_frame_hdr", kind: 1, flags: sectionLoaded, addr: dataAddr, data: join([]byte{1, 0x1B, 3, 0x3B}, words(0, 1, rel(dataAddr, codeAddr), rel(dataAddr, constAddr)))}},
			".eh_frame+20:Back32 .eh_frame+24:Frame32 .eh_frame+33:Frame32 .eh_frame_hdr+12:Base32 .eh_frame_hdr+16:Base32"},
		{"types", machineX86, elfShared, []piece{codePiece(fill(64)), {name: ".BTF", kind: 1, data: join(words(0x0001EB9F, 24, 0, 56, 56, 9),
			words(1, 1<<24, 4, 0), words(0, 2<<24, 1), words(3, 4<<24|1, 8, 5, 2, 0), words(0), make([]byte, 12), []byte("\x00a\x00b\x00c\x00d\x00"))}},
			".BTF+24:TypeName .BTF+48:TypeID .BTF+52:TypeName .BTF+64:TypeName .BTF+68:TypeID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := image(tt.machine, tt.kind, tt.pieces...)
			if got := found(mustParse(t, b), b); got != tt.want {
				t.Errorf("fields = %s\nwant     %s", got, tt.want)
			}
		})
	}
}

func TestScanFindsGoFunctions(t *testing.T) {
	table := goTable(seeded(3), 2)
	b := image(machineX86, elfFixed, codePiece(fill(256)), table)
	got := found(mustParse(t, b), b)
	for _, want := range []string{".gopclntab+400:Base32 .gopclntab+404:Offset .gopclntab+408:Base32 .gopclntab+412:Offset .gopclntab+416:Base32 .gopclntab+420:Name", ":Offset4"} {
		if !strings.Contains(got, want) {
			t.Errorf("fields = %s\nwant among them %s", got, want)
		}
	}
}

// cuts scans in pieces, each with no more of the image than Window asks for.
func cuts(e *Element, b []byte, next func() int64) []Field {
	var out []Field
	for lo := int64(0); lo < e.size; {
		hi := min(lo+next(), e.size)
		from, to := e.Window(lo, hi)
		out = e.Scan(out, slices.Clone(b[from:to]), from, lo, hi)
		lo = hi
	}
	return out
}

func TestScanDoesNotDependOnCuts(t *testing.T) {
	for _, machine := range []uint16{machineX86, machineArm64} {
		for seed := range uint64(6) {
			r := seeded(seed)
			b := noise(r, machine, 24<<10)
			e := mustParse(t, b)
			whole := e.Scan(nil, b, 0, 0, e.size)
			if len(whole) < 5000 {
				t.Fatalf("%d fields, too few to test with", len(whole))
			}
			for _, step := range []int64{3, 40, 700, 9000} {
				got := cuts(e, b, func() int64 { return 1 + r.Int64N(step) })
				for i := range got {
					if i >= len(whole) || got[i] != whole[i] {
						t.Fatalf("machine %d seed %d cuts of %d: field %d is %+v, in one piece %+v", machine, seed, step, i, got[i], whole[min(i, len(whole)-1)])
					}
				}
				if len(got) != len(whole) {
					t.Fatalf("machine %d seed %d cuts of %d: %d fields, in one piece %d", machine, seed, step, len(got), len(whole))
				}
			}
			if !slices.IsSortedFunc(whole, func(a, b Field) int { return compare(a.Off, b.Off) }) {
				t.Error("fields are not in order")
			}
		}
	}
}

func TestScanOfTooLittleIsHarmless(t *testing.T) {
	b := noise(seeded(9), machineX86, 4<<10)
	e := mustParse(t, b)
	for at := int64(0); at < e.size; at += 31 {
		for _, n := range []int64{0, 1, 5, 64} {
			end := min(at+n, e.size)
			for _, f := range e.Scan(nil, b[at:end], at, 0, e.size) {
				if f.Off < at || f.Off >= end {
					t.Fatalf("field at %d from bytes %d to %d", f.Off, at, end)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := image(machineX86, elfFixed, codePiece(fill(64)))
	for _, tt := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"nothing", func([]byte) []byte { return nil }},
		{"a short header", func(b []byte) []byte { return b[:63] }},
		{"another magic", func(b []byte) []byte { b[0] = 0; return b }},
		{"32 bits", func(b []byte) []byte { b[4] = 1; return b }},
		{"big-endian bytes", func(b []byte) []byte { b[5] = 2; return b }},
		{"another machine", func(b []byte) []byte { b[18] = 3; return b }},
		{"no segment", func(b []byte) []byte { b[56] = 0; return b }},
		{"segments beyond the end", func(b []byte) []byte { little.PutUint64(b[32:], 1<<40); return b }},
		{"65,535 segments", func(b []byte) []byte { little.PutUint16(b[56:], 65535); return b }},
		{"65,535 sections", func(b []byte) []byte { little.PutUint16(b[60:], 65535); return b }},
		{"a segment that wraps around", func(b []byte) []byte { little.PutUint64(b[64+16:], 1<<64-8); return b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.edit(bytes.Clone(good))
			if _, ok := Parse(bytes.NewReader(b), int64(len(b))); ok {
				t.Error("taken for an executable")
			}
		})
	}
}

// TestX86PairsHideNothing compares the quick look at two bytes with the slow
// one at all of an instruction.
func TestX86PairsHideNothing(t *testing.T) {
	e := mustParse(t, image(machineX86, elfFixed, codePiece(fill(4096)), dataPiece(fill(4096))))
	r := seeded(6)
	found := 0
	for pair := range 1 << 16 {
		for range 30 {
			d := make([]byte, 24)
			for i := range d {
				d[i] = byte(r.Uint32() & r.Uint32())
			}
			d[0], d[1] = byte(pair), byte(pair>>8)
			if r.IntN(2) == 0 {
				d[2+r.IntN(4)] = 0x05
			}
			p := 1 + r.IntN(6)
			little.PutUint32(d[p:], uint32(r.IntN(2)*codeAddr+r.IntN(4096)-p))
			d[0], d[1] = byte(pair), byte(pair>>8)
			for _, wide := range []bool{false, true} {
				if at, _ := e.x86At(d, 0, codeAddr, wide); at >= 0 {
					found++
					if x86Next(d, 0, 1, x86Bits(wide)) != 0 {
						t.Fatalf("% x has an operand at %d, but is passed over (wide: %v)", d[:8], at, wide)
					}
				}
			}
		}
	}
	if found < 10000 {
		t.Errorf("%d operands, too few to test with", found)
	}
}

func FuzzScan(f *testing.F) {
	for seed := range uint64(3) {
		f.Add(noise(seeded(seed), machineX86, 600), seed)
		f.Add(noise(seeded(seed), machineArm64, 600), seed)
		for _, b := range strangers(seeded(seed), 600) {
			f.Add(b, seed)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if len(b) > 1<<18 {
			return
		}
		e, ok := Parse(bytes.NewReader(b), int64(len(b)))
		if !ok {
			return
		}
		whole := e.Scan(nil, b, 0, 0, e.size)
		if int64(len(whole)) > e.size {
			t.Fatalf("%d fields in %d bytes", len(whole), e.size)
		}
		r := seeded(seed)
		got := cuts(e, b, func() int64 { return 1 + r.Int64N(2000) })
		if !slices.Equal(got, whole) {
			t.Fatal("fields depend on how the image is cut")
		}
		roundTrip(t, b, b, randomCopies(r, len(b), len(b)))
	})
}

func FuzzParse(f *testing.F) {
	f.Add(image(machineX86, elfFixed, codePiece(fill(64))))
	f.Add(noise(seeded(1), machineArm64, 300))
	for _, b := range strangers(seeded(1), 300) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := Parse(bytes.NewReader(b), int64(len(b)))
		if !ok {
			return
		}
		end := int64(0)
		for _, g := range e.regions {
			if g.lo < end || g.hi <= g.lo || g.hi > e.size || int64(len(g.marks)) > (g.hi-g.lo)/markStep+2 {
				t.Fatalf("region %d to %d with %d marks after %d in %d bytes", g.lo, g.hi, len(g.marks), end, e.size)
			}
			end = g.hi
		}
	})
}

// countedReader counts the bytes that are read.
type countedReader struct {
	io.ReaderAt
	n int64
}

func (c *countedReader) ReadAt(p []byte, at int64) (int, error) {
	c.n += int64(len(p))
	return c.ReaderAt.ReadAt(p, at)
}

// TestParseReadsSectionsOnce has a thousand sections of records that are all the
// same bytes of the file.
func TestParseReadsSectionsOnce(t *testing.T) {
	const size, count, names = 1 << 20, 1000, 120 + 64*1000
	for _, name := range []string{".eh_frame", ".BTF", ".data"} {
		b := make([]byte, size)
		copy(b, "\x7fELF\x02\x01\x01")
		little.PutUint16(b[16:], elfFixed)
		little.PutUint16(b[18:], machineX86)
		little.PutUint64(b[32:], 64)
		little.PutUint64(b[40:], 120)
		for i, v := range []uint16{56, 1, 64, count, 0} {
			little.PutUint16(b[54+2*i:], v)
		}
		little.PutUint32(b[64:], loadSegment)
		little.PutUint64(b[64+16:], 1<<22)
		little.PutUint64(b[64+32:], size)
		little.PutUint64(b[64+40:], size)
		copy(b[names+1:], name)
		records := b[names+64:]
		for i := range count {
			h := b[120+64*i:]
			off := len(b) - len(records)
			length := len(records)
			if i == 0 {
				off, length = names, 64
			}
			little.PutUint32(h, 1)
			little.PutUint64(h[8:], sectionLoaded|sectionWritable)
			little.PutUint64(h[24:], uint64(off))
			little.PutUint64(h[32:], uint64(length))
		}
		for at := 0; at < len(records); at += 16 {
			records[at] = 12
		}
		if name == ".BTF" {
			clear(records)
			little.PutUint16(records, 0xEB9F)
			little.PutUint32(records[4:], 24)
			little.PutUint32(records[12:], uint32(len(records)-24))
		}
		r := &countedReader{ReaderAt: bytes.NewReader(b)}
		if _, ok := Parse(r, size); !ok {
			t.Errorf("%s: not parsed", name)
		}
		if r.n > 4*size {
			t.Errorf("%s: %d bytes of a file of %d were read", name, r.n, size)
		}
	}
}

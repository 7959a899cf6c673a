package reference

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

const imageBase = 0x140000000

// peImage makes a PE file of sections at their addresses, counted from the
// base. The one called .pdata is its table of functions, .reloc of places.
func peImage(pieces ...piece) []byte {
	out := make([]byte, 0x400)
	copy(out, "MZ")
	out[60] = 0x80
	h := out[0x80:]
	copy(h, "PE\x00\x00")
	little.PutUint16(h[4:], imageX86)
	little.PutUint16(h[6:], uint16(len(pieces)))
	little.PutUint16(h[20:], 240)
	little.PutUint16(h[24:], imageWide)
	little.PutUint64(h[24+24:], imageBase)
	little.PutUint32(h[24+60:], 0x400)
	little.PutUint32(h[24+108:], 16)
	for i, p := range pieces {
		s := 0x80 + 24 + 240 + 40*i
		copy(out[s:], p.name)
		copy(out[s+8:], words(uint32(len(p.data))+uint32(p.empty), uint32(p.addr), uint32(len(p.data)+511)&^511, uint32(len(out))))
		flags := uint32(0x40000000)
		if p.flags&sectionCode != 0 {
			flags |= imageCode | imageExecute
		}
		if p.flags&sectionWritable != 0 {
			flags |= imageWrite
		}
		little.PutUint32(out[s+36:], flags)
		switch p.name {
		case ".pdata":
			little.PutUint32(out[0x80+24+112+8*directoryUnwind:], uint32(p.addr))
		case ".reloc":
			little.PutUint32(out[0x80+24+112+8*directoryFixes:], uint32(p.addr))
		}
		out = append(out, p.data...)
		for len(out)%512 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

// imageNoise is a PE file with much of everything.
func imageNoise(r *rand.Rand, n int) []byte {
	code := make([]byte, n)
	for i := range code {
		code[i] = byte(r.Uint32())
	}
	for i := 0; i+16 < n; i += 1 + r.IntN(12) {
		code[i] = 0xE8
		little.PutUint32(code[i+1:], uint32(r.IntN(n)-i))
	}
	data := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		little.PutUint64(data[i:], imageBase+0x1000+r.Uint64N(uint64(n)))
	}
	var fixes []byte
	for page := uint32(0x100000); len(fixes) < n; page += 4096 {
		k := 2 * (1 + r.IntN(100))
		fixes = append(fixes, words(page, uint32(8+2*k))...)
		for range k {
			fixes = append(fixes, halves(uint16(r.IntN(4096))|fixWide<<12*uint16(r.IntN(2)))...)
		}
	}
	return peImage(piece{name: ".text", flags: sectionCode, addr: 0x1000, data: code},
		piece{name: ".rdata", addr: 0x80000, data: data}, piece{name: ".data", flags: sectionWritable, addr: 0x100000, data: data, empty: 9000},
		piece{name: ".pdata", addr: 0x200000, data: words(0x1000, 0x1100, 0x80100, 0x1100, 0x1200, 0x81100)}, piece{name: ".reloc", addr: 0x300000, data: fixes})
}

func TestScanFindsImage(t *testing.T) {
	b := peImage(piece{name: ".text", flags: sectionCode, addr: 0x1000, data: join([]byte{0xE8}, words(16), []byte{0x48, 0x8D, 0x05}, words(0x10000-12), fill(64))},
		piece{name: ".rdata", addr: 0x11000, data: longs(7, imageBase+0x1000, 0x1000)},
		piece{name: ".data", flags: sectionWritable, addr: 0x12000, data: longs(imageBase+0x12100, imageBase+0x13000), empty: 0x200},
		piece{name: ".pdata", addr: 0x14000, data: words(0x1000, 0x1010, 0x11000, 0)},
		piece{name: ".reloc", addr: 0x15000, data: join(words(0x11000, 12), halves(0xA008, 0), words(0x12000, 10), halves(0xA000))})
	want := ".text+1:Near32 .text+8:Data32 .rdata+8:ConstWord .data+0:Word .pdata+0:Base32 .pdata+4:Base32 .pdata+8:Base32" +
		" .reloc+0:Base32 .reloc+8:Page12 .reloc+12:Base32 .reloc+20:Page12"
	if got := found(mustParse(t, b), b); got != want {
		t.Errorf("fields = %s\nwant     %s", got, want)
	}
}

func TestScanFindsUnwindRecords(t *testing.T) {
	records := words(0x00000001, 0x00090011, 0x21000, 0x30010, 0x19930522, 2, 0x30020, 0, 0x00021000, 0xFFFFFFFF, 0x21010, 0, 0x36827, 7, 0x00000001, 0)
	b := peImage(piece{name: ".text", flags: sectionCode, addr: 0x1000, data: make([]byte, 0x28000)},
		piece{name: ".rdata", addr: 0x30000, data: join(records, longs(0, imageBase+0x1000))},
		piece{name: ".pdata", addr: 0x50000, data: words(0x1000, 0x1010, 0x30000, 0x1010, 0x1020, 0x30004)})
	want := ".rdata+8:Base32 .rdata+12:Base32 .rdata+24:Base32 .rdata+32:Base32 .rdata+40:Base32 .rdata+72:ConstWord"
	if got, _, _ := strings.Cut(found(mustParse(t, b), b), " .pdata"); got != want {
		t.Errorf("fields = %s\nwant     %s", got, want)
	}
}

// TestImageForecast shifts the second half of the code, and expects all of the
// tables that lead there to follow.
func TestImageForecast(t *testing.T) {
	r := seeded(3)
	text := make([]byte, 0x4000)
	for i := range text {
		text[i] = byte(r.Uint32()) & 15
	}
	make1 := func(shift uint32) []byte {
		var functions, fixes []byte
		for i := range uint32(200) {
			at := 0x1000 + 32*i
			if i >= 100 {
				at += shift
			}
			functions = append(functions, words(at, at+20, 0x9000+i)...)
			fixes = append(fixes, halves(0xA000|uint16(16*i))...)
		}
		code := join(text[:100*32], bytes.Repeat([]byte{1}, int(shift)), text[100*32:])
		return peImage(piece{name: ".text", flags: sectionCode, addr: 0x1000, data: code},
			piece{name: ".pdata", addr: 0x8000 + uint64(shift), data: functions},
			piece{name: ".reloc", addr: 0xA000 + uint64(shift), data: join(words(0x8000+shift, uint32(8+len(fixes))), fixes)})
	}
	old, new := make1(0), make1(512)
	e, n := mustParse(t, old), mustParse(t, new)
	var copies []Copy
	for i := range e.sections[2:] {
		from, to := e.sections[i+2], n.sections[i+2]
		copies = append(copies, Copy{from.off, to.off, from.size})
	}
	at := e.sections[1].off
	copies = append(copies, Copy{at, at, 3200}, Copy{at + 3200, at + 3712, 0x4000 - 3200})
	got, stream := roundTrip(t, old, new, copies)
	for _, s := range n.sections[2:] {
		if !bytes.Equal(got[s.off:s.off+s.size], new[s.off:s.off+s.size]) {
			t.Errorf("%s is not as in new", s.name)
		}
	}
	if len(stream) > 100 {
		t.Errorf("%d bytes for 800 references, want at most 100", len(stream))
	}
}

func TestSniffKnowsStrangers(t *testing.T) {
	const at = 777
	for name, b := range strangers(seeded(6), 3000) {
		e := mustParse(t, b)
		size, ok := Sniff(bytes.NewReader(join(fill(at), b, fill(2000))), at, int64(len(b)))
		if slack := e.size - size; !ok || slack < 0 || slack >= 512 {
			t.Errorf("%s: size = %d, %v, want %d or up to 511 less for what fills up a section", name, size, ok, e.size)
		}
	}
}

func TestReadImageRefuses(t *testing.T) {
	good := peImage(piece{name: ".text", flags: sectionCode, addr: 0x1000, data: fill(64)})
	mustParse(t, good)
	for _, tt := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"another magic", func(b []byte) []byte { b[1] = 'X'; return b }},
		{"a header beyond the end", func(b []byte) []byte { little.PutUint32(b[60:], 1<<31); return b }},
		{"another machine", func(b []byte) []byte { b[0x84] = 0x4C; return b }},
		{"addresses of 4 bytes", func(b []byte) []byte { b[0x80+25] = 1; return b }},
		{"65,535 sections", func(b []byte) []byte { little.PutUint16(b[0x86:], 65535); return b }},
		{"a short file", func(b []byte) []byte { return b[:0x100] }},
	} {
		b := tt.edit(bytes.Clone(good))
		if _, ok := Parse(bytes.NewReader(b), int64(len(b))); ok {
			t.Errorf("%s: taken for an executable", tt.name)
		}
	}
}

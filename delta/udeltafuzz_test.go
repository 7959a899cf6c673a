package delta

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/internal/sample"
)

// refused tells whether err is one that a patch can be blamed for.
func refused(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnsupported)
}

func source(b []byte) *patchSource {
	return &patchSource{src: bytes.NewReader(b), alive: func() error { return nil }}
}

// FuzzHeader reads bodies of headers whose checksum is right. What can be read
// is written the same way again, if it has no fields of later versions.
func FuzzHeader(f *testing.F) {
	h := &udeltaHeader{oldSize: 1000, newSize: 2000, caps: udeltaCaps{Coded: 9, Raw: 9, Known: 9, Output: 9}}
	whole := h.append(nil)
	f.Add(whole[10 : len(whole)-4])
	f.Add(append(bytes.Clone(whole[10:len(whole)-4]), 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, body []byte) {
		var h udeltaHeader
		if h.parse(body) != nil {
			return
		}
		got, err := source(h.append(nil)).header()
		if err != nil && !errors.Is(err, ErrUnsupported) {
			t.Fatal(err)
		}
		if got != nil && *got != h {
			t.Errorf("wrote %+v, read %+v", h, *got)
		}
	})
}

// FuzzSection reads sections from any bytes, and one that was written.
func FuzzSection(f *testing.F) {
	h := &udeltaHeader{oldSize: 1000, newSize: 2000, caps: udeltaCaps{Coded: 9, Raw: 9, Known: 9, Output: 9}}
	h.append(nil)
	f.Add([]byte{'Z', 1, 0}, int64(7))
	f.Add(h.appendSection(nil, 0, 'F', []byte("body")), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		var room []byte
		if _, err := source(b).section(h, &room); err != nil && !refused(err) {
			t.Fatal(err)
		}
		if cap(room) > 1<<10 {
			t.Errorf("%d bytes of room for sections of 512", cap(room))
		}
		at &= maxUdeltaFile - 1
		b = b[:min(len(b), 512)]
		p := source(h.appendSection(nil, at, udeltaFrameSection, b))
		p.at = at
		s, err := p.section(h, &room)
		if err != nil || !bytes.Equal(s.body, b) || s.at != at {
			t.Errorf("wrote %x at %d, read %x at %d, %v", b, at, s.body, s.at, err)
		}
	})
}

// FuzzFrame applies frames with any contents. They give an error, or exactly
// the bytes that they declare.
func FuzzFrame(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	old := randomBytes(r, 3000)
	upd := mutated(r, old, 3000)
	h := udeltaHeader{caps: udeltaCaps{Coded: 12, Raw: 13, Known: 12, Output: 12}}
	p := source(makeSmall(f, old, upd))
	small, err := p.header()
	for err == nil {
		var room []byte
		var s udeltaSection
		if s, err = p.section(small, &room); err == nil && s.kind == udeltaFrameSection {
			f.Add(s.body)
		}
	}
	f.Add(frameBody(16, 1, 0, []byte{3}, []byte{9}, []byte{9}, []byte{1, 2}, []byte("literals")))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := &udeltaDecoder{header: &h, old: bytes.NewReader(old)}
		h.oldSize = int64(len(old))
		head, err := parseFrameHead(body, &h, 1<<20, false)
		if err != nil {
			return
		}
		frame := &udeltaFrame{output: head.output, ops: head.ops}
		if d.decode(frame, &head, &udeltaSection{body: body, rest: body, here: len(body)}) != nil {
			return
		}
		x := &udeltaExec{header: &h, old: d.old, oldSize: h.oldSize, free: make(chan []byte, 2), out: make(chan udeltaPiece, 2)}
		x.free <- make([]byte, udeltaWindow)
		if err := x.frame(t.Context(), frame); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		// The checksum of the output is hardly ever right; the bytes are
		// all there when it is looked at.
		if got := x.written; got != 0 && got != head.output {
			t.Errorf("%d bytes, its head says %d", got, head.output)
		}
	})
}

// FuzzMap reads map sections with any contents, and applies a frame with any
// references in the region. They give an error, or exactly the bytes declared.
func FuzzMap(f *testing.F) {
	old, upd := sample.Programs(30)
	var patch bytes.Buffer
	if _, err := Make(f.Context(), lookup(f, "udelta"), &patch, section(old), section(upd), Options{}); err != nil {
		f.Fatal(err)
	}
	p := source(patch.Bytes())
	h, err := p.header()
	if err != nil || !h.hasElements() {
		f.Fatal("the patch has no elements")
	}
	var room []byte
	s, err := p.section(h, &room)
	if err != nil || s.kind != udeltaMapSection {
		f.Fatalf("section %c, %v, want a map", s.kind, err)
	}
	d := &udeltaDecoder{header: h, old: bytes.NewReader(old)}
	r, err := d.readRegion(s, h.newSize)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(r.ops), r.column[0], r.column[1], r.column[2], r.column[3], []byte("references"), uint16(len(upd)))
	f.Add(uint16(1), []byte{0}, []byte{100}, []byte{0}, []byte{1, 1, 0, 200, 1, 0, 100, 0}, []byte{1}, uint16(101))
	f.Fuzz(func(t *testing.T, ops uint16, gaps, lengths, diagonals, table, refs []byte, output uint16) {
		made := &udeltaRegion{ops: int(ops), output: int64(output), column: [regionKinds][]byte{gaps, lengths, diagonals, table}}
		d := &udeltaDecoder{header: h, old: bytes.NewReader(old)}
		r, err := d.readRegion(udeltaSection{body: made.body(&coder.Compressor{}, coder.Fast)}, h.newSize)
		if err != nil {
			return
		}
		if r.ops > maxRegionOps || len(r.elements) > maxRegionElements {
			t.Fatalf("%d copies, %d elements", r.ops, len(r.elements))
		}
		frame := &udeltaFrame{region: r, output: int(r.output), refs: refs}
		x := &udeltaExec{header: h, old: d.old, oldSize: h.oldSize, free: make(chan []byte, 2), out: make(chan udeltaPiece, 2)}
		x.free <- make([]byte, udeltaWindow)
		literals, clips := 0, frame.clips(h.oldSize)
		for clip := (udeltaClip{length: 1}); clip.length > 0; literals += clip.gap {
			if clip, err = clips.next(); err != nil {
				t.Fatal(err)
			}
		}
		frame.column[udeltaLiterals] = make([]byte, literals)
		if err := x.frame(t.Context(), frame); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if got := x.written; got > frame.output {
			t.Errorf("%d bytes of %d", got, frame.output)
		}
	})
}

// FuzzDiffMutateApply makes a patch, damages it, and applies it: an error, or
// exactly the new file.
func FuzzDiffMutateApply(f *testing.F) {
	f.Add([]byte("the old file, the old file"), []byte("the new file, the new one"), uint16(99), byte(1), uint16(0))
	f.Add([]byte("the same"), []byte("the same"), uint16(8), byte(255), uint16(3))
	f.Add([]byte{}, []byte{}, uint16(0), byte(0), uint16(0))
	oldProgram, updProgram := sample.Programs(30)
	f.Add(oldProgram, updProgram, uint16(200), byte(1), uint16(0))
	f.Fuzz(func(t *testing.T, old, upd []byte, at uint16, xor byte, cut uint16) {
		patch := makeSmall(t, old, upd)
		format := lookup(t, "udelta")
		if got, err := apply(t.Context(), format, old, patch, Limits{Size: int64(len(upd))}); err != nil || !bytes.Equal(got, upd) {
			t.Fatalf("undamaged: %d bytes, %v, want %d", len(got), err, len(upd))
		}
		bad := bytes.Clone(patch)
		bad[int(at)%len(bad)] ^= xor
		bad = bad[:len(bad)-min(int(cut), len(bad))]
		if bytes.Equal(bad, patch) {
			return
		}
		if _, err := apply(t.Context(), format, old, bad, Limits{Size: AnySize, Memory: 16 << 20}); !refused(err) {
			t.Errorf("%d bytes of %d, byte %d changed: %v", len(bad), len(patch), at, err)
		}
		if _, err := Inspect(bytes.NewReader(bad)); err == nil {
			t.Errorf("%d bytes of %d, byte %d changed: inspected", len(bad), len(patch), at)
		}
	})
}

package reference

import (
	"io"
	"slices"
	"sort"
	"strings"
)

// form is how a region of the file is read.
type form uint8

const (
	formNone form = iota
	formX86
	formArm64
	formWords     // addresses, 8 bytes each, in what is written at run time
	formConstants // the same in read-only data, and runs of jump tables
	formTable     // mostly 32-bit distances to code
	formSymbols
	formRela
	formFrames
	formFrameIndex
	formOffsets // 32-bit distances within the file
	formFuncIndex
	formFuncs
	formInline
	formTypes
	formDebug // addresses, 8 bytes each, anywhere
	formListed
	formSites
	formArm
	formWords32     // formWords with 4 bytes each
	formConstants32 // the same in read-only data
	formSymbols32
	formRel32
	formArmIndex // 31-bit distances
	formRiscv
	formPages // places in pages, 2 bytes each
	formRecords
)

// region is a part of the file that is read in one way. Regions are disjoint.
type region struct {
	lo, hi int64
	addr   uint64 // of the byte at lo; 0 if it is not loaded
	form   form
	kind   Kind  // of formOffsets
	base   int64 // place that distances are counted from
	target int64 // place of the section that values lie in, or symbols are listed in
	wide   bool  // code in which addresses fit 32 sign-extended bits

	// marks has, for each 4 KiB of the region, the last record that starts
	// at or before it, from lo; nil where records have a fixed size.
	marks []uint32
	last  uint32 // the last record marked, from lo
}

// markStep is how many bytes of a region share a mark.
const markStep = 4096

// findRegions says how each section is read; without sections, each segment.
func (e *Element) findRegions(r io.ReaderAt) {
	e.findLoaded()
	if e.kind == elfRelocatable {
		e.findSectionSymbols(r)
	}
	for i := range e.sections {
		e.addSection(r, i)
	}
	if len(e.sections) == 0 {
		for _, s := range e.segments {
			e.addSegment(s)
		}
	}
	e.addSites(r)
	sort.SliceStable(e.regions, func(i, j int) bool { return e.regions[i].lo < e.regions[j].lo })
	kept, end := e.regions[:0], int64(0)
	for _, g := range e.regions {
		if g.lo >= end && g.lo < g.hi {
			kept, end = append(kept, g), g.hi
		}
	}
	e.regions = slices.Clip(kept)
	sort.SliceStable(e.anchors, func(i, j int) bool { return e.anchors[i].off < e.anchors[j].off })
	e.anchors = slices.CompactFunc(e.anchors, func(a, b anchor) bool { return a.off == b.off })
}

// findLoaded lists what segments cover, in as few spans as may be.
func (e *Element) findLoaded() {
	all := make([]span, 0, len(e.segments))
	for _, s := range e.segments {
		all = append(all, span{s.addr, s.addr + s.mem})
	}
	sortSpans(all)
	e.loaded = slices.Clip(joined(all))
}

// isLoaded says whether a is an address of the loaded program, or of one of
// the small gaps in it.
func (e *Element) isLoaded(a uint64) bool {
	for i := range e.loaded {
		if s := &e.loaded[i]; a-s.lo < s.hi-s.lo {
			return true
		}
	}
	return false
}

func (e *Element) addSection(r io.ReaderAt, i int) {
	s := e.sections[i]
	if s.kind == sectionNoBits && s.flags&sectionLoaded != 0 && s.size > 0 {
		e.voids = append(e.voids, void{s.name, s.addr, uint64(s.size)})
	}
	if s.off <= 0 || s.size <= 0 {
		return
	}
	e.anchors = append(e.anchors, anchor{s.name, s.off})
	g := region{lo: s.off, hi: s.off + s.size, addr: s.addr}
	loaded := s.flags&sectionLoaded != 0
	switch {
	case s.name == ".BTF":
		e.addTypes(r, g)
		return
	case e.word == 4 && e.addNarrow(s, &g):
	case e.isImage && e.addImageTable(r, s, &g):
	case s.kind == sectionSymbols || s.kind == sectionDynSyms:
		g.form = formSymbols
		g.base = e.sectionStart(s.link)
	case s.kind == sectionRela && (loaded || e.kind == elfRelocatable):
		g.form = formRela
		g.target = e.sectionStart(s.link)
		if e.kind == elfRelocatable {
			g.base = e.sectionStart(s.info)
		}
	case !loaded && e.kind != elfRelocatable && e.word == 8 && s.flags&sectionPacked == 0 && strings.HasPrefix(s.name, ".debug_") &&
		s.name != ".debug_str" && s.name != ".debug_abbrev":
		g.form = formDebug
	case !loaded || e.kind == elfRelocatable || s.kind == sectionStrings || s.kind == sectionHash ||
		s.kind == sectionNote || s.kind >= sectionGnuLow && s.kind <= sectionGnuHigh:
		return
	case s.flags&sectionCode != 0:
		g.form = e.codeForm()
		g.wide = e.isWide()
	case s.name == ".eh_frame":
		e.addFrames(r, g)
		return
	case s.name == ".eh_frame_hdr":
		e.addFrameIndex(r, g)
		return
	case strings.HasSuffix(s.name, ".gopclntab"):
		e.addFunctions(r, g)
		return
	case s.name == ".typelink":
		if ro, ok := e.section(".rodata"); ok {
			g.form, g.kind, g.base = formOffsets, Offset, ro.off
		}
	case e.denseTable(r, g):
		g.form = formTable
	case s.flags&sectionWritable != 0:
		g.form = formWords
		if off, ok := e.codeStart(); ok && e.isWide() && s.addr >= 1<<63 {
			g.base = off
			e.addListed(r, g)
			return
		}
	default:
		g.form = formConstants
	}
	if e.word == 4 {
		g.form = e.narrow(g.form)
	}
	e.regions = append(e.regions, g)
}

func (e *Element) addSegment(s segment) {
	g := region{lo: int64(s.off), hi: int64(s.off + s.file), addr: s.addr, form: formConstants}
	switch {
	case s.flags&executable != 0:
		g.form = e.codeForm()
	case s.flags&writable != 0:
		g.form = formWords
	}
	if e.word == 4 {
		g.form = e.narrow(g.form)
	}
	e.regions = append(e.regions, g)
}

// codeStart is where the first code begins in the file.
func (e *Element) codeStart() (int64, bool) {
	if len(e.code) == 0 {
		return 0, false
	}
	return place(e.segments, e.code[0].lo)
}

func (e *Element) codeForm() form {
	switch e.machine {
	case machineX86:
		return formX86
	case machineArm:
		return formArm
	case machineRiscv:
		return formRiscv
	}
	return formArm64
}

// isWide says whether instructions may hold addresses as sign-extended 32-bit
// numbers: programs at fixed addresses, low or in the highest 2 GiB.
func (e *Element) isWide() bool {
	if e.kind != elfFixed || e.machine != machineX86 {
		return false
	}
	for _, s := range e.segments {
		if s.addr >= 1<<31 && s.addr < 1<<64-1<<31 && s.flags&executable != 0 {
			return false
		}
	}
	return true
}

// sectionStart is where section i begins in the file, or 0.
func (e *Element) sectionStart(i uint32) int64 {
	if uint64(i) < uint64(len(e.sections)) {
		return e.sections[i].off
	}
	return 0
}

// denseTable says whether at least 15 % of the words of g, in a fixed sample,
// are distances to code, as in tables of unwind places, exceptions and bugs
// that a kernel has.
func (e *Element) denseTable(r io.ReaderAt, g region) bool {
	const pieces, width = 32, 256
	var b [width]byte
	words, hits := 0, 0
	step := max((g.hi-g.lo)/pieces&^3, width)
	for at := g.lo; at+4 <= g.hi; at += step {
		piece := b[:min(width, g.hi-at)]
		if !readAt(r, piece, at, e.size) {
			return false
		}
		for p := 0; p+4 <= len(piece); p += 4 {
			words++
			v := int64(int32(little.Uint32(piece[p:])))
			if (v > 64 || v < -64) && e.inCode(g.addr+uint64(at-g.lo)+uint64(p)+uint64(v)) {
				hits++
			}
		}
	}
	return words > 8 && hits*100 > words*15
}

// findSectionSymbols reads the first symbols, among which are all that stand
// for sections.
func (e *Element) findSectionSymbols(r io.ReaderAt) {
	for _, s := range e.sections {
		if s.kind != sectionSymbols {
			continue
		}
		t := &tape{r: r, size: s.off + s.size}
		width := e.word*2 + 8 // 16 or 24 bytes
		for i := range min(s.size/width, maxSections) {
			b, ok := t.bytes(s.off+width*i, int(width))
			if !ok {
				return
			}
			start := int64(0)
			if e.word == 4 {
				b = b[8:] // type and section come last
			}
			if b[4]&15 == 3 {
				start = e.sectionStart(uint32(little.Uint16(b[6:])))
			}
			e.symbolStart = append(e.symbolStart, start)
		}
		return
	}
}

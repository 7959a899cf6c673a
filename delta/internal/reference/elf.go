package reference

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"sort"
)

// Values of the ELF headers that are looked at (System V ABI, gABI 4.1).
const (
	elfRelocatable = 1
	elfFixed       = 2
	elfShared      = 3

	machineArm   = 40
	machineX86   = 62
	machineArm64 = 183
	machineRiscv = 243

	loadSegment = 1
	executable  = 1 // flag of a segment
	writable    = 2

	sectionSymbols  = 2
	sectionStrings  = 3
	sectionRela     = 4
	sectionHash     = 5
	sectionNote     = 7
	sectionNoBits   = 8
	sectionRel      = 9
	sectionDynSyms  = 11
	sectionGnuLow   = 0x6ffffff5 // attributes, hash, versions: no addresses
	sectionGnuHigh  = 0x6fffffff
	sectionArmIndex = 0x70000001
	sectionWritable = 1
	sectionLoaded   = 2
	sectionCode     = 4
	sectionPacked   = 0x800
)

var little = binary.LittleEndian

// segment is a part of the file and the addresses it is loaded at.
type segment struct {
	off, addr, file, mem uint64
	flags                uint32
}

// section is a named part of the file.
type section struct {
	name       string
	off, size  int64 // off is 0 where no bytes of the file belong to it
	addr       uint64
	flags      uint64
	kind       uint32
	link, info uint32
}

// span is a half-open range of addresses.
type span struct{ lo, hi uint64 }

// Element is what is known about one executable: where its fields are to be
// looked for, and how places in the file and addresses belong together. It is
// not changed after [Parse], and may be shared.
type Element struct {
	size     int64
	word     int64 // bytes of an address, 4 or 8
	machine  uint16
	kind     uint16
	segments []segment
	sections []section
	code     []span
	loaded   []span // what segments cover
	regions  []region
	anchors  []anchor
	voids    []void
	golang   goTables
	got      section // of 32-bit arm: addresses that code takes by their index
	isImage  bool    // a PE file
	tables   imageTables
	claimed  int64 // bytes that sections have, all together

	// symbolStart has, in a relocatable file, for each symbol that stands for
	// a section where that section begins, else 0.
	symbolStart []int64
}

// Parse reads the headers and tables of the executable of size bytes in r. It
// is false if r holds none, or one that is not understood or exceeds the limits.
func Parse(r io.ReaderAt, size int64) (*Element, bool) {
	e := &Element{size: size}
	if size > maxSize || !e.readHeaders(r) && !e.readImage(r) {
		return nil, false
	}
	e.findCode()
	e.findRecords(r)
	e.findRegions(r)
	return e, true
}

func (e *Element) readHeaders(r io.ReaderAt) bool {
	var h [64]byte
	if !readAt(r, h[:], 0, e.size) || !bytes.Equal(h[:4], []byte("\x7fELF")) || h[5] != 1 || h[6] != 1 {
		return false
	}
	e.kind, e.machine = little.Uint16(h[16:]), little.Uint16(h[18:])
	counts := h[54:]
	e.word = 8
	switch {
	case h[4] == 1 && e.machine == machineArm:
		e.word, counts = 4, h[42:]
	case h[4] != 2 || e.machine != machineX86 && e.machine != machineArm64 && e.machine != machineRiscv:
		return false
	}
	if e.kind < elfRelocatable || e.kind > elfShared {
		return false
	}
	segments, sections := e.long(h[:], 28, 32), e.long(h[:], 32, 40)
	if !e.readSegments(r, segments, little.Uint16(counts), little.Uint16(counts[2:])) ||
		!e.readSections(r, sections, little.Uint16(counts[4:]), little.Uint16(counts[6:]), little.Uint16(counts[8:])) {
		return false
	}
	return len(e.segments) > 0
}

// long is the number in a header or record that is at one place in 4 bytes, or
// at the other in 8, by the size of an address.
func (e *Element) long(b []byte, narrow, wide int) uint64 {
	if e.word == 4 {
		return uint64(little.Uint32(b[narrow:]))
	}
	return little.Uint64(b[wide:])
}

// at is long for an address. One of 32 bits is sign-extended, as distances
// are, so that sums are addresses.
func (e *Element) at(b []byte, narrow, wide int) uint64 {
	v := e.long(b, narrow, wide)
	if e.word == 4 {
		v = uint64(int64(int32(v)))
	}
	return v
}

// readSegments keeps the segments that are loaded. A relocatable file has no
// addresses yet: places in the file stand for them.
func (e *Element) readSegments(r io.ReaderAt, off uint64, width, n uint16) bool {
	if e.kind == elfRelocatable {
		e.segments = []segment{{file: uint64(e.size), mem: uint64(e.size)}}
		return true
	}
	if int64(width) != 8+6*e.word || n > maxSegments {
		return false
	}
	b := make([]byte, int(width)*int(n))
	if off > maxSize || !readAt(r, b, int64(off), e.size) {
		return false
	}
	for ; len(b) > 0; b = b[width:] {
		s := segment{
			flags: little.Uint32(b[4:]), off: e.long(b, 4, 8), addr: e.at(b, 8, 16),
			file: e.long(b, 16, 32), mem: e.long(b, 20, 40),
		}
		if e.word == 4 {
			s.flags = little.Uint32(b[24:])
		}
		if little.Uint32(b) == loadSegment && s.valid(e.size) {
			e.segments = append(e.segments, s)
		}
	}
	return true
}

// valid says that the segment lies inside the file and does not wrap around.
func (s segment) valid(size int64) bool {
	return s.off <= uint64(size) && s.file <= uint64(size)-s.off && s.file <= s.mem && s.addr+s.mem >= s.addr
}

// readSections keeps all sections, in order, so that an index into the table
// is an index into the slice. A file without sections is fine.
func (e *Element) readSections(r io.ReaderAt, off uint64, width, n, names uint16) bool {
	if off == 0 || n == 0 {
		return true
	}
	if int64(width) != 16+6*e.word || n > maxSections {
		return n <= maxSections // a broken table is as good as none
	}
	b := make([]byte, int(width)*int(n))
	if off > maxSize || !readAt(r, b, int64(off), e.size) {
		return true
	}
	e.sections = make([]section, n)
	for i := range e.sections {
		e.sections[i] = e.parseSection(b[int(width)*i:])
	}
	if int(names) >= len(e.sections) {
		return true
	}
	table := make([]byte, min(e.sections[names].size, maxNames))
	if !readAt(r, table, e.sections[names].off, e.size) {
		return true
	}
	for i := range e.sections {
		e.sections[i].name = nameAt(table, little.Uint32(b[int(width)*i:]))
	}
	return true
}

func (e *Element) parseSection(b []byte) section {
	s := section{kind: little.Uint32(b[4:]), flags: e.long(b, 8, 8), addr: e.at(b, 12, 16)}
	links := b[8+4*e.word:]
	s.link, s.info = little.Uint32(links), little.Uint32(links[4:])
	off, length := e.long(b, 16, 24), e.long(b, 20, 32)
	switch {
	case s.kind == sectionNoBits:
		s.size = int64(min(length, maxSize))
	case off <= uint64(e.size) && length <= uint64(e.size)-off && e.claim(int64(length)):
		s.off, s.size = int64(off), int64(length)
	}
	return s
}

// claim says whether a section may have so many bytes of the file. Sections do
// not overlap, so all of them together have no more than it; one that comes on
// top has none, or a hostile file would have the same bytes read thousands of
// times.
func (e *Element) claim(n int64) bool {
	if n > e.size-e.claimed {
		return false
	}
	e.claimed += n
	return true
}

// nameAt is the string at off, shortened to what any known name needs.
func nameAt(table []byte, off uint32) string {
	if uint64(off) >= uint64(len(table)) {
		return ""
	}
	b := table[off:min(int(off)+64, len(table))]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// findCode lists where instructions are.
func (e *Element) findCode() {
	if e.kind == elfRelocatable {
		return
	}
	for _, s := range e.sections {
		if s.flags&sectionCode != 0 && s.off > 0 && s.addr+uint64(s.size) > s.addr {
			e.code = append(e.code, span{s.addr, s.addr + uint64(s.size)})
		}
	}
	for _, s := range e.segments {
		if len(e.sections) == 0 && s.flags&executable != 0 {
			e.code = append(e.code, span{s.addr, s.addr + s.file})
		}
	}
	sortSpans(e.code)
	e.code = slices.Clip(joined(e.code))
}

// sortSpans sorts by start, then by end. Package sort has one sort for all
// types, where each of package slices adds 10 KiB to a program.
func sortSpans(s []span) {
	sort.Slice(s, func(i, j int) bool { return s[i].lo < s[j].lo || s[i].lo == s[j].lo && s[i].hi < s[j].hi })
}

// joined merges spans that lie within 4 KiB of each other, and keeps at most
// 16 of them, so that a look-up is quick.
func joined(s []span) []span {
	out := s[:0]
	for _, x := range s {
		if k := len(out) - 1; k >= 0 && (x.lo <= out[k].hi+4096 || len(out) == 16) {
			out[k].hi = max(out[k].hi, x.hi)
			continue
		}
		out = append(out, x)
	}
	return out
}

func compare[T uint64 | int64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// inCode says whether a is the address of instructions.
func (e *Element) inCode(a uint64) bool {
	for _, s := range e.code {
		if a-s.lo < s.hi-s.lo {
			return true
		}
	}
	return false
}

// mapped says whether a is an address of the loaded program.
func (e *Element) mapped(a uint64) bool {
	for i := range e.segments {
		if s := &e.segments[i]; a-s.addr < s.mem {
			return true
		}
	}
	return false
}

// place is where in the file the byte at address a is.
func place(segments []segment, a uint64) (int64, bool) {
	for i := range segments {
		if s := &segments[i]; a-s.addr < s.file {
			return int64(a - s.addr + s.off), true
		}
	}
	return 0, false
}

// address is what the byte at off of the file is loaded at.
func address(segments []segment, off int64) (uint64, bool) {
	for i := range segments {
		if s := &segments[i]; uint64(off)-s.off < s.file {
			return uint64(off) - s.off + s.addr, true
		}
	}
	return 0, false
}

// section finds a section by name, of which bytes are in the file.
func (e *Element) section(name string) (section, bool) {
	for _, s := range e.sections {
		if s.name == name && s.off > 0 && s.size > 0 {
			return s, true
		}
	}
	return section{}, false
}

// readAt fills b from off on, if r has it within its size.
func readAt(r io.ReaderAt, b []byte, off, size int64) bool {
	if off < 0 || off > size || int64(len(b)) > size-off {
		return false
	}
	n, _ := r.ReadAt(b, off)
	return n == len(b)
}

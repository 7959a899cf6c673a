package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// A region is a stretch of the new file that has executables in it. Its map
// section goes before its frames and has all its copies, because where old
// bytes went in all of an executable foretells what the references in any part
// of it hold now.

const (
	maxRegionOps      = 256 << 10
	maxRegionElements = 4 << 10
	maxRegionExtents  = 16 << 10

	// opsStep is how many ops lie between two places where reading them can
	// begin.
	opsStep = 1 << 10
	// regionMemory is more than what a region takes beside its columns.
	regionMemory = 1 << 20
)

// The kinds of bytes in a map section, in the order in which they are coded.
const (
	regionGaps = iota
	regionLengths
	regionDiagonals
	regionElements
	regionKinds
)

var regionKindNames = [regionKinds]string{"gaps", "lengths", "diagonals", "elements"}

// regionModels is how each kind is modelled. It is part of the format.
var regionModels = []coder.Kind{
	regionGaps:      {},
	regionLengths:   {LC: 1},
	regionDiagonals: {LC: 1},
	regionElements:  {LC: 1},
}

// udeltaRegion is a region as both sides know it.
type udeltaRegion struct {
	patchAt, patchTo int64 // its map section, by place in the patch
	outputAt, output int64
	oldSize          int64

	ops      int
	coded    int // bytes of the section's body, as it was read
	column   [regionKinds][]byte
	starts   []udeltaOps // every opsStep ops
	elements []udeltaElement
	runs     []elementRun // in order of new
}

// end is where the region ends in new.
func (r *udeltaRegion) end() int64 { return r.outputAt + r.output }

// appendHead appends what stands in the section before the coded columns.
func (r *udeltaRegion) appendHead(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(r.output))
	b = binary.AppendUvarint(b, uint64(r.ops))
	for _, c := range r.column {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	return b
}

// body is the body of the map section.
func (r *udeltaRegion) body(c *coder.Compressor, level coder.Level) []byte {
	parts := make([]coder.Part, regionKinds)
	for kind, column := range r.column {
		parts[kind] = coder.Part{Kind: kind, Raw: column}
	}
	return append(r.appendHead(nil), c.Compress(level, regionModels, parts)...)
}

// readRegion reads a map section, of whose region left bytes may come.
func (d *udeltaDecoder) readRegion(s udeltaSection, left int64) (*udeltaRegion, error) {
	r := &udeltaRegion{patchAt: s.at, patchTo: s.end, outputAt: d.written, oldSize: d.header.oldSize}
	f := fields{b: s.body}
	r.output = f.number()
	ops := f.number()
	var raw [regionKinds]int
	total := int64(0)
	for i := range raw {
		n := f.number()
		if f.bad == nil && n > int64(1)<<d.header.caps.Map-total {
			return nil, fmt.Errorf("more than %d bytes of %s and what stands before them, the header allows %d", n, regionKindNames[i], int64(1)<<d.header.caps.Map)
		}
		raw[i] = int(n)
		total += n
	}
	switch {
	case f.bad != nil:
		return nil, f.bad
	case r.output == 0 || r.output > left:
		return nil, fmt.Errorf("it is of %d bytes, %d are left", r.output, left)
	case ops > maxRegionOps || ops > int64(raw[regionGaps]):
		return nil, fmt.Errorf("%d copies in %d bytes, at most %d are allowed", ops, raw[regionGaps], maxRegionOps)
	}
	r.ops, r.coded = int(ops), len(s.body)
	d.coder.Reset(f.b)
	if err := d.block.Reset(&d.coder, make([]byte, total), regionModels); err != nil {
		return nil, err
	}
	for kind := range r.column {
		b, err := d.block.Read(kind, raw[kind])
		if err != nil {
			return nil, err
		}
		r.column[kind] = b
	}
	if err := d.coder.Close(); err != nil {
		return nil, err
	}
	if err := r.index(); err != nil {
		return nil, err
	}
	return r, r.readElements(d.header.newSize)
}

// index checks the columns of copies and notes where reading them can begin.
func (r *udeltaRegion) index() error {
	ops := udeltaOps{gaps: r.column[regionGaps], lengths: r.column[regionLengths], diagonals: r.column[regionDiagonals],
		at: r.outputAt, to: r.end(), oldSize: r.oldSize}
	for count := 0; ; count++ {
		if count%opsStep == 0 {
			r.starts = append(r.starts, ops)
		}
		op, err := ops.next()
		if err != nil {
			return err
		}
		if op.length > 0 {
			continue
		}
		if count != r.ops {
			return fmt.Errorf("%d copies, its head says %d", count, r.ops)
		}
		return nil
	}
}

// opsAt reads ops from one on that begins at or before a place in new.
func (r *udeltaRegion) opsAt(at int64) udeltaOps {
	i := sort.Search(len(r.starts), func(i int) bool { return r.starts[i].at > at })
	return r.starts[max(i-1, 0)]
}

var errTable = errors.New("the table of elements is cut short or has numbers that are not canonical")

// readElements reads the table of elements.
func (r *udeltaRegion) readElements(newSize int64) error {
	f := fields{b: r.column[regionElements]}
	extents := 0
	var oldEnd, newEnd int64
	for f.bad == nil && len(f.b) > 0 {
		if len(r.elements) == maxRegionElements {
			return fmt.Errorf("more than %d elements", maxRegionElements)
		}
		n, k := f.number(), f.number()
		if f.bad != nil || n == 0 || k == 0 || n > maxRegionExtents || k > maxRegionExtents || int(n+k) > maxRegionExtents-extents {
			return fmt.Errorf("an element of %d and %d extents, at most %d are allowed", n, k, maxRegionExtents)
		}
		extents += int(n + k)
		var e udeltaElement
		e.old, oldEnd = f.extents(int(n), oldEnd, r.oldSize)
		e.new, newEnd = f.extents(int(k), newEnd, newSize)
		length := f.number()
		if f.bad != nil || length > int64(len(f.b)) {
			return errTable
		}
		e.layout, f.b = f.b[:length], f.b[length:]
		if e.oldSize() > maxElement || e.newSize() > maxElement {
			return fmt.Errorf("an element of %d and %d bytes", e.oldSize(), e.newSize())
		}
		r.elements = append(r.elements, e)
	}
	if f.bad != nil {
		return errTable
	}
	return r.sortRuns()
}

// extents reads n extents of a file of a size. Each begins at a distance from
// the end of the one before it, which is before for the first; holes do not
// count.
func (f *fields) extents(n int, before, size int64) ([]extent, int64) {
	all := make([]extent, 0, min(n, len(f.b)/2))
	for range n {
		v, length := f.number(), f.number()
		if v == 0 && f.bad == nil && length > 0 && length <= maxElement {
			all = append(all, extent{hole, length})
			continue
		}
		v--
		at := before + (v>>1 ^ -(v & 1))
		if f.bad == nil && (at < 0 || length == 0 || length > size || at > size-length) {
			f.bad = fmt.Errorf("an extent of %d bytes at %d of a file of %d", length, at, size)
		}
		if f.bad != nil {
			return nil, 0
		}
		all = append(all, extent{at, length})
		before = at + length
	}
	return all, before
}

// appendElements is the reverse of readElements.
func (r *udeltaRegion) appendElements(b []byte) []byte {
	var oldEnd, newEnd int64
	for _, e := range r.elements {
		b = binary.AppendUvarint(b, uint64(len(e.old)))
		b = binary.AppendUvarint(b, uint64(len(e.new)))
		b, oldEnd = appendExtents(b, e.old, oldEnd)
		b, newEnd = appendExtents(b, e.new, newEnd)
		b = binary.AppendUvarint(b, uint64(len(e.layout)))
		b = append(b, e.layout...)
	}
	return b
}

func appendExtents(b []byte, all []extent, before int64) ([]byte, int64) {
	for _, x := range all {
		if x.at == hole {
			b = binary.AppendUvarint(append(b, 0), uint64(x.length))
			continue
		}
		v := x.at - before
		b = binary.AppendUvarint(b, uint64(v<<1^v>>63)+1)
		b = binary.AppendUvarint(b, uint64(x.length))
		before = x.end()
	}
	return b, before
}

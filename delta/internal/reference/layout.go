package reference

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// anchor is a place in old that distances are counted from: the start of a
// section or of a table in one.
type anchor struct {
	name string
	off  int64
}

// void is a section that has addresses but no bytes in the file.
type void struct {
	name       string
	addr, size uint64
}

// Layout is what the decoder has to know about new: its loaded segments, and
// where the sections of old begin in it. It is not changed once made.
type Layout struct {
	segments []segment
	anchors  []int64  // places in new of the element's anchors
	voids    []uint64 // addresses in new of the element's voids
	off      [kinds]bool
}

// AppendLayout appends to b what [Element.ReadLayout] needs in order to know
// the layout of new: some 20 bytes, and more where sections moved otherwise
// than their bytes did. Fields of the kinds in off are to be left alone.
func AppendLayout(b []byte, e, new *Element, m *Map, off ...Kind) []byte {
	var mask uint64
	for _, k := range off {
		mask |= 1 << k
	}
	b = binary.AppendUvarint(b, mask)
	b = appendSegments(b, e.segments, new.segments)
	names := make(map[string]int64, len(new.anchors))
	for _, a := range new.anchors {
		if _, ok := names[a.name]; !ok {
			names[a.name] = a.off
		}
	}
	var w zeroRuns
	for _, a := range e.anchors {
		guess := m.at(a.off)
		off, ok := names[a.name]
		if !ok {
			off = guess
		}
		b = w.append(b, uint64(off-guess))
	}
	shift := uint64(0)
	for _, v := range e.voids {
		moved := shift
		for _, u := range new.voids {
			if u.name == v.name {
				moved = u.addr - v.addr
				break
			}
		}
		b = w.append(b, moved-shift)
		shift = moved
	}
	return w.finish(b)
}

// ReadLayout decodes what [AppendLayout] wrote with an equal map.
// Anything else is [ErrCorrupt], or a layout that is of no use.
func (e *Element) ReadLayout(record []byte, m *Map) (*Layout, error) {
	if len(record) > maxRecord {
		return nil, fmt.Errorf("%w: layout of %d bytes, more than %d", ErrCorrupt, len(record), maxRecord)
	}
	c := &cursor{b: record}
	l := &Layout{}
	mask := c.uvarint()
	if mask>>kinds != 0 {
		return nil, fmt.Errorf("%w: layout names unknown kinds of fields", ErrCorrupt)
	}
	for k := range l.off {
		l.off[k] = mask>>k&1 != 0
	}
	l.segments = c.segments(e.segments)
	l.anchors = make([]int64, len(e.anchors))
	for i, a := range e.anchors {
		l.anchors[i] = m.at(a.off) + int64(c.next())
	}
	shift := uint64(0)
	l.voids = make([]uint64, len(e.voids))
	for i, v := range e.voids {
		shift += c.next()
		l.voids[i] = v.addr + shift
	}
	if c.bad || c.zeros > 0 || len(c.b) > 0 {
		return nil, fmt.Errorf("%w: layout does not end where its record does", ErrCorrupt)
	}
	return l, nil
}

// appendSegments codes each segment as differences from the one of old with
// the same number.
func appendSegments(b []byte, old, new []segment) []byte {
	b = binary.AppendUvarint(b, uint64(len(new)))
	for i, s := range new {
		var o segment
		if i < len(old) {
			o = old[i]
		}
		d := s.off - o.off
		b = binary.AppendVarint(b, int64(d))
		b = binary.AppendVarint(b, int64(s.addr-o.addr-d))
		d = s.file - o.file
		b = binary.AppendVarint(b, int64(d))
		b = binary.AppendVarint(b, int64(s.mem-o.mem-d))
	}
	return b
}

// zeroRuns writes numbers of which most are 0: how many zeros, then a number
// that is none.
type zeroRuns struct{ zeros uint64 }

func (w *zeroRuns) append(b []byte, v uint64) []byte {
	if v == 0 {
		w.zeros++
		return b
	}
	b = binary.AppendUvarint(b, w.zeros)
	w.zeros = 0
	return binary.AppendVarint(b, int64(v))
}

// finish writes the zeros at the end, if any.
func (w *zeroRuns) finish(b []byte) []byte {
	if w.zeros > 0 {
		b = binary.AppendUvarint(b, w.zeros)
	}
	return b
}

// cursor reads a record. Once something is wrong it reads zeros.
type cursor struct {
	b     []byte
	zeros uint64 // zeros that are still to come
	value bool   // a number that is not zero follows them
	bad   bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || n > 1 && c.b[n-1] == 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() uint64 {
	v := c.uvarint()
	return v>>1 ^ -(v & 1)
}

func (c *cursor) segments(old []segment) []segment {
	n := c.uvarint()
	if n > maxSegments {
		c.bad = true
		return nil
	}
	out := make([]segment, n)
	for i := range out {
		s := &out[i]
		if i < len(old) {
			*s = old[i]
		}
		d := c.varint()
		s.off += d
		s.addr += c.varint() + d
		d = c.varint()
		s.file += d
		s.mem += c.varint() + d
		if s.off+s.file < s.off || s.addr+s.mem < s.addr {
			c.bad = true
		}
	}
	return out
}

// next is the next number of [zeroRuns].
func (c *cursor) next() uint64 {
	if c.zeros == 0 && !c.value {
		c.zeros = c.uvarint()
		c.value = len(c.b) > 0
		if c.zeros == 0 && !c.value {
			c.bad = true
		}
	}
	if c.zeros > 0 {
		c.zeros--
		return 0
	}
	c.value = false
	v := c.varint()
	if v == 0 {
		c.bad = true
	}
	return v
}

// anchorAt is where the anchor at off of old is in new.
func (e *Element) anchorAt(l *Layout, off int64) (int64, bool) {
	i := sort.Search(len(e.anchors), func(i int) bool { return e.anchors[i].off >= off })
	if i < len(e.anchors) && e.anchors[i].off == off {
		return l.anchors[i], true
	}
	return 0, false
}

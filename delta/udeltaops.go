package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// recentDiagonals is how many diagonals a copy can name by number.
const recentDiagonals = 4

// udeltaDiagonal codes how far old is ahead of new at a copy: one of the last
// four, newest first, as its number; any other as its distance from the newest
// in zigzag form, plus three (a distance of 0 does not occur).
type udeltaDiagonal [recentDiagonals]int64

// append appends the code of d and makes it the newest.
func (r *udeltaDiagonal) append(b []byte, d int64) []byte {
	for i, v := range r {
		if v == d {
			r.promote(i)
			return append(b, byte(i))
		}
	}
	away := d - r[0]
	b = binary.AppendUvarint(b, uint64(away<<1^away>>63)+recentDiagonals-1)
	r.push(d)
	return b
}

// take gives the diagonal with code v and makes it the newest.
func (r *udeltaDiagonal) take(v int64) int64 {
	if v < recentDiagonals {
		d := r[v]
		r.promote(int(v))
		return d
	}
	v -= recentDiagonals - 1
	r.push(r[0] + (v>>1 ^ -(v & 1)))
	return r[0]
}

func (r *udeltaDiagonal) promote(i int) {
	d := r[i]
	copy(r[1:i+1], r[:i])
	r[0] = d
}

func (r *udeltaDiagonal) push(d int64) {
	copy(r[1:], r[:])
	r[0] = d
}

// udeltaOp is a copy and the literals before it.
type udeltaOp struct {
	gap    int64 // literals
	length int64 // bytes copied; 0 after the last copy
	new    int64 // place of the copy
	old    int64 // where from
}

// udeltaOps reads the copies of a stretch of new from their columns.
type udeltaOps struct {
	gaps, lengths, diagonals []byte
	recent                   udeltaDiagonal
	at, to                   int64 // places in new: of the next byte, and of the end
	oldSize                  int64
}

// next gives the next op, in which everything is within bounds. The last one,
// and no other, has no copy.
func (o *udeltaOps) next() (op udeltaOp, err error) {
	if len(o.lengths) == 0 {
		if len(o.gaps)+len(o.diagonals) > 0 {
			return op, errors.New("there are gaps or diagonals without a copy")
		}
		op = udeltaOp{gap: o.to - o.at, new: o.to}
		o.at = o.to
		return op, nil
	}
	gap, g := number(o.gaps)
	length, l := number(o.lengths)
	diagonal, d := number(o.diagonals)
	if g == 0 || l == 0 || d == 0 {
		return op, errors.New("a number of a copy is missing or not canonical")
	}
	o.gaps, o.lengths, o.diagonals = o.gaps[g:], o.lengths[l:], o.diagonals[d:]
	if left := o.to - o.at; gap > left || length >= left-gap {
		return op, fmt.Errorf("%d literals and a copy of %d bytes where %d bytes are left", gap, uint64(length)+1, left)
	}
	op = udeltaOp{gap: gap, length: length + 1, new: o.at + gap}
	// Files are below 1<<62 bytes. So the diagonal cannot wrap, being less
	// than 1<<62 from one that was within the files; and the sum, if it
	// wraps, is negative.
	op.old = op.new + o.recent.take(diagonal)
	if op.old < 0 || op.old > o.oldSize-op.length {
		return op, fmt.Errorf("a copy of %d bytes from %d of an old file of %d", op.length, op.old, o.oldSize)
	}
	o.at = op.new + op.length
	return op, nil
}

// udeltaClip is what a frame has of an op.
type udeltaClip struct {
	gap    int
	length int // 0 after the last copy of the frame
	old    int64
	whole  udeltaOp // the op of which the copy is part, if there is one
}

// udeltaClips reads the copies of one frame, cut to what it makes: from its
// own columns, or from those of the region that it is in.
type udeltaClips struct {
	ops    udeltaOps
	op     udeltaOp // the op in hand
	held   bool     // there is one
	at, to int64    // places in new: of the next byte, and of the frame's end
}

// clips begins with the first copy of f.
func (f *udeltaFrame) clips(oldSize int64) udeltaClips {
	c := udeltaClips{at: f.outputAt, to: f.outputAt + int64(f.output)}
	if f.region != nil {
		c.ops = f.region.opsAt(f.outputAt)
	} else {
		c.ops = udeltaOps{gaps: f.column[udeltaGaps], lengths: f.column[udeltaLengths], diagonals: f.column[udeltaDiagonals],
			at: c.at, to: c.to, oldSize: oldSize}
	}
	return c
}

// next gives the next copy. The last clip, and no other, has none.
func (c *udeltaClips) next() (clip udeltaClip, err error) {
	for !c.held || c.op.length > 0 && c.op.new+c.op.length <= c.at {
		if c.op, err = c.ops.next(); err != nil {
			return clip, err
		}
		c.held = true
	}
	start := min(max(c.op.new, c.at), c.to)
	end := min(max(c.op.new+c.op.length, start), c.to)
	clip = udeltaClip{gap: int(start - c.at), length: int(end - start), old: c.op.old + start - c.op.new, whole: c.op}
	c.at = end
	return clip, nil
}

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
	gap    int   // literals
	length int   // bytes copied; 0 after the last copy of a frame
	old    int64 // where from
}

// udeltaOps reads the copies of a frame.
type udeltaOps struct {
	gaps, lengths, diagonals []byte
	recent                   udeltaDiagonal
	at                       int64 // place in new
	left                     int   // bytes of output
	oldSize                  int64
}

func (f *udeltaFrame) iterate(oldSize int64) udeltaOps {
	return udeltaOps{gaps: f.column[udeltaGaps], lengths: f.column[udeltaLengths], diagonals: f.column[udeltaDiagonals],
		at: f.outputAt, left: f.output, oldSize: oldSize}
}

// next gives the next op, in which everything is within bounds. The last one,
// and no other, has no copy.
func (o *udeltaOps) next() (op udeltaOp, err error) {
	if len(o.lengths) == 0 {
		if len(o.gaps)+len(o.diagonals) > 0 {
			return op, errors.New("there are gaps or diagonals without a copy")
		}
		op.gap, o.left = o.left, 0
		return op, nil
	}
	gap, g := number(o.gaps)
	length, l := number(o.lengths)
	diagonal, d := number(o.diagonals)
	if g == 0 || l == 0 || d == 0 {
		return op, errors.New("a number of a copy is missing or not canonical")
	}
	o.gaps, o.lengths, o.diagonals = o.gaps[g:], o.lengths[l:], o.diagonals[d:]
	if gap > int64(o.left) || length >= int64(o.left)-gap {
		return op, fmt.Errorf("%d literals and a copy of %d bytes where %d bytes are left", gap, uint64(length)+1, o.left)
	}
	op = udeltaOp{gap: int(gap), length: int(length) + 1}
	o.at += gap
	// Files are below 1<<62 bytes. So the diagonal cannot wrap, being less
	// than 1<<62 from one that was within the files; and the sum, if it
	// wraps, is negative.
	op.old = o.at + o.recent.take(diagonal)
	if op.old < 0 || op.old > o.oldSize-int64(op.length) {
		return op, fmt.Errorf("a copy of %d bytes from %d of an old file of %d", op.length, op.old, o.oldSize)
	}
	o.at += int64(op.length)
	o.left -= op.gap + op.length
	return op, nil
}

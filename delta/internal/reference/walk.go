package reference

import "io"

// tape reads r forwards with few system calls, for walks along records. What
// is not there reads as false.
type tape struct {
	r       io.ReaderAt
	at, end int64 // of buf
	size    int64
	buf     [16 << 10]byte
}

// bytes gives n bytes at off, n at most 1 KiB, valid until the next call.
func (t *tape) bytes(off int64, n int) ([]byte, bool) {
	if off < 0 || off > t.size || int64(n) > t.size-off {
		return nil, false
	}
	if off < t.at || off+int64(n) > t.end {
		k := min(int64(len(t.buf)), t.size-off)
		if !readAt(t.r, t.buf[:k], off, t.size) {
			t.at, t.end = 0, 0
			return nil, false
		}
		t.at, t.end = off, off+k
	}
	return t.buf[off-t.at:][:n], true
}

func (t *tape) uint32(off int64) (uint32, bool) {
	b, ok := t.bytes(off, 4)
	if !ok {
		return 0, false
	}
	return little.Uint32(b), true
}

func (t *tape) uint64(off int64) (uint64, bool) {
	b, ok := t.bytes(off, 8)
	if !ok {
		return 0, false
	}
	return little.Uint64(b), true
}

// mark notes that a record starts at off. Calls go forwards, from g.lo on. A
// record longer than reach is none: what lies in it has the mark of the next.
func (g *region) mark(off int64) {
	before := g.last
	if off-g.lo-int64(before) > reach {
		before = uint32(off - g.lo)
	}
	for int64(len(g.marks))*markStep <= off-g.lo {
		if int64(len(g.marks))*markStep == off-g.lo || len(g.marks) == 0 {
			g.marks = append(g.marks, uint32(off-g.lo))
			continue
		}
		g.marks = append(g.marks, before)
	}
	g.last = uint32(off - g.lo)
}

// closeAt ends the region at off, where its records end.
func (g *region) closeAt(off int64) {
	g.mark(off)
	g.hi = off
}

// record is where to begin to walk for what lies at off: the last record that
// starts at or before the 4 KiB that off is in.
func (g *region) record(off int64) int64 {
	i := min((off-g.lo)/markStep, int64(len(g.marks))-1)
	if i < 0 {
		return g.lo
	}
	return g.lo + int64(g.marks[i])
}

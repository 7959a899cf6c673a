package reference

import (
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

const (
	minAhead   = 2 << 10
	pieceSize  = 64 << 10                       // bytes of a copy that are handled at once
	windowSize = pieceSize + reach + 3*markStep // more than any Window of a piece
)

// Copier makes the bytes of copies inside one element: those of old, with each
// reference set to what it holds in new. It is for one goroutine.
type Copier struct {
	guide  guide
	old    io.ReaderAt
	model  *model
	fields []Field

	window   [windowSize]byte // of old
	at, end  int64            // what of old it has
	ahead    int64            // how much to read at least
	work     [pieceSize + Margin]byte
	carry    [Margin]byte // bytes after the last piece, as far as they are made
	carried  int
	in       Copy  // the copy of the last call
	next     int64 // where in it the next call goes on
	lastCopy Copy  // the copy of the last reference
}

// NewCopier makes a Copier for e, of which old has the bytes. It holds
// 1.4 MiB.
func NewCopier(e *Element, l *Layout, m *Map, old io.ReaderAt) *Copier {
	return &Copier{guide: guide{e: e, l: l, m: m}, old: old, model: new(model)}
}

// Reset forgets what was learned, as both sides do where a frame begins.
func (c *Copier) Reset() {
	*c.model = model{}
	c.in, c.lastCopy = Copy{}, Copy{}
	c.carried = 0
}

// Decode fills dst with the bytes of copy in from skip on, taking from d what
// the forecasts miss. The calls for one copy go on where the last one ended,
// those for several copies follow the order of their encoding. However the
// bytes are cut into calls, they are the same.
//
// Decode returns errors of reading old, and [ErrCorrupt] for a copy that does
// not lie inside of the element. What is wrong with d is for the caller to ask.
func (c *Copier) Decode(dst []byte, in Copy, skip int64, d *coder.Decoder) error {
	return c.run(dst, nil, in, skip, reader{d})
}

// Encode does what Decode will do, and codes for it what the forecasts miss.
// want is the bytes of new that copy in stands for, all of them.
func (c *Copier) Encode(dst, want []byte, in Copy, skip int64, e *coder.Encoder) error {
	if int64(len(want)) != in.Length {
		return fmt.Errorf("encode references: %d bytes of new for a copy of %d", len(want), in.Length)
	}
	return c.run(dst, want, in, skip, writer{e})
}

func (c *Copier) run(dst, want []byte, in Copy, skip int64, l link) error {
	if in.Old < 0 || in.New < 0 || in.Length < 0 || skip < 0 || in.Old > c.guide.e.size || in.Length > c.guide.e.size-in.Old ||
		skip > in.Length || int64(len(dst)) > in.Length-skip || in.New > maxSize-in.Length {
		return fmt.Errorf("%w: copy of %d bytes from %d to %d does not lie inside of the element", ErrCorrupt, in.Length, in.Old, in.New)
	}
	if in != c.in || skip != c.next {
		c.in, c.next, c.carried = in, skip, 0
	}
	for len(dst) > 0 {
		n := min(len(dst), pieceSize)
		if err := c.piece(dst[:n], want, l); err != nil {
			return err
		}
		dst = dst[n:]
		c.next += int64(n)
	}
	return nil
}

// piece makes the bytes of one piece, and as much of what follows as the
// fields that begin in it reach into.
func (c *Copier) piece(dst, want []byte, l link) error {
	lo := c.in.Old + c.next
	hi := lo + int64(len(dst))
	edge := min(hi+Margin, c.in.Old+c.in.Length)
	from, to := lo, edge
	if c.in.Length >= 4 { // the shortest field
		from, to = c.guide.e.Window(lo, hi)
	}
	if err := c.load(from, to); err != nil {
		return err
	}
	old := c.window[lo-c.at : edge-c.at]
	work := c.work[:len(old)]
	copy(work, old)
	copy(work, c.carry[:c.carried])
	c.fields = c.guide.e.Scan(c.fields[:0], c.window[from-c.at:to-c.at], from, lo, hi)
	for _, f := range c.fields {
		if i := f.Off - lo; i+f.size() <= int64(len(work)) && !c.guide.l.off[f.Kind] {
			var new []byte
			if want != nil {
				new = want[f.Off-c.in.Old:]
			}
			c.field(f, work[i:], old[i:], new, l)
		}
	}
	copy(dst, work)
	c.carried = copy(c.carry[:], work[len(dst):])
	return nil
}

// field sets one field in work, whose bytes in old and (for an encoder) in new
// are given.
func (c *Copier) field(f Field, work, old, new []byte, l link) {
	from, ok := c.guide.from(f)
	to, more := c.guide.to(f, c.in)
	if !ok || !more {
		return
	}
	g := guess{kind: f.Kind, old: f.value(old, old, from), plain: f.value(old, old, to), same: c.lastCopy == c.in}
	g.near = f.Kind.space() == addresses && g.old-from+1<<16 < 1<<17
	g.moved = g.plain
	if v, ok := c.guide.move(f.Kind, g.old, c.in); ok {
		f.set(work, old, to, v)
		g.moved = f.value(work, old, to)
	}
	var actual uint64
	if new != nil {
		actual = f.value(new, old, to)
	}
	f.set(work, old, to, c.model.code(l, g, actual))
	c.lastCopy = c.in
}

// load has the bytes of old from from to to in the window. It reads on a
// little, and twice as far each time that reading goes forwards.
func (c *Copier) load(from, to int64) error {
	if from >= c.at && to <= c.end {
		return nil
	}
	if from >= c.at && from <= c.end+minAhead {
		c.ahead = min(2*c.ahead, pieceSize)
	} else {
		c.ahead = minAhead
	}
	end := min(max(to, from+c.ahead), from+windowSize, c.guide.e.size)
	n, err := c.old.ReadAt(c.window[:end-from], from)
	if int64(n) < end-from {
		c.at, c.end = 0, 0
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read old at %d: %w", from, err)
	}
	c.at, c.end = from, end
	return nil
}

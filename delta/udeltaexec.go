package delta

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/reference"
)

// udeltaPiece is some bytes of the new file on their way to who reads it, or
// the error that ends them.
type udeltaPiece struct {
	b     []byte
	room  []byte // the window that b stands in
	frame framePlace
	err   error

	before digestState // of what comes before b, where a reader needs it
}

// framePlace is what a position needs to know of the frame that its byte is in.
type framePlace struct {
	number           int64
	patchAt, patchTo int64
	outputAt         int64
	outputTo         int64

	// of the region that the frame is in, if any
	mapAt, mapTo       int64 // its map section
	regionAt, regionTo int64 // by place in the new file
}

func (f *udeltaFrame) place() framePlace {
	p := framePlace{number: f.number, patchAt: f.patchAt, patchTo: f.patchTo, outputAt: f.outputAt, outputTo: f.outputAt + int64(f.output)}
	if r := f.region; r != nil {
		p.mapAt, p.mapTo, p.regionAt, p.regionTo = r.patchAt, r.patchTo, r.outputAt, r.end()
	}
	return p
}

// after is the place of what follows the frame.
func (p framePlace) after() framePlace {
	if p.patchTo != p.patchAt {
		p.number++
	}
	p.patchAt, p.outputAt = p.patchTo, p.outputTo
	if p.regionTo == p.outputAt {
		p.mapAt, p.mapTo, p.regionAt, p.regionTo = 0, 0, 0, 0
	}
	return p
}

// udeltaExec turns frames into bytes.
type udeltaExec struct {
	header  *udeltaHeader
	old     io.ReaderAt
	oldSize int64
	cache   oldCache
	inside  *elements // nil if the patch has none
	skip    int64     // bytes of the new file that nobody wants

	free chan []byte
	out  chan udeltaPiece

	// of the frame in hand
	f       *udeltaFrame
	at      int64 // place in new of the next byte
	sum     uint32
	changes []byte // those after the next one
	until   int64  // unchanged bytes before the next one
	value   byte
	window  []byte // taken from free, if not nil
	written int    // of window
	refs    coder.Decoder
}

// frame makes the bytes of f. Its columns were checked.
func (x *udeltaExec) frame(ctx context.Context, f *udeltaFrame) error {
	x.f, x.at, x.sum = f, f.outputAt, 0
	x.changes = f.column[udeltaChanges]
	x.nextChange()
	x.startReferences()
	ops, literals := f.clips(x.oldSize), f.column[udeltaLiterals]
	for {
		op, err := ops.next()
		if err != nil {
			return err
		}
		if err := x.literals(ctx, literals[:op.gap]); err != nil {
			return err
		}
		literals = literals[op.gap:]
		if op.length == 0 {
			return x.flush(ctx)
		}
		if f.refs != nil {
			err = x.foretold(ctx, op)
		} else {
			err = x.copy(ctx, op.old, int64(op.length))
		}
		if err != nil {
			return err
		}
	}
}

func (x *udeltaExec) literals(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		to, err := x.room(ctx, 1)
		if err != nil {
			return err
		}
		n := copy(to, b)
		x.written += n
		b = b[n:]
	}
	return nil
}

// copy makes bytes of what old has at a place.
func (x *udeltaExec) copy(ctx context.Context, at, left int64) error {
	for left > 0 {
		n := min(left, spanLeft(at))
		to, err := x.room(ctx, int(n))
		if err != nil {
			return err
		}
		to = to[:n]
		if err := x.cache.fill(x.old, x.oldSize, to, at); err != nil {
			return err
		}
		x.change(to)
		x.written += int(n)
		at += n
		left -= n
	}
	return nil
}

// startReferences begins with the references of the frame.
func (x *udeltaExec) startReferences() {
	if x.f.refs == nil {
		return
	}
	if x.inside == nil {
		x.inside = newElements(x.header, x.old)
	}
	x.inside.copier.Reset()
	x.refs.Reset(x.f.refs)
}

// foretold makes the bytes of a copy, with the references in them as they are
// foretold and corrected.
func (x *udeltaExec) foretold(ctx context.Context, c udeltaClip) error {
	from := c.old - c.whole.old
	to := from + int64(c.length)
	for at := from; at < to; {
		s := x.f.region.stretch(c.whole, at)
		at = s.to()
		begin, end := max(s.from, from), min(at, to)
		if s.element < 0 {
			if err := x.copy(ctx, c.whole.old+begin, end-begin); err != nil {
				return err
			}
			continue
		}
		if err := x.inside.use(x.f.region, s.element, c.whole.new+s.from); err != nil {
			return x.explain(err)
		}
		for begin < end {
			b, err := x.room(ctx, 1)
			if err != nil {
				return err
			}
			b = b[:min(int64(len(b)), end-begin)]
			if err := x.inside.copier.Decode(b, s.in, begin-s.from, &x.refs); err != nil {
				return x.explain(err)
			}
			x.change(b)
			x.written += len(b)
			begin += int64(len(b))
		}
	}
	return nil
}

// explain makes an error of the patch, or of old, of one of an element.
func (x *udeltaExec) explain(err error) error {
	var patch, read = errors.Is(err, reference.ErrCorrupt), (*oldError)(nil)
	if !patch && errors.As(err, &read) {
		return err
	}
	return corrupt(x.f.patchAt, fmt.Errorf("section F, frame %d: %w", x.f.number, err))
}

// change makes the changes of the frame in b, the next bytes copied.
func (x *udeltaExec) change(b []byte) {
	for x.until < int64(len(b)) {
		b = b[x.until:]
		b[0] += x.value
		b = b[1:]
		x.nextChange()
	}
	x.until -= int64(len(b))
}

func (x *udeltaExec) nextChange() {
	if len(x.changes) == 0 {
		x.until = maxUdeltaFile
		return
	}
	v, n := number(x.changes)
	x.until, x.value, x.changes = v, x.changes[n], x.changes[n+1:]
}

// room gives what is free of the window, at least n bytes, n being at most
// udeltaSpan.
func (x *udeltaExec) room(ctx context.Context, n int) ([]byte, error) {
	if len(x.window)-x.written < n {
		x.sum = crc32.Update(x.sum, castagnoli, x.window[:x.written])
		if err := x.send(ctx); err != nil {
			return nil, err
		}
	}
	if x.window == nil {
		select {
		case x.window = <-x.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return x.window[x.written:], nil
}

// flush ends the frame: its last bytes are handed on once its checksum is
// right.
func (x *udeltaExec) flush(ctx context.Context) error {
	x.sum = crc32.Update(x.sum, castagnoli, x.window[:x.written])
	if x.f.refs != nil {
		if err := x.refs.Close(); err != nil {
			return x.explain(fmt.Errorf("references: %w", err))
		}
	}
	if x.sum != x.f.sum {
		return corrupt(x.f.patchAt, fmt.Errorf("section F, frame %d: %w", x.f.number,
			errors.New("its bytes do not have their checksum: the patch is damaged, or the old file has changed")))
	}
	return x.send(ctx)
}

// send hands the bytes in the window on, once they are in the checksum.
func (x *udeltaExec) send(ctx context.Context) error {
	b := x.window[:x.written]
	if len(b) == 0 {
		return nil
	}
	x.at += int64(len(b))
	if unwanted := int64(len(b)) - (x.at - x.skip); unwanted > 0 {
		b = b[min(unwanted, int64(len(b))):]
	}
	x.written = 0
	if len(b) == 0 {
		return nil
	}
	p := udeltaPiece{b: b, room: x.window, frame: x.f.place()}
	x.window = nil
	select {
	case x.out <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// oldCache reads old in stretches, because neighbouring copies are often short.
type oldCache struct {
	slots [4]struct {
		b  []byte
		at int64
	}
	next        int
	read, asked int64 // bytes so far
}

const (
	cacheStep = 16 << 10 // what is read for a short stretch
	cacheMost = 8 << 10  // stretches from here on are read by themselves

	// What is read may be so many times what is asked for, and cacheSlack
	// more. A patch that jumps about to pass that is read without a cache.
	cacheWaste = 16
	cacheSlack = 1 << 20
)

// fill fills to from old, of that size, at a place.
func (c *oldCache) fill(old io.ReaderAt, size int64, to []byte, at int64) error {
	c.asked += int64(len(to))
	for i := range c.slots {
		s := &c.slots[i]
		if at >= s.at && at+int64(len(to)) <= s.at+int64(len(s.b)) {
			copy(to, s.b[at-s.at:])
			return nil
		}
	}
	if len(to) >= cacheMost || c.read > cacheWaste*c.asked+cacheSlack {
		return readAt(old, to, at)
	}
	s := &c.slots[c.next]
	c.next = (c.next + 1) % len(c.slots)
	if s.b == nil {
		s.b = make([]byte, cacheStep)
	}
	s.b, s.at = s.b[:min(cacheStep, size-at)], at
	c.read += int64(len(s.b))
	if err := readAt(old, s.b, at); err != nil {
		s.b = s.b[:0]
		return err
	}
	copy(to, s.b)
	return nil
}

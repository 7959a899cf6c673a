package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// udeltaFrame is a stretch of the new file. Its columns stand for it: literals
// and copies in turn, with what changes in the copies.
type udeltaFrame struct {
	number           int64
	patchAt, patchTo int64 // its section, by place in the patch
	outputAt         int64 // its first byte, by place in the new file

	output int // bytes that it makes
	ops    int // copies
	column [udeltaKinds][]byte
	sum    uint32 // CRC-32C of what it makes
	raw    []byte // where the columns stand, if it was decoded
}

// appendHead appends what stands in the section before the coded columns.
func (f *udeltaFrame) appendHead(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(f.output))
	b = binary.AppendUvarint(b, uint64(f.ops))
	for _, c := range f.column {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	return binary.LittleEndian.AppendUint32(b, f.sum)
}

// udeltaFrameHead is the head of a frame as it was read.
type udeltaFrameHead struct {
	output, ops int
	raw         [udeltaKinds]int
	total       int
	sum         uint32
	coded       []byte
}

// parseFrameHead reads the head of a frame within caps, of which left bytes of
// output may come.
func parseFrameHead(b []byte, caps udeltaCaps, left int64) (h udeltaFrameHead, err error) {
	f := fields{b: b}
	output, ops := f.number(), f.number()
	total := int64(0)
	for i := range h.raw {
		n := f.number()
		if f.bad == nil && n > int64(1)<<caps.Raw-total {
			return h, fmt.Errorf("more than %d bytes of %s and what stands before them, the header allows %d", n, udeltaKindNames[i], int64(1)<<caps.Raw)
		}
		h.raw[i] = int(n)
		total += n
	}
	var sum [4]byte
	f.bytes(sum[:])
	switch {
	case f.bad != nil:
		return h, f.bad
	case output == 0:
		return h, errors.New("it makes nothing")
	case output > left:
		return h, fmt.Errorf("it makes %d bytes, %d are left", output, left)
	case output > int64(1)<<caps.Output:
		return h, fmt.Errorf("it makes %d bytes, the header allows %d", output, int64(1)<<caps.Output)
	case ops > int64(h.raw[udeltaGaps]) || ops > int64(h.raw[udeltaLengths]) || ops > int64(h.raw[udeltaDiagonals]):
		return h, fmt.Errorf("%d copies have too few bytes", ops)
	}
	h.output, h.ops, h.total = int(output), int(ops), int(total)
	h.sum, h.coded = binary.LittleEndian.Uint32(sum[:]), f.b
	return h, nil
}

// udeltaDecoder decodes frames one after the other. It holds one coded section
// and one window.
type udeltaDecoder struct {
	header  *udeltaHeader
	source  *patchSource
	old     io.ReaderAt
	body    []byte
	window  []byte
	known   []byte
	cache   oldCache
	coder   coder.Decoder
	block   coder.Block
	frames  int64
	written int64 // bytes of output that the frames so far make
}

// head reads the next frame's section and its head, or the end of the patch:
// then it gives io.EOF.
func (d *udeltaDecoder) head() (s udeltaSection, h udeltaFrameHead, err error) {
	s, err = d.source.section(d.header, &d.body)
	if err != nil {
		return s, h, err
	}
	left := d.header.newSize - d.written
	if d.header.identical() {
		left = 0
	}
	if s.kind == udeltaEndSection {
		return s, h, d.end(s, left)
	}
	h, err = parseFrameHead(s.body, d.header.caps, left)
	if err != nil {
		return s, h, d.explain(s, err)
	}
	return s, h, nil
}

// end checks the end of the patch, and gives io.EOF if it is right.
func (d *udeltaDecoder) end(s udeltaSection, left int64) error {
	if left != 0 {
		return corrupt(s.at, fmt.Errorf("section Z: %d bytes of the new file are missing", left))
	}
	if err := s.checkEnd(d.frames); err != nil {
		return err
	}
	if err := d.source.end(); err != nil {
		return err
	}
	return io.EOF
}

// next reads the next frame into f, or the end of the patch: then it gives
// io.EOF.
func (d *udeltaDecoder) next(f *udeltaFrame) error {
	s, h, err := d.head()
	if err != nil {
		return err
	}
	*f = udeltaFrame{number: d.frames, patchAt: s.at, patchTo: s.end, outputAt: d.written,
		output: h.output, ops: h.ops, sum: h.sum, raw: f.raw}
	if err := d.decode(f, &h); err != nil {
		return d.explain(s, err)
	}
	d.frames++
	d.written += int64(f.output)
	return nil
}

// explain makes an error of the patch of what is not one of old.
func (d *udeltaDecoder) explain(s udeltaSection, err error) error {
	var read *oldError
	if errors.As(err, &read) {
		return err
	}
	return corrupt(s.at, fmt.Errorf("section F, frame %d: %w", d.frames, err))
}

// oldError is a failure to read the old file.
type oldError struct{ err error }

func (e *oldError) Error() string { return "read old file: " + e.err.Error() }
func (e *oldError) Unwrap() error { return e.err }

// decode fills in the columns of f and checks them.
func (d *udeltaDecoder) decode(f *udeltaFrame, h *udeltaFrameHead) error {
	d.coder.Reset(h.coded)
	caps := d.header.caps
	raw := grown(&f.raw, h.total, 1<<caps.Raw)
	window := grown(&d.window, h.total+knownAtMost(caps, h), 1<<caps.Raw+1<<caps.Known)
	if err := d.block.Reset(&d.coder, window, udeltaModels); err != nil {
		return err
	}
	for kind := range udeltaLiterals {
		b, err := d.block.Read(kind, h.raw[kind])
		if err != nil {
			return err
		}
		f.column[kind] = raw[:len(b)]
		copy(raw, b)
		raw = raw[len(b):]
	}
	f.column[udeltaLiterals] = raw[:h.raw[udeltaLiterals]]
	copied, err := d.literals(f)
	if err != nil {
		return err
	}
	if err := d.coder.Close(); err != nil {
		return err
	}
	return f.checkChanges(copied)
}

// literals decodes the literals of f, and so walks through all its copies. It
// gives how many bytes they copy.
func (d *udeltaDecoder) literals(f *udeltaFrame) (copied int, err error) {
	ops := f.iterate(d.header.oldSize)
	known := newUdeltaKnown(d.header)
	out := f.column[udeltaLiterals]
	for count := 0; ; count++ {
		op, err := ops.next()
		if err != nil {
			return 0, err
		}
		if op.gap > len(out) {
			return 0, fmt.Errorf("%d literals where %d are left", op.gap, len(out))
		}
		copied += op.length
		ranges, beside := known.before(op)
		for _, r := range ranges {
			if err := d.know(r); err != nil {
				return 0, err
			}
		}
		if beside > 0 {
			if err := d.block.Beside(udeltaLiterals, beside); err != nil {
				return 0, err
			}
		}
		b, err := d.block.Read(udeltaLiterals, op.gap)
		if err != nil {
			return 0, err
		}
		out = out[copy(out, b):]
		if op.length > 0 {
			continue
		}
		if len(out) > 0 {
			return 0, fmt.Errorf("%d literals too many", len(out))
		}
		if count != f.ops {
			return 0, fmt.Errorf("%d copies, its head says %d", count, f.ops)
		}
		return copied, nil
	}
}

// know reads a range of old into the window.
func (d *udeltaDecoder) know(r oldRange) error {
	if r.from == r.to {
		return nil
	}
	b := grown(&d.known, int(r.to-r.from), knownMost)
	if err := d.cache.fill(d.old, d.header.oldSize, b, r.from); err != nil {
		return err
	}
	return d.block.Know(b)
}

// readAt reads all of b from old.
func readAt(old io.ReaderAt, b []byte, at int64) error {
	n, err := old.ReadAt(b, at)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return &oldError{err}
}

// checkChanges checks that all changes are of bytes copied.
func (f *udeltaFrame) checkChanges(copied int) error {
	changes := f.column[udeltaChanges]
	for len(changes) > 0 {
		run, n := number(changes)
		if n == 0 || n == len(changes) {
			return errors.New("a change is cut short or not a canonical number")
		}
		if run >= int64(copied) {
			return fmt.Errorf("a change after %d bytes more, where %d are left to copy", run, copied)
		}
		copied -= int(run) + 1
		changes = changes[n+1:]
	}
	return nil
}

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

	output int           // bytes that it makes
	ops    int           // copies in its own columns
	region *udeltaRegion // nil, or has the copies
	column [udeltaKinds][]byte
	refs   []byte // coded references of its copies; nil if none was looked at
	sum    uint32 // CRC-32C of what it makes
	raw    []byte // where the columns stand, if it was decoded
	coded  []byte // where refs stand, if it was decoded
}

// appendHead appends what stands in the section before the coded columns.
func (f *udeltaFrame) appendHead(b []byte, h *udeltaHeader) []byte {
	b = binary.AppendUvarint(b, uint64(f.output))
	b = binary.AppendUvarint(b, uint64(f.ops))
	for _, c := range f.column {
		b = binary.AppendUvarint(b, uint64(len(c)))
	}
	if h.hasElements() {
		b = binary.AppendUvarint(b, uint64(len(f.refs)))
	}
	return binary.LittleEndian.AppendUint32(b, f.sum)
}

// udeltaFrameHead is the head of a frame as it was read.
type udeltaFrameHead struct {
	output, ops int
	raw         [udeltaKinds]int
	total       int
	sum         uint32
	coded, refs []byte
}

// parseFrameHead reads the head of a frame, of which left bytes of output may
// come. Inside a region it has no copies of its own.
func parseFrameHead(b []byte, of *udeltaHeader, left int64, inside bool) (h udeltaFrameHead, err error) {
	caps := of.caps
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
	refs := int64(0)
	if of.hasElements() {
		refs = f.number()
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
	case inside && h.raw[udeltaGaps]+h.raw[udeltaLengths]+h.raw[udeltaDiagonals] > 0:
		return h, errors.New("it has copies of its own in a region that has them all")
	case refs > int64(len(f.b)) || refs > 0 && !inside:
		return h, fmt.Errorf("%d bytes of references, where %d bytes are left", refs, len(f.b))
	}
	h.output, h.ops, h.total = int(output), int(ops), int(total)
	h.sum = binary.LittleEndian.Uint32(sum[:])
	h.coded, h.refs = f.b[:int64(len(f.b))-refs], f.b[int64(len(f.b))-refs:]
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
	region  *udeltaRegion // the one that the next byte is in, if any
	kept    func(patchAt int64)
	frames  int64
	written int64 // bytes of output that the frames so far make
}

// frameHeadMost is more than the head of a frame has in bytes.
const frameHeadMost = 128

// head reads the next frame's section and its head, and the map before it if
// there is one, or the end of the patch: then it gives io.EOF.
func (d *udeltaDecoder) head() (s udeltaSection, h udeltaFrameHead, err error) {
	if s, h, err = d.begin(); err == nil {
		err = d.source.closeSection(&s)
	}
	return s, h, err
}

// begin does what head does, but of the frame's section it may have read only
// the start.
func (d *udeltaDecoder) begin() (s udeltaSection, h udeltaFrameHead, err error) {
	if d.region != nil && d.written == d.region.end() {
		d.region = nil
	}
	left := d.header.newSize - d.written
	if d.header.identical() {
		left = 0
	}
	s, err = d.source.openSection(d.header, &d.body, d.header.longest)
	if err == nil && s.kind == udeltaMapSection {
		if err = d.enter(s, left); err == nil {
			s, err = d.source.openSection(d.header, &d.body, d.header.longest)
		}
		if err == nil && s.kind != udeltaFrameSection {
			err = corrupt(s.at, fmt.Errorf("section %c where the frames of a region begin", s.kind))
		}
	}
	switch {
	case err != nil:
		return s, h, err
	case s.kind == udeltaEndSection:
		return s, h, d.end(s, left)
	}
	if d.region != nil {
		left = d.region.end() - d.written
	}
	if err := d.source.waitSection(&s, frameHeadMost); err != nil {
		return s, h, err
	}
	h, err = parseFrameHead(s.body, d.header, left, d.region != nil)
	return s, h, d.broken(&s, err)
}

// broken explains an error that came up in the section of a frame. Unless it is
// one of old, what the checksum says about it goes first.
func (d *udeltaDecoder) broken(s *udeltaSection, err error) error {
	var read *oldError
	if err == nil || errors.As(err, &read) {
		return err
	}
	if damaged := d.source.closeSection(s); damaged != nil {
		return damaged
	}
	return corrupt(s.at, fmt.Errorf("section F, frame %d: %w", d.frames, err))
}

// enter begins the region whose map section s is.
func (d *udeltaDecoder) enter(s udeltaSection, left int64) error {
	if err := d.source.closeSection(&s); err != nil {
		return err
	}
	if d.region != nil {
		return corrupt(s.at, fmt.Errorf("section M: another one %d bytes before its region ends", d.region.end()-d.written))
	}
	r, err := d.readRegion(s, left)
	if err != nil {
		return corrupt(s.at, fmt.Errorf("section M: %w", err))
	}
	d.region = r
	if d.kept != nil {
		d.kept(s.at)
	}
	return nil
}

// end checks the end of the patch, and gives io.EOF if it is right.
func (d *udeltaDecoder) end(s udeltaSection, left int64) error {
	if err := d.source.closeSection(&s); err != nil {
		return err
	}
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
// io.EOF. It decodes what has come of the frame while the rest comes; whether
// that is damaged is known at its end, and not before does next return.
func (d *udeltaDecoder) next(f *udeltaFrame) error {
	s, h, err := d.begin()
	if err != nil {
		return err
	}
	*f = udeltaFrame{number: d.frames, patchAt: s.at, patchTo: s.end, outputAt: d.written,
		output: h.output, ops: h.ops, region: d.region, sum: h.sum, raw: f.raw, coded: f.coded}
	if err := d.decode(f, &h, &s); err != nil {
		return d.broken(&s, err)
	}
	if err := d.source.closeSection(&s); err != nil {
		return err
	}
	if len(h.refs) > 0 {
		f.refs = grown(&f.coded, len(h.refs), 1<<d.header.caps.Coded)
		copy(f.refs, h.refs)
	}
	d.frames++
	d.written += int64(f.output)
	return nil
}

// oldError is a failure to read the old file.
type oldError struct{ err error }

func (e *oldError) Error() string { return "read old file: " + e.err.Error() }
func (e *oldError) Unwrap() error { return e.err }

// decode fills in the columns of f, whose section is s, and checks them.
func (d *udeltaDecoder) decode(f *udeltaFrame, h *udeltaFrameHead, s *udeltaSection) error {
	before := len(s.body) - len(h.coded) - len(h.refs)
	here := func() []byte { return h.coded[:min(max(s.here-before, 0), len(h.coded))] }
	d.coder.ResetComing(here(), func() []byte {
		if n := before + len(here()) + 1; n <= len(s.body)-len(h.refs) {
			d.source.waitSection(s, n) // who closes the section gets its error
		}
		return here()
	})
	caps := d.header.caps
	raw := grown(&f.raw, h.total, 1<<caps.Raw)
	window := grown(&d.window, h.total+knownAtMost(caps, h, f.region != nil), 1<<caps.Raw+1<<caps.Known)
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
	ops := f.clips(d.header.oldSize)
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
		if f.region == nil && count != f.ops {
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

package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// openUdelta reads the header. Old is read for its digest while the first
// frames come, and before any byte of new is given out.
func openUdelta(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	source := &patchSource{src: patch, alive: ctx.Err, begin: limits.Frame}
	h, err := source.header()
	if err != nil {
		return nil, err
	}
	if limits.Size != AnySize && limits.Size != h.newSize {
		return nil, corrupt(0, fmt.Errorf("header: the patch gives %d bytes, expected %d", h.newSize, limits.Size))
	}
	first := framePlace{patchAt: h.length, patchTo: h.length}
	return newUdeltaReader(ctx, old, oldSize, source, h, limits, first)
}

// newUdeltaReader makes a reader that begins with the frame at a place.
func newUdeltaReader(ctx context.Context, old io.ReaderAt, oldSize int64, source *patchSource, h *udeltaHeader, limits Limits, at framePlace) (*udeltaReader, error) {
	ahead, err := h.ahead(limits)
	if err != nil {
		return nil, err
	}
	if oldSize != h.oldSize {
		got, err := digestOld(ctx, old, oldSize)
		if err != nil {
			return nil, err
		}
		return nil, corrupt(0, fmt.Errorf("header: the patch is for an old file of %d bytes with SHA-256 %x, this one has %d with %x", h.oldSize, h.oldSum, oldSize, got))
	}
	r := &udeltaReader{header: h, alive: ctx.Err, frame: at, at: at.outputAt}
	r.piece.before = newDigestState()
	r.begin = func() { r.start(ctx, old, source, limits, ahead, at) }
	return r, nil
}

// ahead is how many frames may be decoded ahead within limits.
func (h *udeltaHeader) ahead(limits Limits) (int, error) {
	switch {
	case !limits.Least && h.caps.memory(1) <= limits.Memory:
		return 1, nil
	case h.caps.memory(0) <= limits.Memory:
		return 0, nil
	}
	return 0, fmt.Errorf("%w: the patch needs %d bytes of memory, the limit is %d", ErrTooLarge, h.caps.memory(0), limits.Memory)
}

// digestOld gives the digest of the old file.
func digestOld(ctx context.Context, old io.ReaderAt, size int64) ([]byte, error) {
	sum := sha256.New()
	in := &aliveReader{alive: ctx.Err, name: "old file", src: io.NewSectionReader(old, 0, size)}
	n, err := io.CopyBuffer(struct{ io.Writer }{sum}, in, make([]byte, udeltaWindow))
	if err == nil && n != size {
		err = fmt.Errorf("read old file: %d of %d bytes: %w", n, size, io.ErrUnexpectedEOF)
	}
	return sum.Sum(nil), err
}

// checkOld compares the digest of old.
func (h *udeltaHeader) checkOld(ctx context.Context, old io.ReaderAt) error {
	got, err := digestOld(ctx, old, h.oldSize)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, h.oldSum[:]) {
		return corrupt(0, fmt.Errorf("header: the patch is for the old file with SHA-256 %x, this one has %x", h.oldSum, got))
	}
	return nil
}

// udeltaReader is the new file as a stream. Three goroutines work ahead of it
// from the first Read on: one decodes frames, one turns them into bytes, and one
// takes the digest of those.
type udeltaReader struct {
	header *udeltaHeader
	alive  func() error // the caller's context
	begin  func()       // starts the goroutines; nil once they run

	stop   context.CancelFunc
	work   sync.WaitGroup
	free   chan []byte
	pieces chan udeltaPiece
	old    chan error // says once whether old is the right one; nil once it has

	piece udeltaPiece
	given int        // bytes of piece that were given out
	frame framePlace // the frame of the last byte given out
	at    int64      // bytes given out
	err   error
}

// start begins with the frame at a place and leaves out what is before r.at.
func (r *udeltaReader) start(ctx context.Context, old io.ReaderAt, source *patchSource, limits Limits, ahead int, at framePlace) {
	r.begin = nil
	ctx, r.stop = context.WithCancel(ctx)
	source.alive = ctx.Err
	d := &udeltaDecoder{header: r.header, source: source, old: old, kept: limits.Kept, frames: at.number, written: at.outputAt}
	x := &udeltaExec{header: r.header, old: old, oldSize: r.header.oldSize, skip: r.at,
		free: make(chan []byte, udeltaWindows), out: make(chan udeltaPiece, udeltaWindows)}
	r.free, r.pieces = x.free, make(chan udeltaPiece, udeltaWindows)
	sum, err := r.piece.before.hash()
	if err != nil {
		panic("delta: a state of SHA-256 that was checked is none: " + err.Error())
	}
	r.work.Go(func() { r.digest(ctx, sum, x.out) })
	if !limits.OldChecked {
		right := make(chan error, 1)
		r.old = right
		r.work.Go(func() { right <- r.header.checkOld(ctx, old) })
	}
	for range udeltaWindows {
		x.free <- make([]byte, min(udeltaWindow, r.header.newSize))
	}
	if r.header.identical() {
		r.work.Go(func() { x.end(ctx, x.identical(ctx, d)) })
		return
	}
	empty, full := make(chan *udeltaFrame, 1+ahead), make(chan *udeltaFrame)
	for range 1 + ahead {
		empty <- new(udeltaFrame)
	}
	var failed error // of the decoder; set before full is closed
	r.work.Go(func() {
		defer close(full)
		if failed = d.enterAgain(at); failed == nil {
			failed = d.run(ctx, empty, full)
		}
	})
	r.work.Go(func() {
		for f := range full {
			if err := x.frame(ctx, f); err != nil {
				x.end(ctx, err)
				return
			}
			empty <- f
		}
		x.end(ctx, failed)
	})
}

// enterAgain reads the map of the region that a place is in.
func (d *udeltaDecoder) enterAgain(at framePlace) error {
	if at.mapTo == at.mapAt {
		return nil
	}
	d.source.at, d.written = at.mapAt, at.regionAt
	s, err := d.source.section(d.header, &d.body)
	if err == nil && (s.kind != udeltaMapSection || s.end != at.mapTo) {
		err = corrupt(s.at, fmt.Errorf("section %c of %d bytes where the position has a map of %d", s.kind, s.end-s.at, at.mapTo-at.mapAt))
	}
	if err == nil {
		err = d.enter(s, d.header.newSize-d.written)
	}
	d.source.at, d.written = at.patchAt, at.outputAt
	return err
}

// run decodes frames until the end of the patch, where it gives io.EOF.
func (d *udeltaDecoder) run(ctx context.Context, empty, full chan *udeltaFrame) error {
	for {
		var f *udeltaFrame
		select {
		case f = <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := d.next(f); err != nil {
			return err
		}
		select {
		case full <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end hands on the error that ends the new file.
func (x *udeltaExec) end(ctx context.Context, err error) {
	select {
	case x.out <- udeltaPiece{err: err}:
	case <-ctx.Done():
		close(x.out)
	}
}

// identical gives old as new, and expects the end of the patch.
func (x *udeltaExec) identical(ctx context.Context, d *udeltaDecoder) error {
	place := framePlace{patchAt: d.source.at, patchTo: d.source.at, outputTo: x.oldSize}
	for at := x.skip; at < x.oldSize; {
		window, err := x.room(ctx, 1)
		if err != nil {
			return err
		}
		window = window[:min(int64(len(window)), x.oldSize-at)]
		if err := readAt(x.old, window, at); err != nil {
			return err
		}
		at += int64(len(window))
		select {
		case x.out <- udeltaPiece{b: window, room: x.window, frame: place}:
			x.window = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return d.next(new(udeltaFrame))
}

// Read gives the next bytes of the new file, and io.EOF only after the digest
// of all of it was right and the patch was at its end.
func (r *udeltaReader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if err := r.alive(); err != nil {
		r.err = fmt.Errorf("apply udelta delta: %w", err)
		return 0, r.err
	}
	if r.begin != nil {
		r.begin()
	}
	if r.given == len(r.piece.b) {
		if r.err = r.next(); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.piece.b[r.given:])
	r.given += n
	r.at += int64(n)
	r.frame = r.piece.frame
	return n, nil
}

// next fetches the next piece.
func (r *udeltaReader) next() error {
	if r.piece.room != nil {
		r.free <- r.piece.room
		r.piece, r.given = udeltaPiece{before: r.piece.before}, 0
	}
	if r.old != nil {
		err := <-r.old
		if r.old = nil; err != nil {
			return fmt.Errorf("apply udelta delta: %w", err)
		}
	}
	p, ok := <-r.pieces
	switch {
	case !ok:
		p.err = context.Canceled
	case p.err == io.EOF:
		p.err = r.finish(p.before)
	}
	r.piece, r.given = p, 0
	if p.err == io.EOF {
		return io.EOF
	}
	if p.err != nil {
		return fmt.Errorf("apply udelta delta: %w", p.err)
	}
	return nil
}

// finish checks the whole, once all of it was given out and has a digest.
func (r *udeltaReader) finish(sum digestState) error {
	h, err := sum.hash()
	if err != nil {
		return err
	}
	if got := h.Sum(nil); r.at != r.header.newSize || !bytes.Equal(got, r.header.newSum[:]) {
		return corrupt(0, fmt.Errorf("the new file should have %d bytes with SHA-256 %x, it has %d with %x", r.header.newSize, r.header.newSum, r.at, got))
	}
	return io.EOF
}

// Close stops the work ahead. It waits for a read of the patch or of old that
// is under way.
func (r *udeltaReader) Close() error {
	if r.stop != nil {
		r.stop()
		r.work.Wait()
		r.stop = nil
	}
	r.begin = nil
	if r.err == nil || r.err == io.EOF {
		r.err = fmt.Errorf("read udelta delta: %w", os.ErrClosed)
	}
	r.piece, r.free, r.pieces = udeltaPiece{}, nil, nil
	return nil
}

var errNotMarked = errors.New("the reader has failed or is closed")

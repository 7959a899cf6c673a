package foreign

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// addStep is how many bytes are added to old at once.
const addStep = 32 << 10

// Reader is the new file while a patch is applied. It is for one goroutine.
type Reader struct {
	files  Files
	size   int64 // of the new file, or AnySize
	script script
	input  *input
	alive  func() error

	made   int64  // bytes of all windows up to now
	window []byte // the one in hand
	given  int    // bytes of it that were read
	diff   []byte // room for addOld
	err    error  // for good
}

// Read gives the next bytes of the new file, and io.EOF only if the patch was
// whole.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	for r.err == nil && r.given == len(r.window) {
		if err := r.fill(); err != nil {
			r.err = r.explain(err)
			r.window, r.given = nil, 0
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.window[r.given:])
	r.given += n
	return n, nil
}

// fill makes the next window. It is io.EOF only if there is none: a patch that
// ends within one is another matter.
func (r *Reader) fill() error {
	size, err := r.script.window()
	switch {
	case err == io.EOF && r.size != AnySize && r.made != r.size:
		return corruptf("the patch makes %d bytes, expected %d", r.made, r.size)
	case err != nil:
		return err
	case r.size != AnySize && !inside(r.made, size, r.size):
		return corruptf("the patch makes more than the %d bytes expected", r.size)
	}
	if int64(cap(r.window)) < size {
		r.window = make([]byte, 0, size)
	}
	r.window, r.given = r.window[:0], 0
	for int64(len(r.window)) < size {
		o, err := r.script.next(size - int64(len(r.window)))
		if err != nil {
			return noEOF(err)
		}
		if err := r.do(o, size); err != nil {
			return noEOF(err)
		}
	}
	r.made = sum(r.made, size)
	return noEOF(r.script.done(r.window))
}

// do checks an operation and carries it out, in a window of that size.
func (r *Reader) do(o op, size int64) error {
	if err := r.alive(); err != nil {
		return err
	}
	have := int64(len(r.window))
	if o.length < 1 || !inside(have, o.length, size) {
		return corruptf("an operation of %d bytes at %d of a window of %d", o.length, have, size)
	}
	r.window = r.window[:have+o.length]
	to := r.window[have:]
	switch o.kind {
	case copyOld:
		return r.readOld(to, o.from)
	case addOld:
		if err := r.readOld(to, o.from); err != nil {
			return err
		}
		return r.add(to, o.data)
	case insert:
		_, err := io.ReadFull(o.data, to)
		return err
	case run:
		for i := range to {
			to[i] = o.fill
		}
		return nil
	}
	if !inside(o.from, 1, have) {
		return corruptf("a copy from %d of a window of which %d bytes are made", o.from, have)
	}
	// What is copied already is copied again, which doubles it each time and
	// keeps to the period, as each round begins at a multiple of it.
	for i := int64(0); i < o.length; {
		i += int64(copy(to[i:], r.window[o.from:have+i]))
	}
	return nil
}

// readOld fills to from an offset of the old file.
func (r *Reader) readOld(to []byte, from int64) error {
	if !inside(from, int64(len(to)), r.files.OldSize) {
		return corruptf("a copy of %d bytes from %d of an old file of %d", len(to), from, r.files.OldSize)
	}
	n, err := r.files.Old.ReadAt(to, from)
	switch {
	case n == len(to):
		return nil
	case err == nil || err == io.EOF:
		return &outside{fmt.Errorf("read old file: %d of %d bytes at %d, of %d in all: %w", n, len(to), from, r.files.OldSize, io.ErrUnexpectedEOF)}
	}
	return &outside{fmt.Errorf("read old file: %w", err)}
}

// add adds the bytes of a difference to those of the old file.
func (r *Reader) add(to []byte, diff io.Reader) error {
	if r.diff == nil {
		r.diff = make([]byte, addStep)
	}
	for len(to) > 0 {
		d := r.diff[:min(len(to), addStep)]
		if _, err := io.ReadFull(diff, d); err != nil {
			return err
		}
		for i, b := range d {
			to[i] += b
		}
		to = to[len(d):]
	}
	return nil
}

// outside is an error that the patch is not to blame for.
type outside struct{ error }

func (o *outside) Unwrap() error { return o.error }

// explain tells a bad patch from a patch or an old file that cannot be read.
func (r *Reader) explain(err error) error {
	var f *fault
	var o *outside
	switch {
	case err == io.EOF:
		return err
	case r.alive() != nil:
		return r.alive()
	case r.input.err != nil:
		return r.input.err
	case errors.As(err, &o):
		return o.error
	case !errors.As(err, &f):
		f = corruptf("%v", err) // of a decoder
		if errors.Is(err, io.ErrUnexpectedEOF) {
			f = corruptf("the patch ends early")
		}
	}
	f.at = r.script.at()
	return f
}

// Close lets go of the window and leaves the files open.
func (r *Reader) Close() error {
	r.window, r.given, r.diff = nil, 0, nil
	r.err = fmt.Errorf("read patch: %w", os.ErrClosed)
	return nil
}

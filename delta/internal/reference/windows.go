package reference

import (
	"fmt"
	"io"
)

const (
	minAhead    = 2 << 10
	windowSize  = 32 << 10
	windowCount = 16
)

// windows reads old in pieces that are likely to be needed again. Copies go
// forwards on several lines at once, with jumps to and fro between them: each
// line keeps a window of its own as long as it is among the last few.
type windows struct {
	r     io.ReaderAt
	size  int64
	list  [windowCount]window
	last  int // the window used last
	clock uint64
}

type window struct {
	at, end int64  // what of old it has
	ahead   int64  // how much was read at once
	used    uint64 // when
	bytes   [windowSize]byte
}

// use forgets all and reads from r from now on, which has size bytes.
func (w *windows) use(r io.ReaderAt, size int64) {
	w.r, w.size = r, size
	w.forget()
}

func (w *windows) forget() {
	for i := range w.list {
		x := &w.list[i]
		x.at, x.end, x.used = 0, 0, 0
	}
	w.last, w.clock = 0, 0
}

// read gives the bytes of old from from to to, at most windowSize, until the
// next call. It reads on a little, and twice as far each time that reading
// goes forwards.
func (w *windows) read(from, to int64) ([]byte, error) {
	x := &w.list[w.last]
	if from < x.at || to > x.end {
		i, ahead := w.choose(from, to)
		x, w.last = &w.list[i], i
		w.clock++
		x.used = w.clock
		if ahead > 0 {
			x.ahead = ahead
			if err := w.fill(x, from, min(max(to, from+ahead), w.size)); err != nil {
				return nil, err
			}
		}
	}
	return x.bytes[from-x.at : to-x.at], nil
}

// choose gives the window for what is from from to to, and how much to read
// into it, which is 0 if it is all there.
func (w *windows) choose(from, to int64) (i int, ahead int64) {
	goesOn := false
	for k := range w.list {
		switch x := &w.list[k]; {
		case from >= x.at && to <= x.end:
			return k, 0
		case from >= x.at && from <= x.end+minAhead && x.end > 0:
			i, goesOn = k, true
		case !goesOn && x.used < w.list[i].used:
			i = k
		}
	}
	if goesOn {
		return i, min(2*w.list[i].ahead, windowSize)
	}
	return i, minAhead
}

func (w *windows) fill(x *window, from, end int64) error {
	n, err := w.r.ReadAt(x.bytes[:end-from], from)
	if int64(n) < end-from {
		x.at, x.end, x.used = 0, 0, 0
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read old at %d: %w", from, err)
	}
	x.at, x.end = from, end
	return nil
}

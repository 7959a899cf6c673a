package codec

import (
	"fmt"
	"io"
	"os"
)

// writer holds an encoder to the size that was declared.
type writer struct {
	name  string
	enc   io.WriteCloser // nil once closed
	size  int64
	taken int64
}

// Write encodes p. The first byte past the declared size is an error.
func (w *writer) Write(p []byte) (int, error) {
	switch {
	case w.enc == nil:
		return 0, fmt.Errorf("write %s: %w", w.name, os.ErrClosed)
	case w.size != AnySize && int64(len(p)) > w.size-w.taken:
		return 0, fmt.Errorf("write %s: more than the %d bytes that were declared", w.name, w.size)
	}
	n, err := w.enc.Write(p)
	w.taken += int64(n)
	if err != nil {
		err = fmt.Errorf("write %s: %w", w.name, err)
	}
	return n, err
}

// Close writes the end of the file. Without all of the declared bytes it is
// an error, and what was written is of no use. A second call does nothing.
func (w *writer) Close() error {
	if w.enc == nil {
		return nil
	}
	err := w.enc.Close()
	w.enc = nil
	switch {
	case w.size != AnySize && w.taken != w.size:
		return fmt.Errorf("write %s: %d bytes came, %d were declared", w.name, w.taken, w.size)
	case err != nil:
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	return nil
}

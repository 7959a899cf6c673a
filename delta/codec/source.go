package codec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// bufferSize is how much of the input is read ahead.
const bufferSize = 32 << 10

// source is the compressed input. It counts what decoders take.
type source struct {
	buf  *bufio.Reader
	from *feed
	at   int64 // bytes taken
}

func newSource(src io.Reader, alive func() error) *source {
	f := &feed{src: src, alive: alive}
	return &source{buf: bufio.NewReaderSize(f, bufferSize), from: f}
}

// feed asks for the caller's context before each read, and remembers how
// reading failed, because decoders take a file that cannot be read for one
// that ends early.
type feed struct {
	src   io.Reader
	alive func() error
	err   error // for good; never io.EOF
}

// Read implements io.Reader.
func (f *feed) Read(p []byte) (int, error) {
	if f.err == nil {
		f.err = f.alive()
	}
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.src.Read(p)
	if err != nil && err != io.EOF {
		f.err = fmt.Errorf("read artifact: %w", err)
		err = f.err
	}
	return n, err
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.buf.Read(p)
	s.at += int64(n)
	return n, err
}

// ReadByte implements io.ByteReader.
func (s *source) ReadByte() (byte, error) {
	b, err := s.buf.ReadByte()
	if err == nil {
		s.at++
	}
	return b, err
}

// peek gives the next n bytes without taking them, fewer only at the end.
func (s *source) peek(n int) ([]byte, error) {
	b, err := s.buf.Peek(n)
	if err == io.EOF {
		err = nil
	}
	return b, err
}

// ended tells whether there are no more bytes.
func (s *source) ended() (bool, error) {
	b, err := s.peek(1)
	return len(b) == 0, err
}

// skip takes n bytes and drops them.
func (s *source) skip(n int64) error {
	_, err := io.CopyN(io.Discard, s, n)
	return noEOF(err)
}

// full reads all of b.
func (s *source) full(b []byte) error {
	_, err := io.ReadFull(s, b)
	return noEOF(err)
}

// noEOF is for reads that the format promises more bytes to.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// explain turns what a decoder says into the errors of this package. What the
// input itself said goes first.
func (s *source) explain(err error) error {
	var f *fault
	switch {
	case s.from.err != nil:
		return s.from.err
	case errors.As(err, &f):
		return fmt.Errorf("%w: byte %d: %s", f.kind, s.at, f.why)
	case errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF:
		return fmt.Errorf("%w: byte %d: the file ends early", ErrCorrupt, s.at)
	}
	return fmt.Errorf("%w: byte %d: %v", ErrCorrupt, s.at, err)
}

// fault is an error that this package found itself.
type fault struct {
	kind error
	why  string
}

func (f *fault) Error() string { return f.why }

func corruptf(format string, args ...any) error {
	return &fault{ErrCorrupt, fmt.Sprintf(format, args...)}
}

func tooLargef(format string, args ...any) error {
	return &fault{ErrTooLarge, fmt.Sprintf(format, args...)}
}

func unsupportedf(format string, args ...any) error {
	return &fault{errors.ErrUnsupported, fmt.Sprintf(format, args...)}
}

// fits refuses a decoder that needs more memory than the limit.
func fits(need int64, limits Limits) error {
	if need > limits.Memory {
		return tooLargef("decoding needs %d bytes of memory, the limit is %d", need, limits.Memory)
	}
	return nil
}

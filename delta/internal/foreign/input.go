package foreign

import (
	"bufio"
	"fmt"
	"io"
)

// inputBuffer is how much of a patch is read ahead.
const inputBuffer = 32 << 10

// input is the patch. It asks for the caller's context before each read and
// remembers how reading failed, because decoders take a patch that cannot be
// read for one that ends early.
type input struct {
	alive func() error
	err   error // for good; never io.EOF
}

// reader is a part of the patch, from an offset on.
func (in *input) reader(src io.Reader, offset int64) *part {
	return &part{buf: bufio.NewReaderSize(&feed{in, src}, inputBuffer), at: offset}
}

// feed reads src on behalf of an input.
type feed struct {
	in  *input
	src io.Reader
}

// Read implements io.Reader.
func (f *feed) Read(p []byte) (int, error) {
	if f.in.err == nil {
		f.in.err = f.in.alive()
	}
	if f.in.err != nil {
		return 0, f.in.err
	}
	n, err := f.src.Read(p)
	if err != nil && err != io.EOF {
		f.in.err = fmt.Errorf("read patch: %w", err)
		err = f.in.err
	}
	return n, err
}

// part is a run of bytes of the patch and knows how far it is read.
type part struct {
	buf *bufio.Reader
	at  int64
}

// Read implements io.Reader.
func (p *part) Read(b []byte) (int, error) {
	n, err := p.buf.Read(b)
	p.at += int64(n)
	return n, err
}

// ReadByte implements io.ByteReader.
func (p *part) ReadByte() (byte, error) {
	b, err := p.buf.ReadByte()
	if err == nil {
		p.at++
	}
	return b, err
}

// ended tells whether there are no more bytes.
func (p *part) ended() (bool, error) {
	_, err := p.buf.Peek(1)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// full reads all of b.
func (p *part) full(b []byte) error {
	_, err := io.ReadFull(p, b)
	return noEOF(err)
}

// growStep is how much is allocated before the first byte of it was seen.
const growStep = 64 << 10

// take reads n bytes into b, which it grows as they come: a patch that only
// declares them costs nothing. It takes up to twice the memory of n meanwhile.
func (p *part) take(b []byte, n int64) ([]byte, error) {
	b = b[:0]
	for int64(len(b)) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(n, max(growStep, 2*int64(len(b)))))
			copy(grown, b)
			b = grown
		}
		have := len(b)
		b = b[:min(n, int64(cap(b)))]
		if err := p.full(b[have:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// noEOF is for reads that the format promises more bytes to.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

package delta

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The layout of a zstd frame is in RFC 8878, section 3.1.1.
const (
	zstdMagic          = 0xFD2FB528
	zstdSkippableMagic = 0x184D2A50 // the lowest four bits are free

	headSingle   = 1 << 5 // no window byte: the window is the content
	headReserved = 1 << 3
	headChecksum = 1 << 2

	minHead   = 5 // magic and descriptor
	maxHead   = 18
	minWindow = 1 << 10
)

// frameHead is what the head of a zstd frame says.
type frameHead struct {
	size       int64  // of the content in bytes, AnySize if it is not there
	window     uint64 // in bytes; zero if it is the size of the content
	windowByte byte   // as window is written
	dictionary uint32
	checksum   bool
}

// headLength is how long a frame head with this descriptor is.
func headLength(descriptor byte) int {
	n := minHead + []int{0, 1, 2, 4}[descriptor&3] + []int{0, 2, 4, 8}[descriptor>>6]
	switch {
	case descriptor&headSingle == 0:
		n++ // window
	case descriptor>>6 == 0:
		n++ // content size
	}
	return n
}

// parseHead reads the head at the start of b and tells its length. b must be
// at least minHead bytes long, and as long as headLength tells for them.
func parseHead(b []byte) (frameHead, int, error) {
	magic := binary.LittleEndian.Uint32(b)
	switch {
	case magic&^15 == zstdSkippableMagic:
		return frameHead{}, 0, errors.New("skippable zstd frame: a patch is exactly one frame of data")
	case magic != zstdMagic:
		return frameHead{}, 0, fmt.Errorf("not a zstd frame: it begins with %x", b[:4])
	}
	descriptor := b[4]
	if descriptor&headReserved != 0 {
		return frameHead{}, 0, errors.New("reserved bit of the zstd frame is set")
	}
	h := frameHead{checksum: descriptor&headChecksum != 0}
	at := minHead
	if descriptor&headSingle == 0 {
		h.windowByte = b[at]
		base := uint64(1) << (10 + h.windowByte>>3)
		h.window = base + base/8*uint64(h.windowByte&7)
		at++
	}
	n := []int{0, 1, 2, 4}[descriptor&3]
	h.dictionary = uint32(littleEndian(b[at : at+n]))
	at += n
	n = headLength(descriptor) - at
	size := littleEndian(b[at : at+n])
	switch {
	case n == 2:
		size += 256
	case size > math.MaxInt64:
		return frameHead{}, 0, fmt.Errorf("content of %d bytes", size)
	}
	h.size = int64(size)
	if n == 0 {
		h.size = AnySize
	}
	return h, at + n, nil
}

func littleEndian(b []byte) (n uint64) {
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	return n
}

// append writes the head, whose size must be known, to b in its shortest
// form. A window that holds the whole content is written as a single segment:
// the decoder then takes the exact size, not the next power of two, and may
// still reach the whole dictionary from every byte.
func (h frameHead) append(b []byte) []byte {
	var descriptor byte
	single := h.window == 0 || h.window >= uint64(h.size)
	if single {
		descriptor |= headSingle
	}
	if h.checksum {
		descriptor |= headChecksum
	}
	var size []byte
	switch {
	case h.size < 256 && single:
		size = []byte{byte(h.size)}
	case h.size >= 256 && h.size < 256+1<<16:
		descriptor |= 1 << 6
		size = binary.LittleEndian.AppendUint16(nil, uint16(h.size-256))
	case h.size <= math.MaxUint32:
		descriptor |= 2 << 6
		size = binary.LittleEndian.AppendUint32(nil, uint32(h.size))
	default:
		descriptor |= 3 << 6
		size = binary.LittleEndian.AppendUint64(nil, uint64(h.size))
	}
	b = append(binary.LittleEndian.AppendUint32(b, zstdMagic), descriptor)
	if !single {
		b = append(b, h.windowByte)
	}
	return append(b, size...)
}

// frameReader hands exactly one zstd frame on from a patch. It follows the
// block heads to know where the frame ends, which the decoder behind it does
// not tell: that one goes on with further frames and skips what it may skip.
type frameReader struct {
	src   *bufio.Reader
	alive func() error // the caller's context, asked before each read
	at    int64        // bytes of the patch read
	limit int64        // bytes that the patch may have

	ready []byte // to be handed on first
	left  int    // bytes of the block or checksum to hand on after that
	last  bool   // the block in hand is the last
	sum   bool   // the checksum is in hand or through
	err   error  // the first error, for good
}

// head reads the head of the frame.
func (f *frameReader) head() (frameHead, error) {
	b := make([]byte, maxHead)
	if err := f.fill(b[:minHead]); err != nil {
		return frameHead{}, err
	}
	n := headLength(b[4])
	// The magic number decides before bytes are read that it may not have.
	if binary.LittleEndian.Uint32(b) == zstdMagic {
		if err := f.fill(b[minHead:n]); err != nil {
			return frameHead{}, err
		}
	}
	h, _, err := parseHead(b)
	if err != nil {
		return frameHead{}, corrupt(0, err)
	}
	return h, nil
}

// Read gives the next bytes of the frame, and io.EOF only if the frame was
// whole and the patch ends with it.
func (f *frameReader) Read(p []byte) (int, error) {
	if f.err == nil && len(f.ready) == 0 && f.left == 0 {
		f.err = f.next()
	}
	switch {
	case f.err != nil:
		return 0, f.err
	case len(f.ready) > 0:
		n := copy(p, f.ready)
		f.ready = f.ready[n:]
		return n, nil
	}
	if f.err = f.alive(); f.err != nil {
		return 0, f.err
	}
	if _, err := f.src.Peek(1); err != nil {
		f.err = f.failed(err)
		return 0, f.err
	}
	n, err := f.src.Read(p[:min(len(p), f.left)])
	f.at += int64(n)
	f.left -= n
	return n, err
}

// next goes on to the next block, the checksum or the end.
func (f *frameReader) next() error {
	switch {
	case f.at > f.limit:
		return corrupt(f.at, fmt.Errorf("more than %d bytes of patch for its result", f.limit))
	case !f.last:
		b := make([]byte, 3)
		if err := f.fill(b); err != nil {
			return err
		}
		bits := littleEndian(b)
		f.last = bits&1 != 0
		f.left = int(bits >> 3)
		if bits>>1&3 == 1 { // one byte, repeated
			f.left = 1
		}
		f.ready = b
		return nil
	case !f.sum:
		f.sum = true
		f.left = 4
		return nil
	}
	if _, err := f.src.Peek(1); err != io.EOF {
		if err != nil {
			return f.failed(err)
		}
		return corrupt(f.at, errors.New("the patch goes on after its end"))
	}
	return io.EOF
}

// fill reads all of b.
func (f *frameReader) fill(b []byte) error {
	if err := f.alive(); err != nil {
		return err
	}
	for i := range b {
		c, err := f.src.ReadByte()
		if err != nil {
			return f.failed(err)
		}
		b[i] = c
		f.at++
	}
	return nil
}

// failed tells a patch that ends early from a source that cannot be read.
func (f *frameReader) failed(err error) error {
	if err == io.EOF {
		return corrupt(f.at, errors.New("the patch ends early"))
	}
	return fmt.Errorf("read patch: %w", err)
}

func corrupt(at int64, why error) error {
	return fmt.Errorf("%w: byte %d: %v", ErrCorrupt, at, why)
}

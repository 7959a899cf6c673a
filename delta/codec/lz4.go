package codec

import (
	"encoding/binary"
	"io"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format 1.6.4.
const (
	lz4Magic       = "\x04\x22\x4d\x18"
	lz4LegacyMagic = "\x02\x21\x4c\x18"

	// A frame begins with its magic number, a byte of flags and one with the
	// size of its blocks.
	lz4HeadLength = 6

	lz4BlockSum   = 1 << 4
	lz4Size       = 1 << 3
	lz4ContentSum = 1 << 2
	lz4Dictionary = 1

	// lz4Overhead is the history that blocks share, and buffers.
	lz4Overhead = 512 << 10
)

func isLZ4(head []byte) bool { return hasMagic(head, lz4Magic) }

func decodeLZ4(src *source, limits Limits) (decoder, error) {
	d := &lz4Decoder{src: src, limits: limits, lib: lz4.NewReader(nil)}
	return d, noEOF(d.next())
}

// lz4Decoder gives the library one frame after the other, each after a look
// at its head. By itself it would go on with legacy frames.
type lz4Decoder struct {
	src    *source
	limits Limits
	lib    *lz4.Reader
}

// next goes to the next frame of data; io.EOF if there is none.
func (d *lz4Decoder) next() error {
	for {
		head, err := d.src.peek(lz4HeadLength)
		switch {
		case err != nil:
			return err
		case len(head) == 0:
			return io.EOF
		case isSkippable(head):
			if err := d.skip(); err != nil {
				return err
			}
			continue
		case hasMagic(head, lz4LegacyMagic):
			return unsupportedf("a legacy lz4 frame: write it in the frame format")
		case len(head) < lz4HeadLength:
			return io.ErrUnexpectedEOF
		case !isLZ4(head):
			return corruptf("not an lz4 frame: it begins with %x", head[:4])
		}
		return d.open(head[4], head[5])
	}
}

// isSkippable tells a frame of data for others, of which zstd has the same.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && hasMagic(head[1:], "\x2a\x4d\x18")
}

func (d *lz4Decoder) skip() error {
	var head [8]byte
	if err := d.src.full(head[:]); err != nil {
		return err
	}
	return d.src.skip(int64(binary.LittleEndian.Uint32(head[4:])))
}

// open begins the frame at hand, which the library then checks further.
func (d *lz4Decoder) open(flags, blocks byte) error {
	if flags&lz4Dictionary != 0 {
		return unsupportedf("the frame needs a dictionary")
	}
	// 64 KiB for 4 up to 4 MiB for 7; the library refuses all other values.
	block := int64(1) << (8 + 2*(blocks>>4&7))
	if err := fits(3*block+lz4Overhead, d.limits); err != nil {
		return err
	}
	f := &lz4Frame{src: d.src, left: lz4HeadLength + 1}
	if flags&lz4Size != 0 {
		f.left += 8
	}
	if flags&lz4BlockSum != 0 {
		f.afterBlock = 4
	}
	if flags&lz4ContentSum != 0 {
		f.afterLast = 4
	}
	d.lib.Reset(f)
	return nil
}

// Read implements io.Reader.
func (d *lz4Decoder) Read(p []byte) (int, error) {
	n, err := d.lib.Read(p)
	if err == io.EOF {
		err = d.next()
	}
	return n, err
}

func (d *lz4Decoder) free() { d.lib.Reset(nil) }

// lz4Frame is exactly one frame of the input. It follows the sizes of the
// blocks to know where the frame ends.
type lz4Frame struct {
	src                   *source
	left                  int64 // bytes up to the next size
	afterBlock, afterLast int64 // bytes of checksum
	last                  bool
}

// Read implements io.Reader.
func (f *lz4Frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if f.last {
			return 0, io.EOF
		}
		size, err := f.src.peek(4)
		switch {
		case err != nil:
			return 0, err
		case len(size) < 4:
			return 0, io.ErrUnexpectedEOF
		}
		f.left = 4 + int64(binary.LittleEndian.Uint32(size)&(1<<31-1)) + f.afterBlock
		if f.left == 4+f.afterBlock {
			f.last, f.left = true, 4+f.afterLast
		}
	}
	n, err := f.src.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, noEOF(err)
}

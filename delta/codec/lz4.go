package codec

import (
	"encoding/binary"
	"io"
)

// The LZ4 frame format 1.6.4.
const (
	lz4Magic       = "\x04\x22\x4d\x18"
	lz4LegacyMagic = "\x02\x21\x4c\x18"

	// A frame begins with its magic number, a byte of flags, one with the
	// size of its blocks, what the flags add, and a checksum of one byte.
	lz4HeadLength = 6

	lz4Version     = 3 << 6 // has to be 1 << 6
	lz4Independent = 1 << 5 // blocks do not refer to those before them
	lz4BlockSum    = 1 << 4
	lz4Size        = 1 << 3
	lz4ContentSum  = 1 << 2
	lz4Reserved    = 1 << 1
	lz4Dictionary  = 1

	lz4Stored = 1 << 31 // of the size of a block: it is not compressed

	// lz4History is how far back a block refers to those before it.
	lz4History = 64 << 10

	// lz4Overhead is the history, and buffers.
	lz4Overhead = 128 << 10
)

func isLZ4(head []byte) bool { return hasMagic(head, lz4Magic) }

func decodeLZ4(src *source, limits Limits) (decoder, error) {
	d := &lz4Decoder{src: src, limits: limits}
	return d, noEOF(d.next())
}

// lz4Decoder decodes frames block by block.
type lz4Decoder struct {
	src    *source
	limits Limits

	open   bool // within a frame
	flags  byte
	block  int   // most bytes of a block
	size   int64 // of the content, or AnySize
	came   int64 // bytes of the content
	sum    xxh32 // of the content, if the frame has one
	packed []byte
	out    []byte // the history, and behind it the block
	given  int    // bytes of out that are given or history
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
		return d.begin(head[4], head[5])
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

// begin reads the head of the frame, of which these bytes are known.
func (d *lz4Decoder) begin(flags, blocks byte) error {
	if flags&lz4Dictionary != 0 {
		return unsupportedf("the frame needs a dictionary")
	}
	d.size = AnySize
	head := make([]byte, lz4HeadLength, lz4HeadLength+9)
	if flags&lz4Size != 0 {
		head = head[:lz4HeadLength+8]
	}
	if err := d.src.full(head); err != nil {
		return err
	}
	sum, err := d.src.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if fields := head[len(lz4Magic):]; sum != byte(sumXXH32(fields)>>8) {
		return corruptf("the head of the frame does not have its checksum")
	}
	code := blocks >> 4 // 4 for 64 KiB up to 7 for 4 MiB
	if flags&lz4Version != 1<<6 || flags&lz4Reserved != 0 || code < 4 || code > 7 || blocks&15 != 0 {
		return corruptf("an lz4 frame with flags %#x and blocks %#x", flags, blocks)
	}
	if flags&lz4Size != 0 {
		d.size = int64(binary.LittleEndian.Uint64(head[lz4HeadLength:]))
		if d.size < 0 {
			return corruptf("the frame declares a content of %d bytes", uint64(d.size))
		}
	}
	d.flags, d.block, d.came, d.open = flags, 1<<(8+2*code), 0, true
	d.sum.reset()
	if err := fits(2*int64(d.block)+lz4Overhead, d.limits); err != nil {
		return err
	}
	if room := d.block + lz4History; room > cap(d.out) {
		d.out = make([]byte, 0, room)
	}
	d.out, d.given = d.out[:0], 0
	return nil
}

// Read implements io.Reader.
func (d *lz4Decoder) Read(p []byte) (int, error) {
	for d.given == len(d.out) {
		step := d.next
		if d.open {
			step = d.unpack
		}
		if err := step(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.out[d.given:])
	d.given += n
	return n, nil
}

// unpack decodes the next block, or ends the frame.
func (d *lz4Decoder) unpack() error {
	var word [4]byte
	if err := d.src.full(word[:]); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(word[:])
	if size == 0 {
		return d.end()
	}
	stored := size&lz4Stored != 0
	size &^= lz4Stored
	if size == 0 || int64(size) > int64(d.block) {
		return corruptf("a block of %d bytes in a frame whose blocks have 1 to %d", size, d.block)
	}
	if int(size) > cap(d.packed) {
		d.packed = make([]byte, size)
	}
	d.packed = d.packed[:size]
	if err := d.src.full(d.packed); err != nil {
		return err
	}
	if d.flags&lz4BlockSum != 0 {
		if err := d.checkSum(sumXXH32(d.packed), "block"); err != nil {
			return err
		}
	}
	d.given = 0
	if d.flags&lz4Independent == 0 {
		d.given = copy(d.out, d.out[max(0, len(d.out)-lz4History):])
	}
	d.out = d.out[:d.given]
	if stored {
		d.out = append(d.out, d.packed...)
	} else {
		n, err := unpackLZ4(d.out[:d.given+d.block], d.given, d.packed)
		if err != nil {
			return err
		}
		d.out = d.out[:n]
	}
	return d.count(d.out[d.given:])
}

// count takes note of content.
func (d *lz4Decoder) count(content []byte) error {
	d.came += int64(len(content))
	if d.size != AnySize && d.came > d.size {
		return corruptf("more than the %d bytes that the frame declares come out", d.size)
	}
	if d.flags&lz4ContentSum != 0 {
		d.sum.add(content)
	}
	return nil
}

func (d *lz4Decoder) end() error {
	d.open = false
	if d.size != AnySize && d.came != d.size {
		return corruptf("%d bytes come out, the frame declares %d", d.came, d.size)
	}
	if d.flags&lz4ContentSum == 0 {
		return nil
	}
	return d.checkSum(d.sum.sum(), "frame")
}

// checkSum reads a checksum, which should be the given one.
func (d *lz4Decoder) checkSum(got uint32, of string) error {
	var want [4]byte
	if err := d.src.full(want[:]); err != nil {
		return err
	}
	if got != binary.LittleEndian.Uint32(want[:]) {
		return corruptf("the %s has the checksum %08x, %08x was declared", of, got, binary.LittleEndian.Uint32(want[:]))
	}
	return nil
}

func (d *lz4Decoder) free() { d.packed, d.out, d.given = nil, nil, 0 }

package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The .xz file format 1.1.0. The library decodes what is inside of a block;
// this file reads what is around it, as the library would allocate whatever
// dictionary a block declares.
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzHeadLength  = 12
	xzLZMA2       = 0x21

	// xzOverhead is the probabilities of the decoder and buffers.
	xzOverhead = 512 << 10
)

// xzChecks are the sizes of the checksums by number, as the format reserves
// them.
var xzChecks = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

func isXZ(head []byte) bool { return hasMagic(head, xzMagic) }

func decodeXZ(src *source, limits Limits) (decoder, error) {
	d := &xzDecoder{src: src, limits: limits}
	if err := d.head(); err != nil {
		return nil, err
	}
	// A block begins at once, so that the first one is refused at once. A
	// zero is the index of a stream without blocks.
	first, err := src.peek(1)
	if err == nil && !bytes.Equal(first, []byte{0}) {
		err = d.next()
	}
	return d, err
}

// xzDecoder reads streams, and in each of them blocks.
type xzDecoder struct {
	src    *source
	limits Limits

	flags  [2]byte   // of the stream in hand
	sum    hash.Hash // of blocks; nil if the stream has none
	blocks xzRecords // of the stream, to be compared with its index

	block     *lzma.Reader2 // nil between blocks
	declared  xzBlock
	begun     int64 // where the block begins in the input
	headSize  int64
	size      int64 // of the block, what came out of it
	given     int64 // what came out of all blocks
	allocated int64 // dictionaries of all blocks together
}

// head reads the head of a stream.
func (d *xzDecoder) head() error {
	var b [xzHeadLength]byte
	if err := d.src.full(b[:]); err != nil {
		return err
	}
	switch {
	case !isXZ(b[:]):
		return corruptf("not an xz stream: it begins with %x", b[:6])
	case binary.LittleEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[6:8]):
		return corruptf("the head of the stream does not have its checksum")
	case b[6] != 0 || b[7] > 15:
		return unsupportedf("xz stream with flags %x", b[6:8])
	}
	switch b[7] {
	case 0:
		d.sum = nil
	case 1:
		d.sum = crc32.NewIEEE()
	case 4:
		d.sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		d.sum = sha256.New()
	default:
		return unsupportedf("xz checksum %d of %d bytes", b[7], xzChecks[b[7]])
	}
	d.flags = [2]byte(b[6:8])
	d.blocks = newXZRecords()
	return nil
}

// Read implements io.Reader.
func (d *xzDecoder) Read(p []byte) (int, error) {
	for d.block == nil {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n, err := d.block.Read(p)
	if d.sum != nil {
		d.sum.Write(p[:n])
	}
	d.size += int64(n)
	d.given += int64(n)
	if err == io.EOF {
		err = d.endBlock()
	}
	return n, err
}

// next begins the next block, or ends the stream and begins the next one.
func (d *xzDecoder) next() error {
	d.begun = d.src.at
	first, err := d.src.ReadByte()
	switch {
	case err != nil:
		return noEOF(err)
	case first != 0:
		return d.beginBlock(first)
	}
	if err := d.endStream(); err != nil {
		return err
	}
	switch ended, err := d.src.ended(); {
	case err != nil:
		return err
	case ended:
		return io.EOF
	}
	return d.head()
}

// beginBlock reads the head of a block, whose first byte tells its length.
func (d *xzDecoder) beginBlock(first byte) error {
	head := make([]byte, (int(first)+1)*4)
	head[0] = first
	if err := d.src.full(head[1:]); err != nil {
		return err
	}
	var err error
	if d.declared, err = parseXZBlock(head); err != nil {
		return err
	}
	d.headSize = int64(len(head))
	dictionary := d.reach()
	if err := fits(dictionary+xzOverhead, d.limits); err != nil {
		return err
	}
	// Each block gets a dictionary of its own. Files of blocks that are tiny
	// beside theirs would take time without an end.
	d.allocated += dictionary
	if d.allocated > d.limits.Memory+8*min(d.given, 1<<50) {
		return tooLargef("dictionaries of %d bytes for blocks with %d in all", d.allocated, d.given)
	}
	if d.sum != nil {
		d.sum.Reset()
	}
	d.size = 0
	d.block, err = lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(d.src)
	return err
}

// reach is how large the dictionary has to be: no copy can come from before
// the first byte of the block.
func (d *xzDecoder) reach() int64 {
	most := d.limits.Max
	if d.limits.Size != AnySize {
		most = d.limits.Size
	}
	n := min(d.declared.dictionary, most-d.given)
	if d.declared.size != AnySize {
		n = min(n, d.declared.size)
	}
	return max(n, lzma.MinDictCap)
}

// endBlock checks the block that is through against what is around it.
func (d *xzDecoder) endBlock() error {
	d.block = nil
	packed := d.src.at - d.begun - d.headSize
	var pad [3]byte
	if err := d.src.full(pad[:-packed&3]); err != nil {
		return err
	}
	check := make([]byte, xzChecks[d.flags[1]])
	if err := d.src.full(check); err != nil {
		return err
	}
	switch {
	case pad != [3]byte{}:
		return corruptf("padding of the block is not zero")
	case d.declared.packed != AnySize && d.declared.packed != packed:
		return corruptf("a block of %d bytes, its head says %d", packed, d.declared.packed)
	case d.declared.size != AnySize && d.declared.size != d.size:
		return corruptf("%d bytes come out of a block, its head says %d", d.size, d.declared.size)
	case d.sum != nil && !bytes.Equal(check, d.checksum()):
		return corruptf("the block does not have its checksum")
	}
	d.blocks.add(d.headSize+packed+int64(len(check)), d.size)
	return nil
}

// checksum is that of the block, in the order of bytes that the format has.
func (d *xzDecoder) checksum() []byte {
	switch s := d.sum.(type) {
	case hash.Hash32:
		return binary.LittleEndian.AppendUint32(nil, s.Sum32())
	case hash.Hash64:
		return binary.LittleEndian.AppendUint64(nil, s.Sum64())
	}
	return d.sum.Sum(nil)
}

func (d *xzDecoder) free() { d.block = nil }

package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"math"
)

// xzBlock is what the head of a block declares, in bytes.
type xzBlock struct {
	packed, size int64 // AnySize if it does not say
	dictionary   int64
}

// xzFilters names filters that cannot be decoded.
var xzFilters = map[int64]string{3: "delta", 4: "x86", 5: "powerpc", 6: "ia64", 7: "arm", 8: "armthumb", 9: "sparc", 10: "arm64", 11: "riscv"}

// parseXZBlock reads the head of a block, the byte with its length included.
func parseXZBlock(head []byte) (xzBlock, error) {
	body := head[:len(head)-4]
	if binary.LittleEndian.Uint32(head[len(body):]) != crc32.ChecksumIEEE(body) {
		return xzBlock{}, corruptf("the head of the block does not have its checksum")
	}
	b := xzBlock{packed: AnySize, size: AnySize}
	flags := body[1]
	r := bytes.NewReader(body[2:])
	if flags&0x3c != 0 {
		return b, unsupportedf("xz block with flags %x", flags)
	}
	for _, field := range []struct {
		bit byte
		to  *int64
	}{{0x40, &b.packed}, {0x80, &b.size}} {
		if flags&field.bit == 0 {
			continue
		}
		var err error
		if *field.to, err = xzNumber(r); err != nil {
			return b, err
		}
	}
	filter, err := xzNumber(r)
	if err != nil {
		return b, err
	}
	if filter != xzLZMA2 {
		return b, unsupportedf("xz filter %#x %s: write the file with --lzma2 alone", filter, xzFilters[filter])
	}
	if flags&3 != 0 {
		return b, corruptf("a filter behind the last one of an xz block")
	}
	length, err := r.ReadByte()
	if err != nil {
		return b, noEOF(err)
	}
	bits, err := r.ReadByte()
	if err != nil {
		return b, noEOF(err)
	}
	if length != 1 || bits > 40 {
		return b, corruptf("LZMA2 properties of %d bytes, dictionary %d", length, bits)
	}
	b.dictionary = int64(2|bits&1) << (bits/2 + 11)
	if bits == 40 {
		b.dictionary = math.MaxUint32
	}
	for r.Len() > 0 {
		if pad, _ := r.ReadByte(); pad != 0 {
			return b, corruptf("padding of the head of the block is not zero")
		}
	}
	return b, nil
}

// xzNumber reads a number of at most 63 bits in its shortest form.
func xzNumber(r io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		n |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b == 0 && shift > 0 {
				return 0, corruptf("a number with leading zeros")
			}
			return n, nil
		}
	}
	return 0, corruptf("a number of more than 63 bits")
}

// xzRecords are the sizes of the blocks of a stream, of which an index tells
// the same at its end. Only their digest is kept: there may be many of them.
type xzRecords struct {
	count int64
	sum   hash.Hash
}

func newXZRecords() xzRecords { return xzRecords{sum: sha256.New()} }

func (r *xzRecords) add(unpadded, size int64) {
	r.count++
	b := binary.LittleEndian.AppendUint64(nil, uint64(unpadded))
	r.sum.Write(binary.LittleEndian.AppendUint64(b, uint64(size)))
}

// endStream reads the index, whose first byte is read, and the footer.
func (d *xzDecoder) endStream() error {
	in := &sumReader{src: d.src, sum: crc32.Update(0, crc32.IEEETable, []byte{0}), n: 1}
	count, err := xzNumber(in)
	if err != nil {
		return err
	}
	if count != d.blocks.count {
		return corruptf("the index has %d blocks, the stream %d", count, d.blocks.count)
	}
	seen := newXZRecords()
	for range count {
		unpadded, err := xzNumber(in)
		if err != nil {
			return err
		}
		size, err := xzNumber(in)
		if err != nil {
			return err
		}
		seen.add(unpadded, size)
	}
	if !bytes.Equal(seen.sum.Sum(nil), d.blocks.sum.Sum(nil)) {
		return corruptf("the sizes in the index are not those of the blocks")
	}
	for in.n%4 != 0 {
		if pad, err := in.ReadByte(); err != nil || pad != 0 {
			return corruptf("padding of the index is not zero")
		}
	}
	var tail [4 + xzHeadLength]byte
	if err := d.src.full(tail[:]); err != nil {
		return err
	}
	footer := tail[4:]
	switch {
	case binary.LittleEndian.Uint32(tail[:]) != in.sum:
		return corruptf("the index does not have its checksum")
	case binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]):
		return corruptf("the footer does not have its checksum")
	case int64(binary.LittleEndian.Uint32(footer[4:])) != (in.n+4)/4-1:
		return corruptf("the footer tells a wrong size of the index")
	case [2]byte(footer[8:10]) != d.flags || string(footer[10:]) != xzFooterMagic:
		return corruptf("the footer does not belong to the head")
	}
	return nil
}

// sumReader reads bytes and keeps their CRC-32 and number.
type sumReader struct {
	src io.ByteReader
	sum uint32
	n   int64
}

// ReadByte implements io.ByteReader.
func (r *sumReader) ReadByte() (byte, error) {
	b, err := r.src.ReadByte()
	if err == nil {
		r.sum = crc32.Update(r.sum, crc32.IEEETable, []byte{b})
		r.n++
	}
	return b, err
}

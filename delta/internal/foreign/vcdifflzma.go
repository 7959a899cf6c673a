package foreign

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xdelta3 compresses the three parts of a window with LZMA unless it is told
// otherwise. A part that is compressed begins with its size. Behind that it
// goes on with the .xz stream of its kind, of which there are three in a
// patch: the first window that has something for a stream has the heads of
// the stream and of its only block, without checksum; each window has whole
// chunks of LZMA2; the end is never written. Parts of fewer than ten bytes
// stay as they are.
const (
	lzmaCompressor = 2

	xzStreamHead = "\xfd7zXZ\x00\x00\x00\xff\x12\xd9\x41"
	xzBlockHead  = "\x02\x00\x21\x01" // no sizes; LZMA2, with one byte for its dictionary
	xzHeads      = 24                 // bytes of both

	// maxDictionary is 2^30 bytes as LZMA2 writes it down. The program
	// declares 2^18 at any level, users of its library up to 2^26.
	maxDictionary = 36

	// maxProperties is the most that the context and position bits of
	// literals may be together in LZMA2.
	maxProperties = 4

	// lzmaOverhead is the probabilities of a decoder and its buffer in bytes.
	lzmaOverhead = 128 << 10

	// VcdiffStreams is what applying holds of memory in bytes for the three
	// streams of a patch that the program xdelta3 makes, beside what comes
	// out of them for a window.
	VcdiffStreams = 3 * (lzmaOverhead + 256<<10)
)

// partNames are what windows have three of.
var partNames = [3]string{"data", "codes", "addresses"}

// packed is the stream of one kind of parts.
type packed struct {
	dictionary int64         // 0 before the first part
	reader     *lzma.Reader2 // nil before the first chunk
	feed       bytes.Reader  // the chunk in hand
	out        []byte        // the part in hand
	need       int64         // bytes of memory for all of this
}

// unpack gives what comes out of a part of the window.
func (v *vcdiff) unpack(part int, raw []byte) ([]byte, error) {
	p, name := &v.packed[part], partNames[part]
	in := &cursor{raw}
	size, err := vcdiffNumber(in)
	if err != nil {
		return nil, v.short(err)
	}
	// An address of a copy has at most twice the bytes of the shortest copy
	// that programs make, and what has more could take time without an end.
	if size < 1 || size > sum(v.size, v.size) {
		return nil, corruptf("%d bytes of %s for a window of %d", size, name, v.size)
	}
	if p.dictionary == 0 {
		head, err := in.take(xzHeads)
		if err != nil {
			return nil, v.short(err)
		}
		if p.dictionary, err = parseXZHeads(head); err != nil {
			return nil, err
		}
		if most := v.limits.Size; most != AnySize {
			// Nothing comes from before the first byte of a stream.
			p.dictionary = max(min(p.dictionary, sum(most, most)), lzma.MinDictCap)
		}
	}
	if err := checkChunks(in.left, size); err != nil {
		return nil, err
	}
	p.need = sum(lzmaOverhead, p.dictionary, max(size, int64(cap(p.out))))
	if need := sum(VcdiffOverhead, v.largest, int64(cap(v.raw)), v.streams()); need > v.limits.Memory {
		return nil, tooLargef("the window and its part of the patch, unpacked with an LZMA dictionary of %d bytes for the %s, need %d bytes of memory, the limit is %d", p.dictionary, name, need, v.limits.Memory)
	}
	if int64(cap(p.out)) < size {
		p.out = nil // before there is another one
		p.out = make([]byte, size)
	}
	p.out = p.out[:size]
	if err := p.chunks(in.left, p.out); err != nil {
		return nil, corruptf("LZMA of the %s: %v", name, err)
	}
	return p.out, nil
}

// streams is what all of them hold of memory.
func (v *vcdiff) streams() (need int64) {
	for i := range v.packed {
		need = sum(need, v.packed[i].need)
	}
	return need
}

// chunks decodes chunks one by one, so that the decoder never sees a head that
// was not checked.
func (p *packed) chunks(left, to []byte) error {
	for len(left) > 0 {
		length, made, err := parseChunk(left)
		if err != nil {
			return err
		}
		p.feed.Reset(left[:length])
		if p.reader == nil {
			if p.reader, err = (lzma.Reader2Config{DictCap: int(p.dictionary)}).NewReader2(&p.feed); err != nil {
				return err
			}
		}
		switch _, err := io.ReadFull(p.reader, to[:made]); {
		case err != nil:
			return noEOF(err)
		case p.feed.Len() > 0:
			return fmt.Errorf("%d bytes of a chunk are left over", p.feed.Len())
		}
		left, to = left[length:], to[made:]
	}
	return nil
}

// parseXZHeads reads the heads of a stream and of its block, and gives the
// size of the dictionary that is declared.
func parseXZHeads(b []byte) (int64, error) {
	block := b[len(xzStreamHead):]
	bits := block[len(xzBlockHead)]
	switch {
	case string(b[:len(xzStreamHead)]) != xzStreamHead:
		return 0, corruptf("not an xz stream without checksums: it begins with %x", b[:len(xzStreamHead)])
	case binary.LittleEndian.Uint32(block[8:]) != crc32.ChecksumIEEE(block[:8]):
		return 0, corruptf("the head of an xz block does not have its checksum")
	case string(block[:len(xzBlockHead)]) != xzBlockHead || string(block[5:8]) != "\x00\x00\x00":
		return 0, corruptf("not an xz block of LZMA2 alone: it begins with %x", block[:8])
	case bits > maxDictionary:
		return 0, corruptf("an LZMA2 dictionary of size %d, at most %d is expected", bits, maxDictionary)
	}
	return int64(2|bits&1) << (bits/2 + 11), nil
}

// checkChunks checks the heads of chunks, of which size bytes are to come.
func checkChunks(left []byte, size int64) error {
	// Each chunk costs the decoder some KiB. Programs make larger ones, but
	// for the last and for what is left of one that does not compress.
	made, most := int64(0), 4+size/(8<<10)
	for ; len(left) > 0; most-- {
		length, n, err := parseChunk(left)
		switch {
		case err != nil:
			return err
		case most == 0:
			return corruptf("too many LZMA2 chunks for %d bytes", size)
		}
		made += n
		left = left[length:]
	}
	if made != size {
		return corruptf("LZMA2 chunks of %d bytes, %d are declared", made, size)
	}
	return nil
}

// parseChunk gives the length of the chunk that comes first and how many bytes
// it makes.
func parseChunk(b []byte) (length, made int64, err error) {
	const (
		stored, most = 3, 6 // bytes of heads
		dictReset    = 1    // stored
		noReset      = 2    // stored
		compressed   = 0x80
		properties   = 0xc0
	)
	var head [most]byte
	n := copy(head[:], b)
	control := head[0]
	made = int64(binary.BigEndian.Uint16(head[1:])) + 1
	switch {
	case control == dictReset || control == noReset:
		length = stored + made
	case control < compressed:
		return 0, 0, corruptf("an LZMA2 chunk of kind %#x", control)
	default:
		made += int64(control&0x1f) << 16
		length = 5 + int64(binary.BigEndian.Uint16(head[3:])) + 1
	}
	if control >= properties {
		length++
		if p := head[5]; p >= 9*5*5 || p%9+p/9%5 > maxProperties {
			return 0, 0, corruptf("LZMA2 properties %#x", p)
		}
	}
	if n < stored || length > int64(len(b)) {
		return 0, 0, corruptf("an LZMA2 chunk of %d bytes, %d are there", length, len(b))
	}
	return length, made, nil
}

package foreign

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/adler32"
	"io"
	"math"
)

// RFC 3284, section 4, and what xdelta3 and open-vcdiff add to it: both mark
// a window with an Adler-32 of what it makes, in four bytes and as a number;
// open-vcdiff may put the three parts of a window into one.
const (
	vcdiffMagic    = "\xd6\xc3\xc4"
	plainVersion   = 0
	openVcdiff     = 'S'
	headCompressor = 1 << 0
	headCodeTable  = 1 << 1
	headText       = 1 << 2 // of the program, as file names

	windowSource   = 1 << 0
	windowTarget   = 1 << 1
	windowChecksum = 1 << 2

	partPacked = 1 << 0 // data; codes and addresses have the next two bits

	// maxText is how much text is passed over.
	maxText = 64 << 10

	// VcdiffOverhead is what applying holds of memory in bytes beside a
	// window of the new file and its part of the patch.
	VcdiffOverhead = 128 << 10
)

// compressors are the numbers that xdelta3 gives to secondary compressors
// that are not read here.
var compressors = map[byte]string{1: "djw", 16: "fgk"}

// Vcdiff applies a patch in format VCDIFF. Windows of the new file are held in
// memory whole, each together with its part of the patch: xdelta3 makes
// windows of 8 MiB unless told otherwise.
//
// Of secondary compressors LZMA is read, which xdelta3 uses when it is not
// told which. What comes out of it for a window is held on top, and three
// dictionaries of 256 KiB. Patches made with xdelta3 as a library may declare
// up to 64 MiB for each, of which no more than twice [Limits.Size] is taken.
//
// Other secondary compressors (-S djw, -S fgk), code tables of the patch's own
// and copies from earlier windows of the new file are
// [errors.ErrUnsupported]. Checksums of windows are held to where there are
// any; nothing else is protected, so that damage to a patch without them, and
// a patch that ends after a whole window, go unnoticed unless the size of the
// new file is given and its digest verified.
func Vcdiff(ctx context.Context, f Files, limits Limits) (*Reader, error) {
	if err := check(f, limits); err != nil {
		return nil, err
	}
	in := &input{alive: ctx.Err}
	v := &vcdiff{src: in.reader(f.Patch, 0), oldSize: f.OldSize, limits: limits}
	r := &Reader{files: f, size: limits.Size, script: v, input: in, alive: ctx.Err}
	if err := v.head(); err != nil {
		return nil, r.explain(err)
	}
	return r, nil
}

// vcdiff is a script of that format.
type vcdiff struct {
	src        *part
	oldSize    int64
	limits     Limits
	version    byte
	compressor byte
	idle       int64 // windows without any bytes

	largest            int64  // window up to now
	raw                []byte // the window's part of the patch
	data, codes, addrs *cursor
	source             int64 // offset in old
	sourceSize         int64
	size, made         int64 // bytes of the window
	cache              addressCache
	pending            []op // of the code in hand
	room               [4]op
	literals           [4]bytes.Reader
	checked            bool
	checksum           uint32

	packed [3]packed // streams of data, codes and addresses
}

func (v *vcdiff) at() int64 { return v.src.at }

// head reads the head of the patch.
func (v *vcdiff) head() error {
	var b [5]byte
	if err := v.src.full(b[:]); err != nil {
		return err
	}
	flags := b[4]
	switch v.version = b[3]; {
	case string(b[:3]) != vcdiffMagic:
		return corruptf("not a VCDIFF patch: it begins with %x", b[:3])
	case v.version != plainVersion && v.version != openVcdiff:
		return unsupportedf("VCDIFF version %#x", v.version)
	case flags&^(headCompressor|headCodeTable|headText) != 0:
		return corruptf("unknown flags %#x in the head", flags)
	case flags&headCodeTable != 0:
		return unsupportedf("the patch has a code table of its own")
	}
	if flags&headCompressor != 0 {
		var err error
		if v.compressor, err = v.src.ReadByte(); err != nil {
			return noEOF(err)
		}
	}
	if flags&headText == 0 {
		return nil
	}
	n, err := vcdiffNumber(v.src)
	switch {
	case err != nil:
		return err
	case n > maxText:
		return corruptf("a text of %d bytes in the head, %d are allowed", n, maxText)
	}
	_, err = io.CopyN(io.Discard, v.src, n)
	return noEOF(err)
}

// vcdiffNumber reads a number of at most 63 bits, seven to a byte, highest
// first.
func vcdiffNumber(r io.ByteReader) (int64, error) {
	var n int64
	for {
		b, err := r.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		if n > math.MaxInt64>>7 {
			return 0, corruptf("a number of more than 63 bits")
		}
		n = n<<7 | int64(b&0x7f)
		if b&0x80 == 0 {
			return n, nil
		}
	}
}

// window reads the next window of the patch whole.
func (v *vcdiff) window() (int64, error) {
	ended, err := v.src.ended()
	switch {
	case err != nil:
		return 0, err
	case ended:
		return 0, io.EOF
	}
	flags, err := v.src.ReadByte()
	switch {
	case err != nil:
		return 0, noEOF(err)
	case flags&^(windowSource|windowTarget|windowChecksum) != 0:
		return 0, corruptf("unknown flags %#x of a window", flags)
	case flags&windowTarget != 0:
		return 0, unsupportedf("a window that copies from earlier ones of the new file")
	}
	v.source, v.sourceSize = 0, 0
	if flags&windowSource != 0 {
		if err := v.numbers(&v.sourceSize, &v.source); err != nil {
			return 0, err
		}
		if !inside(v.source, v.sourceSize, v.oldSize) {
			return 0, corruptf("a source of %d bytes from %d of an old file of %d", v.sourceSize, v.source, v.oldSize)
		}
	}
	v.checked = flags&windowChecksum != 0
	if err := v.parts(); err != nil {
		return 0, err
	}
	if v.size == 0 {
		// One is how xdelta3 writes a new file that is empty.
		if v.idle++; v.idle > 1 {
			return 0, corruptf("%d windows without any bytes", v.idle)
		}
	}
	v.made, v.pending = 0, nil
	v.cache = addressCache{}
	return v.size, nil
}

// numbers reads one number after the other.
func (v *vcdiff) numbers(to ...*int64) error {
	for _, n := range to {
		var err error
		if *n, err = vcdiffNumber(v.src); err != nil {
			return err
		}
	}
	return nil
}

// parts reads the sizes, the checksum and the three parts of the window.
func (v *vcdiff) parts() error {
	var length, data, codes, addrs int64
	if err := v.numbers(&length); err != nil {
		return err
	}
	begun := v.src.at
	if err := v.numbers(&v.size); err != nil {
		return err
	}
	flags, err := v.src.ReadByte()
	if err != nil {
		return noEOF(err)
	}
	if err := v.knows(flags); err != nil {
		return err
	}
	if err := v.numbers(&data, &codes, &addrs); err != nil {
		return err
	}
	if v.checked {
		if err := v.readChecksum(); err != nil {
			return err
		}
	}
	all := sum(data, codes, addrs)
	if sum(all, v.src.at-begun) != length {
		return corruptf("a window of %d bytes of patch with parts of %d, %d and %d", length, data, codes, addrs)
	}
	// Room once taken is kept, and taking all may need half of it again.
	v.largest = max(v.largest, v.size)
	if err := fits(sum(VcdiffOverhead, v.largest, max(sum(all, all/2), int64(cap(v.raw))), v.streams()), v.limits); err != nil {
		return err
	}
	if v.raw, err = v.src.take(v.raw, all); err != nil {
		return err
	}
	parts := [3][]byte{v.raw[:data], v.raw[data : data+codes], v.raw[data+codes:]}
	for i := range parts {
		if flags&(partPacked<<i) == 0 {
			continue
		}
		if parts[i], err = v.unpack(i, parts[i]); err != nil {
			return err
		}
	}
	v.data, v.codes, v.addrs = &cursor{parts[0]}, &cursor{parts[1]}, &cursor{parts[2]}
	if v.version == openVcdiff && data == 0 && addrs == 0 {
		v.data, v.addrs = v.codes, v.codes
	}
	return nil
}

// knows tells whether parts with these flags can be read.
func (v *vcdiff) knows(flags byte) error {
	switch {
	case flags&^(partPacked|partPacked<<1|partPacked<<2) != 0:
		return corruptf("unknown flags %#x of the parts of a window", flags)
	case flags == 0 || v.compressor == lzmaCompressor:
		return nil
	}
	return unsupportedf("secondary compression %s: make the patch with xdelta3 -S lzma or -S none", v.compression())
}

// compression names what the window is compressed with.
func (v *vcdiff) compression() string {
	if name, ok := compressors[v.compressor]; ok {
		return name
	}
	return "of an unknown kind"
}

// readChecksum reads the Adler-32 of the window, for which both programs use
// the same flag.
func (v *vcdiff) readChecksum() error {
	if v.version == plainVersion {
		var b [4]byte
		err := v.src.full(b[:])
		v.checksum = binary.BigEndian.Uint32(b[:])
		return err
	}
	n, err := vcdiffNumber(v.src)
	switch {
	case err != nil:
		return err
	case n > math.MaxUint32:
		return corruptf("a checksum of more than 32 bits")
	}
	v.checksum = uint32(n)
	return nil
}

// done checks that the parts are used up, and the checksum.
func (v *vcdiff) done(window []byte) error {
	switch {
	case len(v.pending) > 0 || len(v.data.left)+len(v.codes.left)+len(v.addrs.left) > 0:
		return corruptf("a window goes on after its %d bytes", v.size)
	case v.checked && v.sum(window) != v.checksum:
		return corruptf("a window does not have its checksum: the patch is damaged, or made from another old file")
	}
	return nil
}

// sum is the Adler-32 of a window. open-vcdiff begins it at 0, not at 1.
func (v *vcdiff) sum(window []byte) uint32 {
	s := adler32.Checksum(window)
	if v.version == plainVersion {
		return s
	}
	const base = 65521
	low := (s&0xffff + base - 1) % base
	high := (s>>16 + base - uint32(len(window)%base)) % base
	return high<<16 | low
}

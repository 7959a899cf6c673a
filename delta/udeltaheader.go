package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrUnsupported is the error for a patch that this version of updraft is too
// old for, and for one that is for use in place where an ordinary one is
// expected, or the other way round. Nothing is wrong with the patch.
var ErrUnsupported = errors.New("unsupported delta")

const (
	udeltaMagic   = "\x89udelta\n"
	udeltaMajor   = 1
	udeltaMinor   = 0 // of what is written
	maxUdeltaBody = 64 << 10
	maxUdeltaFile = 1 << 62 // bytes, and one more than allowed

	// Required features: a reader that does not know one must refuse.
	udeltaIdentical = 1 << 0 // new is old; there are no frames
	udeltaElements  = 1 << 1 // there are regions with elements
	udeltaPayloads  = 1 << 2 // compressed payloads made anew; kept free

	udeltaFeatures = udeltaIdentical | udeltaElements // those that are known here
)

// udeltaHeader is the start of a patch.
type udeltaHeader struct {
	minor              uint8
	required, optional int64 // feature bits
	oldSize, newSize   int64
	oldSum, newSum     [32]byte // SHA-256
	caps               udeltaCaps

	length int64  // bytes of the header
	sum    uint32 // its checksum, with which all sections' checksums begin
}

// append appends the header to b and sets length and sum.
func (h *udeltaHeader) append(b []byte) []byte {
	start := len(b)
	body := []byte{h.minor}
	body = binary.AppendUvarint(body, uint64(h.required))
	body = binary.AppendUvarint(body, uint64(h.optional))
	body = append(binary.AppendUvarint(body, uint64(h.oldSize)), h.oldSum[:]...)
	body = append(binary.AppendUvarint(body, uint64(h.newSize)), h.newSum[:]...)
	body = append(body, h.caps.bytes()[:h.capCount()]...)
	b = append(append(b, udeltaMagic...), udeltaMajor)
	b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
	h.sum = crc32.Checksum(b[start:], castagnoli)
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	h.length = int64(len(b) - start)
	return b
}

// header reads the header.
func (p *patchSource) header() (*udeltaHeader, error) {
	b := make([]byte, len(udeltaMagic)+1, 256)
	if err := p.fill(b); err != nil {
		return nil, err
	}
	if string(b[:len(udeltaMagic)]) != udeltaMagic {
		return nil, corrupt(0, fmt.Errorf("header: not a udelta patch: it begins with %x", b[:len(udeltaMagic)]))
	}
	if v := b[len(udeltaMagic)]; v != udeltaMajor {
		return nil, fmt.Errorf("%w: version %d of udelta, this is version %d", ErrUnsupported, v, udeltaMajor)
	}
	n, b, err := p.number(b)
	if err != nil {
		return nil, err
	}
	if n > maxUdeltaBody {
		return nil, corrupt(p.at, fmt.Errorf("header: %d bytes, at most %d are allowed", n, maxUdeltaBody))
	}
	start := len(b)
	b = append(b, make([]byte, n+4)...)
	if err := p.fill(b[start:]); err != nil {
		return nil, err
	}
	h := &udeltaHeader{length: p.at}
	h.sum = crc32.Checksum(b[:len(b)-4], castagnoli)
	if binary.LittleEndian.Uint32(b[len(b)-4:]) != h.sum {
		return nil, corrupt(p.at, errors.New("header: damaged: its checksum does not fit"))
	}
	if err := h.parse(b[start : len(b)-4]); err != nil {
		return nil, corrupt(p.at, fmt.Errorf("header: %w", err))
	}
	return h, h.supported()
}

func (h *udeltaHeader) version() string { return fmt.Sprintf("%d.%d", udeltaMajor, h.minor) }

func (h *udeltaHeader) identical() bool { return h.required&udeltaIdentical != 0 }

// hasElements says whether there are regions with elements.
func (h *udeltaHeader) hasElements() bool { return h.required&udeltaElements != 0 }

// capCount is how many caps the header has.
func (h *udeltaHeader) capCount() int {
	if h.hasElements() {
		return 6
	}
	return 4
}

func (h *udeltaHeader) supported() error {
	more := h.required &^ udeltaFeatures
	if more == udeltaInPlace {
		return fmt.Errorf("%w: the patch is for use in place: updraft patch --in-place applies it", ErrUnsupported)
	}
	if more != 0 {
		return fmt.Errorf("%w: the patch uses features %#x that this version of updraft does not know", ErrUnsupported, more)
	}
	return nil
}

// parse reads the body of a header.
func (h *udeltaHeader) parse(b []byte) error {
	if len(b) == 0 {
		return errors.New("it is empty")
	}
	h.minor = b[0]
	f := fields{b: b[1:]} // a higher minor version adds fields that may be passed over
	h.required, h.optional = f.number(), f.number()
	h.oldSize = f.number()
	f.bytes(h.oldSum[:])
	h.newSize = f.number()
	f.bytes(h.newSum[:])
	var caps [6]byte
	f.bytes(caps[:h.capCount()])
	h.caps = capsOf(caps)
	for f.bad == nil && len(f.b) > 0 {
		f.number() // tag
		f.skip(f.number())
	}
	if f.bad != nil {
		return f.bad
	}
	if h.oldSize >= maxUdeltaFile || h.newSize >= maxUdeltaFile {
		return fmt.Errorf("files of %d and %d bytes", h.oldSize, h.newSize)
	}
	if !h.caps.within(udeltaMost) {
		return fmt.Errorf("bounds with the binary logarithms %d, the format has %d at most", h.caps.bytes(), udeltaMost.bytes())
	}
	if h.identical() && (h.oldSize != h.newSize || h.oldSum != h.newSum) {
		return errors.New("it says that old and new are identical and gives two digests")
	}
	return nil
}

// fields reads numbers and bytes off the front of b. After the first thing
// that is not there, bad says so and all else is zero.
type fields struct {
	b   []byte
	bad error
}

func (f *fields) number() int64 {
	v, n := number(f.b)
	if n == 0 && f.bad == nil {
		f.bad = errors.New("a number is missing or not canonical")
	}
	f.b = f.b[n:]
	if f.bad != nil {
		return 0
	}
	return v
}

func (f *fields) bytes(p []byte) {
	if n := copy(p, f.b); n < len(p) && f.bad == nil {
		f.bad = fmt.Errorf("%d bytes where %d should be", n, len(p))
	}
	f.b = f.b[min(len(p), len(f.b)):]
}

func (f *fields) skip(n int64) {
	if n > int64(len(f.b)) && f.bad == nil {
		f.bad = fmt.Errorf("%d bytes where %d should be", len(f.b), n)
	}
	f.b = f.b[min(n, int64(len(f.b))):]
}

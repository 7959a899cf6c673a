package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/delta/codec"
)

// A full image is what diff writes where a patch would be larger: the new file
// compressed with zstd, after a frame that zstd passes over and that says what
// comes,
//
//	4 bytes magic, u32 length 52, 12 bytes text, u64 size, 32 bytes SHA-256
//
// both of the new file, numbers in little-endian. So it is told from a zstd
// patch, which begins with its data, and is checked as a patch is; zstd -d
// reads it as it is.
const (
	imageFormat = "image"
	imageMagic  = "U\x2a\x4d\x18" // one of the sixteen of skippable frames
	imageText   = "full image 1"
	imageLength = len(imageText) + 8 + sha256.Size
	imageHead   = len(imageMagic) + 4 + imageLength
)

// fullImage is what the head of a full image says.
type fullImage struct {
	size int64 // of the new file in bytes
	sum  [sha256.Size]byte
}

func (i fullImage) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(append(b, imageMagic...), uint32(imageLength))
	b = binary.LittleEndian.AppendUint64(append(b, imageText...), uint64(i.size))
	return append(b, i.sum[:]...)
}

// parseImage reads the head of a full image.
func parseImage(b []byte) (i fullImage, err error) {
	const at = len(imageMagic) + 4 + len(imageText)
	if len(b) < imageHead || !bytes.Equal(b[:at], fullImage{}.append(nil)[:at]) {
		return i, fmt.Errorf("%w: byte 0: the head of a full image is damaged or cut short", delta.ErrCorrupt)
	}
	if i.size = int64(binary.LittleEndian.Uint64(b[at:])); i.size < 0 {
		return i, fmt.Errorf("%w: byte %d: a new file of %d bytes", delta.ErrCorrupt, at, uint64(i.size))
	}
	copy(i.sum[:], b[at+8:])
	return i, nil
}

// errNotSmaller ends the making of a full image that is not worth it.
var errNotSmaller = errors.New("not smaller")

// smallerWriter takes fewer than left bytes.
type smallerWriter struct {
	w    io.Writer
	left int64
}

func (s *smallerWriter) Write(p []byte) (int, error) {
	if s.left -= int64(len(p)); s.left <= 0 {
		return 0, errNotSmaller
	}
	return s.w.Write(p)
}

// writeImage writes the full image of newer, which has that digest. As soon as
// it has limit bytes it gives up with [errNotSmaller].
func writeImage(ctx context.Context, w io.Writer, newer *io.SectionReader, sum [sha256.Size]byte, limit int64) error {
	zstd, err := codec.Lookup("zstd")
	if err != nil {
		return err
	}
	out := &smallerWriter{w, limit}
	if _, err := out.Write(fullImage{newer.Size(), sum}.append(nil)); err != nil {
		return err
	}
	enc, err := codec.NewWriter(out, zstd, codec.Options{Level: codec.Max, Size: newer.Size()})
	if err != nil {
		return err
	}
	_, err = io.Copy(enc, cancelReader{ctx, io.NewSectionReader(newer, 0, newer.Size())})
	return errors.Join(err, enc.Close())
}

// imageReader is the new file out of a full image.
type imageReader struct {
	io.ReadCloser
	want fullImage
	sum  hash.Hash
}

// openImage opens the full image whose head is given.
func openImage(ctx context.Context, patch io.Reader, head []byte, limits delta.Limits) (io.ReadCloser, error) {
	want, err := parseImage(head)
	if err != nil {
		return nil, err
	}
	zstd, err := codec.Lookup("zstd")
	if err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(ctx, &afterHead{src: patch}, codec.Limits{Size: want.size, Memory: limits.Memory})
	if err != nil {
		return nil, imageError(err)
	}
	return &imageReader{r, want, sha256.New()}, nil
}

// Read gives io.EOF only once the digest was right.
func (r *imageReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF {
		if got := r.sum.Sum(nil); !bytes.Equal(got, r.want.sum[:]) {
			return n, fmt.Errorf("%w: the new file should have SHA-256 %x, it has %x", delta.ErrCorrupt, r.want.sum, got)
		}
		return n, io.EOF
	}
	return n, imageError(err)
}

// imageError says in the errors of deltas what the codec says in its own.
func imageError(err error) error {
	switch {
	case errors.Is(err, codec.ErrCorrupt):
		return fmt.Errorf("%w: %v", delta.ErrCorrupt, err)
	case errors.Is(err, codec.ErrTooLarge):
		return fmt.Errorf("%w: %v", delta.ErrTooLarge, err)
	case errors.Is(err, errors.ErrUnsupported): // a dictionary, which diff never asks for
		return fmt.Errorf("%w: %v", delta.ErrCorrupt, err)
	}
	return err
}

// afterHead leaves out the head of a full image, so that a place in the data
// is what errors of the codec name.
type afterHead struct {
	src    io.Reader
	passed bool
}

func (a *afterHead) Read(p []byte) (int, error) {
	if !a.passed {
		a.passed = true
		if _, err := io.CopyN(io.Discard, a.src, int64(imageHead)); err != nil {
			return 0, err
		}
	}
	return a.src.Read(p)
}

// zstdHead is what the head of a zstd frame says.
type zstdHead struct {
	size   int64 // of the content in bytes, -1 if it does not say
	window int64 // bytes
}

// parseZstd reads the head of a frame (RFC 8878, section 3.1.1.1).
func parseZstd(b []byte) (h zstdHead, ok bool) {
	const magic = 4
	if len(b) < magic+1 {
		return h, false
	}
	descriptor, b := b[magic], b[magic+1:]
	single := descriptor&(1<<5) != 0
	if !single {
		if len(b) == 0 {
			return h, false
		}
		base := int64(1) << (10 + b[0]>>3)
		h.window = base + base/8*int64(b[0]&7)
		b = b[1:]
	}
	dictionary := []int{0, 1, 2, 4}[descriptor&3]
	length := []int{0, 2, 4, 8}[descriptor>>6]
	if single && length == 0 {
		length = 1
	}
	if len(b) < dictionary+length {
		return h, false
	}
	h.size = -1
	if length > 0 {
		var wide [8]byte
		copy(wide[:], b[dictionary:dictionary+length])
		h.size = int64(binary.LittleEndian.Uint64(wide[:]))
		if length == 2 {
			h.size += 256
		}
	}
	if single {
		h.window = h.size
	}
	return h, h.size >= -1 && h.window >= 0
}

// imageMemory is what applying a full image with this start needs, in bytes:
// the window of zstd and 1 MiB.
func imageMemory(head []byte) int64 {
	h, ok := parseZstd(head[min(imageHead, len(head)):])
	if !ok {
		return 0
	}
	return h.window + 1<<20
}

func hexOf(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:]) }

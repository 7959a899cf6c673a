package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/updraft-ota/updraft/wasmhost"
)

// Blob is bytes that lie somewhere, with their size and digest. It may be
// shared if what it reads from may.
type Blob struct {
	bytes  io.ReaderAt
	size   int64
	digest string
	closer io.Closer // nil: nothing to close
}

// NewBlob reads size bytes once, for their digest. They must not change
// while the blob is used.
func NewBlob(ctx context.Context, r io.ReaderAt, size int64) (*Blob, error) {
	h := sha256.New()
	n, err := io.Copy(h, &ending{ctx, io.NewSectionReader(r, 0, size)})
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("%d bytes, want %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return &Blob{bytes: r, size: size, digest: hex.EncodeToString(h.Sum(nil))}, nil
}

// Bytes gives the bytes of b as a blob.
func Bytes(b []byte) *Blob {
	sum := sha256.Sum256(b)
	return &Blob{bytes: bytes.NewReader(b), size: int64(len(b)), digest: hex.EncodeToString(sum[:])}
}

// Noise gives size bytes that look random and are the same for the same seed.
// They are held in memory.
func Noise(size int64, seed uint64) *Blob {
	b := make([]byte, size)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.NewChaCha8(key).Read(b) // never fails
	return Bytes(b)
}

// Size is the number of bytes.
func (b *Blob) Size() int64 { return b.size }

// SHA256 is the digest in lower-case hex.
func (b *Blob) SHA256() string { return b.digest }

// ReadAt implements [io.ReaderAt].
func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return b.bytes.ReadAt(p, off) }

// Close frees what the blob reads from.
func (b *Blob) Close() error {
	if b.closer == nil {
		return nil
	}
	return b.closer.Close()
}

var _ io.ReaderAt = (*Blob)(nil)

// source is an artifact as the host reads it.
type source struct {
	r    *Rig
	role string
	blob *Blob
}

var _ wasmhost.Source = (*source)(nil)

func (s *source) Size() int64    { return s.blob.size }
func (s *source) Digest() string { return s.blob.digest }

// Open starts a stream at an offset.
func (s *source) Open(_ context.Context, state []byte) (wasmhost.Stream, error) {
	if err := s.r.points.reach(point{what: "open artifact " + s.role, source: true}); err != nil {
		return nil, err
	}
	var at int64
	if state != nil {
		if err := json.Unmarshal(state, &at); err != nil {
			return nil, fmt.Errorf("state of artifact %s: %w", s.role, err)
		}
	}
	return &stream{s: s, at: at}, nil
}

// stored is a source that is read at any place.
type stored struct{ *source }

func (s stored) ReadAt(p []byte, off int64) (int, error) {
	if err := s.r.points.reach(point{what: "read artifact " + s.role, source: true}); err != nil {
		return 0, err
	}
	return s.blob.ReadAt(p, off)
}

// stream gives an artifact in pieces that are no power of two, as a network does.
type stream struct {
	s  *source
	at int64
}

const streamPiece = 60_013 // bytes

func (t *stream) Read(p []byte) (int, error) {
	where := point{what: "read artifact " + t.s.role, source: true, read: true}
	if err := t.s.r.points.reach(where); err != nil {
		return 0, err
	}
	if t.at >= t.s.blob.size {
		return 0, io.EOF
	}
	p = p[:min(len(p), streamPiece)]
	if t.s.r.points.short && len(p) > 1 {
		p = p[:1]
	}
	n, err := t.s.blob.ReadAt(p[:min(int64(len(p)), t.s.blob.size-t.at)], t.at)
	t.at += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

func (t *stream) Mark() ([]byte, error) { return json.Marshal(t.at) }
func (t *stream) Close() error          { return nil }

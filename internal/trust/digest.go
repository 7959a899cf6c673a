package trust

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
)

// Digest is a SHA-256 that can be saved half-way and go on after a restart. It
// is an io.Writer that never fails, and may not be shared.
type Digest struct {
	h hash.Hash
}

// NewDigest starts at the first byte.
func NewDigest() *Digest { return &Digest{sha256.New()} }

// Write adds p. The error is always nil.
func (d *Digest) Write(p []byte) (int, error) { return d.h.Write(p) }

// Sum is the digest of what was written so far, 64 lower-case hex digits.
// Writing may go on.
func (d *Digest) Sum() string { return hex.EncodeToString(d.h.Sum(nil)) }

// State is everything that [RestoreDigest] needs to go on from here, about
// 110 bytes. It has no checksum of its own: keep it where damage is noticed.
func (d *Digest) State() ([]byte, error) {
	state, err := d.h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("save digest state: %w", err)
	}
	return state, nil
}

// RestoreDigest goes on from a saved state. Errors wrap [ErrState]; the state
// of another release of Go may be one, and then the data is hashed anew.
func RestoreDigest(state []byte) (*Digest, error) {
	d := NewDigest()
	if err := d.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return d, nil
}

// ParseSHA256 reads a SHA-256 in its only accepted spelling: 64 lower-case hex
// digits. Errors wrap [ErrUntrusted].
func ParseSHA256(s string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if len(s) != hex.EncodedLen(len(sum)) {
		return sum, fmt.Errorf("%w: a SHA-256 has 64 hex digits, this has %d", ErrUntrusted, len(s))
	}
	for i, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return sum, fmt.Errorf("%w: a SHA-256 has the digits 0-9 and a-f, this has %q at position %d", ErrUntrusted, c, i+1)
		}
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
		return sum, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return sum, nil
}

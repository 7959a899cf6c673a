package codec

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The primes of xxHash.
const (
	xxhPrime1 = 2654435761
	xxhPrime2 = 2246822519
	xxhPrime3 = 3266489917
	xxhPrime4 = 668265263
	xxhPrime5 = 374761393
)

// xxhStripe is how many bytes are hashed at once.
const xxhStripe = 16

// xxh32 computes the 32-bit checksum of xxHash with seed 0. It has to be
// reset before it is used.
type xxh32 struct {
	lanes [4]uint32
	total uint32 // bytes, modulo 2^32 as the checksum has it
	large bool   // there was a whole stripe
	rest  [xxhStripe]byte
	n     int // bytes of rest
}

func sumXXH32(b []byte) uint32 {
	var h xxh32
	h.reset()
	h.add(b)
	return h.sum()
}

func (h *xxh32) reset() {
	*h = xxh32{lanes: [4]uint32{(xxhPrime1 + xxhPrime2) & math.MaxUint32, xxhPrime2, 0, 1<<32 - xxhPrime1}}
}

func (h *xxh32) add(b []byte) {
	h.total += uint32(len(b))
	if h.n > 0 {
		m := copy(h.rest[h.n:], b)
		h.n, b = h.n+m, b[m:]
		if h.n < xxhStripe {
			return
		}
		h.stripes(h.rest[:])
	}
	whole := len(b) &^ (xxhStripe - 1)
	h.stripes(b[:whole])
	h.n = copy(h.rest[:], b[whole:])
}

// stripes hashes whole stripes.
func (h *xxh32) stripes(b []byte) {
	if len(b) == 0 {
		return
	}
	h.large = true
	v0, v1, v2, v3 := h.lanes[0], h.lanes[1], h.lanes[2], h.lanes[3]
	for len(b) >= xxhStripe {
		v0 = xxhRound(v0, binary.LittleEndian.Uint32(b))
		v1 = xxhRound(v1, binary.LittleEndian.Uint32(b[4:]))
		v2 = xxhRound(v2, binary.LittleEndian.Uint32(b[8:]))
		v3 = xxhRound(v3, binary.LittleEndian.Uint32(b[12:]))
		b = b[xxhStripe:]
	}
	h.lanes = [4]uint32{v0, v1, v2, v3}
}

func xxhRound(lane, word uint32) uint32 {
	return bits.RotateLeft32(lane+word*xxhPrime2, 13) * xxhPrime1
}

// sum gives the checksum of all that was added, and changes nothing.
func (h *xxh32) sum() uint32 {
	var sum uint32 = xxhPrime5
	if h.large {
		sum = bits.RotateLeft32(h.lanes[0], 1) + bits.RotateLeft32(h.lanes[1], 7) +
			bits.RotateLeft32(h.lanes[2], 12) + bits.RotateLeft32(h.lanes[3], 18)
	}
	sum += h.total
	b := h.rest[:h.n]
	for ; len(b) >= 4; b = b[4:] {
		sum = bits.RotateLeft32(sum+binary.LittleEndian.Uint32(b)*xxhPrime3, 17) * xxhPrime4
	}
	for _, c := range b {
		sum = bits.RotateLeft32(sum+uint32(c)*xxhPrime5, 11) * xxhPrime1
	}
	sum = (sum ^ sum>>15) * xxhPrime2
	sum = (sum ^ sum>>13) * xxhPrime3
	return sum ^ sum>>16
}

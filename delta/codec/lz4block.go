package codec

import "encoding/binary"

const (
	lz4MinMatch = 4
	lz4Long     = 15 // of a length in a token: more of it follows

	// lz4Stride is how many bytes are copied at once where there is room,
	// because most literals and matches are shorter.
	lz4Stride = 16
)

// unpackLZ4 decodes a block of the LZ4 block format into dst from start on;
// what is before start is history. It gives the end of what came out.
func unpackLZ4(dst []byte, start int, src []byte) (int, error) {
	at, i := start, 0
	for i < len(src) {
		token := int(src[i])
		i++
		n := token >> 4
		if n == lz4Long {
			n, i = lengthLZ4(src, i)
		}
		switch {
		case n > len(src)-i || n > len(dst)-at:
			return 0, corruptf("literals of %d bytes in a block pass its end", n)
		case n <= lz4Stride && len(src)-i >= lz4Stride && len(dst)-at >= lz4Stride:
			*(*[lz4Stride]byte)(dst[at:]) = [lz4Stride]byte(src[i:])
		default:
			copy(dst[at:], src[i:i+n])
		}
		at, i = at+n, i+n
		if i == len(src) && token&15 == 0 {
			return at, nil // the last sequence has no match
		}
		if len(src)-i < 2 {
			break
		}
		distance := int(binary.LittleEndian.Uint16(src[i:]))
		i += 2
		n = token & 15
		if n == lz4Long {
			n, i = lengthLZ4(src, i)
		}
		n += lz4MinMatch
		switch {
		case distance == 0 || distance > at || n > len(dst)-at:
			return 0, corruptf("a match of %d bytes, %d bytes back, passes a block at its byte %d", n, distance, at-start)
		case n <= lz4Stride && distance >= lz4Stride && len(dst)-at >= lz4Stride:
			*(*[lz4Stride]byte)(dst[at:]) = [lz4Stride]byte(dst[at-distance:])
			at += n
		default:
			at = repeatLZ4(dst, at, distance, n)
		}
	}
	return 0, corruptf("a block ends within a sequence")
}

// lengthLZ4 reads the rest of a length that does not fit into its token. A
// block that ends within it has no bytes for it either.
func lengthLZ4(src []byte, i int) (n, next int) {
	for n = lz4Long; i < len(src); {
		b := src[i]
		n, i = n+int(b), i+1
		if b != 255 {
			break
		}
	}
	return n, i
}

// repeatLZ4 copies n bytes from so far back. Where they overlap, what is
// copied already doubles what can be copied at once.
func repeatLZ4(dst []byte, at, distance, n int) int {
	from, end := at-distance, at+n
	for at < end {
		at += copy(dst[at:end], dst[from:at])
	}
	return end
}

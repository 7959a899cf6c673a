package aws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

// The major types of CBOR (RFC 8949) that stream messages have.
const (
	cborWhole    = 0
	cborNegative = 1
	cborBytes    = 2
	cborText     = 3
	cborList     = 4
	cborMap      = 5
)

// errCBOR says what of CBOR is read here.
var errCBOR = errors.New("the request is no map of texts, bytes and whole numbers of definite length")

// readCBOR reads one map from texts to texts, bytes and whole numbers, which
// is all that the requests of streams hold.
func readCBOR(data []byte) (map[string]any, error) {
	major, n, rest, err := cborHead(data)
	if err != nil || major != cborMap || n > uint64(len(rest)) {
		return nil, errCBOR
	}
	out := map[string]any{}
	for range n {
		var name, value any
		if name, rest, err = cborItem(rest); err != nil {
			return nil, err
		}
		text, ok := name.(string)
		if !ok {
			return nil, errCBOR
		}
		if value, rest, err = cborItem(rest); err != nil {
			return nil, err
		}
		out[text] = value
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the request", len(rest))
	}
	return out, nil
}

func cborItem(data []byte) (v any, rest []byte, err error) {
	major, n, rest, err := cborHead(data)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case major == cborWhole && n <= math.MaxInt64:
		return int64(n), rest, nil
	case major == cborNegative && n <= math.MaxInt64:
		return -1 - int64(n), rest, nil
	case (major == cborBytes || major == cborText) && n <= uint64(len(rest)):
		part := rest[:n]
		if major == cborBytes {
			return part, rest[n:], nil
		}
		if utf8.Valid(part) {
			return string(part), rest[n:], nil
		}
	}
	return nil, nil, errCBOR
}

// cborHead reads the major type and the number that goes with it.
func cborHead(data []byte) (major byte, n uint64, rest []byte, err error) {
	if len(data) == 0 {
		return 0, 0, nil, errCBOR
	}
	major, low, rest := data[0]>>5, data[0]&31, data[1:]
	size := 0
	switch {
	case low < 24:
		return major, uint64(low), rest, nil
	case low <= 27:
		size = 1 << (low - 24)
	}
	if size == 0 || len(rest) < size {
		return 0, 0, nil, errCBOR
	}
	var wide [8]byte
	copy(wide[8-size:], rest)
	return major, binary.BigEndian.Uint64(wide[:]), rest[size:], nil
}

// writeCBOR appends texts, bytes, whole numbers, lists and maps, the members sorted.
func writeCBOR(out []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(cborNumber(out, cborText, uint64(len(v))), v...)
	case []byte:
		return append(cborNumber(out, cborBytes, uint64(len(v))), v...)
	case int64:
		if v < 0 {
			return cborNumber(out, cborNegative, uint64(-1-v))
		}
		return cborNumber(out, cborWhole, uint64(v))
	case []any:
		out = cborNumber(out, cborList, uint64(len(v)))
		for _, item := range v {
			out = writeCBOR(out, item)
		}
	case map[string]any:
		out = cborNumber(out, cborMap, uint64(len(v)))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = writeCBOR(writeCBOR(out, name), v[name])
		}
	}
	return out
}

func cborNumber(out []byte, major byte, n uint64) []byte {
	switch head := major << 5; {
	case n < 24:
		return append(out, head|byte(n))
	case n <= math.MaxUint8:
		return append(out, head|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, head|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, head|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(out, head|27), n)
	}
}

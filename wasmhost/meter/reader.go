package meter

import (
	"fmt"
	"unicode/utf8"
)

// reader reads the bytes of a module from at up to end. After the first error
// it stays where it is and gives zeros.
type reader struct {
	wasm    []byte
	at, end int
	err     *Error
}

func (r *reader) fail(at int, format string, args ...any) {
	r.refuse(Invalid, at, format, args...)
}

func (r *reader) refuse(code Code, at int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Offset: int64(at), Code: code, Detail: fmt.Sprintf(format, args...)}
	}
	r.end = r.at
}

func (r *reader) left() int { return r.end - r.at }

// cut says that the bytes end within what is being read.
func (r *reader) cut(what string) {
	if r.end == len(r.wasm) {
		r.fail(r.at, "the module is truncated: want %s", what)
	} else {
		r.fail(r.at, "want %s, the section or function ends here", what)
	}
}

func (r *reader) byte(what string) byte {
	if r.at >= r.end {
		r.cut(what)
		return 0
	}
	b := r.wasm[r.at]
	r.at++
	return b
}

func (r *reader) skip(n int, what string) {
	if n > r.left() {
		r.cut(what)
		return
	}
	r.at += n
}

// u32 reads an unsigned LEB128 number of at most 5 bytes and 32 bits.
func (r *reader) u32(what string) uint32 {
	if r.at < r.end && r.wasm[r.at] < 0x80 { // nearly all of them
		r.at++
		return uint32(r.wasm[r.at-1])
	}
	start, v := r.at, uint32(0)
	for shift := 0; ; shift += 7 {
		b := r.byte(what)
		if r.err != nil {
			return 0
		}
		if shift == 28 && b > 0x0f {
			r.fail(start, "%s is not a number of 32 bits", what)
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// signed skips a signed LEB128 number of bits bits, 32 or 64.
func (r *reader) signed(bits int, what string) {
	start := r.at
	for shift := 0; ; shift += 7 {
		b := r.byte(what)
		if r.err != nil {
			return
		}
		if left := bits - shift; left < 7 {
			// The last byte: what lies beyond the number repeats its sign.
			spare := int8(b<<1) >> left // of the seven bits, arithmetically
			if b >= 0x80 || spare != 0 && spare != -1 {
				r.fail(start, "%s is not a number of %d bits", what, bits)
			}
			return
		}
		if b < 0x80 {
			return
		}
	}
}

// count reads the length of a list whose items take at least size bytes each,
// so that it cannot promise more than there is.
func (r *reader) count(what string, size int, most int64) int {
	start := r.at
	n := r.u32("the number of " + what)
	switch {
	case int64(n) > most:
		r.fail(start, "%d %s, at most %d", n, what, most)
		return 0
	case int64(n)*int64(size) > int64(r.left()):
		r.fail(start, "a list of %d %s does not fit into the %d bytes left", n, what, r.left())
		return 0
	}
	return int(n)
}

// index reads an index below have.
func (r *reader) index(what string, have int) uint32 {
	start := r.at
	n := r.u32(what)
	if r.err == nil && int64(n) >= int64(have) {
		r.fail(start, "%s %d does not exist, there are %d", what, n, have)
		return 0
	}
	return n
}

// name reads a name of at most most bytes.
func (r *reader) name(what string, most int64) string {
	start := r.at
	n := r.u32("the length of " + what)
	switch {
	case r.err != nil:
		return ""
	case int64(n) > int64(r.left()):
		r.cut(what)
		return ""
	case int64(n) > most:
		r.fail(start, "%s has %d bytes, at most %d", what, n, most)
		return ""
	}
	b := r.wasm[r.at : r.at+int(n)]
	if !utf8.Valid(b) {
		r.fail(r.at, "%s is not UTF-8 text", what)
		return ""
	}
	r.at += int(n)
	return string(b)
}

// Package foreign reads patches that other programs write: BSDIFF40 and
// ENDSLEY/BSDIFF43 with [Bsdiff], VCDIFF (RFC 3284) with [Vcdiff].
//
// Both give a [Reader] of the new file. A format only turns its patch into
// operations that copy from the old file or insert; one place checks and
// carries out every one of them, whatever the format:
//
//   - old is read with ReadAt, within its size;
//   - new is made front to back, once, in windows of bounded size, and an
//     operation reaches no further back than the window it stands in;
//   - an operation makes at least one byte and stays within its window, so
//     that the work is bounded by what comes out;
//   - no size that a patch declares is allocated before it was held against
//     [Limits.Memory].
//
// None of the formats says which old file it wants, and only some of them can
// tell that the result is wrong: verify the digest of what comes out.
package foreign

import (
	"errors"
	"fmt"
	"io"
	"math"
)

var (
	// ErrCorrupt is the error for every patch that is damaged, cut short or
	// hostile, as far as the format can tell.
	ErrCorrupt = errors.New("corrupt patch")

	// ErrTooLarge is the error when a patch needs more memory than the limit.
	ErrTooLarge = errors.New("patch too large")
)

// AnySize is the [Limits.Size] of a caller that takes what the patch declares.
const AnySize = -1

// Limits bounds what a patch may make and hold.
type Limits struct {
	// Memory is how many bytes the reader may hold.
	Memory int64
	// Size is the exact size of the new file in bytes, or [AnySize]. One
	// byte more or less than that is [ErrCorrupt].
	Size int64
}

// Files is what a patch is applied to.
type Files struct {
	Old     io.ReaderAt
	OldSize int64 // bytes of Old that the patch may see
	Patch   io.Reader
}

// script is a patch, as the reader of its format understands it.
type script interface {
	// window goes to the next window and gives its size, which it has held
	// against the limit of memory. After the last one, and only if the patch
	// ends where it should, it is io.EOF.
	window() (int64, error)
	// next gives the next operation, of a window that has room for so many
	// bytes more.
	next(room int64) (op, error)
	// done checks a window that is made.
	done(window []byte) error
	// at is how far the patch is read, for errors.
	at() int64
}

// kind is what an operation does.
type kind uint8

const (
	copyOld kind = iota // bytes of old
	addOld              // bytes of old, to each of them one of the patch added
	insert              // bytes of the patch
	run                 // one byte, repeated
	repeat              // bytes of the window, which may reach into what they make
)

// op makes the next bytes of the new file.
type op struct {
	kind   kind
	length int64
	from   int64     // copyOld, addOld: offset in old; repeat: in the window
	data   io.Reader // addOld, insert: has length bytes
	fill   byte      // run
}

// inside tells whether length bytes from offset on lie in size bytes. It is
// the only place where an offset meets a size, and cannot overflow.
func inside(offset, length, size int64) bool {
	return offset >= 0 && length >= 0 && offset <= size && length <= size-offset
}

// sum adds numbers that are not negative; if they are, or their sum is not an
// int64, it is math.MaxInt64, which fits no limit.
func sum(numbers ...int64) (total int64) {
	for _, n := range numbers {
		if n < 0 || n > math.MaxInt64-total {
			return math.MaxInt64
		}
		total += n
	}
	return total
}

// fault is an error that the patch itself gives rise to.
type fault struct {
	kind error
	at   int64 // in the patch
	why  string
}

// Error leaves the kind out, which the caller says in words of its own.
func (f *fault) Error() string { return fmt.Sprintf("byte %d: %s", f.at, f.why) }

// Unwrap gives [ErrCorrupt], [ErrTooLarge] or [errors.ErrUnsupported].
func (f *fault) Unwrap() error { return f.kind }

func corruptf(format string, args ...any) *fault {
	return &fault{kind: ErrCorrupt, why: fmt.Sprintf(format, args...)}
}

func unsupportedf(format string, args ...any) *fault {
	return &fault{kind: errors.ErrUnsupported, why: fmt.Sprintf(format, args...)}
}

func tooLargef(format string, args ...any) *fault {
	return &fault{kind: ErrTooLarge, why: fmt.Sprintf(format, args...)}
}

// fits refuses a patch that needs more memory than the limit.
func fits(need int64, limits Limits) error {
	if need > limits.Memory {
		return tooLargef("the patch and its window need %d bytes of memory, the limit is %d", need, limits.Memory)
	}
	return nil
}

// check refuses arguments that no caller may give.
func check(f Files, limits Limits) error {
	if f.OldSize < 0 || limits.Size < AnySize || limits.Memory < 0 {
		return fmt.Errorf("negative size (old %d, new %d, memory %d)", f.OldSize, limits.Size, limits.Memory)
	}
	return nil
}

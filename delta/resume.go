package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrPosition is the error for a [Position] that is damaged, of another patch,
// or of another version of updraft. Begin anew without one.
var ErrPosition = errors.New("unusable position")

// MaxState is the length that [Position.State] has at most, in bytes.
const MaxState = 512

// Position is a place in a new file at which applying a patch can go on, after
// a break that may have ended the process. A caller keeps it together with
// Output bytes of the new file, made durable before it.
type Position struct {
	// Output is how many bytes of the new file were read.
	Output int64
	// Patch is where in the patch [Format.Resume] goes on to read.
	Patch int64
	// Map is what of the patch it reads before that; often nothing.
	Map Range
	// State is what else the format needs; it has a checksum over all of them.
	State []byte
}

// Range is a stretch of a file, in bytes.
type Range struct{ At, Length int64 }

// Marker is what the reader of a format that [Format.Streams] is, beside an
// [io.ReadCloser].
type Marker interface {
	// Mark gives the position after the bytes that Read gave so far. It is
	// cheap, and allowed after Read's io.EOF, but not after another error.
	// It must not be called while a Read is under way.
	Mark() (Position, error)
}

// Streams tells whether the format applies patches as a stream: memory does
// not grow with the files, and its readers are [Marker].
func (f Format) Streams() bool { return f.resume != nil }

// Resume goes on at exactly pos.Output of the new file. The reader patch gives
// the bytes of pos.Map, if it has any, and then those from pos.Patch on; some bytes of the new file before pos.Output may be made again
// and are passed over. Old, oldSize, limits and the reader that comes back are
// as in [Format.NewReader]. A position that does not fit is [ErrPosition].
func (f Format) Resume(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, pos Position, limits Limits) (io.ReadCloser, error) {
	if f.resume == nil {
		return nil, fmt.Errorf("resume %s delta: the format has no positions to resume at", f.name)
	}
	limits, err := limits.check(oldSize)
	if err != nil {
		return nil, fmt.Errorf("resume %s delta: %w", f.name, err)
	}
	r, err := f.resume(ctx, old, oldSize, patch, pos, limits)
	if err != nil {
		return nil, fmt.Errorf("resume %s delta: %w", f.name, err)
	}
	return r, nil
}

// check fills in defaults.
func (l Limits) check(oldSize int64) (Limits, error) {
	if oldSize < 0 || l.Size < AnySize || l.Memory < 0 {
		return l, fmt.Errorf("negative size (old %d, new %d, memory %d)", oldSize, l.Size, l.Memory)
	}
	if l.Memory == 0 {
		l.Memory = DefaultMemory
	}
	l.Memory = min(l.Memory, math.MaxInt)
	return l, nil
}

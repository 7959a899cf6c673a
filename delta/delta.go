// Package delta makes and applies binary differences between two files.
//
// [Lookup] gives a [Format] by the name that workflows use. [Format.Make]
// writes a patch that turns an old file into a new one; [Format.NewReader]
// reads the new file from the old one and the patch, front to back, once.
//
//	format, err := delta.Lookup("zstd")
//	…
//	r, err := format.NewReader(ctx, old, oldSize, patch, delta.Limits{Size: newSize})
//	…
//	_, err = io.Copy(dst, r)
//
// Applying holds at most [Limits.Memory] bytes, and a patch that needs more is
// refused with [ErrTooLarge] before anything of that size is allocated.
// [Format.Need] tells the amount beforehand. A patch that is damaged, cut
// short, too long or made to do harm is [ErrCorrupt].
//
// What a reader gave is right only once it has returned [io.EOF]: until then
// it may be bytes of a patch that turns out to be damaged. Even then a patch
// proves nothing about its origin: verify the digest of the result.
//
// # Format zstd
//
// One frame of RFC 8878 with the old file as raw dictionary, as the zstd
// program writes with --patch-from and reads with the same flag. The whole old
// file and the whole new one stand in memory to apply it, each just under
// 2 GiB at most, so it is for files of some ten megabytes on a device. Making
// a patch takes twice the old file, the new file and 80 MiB; old and new may
// be 512 MiB together.
//
// A patch is exactly one frame: skippable frames, a second frame or any other
// byte after it are refused, and so is a frame without a checksum, because
// damage to it would go unnoticed.
package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

var (
	// ErrCorrupt is the error for every patch that is damaged, cut short or
	// hostile, or that was made from another old file. The same patch fails
	// in the same way again.
	ErrCorrupt = errors.New("corrupt delta")

	// ErrTooLarge is the error when files are larger than a format can take,
	// or need more memory than the limit allows.
	ErrTooLarge = errors.New("delta too large")
)

// DefaultMemory is the memory that applying may hold when [Limits] does not
// say, in bytes.
const DefaultMemory = 64 << 20

// AnySize is the [Limits.Size] of a caller that does not know how large the
// new file is and takes what the patch declares.
const AnySize = -1

// Limits bounds what applying a patch may produce and hold.
type Limits struct {
	// Memory is how many bytes the reader may hold, the old file included
	// where the format keeps it. Zero means [DefaultMemory].
	Memory int64
	// Size is the exact size of the new file in bytes, or [AnySize]. One
	// byte more or less than that is [ErrCorrupt].
	Size int64
}

// Options chooses how a patch is made.
type Options struct {
	// Level is how hard to look for a small patch. Empty means [Default].
	Level Level
}

// Stats tells what [Format.Make] made. All figures are bytes.
type Stats struct {
	OldSize, NewSize, PatchSize int64
	// Memory is what applying the patch needs, as [Format.Need] gives it.
	Memory int64
}

// Format is one way to write differences down. It may be shared between
// goroutines. Only [Lookup] makes one that works.
type Format struct {
	name string
	make func(ctx context.Context, dst io.Writer, old, new *io.SectionReader, level Level) (int64, error)
	open func(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error)
	need func(oldSize, newSize int64) int64
}

var formats = map[string]Format{
	"zstd": {name: "zstd", make: makeZstd, open: openZstd, need: needZstd},
}

// Lookup gives the format of that name. The error names those that there are.
func Lookup(name string) (Format, error) {
	f, ok := formats[name]
	if !ok {
		return Format{}, fmt.Errorf("unknown delta format %q (have %q)", name, Names())
	}
	return f, nil
}

// Names gives the names of all formats in alphabetical order.
func Names() []string {
	return slices.Sorted(maps.Keys(formats))
}

// Name is the name under which [Lookup] knows the format.
func (f Format) Name() string { return f.name }

// Need is how many bytes of memory a reader holds at most while it turns an
// old file of oldSize bytes into a new one of newSize bytes.
func (f Format) Need(oldSize, newSize int64) int64 {
	return f.need(oldSize, newSize)
}

// Make writes to dst the patch that turns old into new. Equal input gives
// equal bytes with one version of updraft. Files that the format cannot take
// are [ErrTooLarge]; after any error, what dst got is of no use.
//
// The positions of old and new are neither used nor moved.
func (f Format) Make(ctx context.Context, dst io.Writer, old, new *io.SectionReader, opts Options) (Stats, error) {
	level, err := ParseLevel(string(opts.Level))
	if err != nil {
		return Stats{}, err
	}
	n, err := f.make(ctx, dst, old, new, level)
	if err != nil {
		return Stats{}, fmt.Errorf("make %s delta: %w", f.name, err)
	}
	return Stats{OldSize: old.Size(), NewSize: new.Size(), PatchSize: n, Memory: f.need(old.Size(), new.Size())}, nil
}

// NewReader gives the new file as a stream, made from the first oldSize bytes
// of old and from patch. It reads the head of the patch and may read all of
// old before it returns; it reads patch in order and expects it to end where
// the format says. Cancelling ctx ends the reader with ctx's error.
//
// Wrong patches are [ErrCorrupt], too large ones [ErrTooLarge]; an error of
// old or patch itself is neither and is wrapped. The reader is for one
// goroutine. Close frees the memory and leaves old and patch open.
func (f Format) NewReader(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	if oldSize < 0 || limits.Size < AnySize || limits.Memory < 0 {
		return nil, fmt.Errorf("apply %s delta: negative size (old %d, new %d, memory %d)", f.name, oldSize, limits.Size, limits.Memory)
	}
	if limits.Memory == 0 {
		limits.Memory = DefaultMemory
	}
	limits.Memory = min(limits.Memory, math.MaxInt)
	r, err := f.open(ctx, old, oldSize, patch, limits)
	if err != nil {
		return nil, fmt.Errorf("apply %s delta: %w", f.name, err)
	}
	return r, nil
}

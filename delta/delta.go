// Package delta makes and applies binary differences between two files.
//
// [Lookup] gives a [Format] by the name that workflows use. [Make]
// writes a patch that turns an old file into a new one; [Format.NewReader]
// reads the new file from the old one and the patch, front to back, once.
//
//	format, err := delta.Lookup("udelta")
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
// # Format udelta
//
// Our own, specified in docs/delta-format.md, and the one to use unless other
// programs must read the patch. It gives the smallest patches, and it is the
// one that [Format.Streams]: applying takes some megabytes, whatever the sizes,
// reads the patch once and in order, so that it may come straight from the
// network, and can go on after a break at any byte ([Marker], [Format.Resume]).
// The digests of old and new are in the patch and checked: old is read once
// more for that, before the first byte comes out (see [Limits.OldChecked]).
//
// How much memory a patch takes is in its header; [Stats] and [Inspect] tell
// it, [Format.Need] the most that any can. Where the limit is tighter than
// that, or with [Limits.Least], the reader does not work ahead, which takes
// 1 MiB less at level [Default] and 4 MiB less at [Max].
//
// Making maps old and new into memory if they are regular files, which must
// not be cut meanwhile, and reads them whole if not.
//
// # In place
//
// Where there is no room for old and new, [MakeInPlace] makes a patch and
// [ApplyInPlace] writes the new image over the old one, batch by batch through
// a journal of a few megabytes, so that a power cut at any moment does no harm.
// From the first write on there is no way back to the old image. These patches
// are udelta with another order and do not foretell references.
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
//
// # Format bsdiff
//
// BSDIFF40, as bsdiff 4.3 writes it and bspatch reads it, and to be applied
// also ENDSLEY/BSDIFF43. Applying takes 11.2 MiB whatever the sizes. A patch
// that is an [io.ReaderAt] and an [io.Seeker] and knows its Size, as an
// [io.SectionReader] does, is read in three places at once; of any other, its
// control and difference parts are held in memory on top, one and a half
// times. Making needs 18 times the old file and four times the new one, which
// may be 256 MiB together, and can take very long for files with long runs.
// There are no levels. A patch has checksums, but nothing in it tells that it
// is applied to another old file.
//
// # Format vcdiff
//
// RFC 3284, to be applied only. Read is what xdelta3 writes, with its usual
// secondary compression LZMA or with none, and what open-vcdiff writes,
// checksums and interleaving included. Windows of the new file are held in
// memory, each with its part of the patch, as it is compressed and as it is
// not. Other secondary compression (xdelta3 -S djw and -S fgk), code tables of
// the patch's own and copies from earlier windows of the new file are
// [errors.ErrUnsupported]. Where the patch has checksums of its windows, they
// tell a patch that is damaged or made from another old file. Nothing tells a
// patch that ends early between two windows but [Limits.Size].
package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	// Least says to hold as little as the patch can be applied with: no frame
	// is decoded ahead, which takes more time. Only formats that
	// [Format.Streams] use it.
	Least bool
	// Size is the exact size of the new file in bytes, or [AnySize]. One
	// byte more or less than that is [ErrCorrupt].
	Size int64
	// OldChecked says that the caller has compared the digest of old with
	// the one that the patch names, so that it is not read for that again.
	OldChecked bool
	// Frame is called, if not nil, before the first byte of each section of
	// the patch is read, with its place in the patch. A caller that notes
	// there how far its source is can go on at a [Position.Patch]. The calls
	// come from the goroutine that reads the patch. Only formats that
	// [Format.Streams] use it.
	Frame func(patchOffset int64)
	// Kept is called, if not nil, after a section was read that begins at
	// patchOffset and that positions may name as their Map from then on. The
	// patch is read some sections ahead of what was given out: for a while,
	// positions still name the ones before it. It comes from the same
	// goroutine.
	Kept func(patchOffset int64)
}

// Options chooses how a patch is made.
type Options struct {
	// Level is how hard to look for a small patch. Empty means [Default].
	Level Level
	// Bsdiff makes patches of the format bsdiff, as Bytes of the package
	// go-bsdiff does. Who only applies patches need not carry that.
	Bsdiff func(old, new []byte) ([]byte, error)
	// Solid has [Stats.SolidSize] filled in, which takes about as long as the
	// patch itself. Format udelta only.
	Solid bool
}

// Stats tells what [Make] made. All figures are bytes.
type Stats struct {
	OldSize, NewSize, PatchSize int64
	// Memory is what applying the patch needs: at most what [Format.Need]
	// gives.
	Memory int64
	// Frames and Ops are how many frames the patch has and how many copies
	// are in them; Streams tells what its bytes are. Formats without frames
	// leave them out.
	Frames, Ops int64
	Streams     []Stream
	// Regions are the stretches of new in which there are executables with
	// addresses foretold, Elements those executables, and ElementBytes their
	// bytes in new.
	Regions, Elements, ElementBytes int64
	// SolidSize is how long the patch would be as one frame without bounds,
	// which no reader takes: the price of frames is the difference.
	SolidSize int64
}

// Stream is one kind of bytes in a patch.
type Stream struct {
	Name string
	// Raw is how many bytes of the kind there are before they are coded; 0
	// if they exist in coded form only.
	Raw int64
	// Coded is how many bytes they take in the patch; 0 if they are coded
	// together with those that come after them.
	Coded int64
}

// Format is one way to write differences down. It may be shared between
// goroutines. Only [Lookup] makes one that works.
type Format struct {
	name string
	open func(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error)
	need func(oldSize, newSize int64) int64
	// resume is nil in formats that do not stream.
	resume func(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, pos Position, limits Limits) (io.ReadCloser, error)
}

var formats = map[string]Format{
	"bsdiff": {name: "bsdiff", open: openBsdiff, need: needBsdiff},
	"udelta": {name: "udelta", open: openUdelta, need: needUdelta, resume: resumeUdelta},
	"vcdiff": {name: "vcdiff", open: openVcdiff, need: needVcdiff},
	"zstd":   {name: "zstd", open: openZstd, need: needZstd},
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
func Make(ctx context.Context, f Format, dst io.Writer, old, new *io.SectionReader, opts Options) (Stats, error) {
	level, err := ParseLevel(string(opts.Level))
	if err != nil {
		return Stats{}, err
	}
	opts.Level = level
	stats, err := maker(f.name)(ctx, dst, old, new, opts)
	if err != nil {
		return Stats{}, fmt.Errorf("make %s delta: %w", f.name, err)
	}
	stats.OldSize, stats.NewSize = old.Size(), new.Size()
	if stats.Memory == 0 {
		stats.Memory = f.need(old.Size(), new.Size())
	}
	return stats, nil
}

// A make function fills in PatchSize, and Memory and what follows it if they
// are not what need says.
type makeFunc func(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o Options) (Stats, error)

// maker is no field of the table of formats, as Make is no method, so that a
// program which only applies deltas does not carry what makes them.
func maker(format string) makeFunc {
	switch format {
	case "bsdiff":
		return makeBsdiff
	case "udelta":
		return makeUdelta
	case "vcdiff":
		return makeVcdiff
	}
	return makeZstd
}

// NewReader gives the new file as a stream, made from the first oldSize bytes
// of old and from patch. It reads the head of the patch before it returns, and
// all of old, if it must, before it or its first Read returns; it reads patch in order and expects it to end where
// the format says. Cancelling ctx ends the reader with ctx's error.
//
// Wrong patches are [ErrCorrupt], too large ones [ErrTooLarge]; an error of
// old or patch itself is neither and is wrapped. The reader is for one
// goroutine. Close frees the memory and leaves old and patch open.
func (f Format) NewReader(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	limits, err := limits.check(oldSize)
	if err != nil {
		return nil, fmt.Errorf("apply %s delta: %w", f.name, err)
	}
	r, err := f.open(ctx, old, oldSize, patch, limits)
	if err != nil {
		return nil, fmt.Errorf("apply %s delta: %w", f.name, err)
	}
	return r, nil
}

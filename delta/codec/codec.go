// Package codec decodes and encodes compressed artifacts as bounded streams.
//
// [Lookup] gives a [Codec] by name, and [Detect] tells the name from the first
// bytes of a file. [Codec.NewReader] decodes and [NewWriter] encodes.
//
//	c, err := codec.Lookup("zstd")
//	…
//	r, err := c.NewReader(ctx, src, codec.Limits{Size: size})
//	…
//	_, err = io.Copy(dst, r)
//
// A reader never gives more bytes than [Limits] allow, holds no more memory
// than they say, and takes its input once and in order, so that it may stand
// between a download and its target. A file that needs a larger window or
// dictionary is [ErrTooLarge] before anything of that size is allocated. What
// is damaged, cut short, too long or followed by other bytes is [ErrCorrupt].
//
// What a reader gave is right only once it has returned [io.EOF]: the checksum
// comes last. It protects against accidents, not against people: verify the
// digest of what came out.
//
// # Formats
//
// All of them take several files of their kind one behind the other as one
// whose contents are joined, as the programs of the same name do. Anything
// else behind the end is refused, padding included. Each has some bits that
// no content depends on; damage to those goes unnoticed.
//
//   - zstd: frames of RFC 8878. Skippable frames are passed over. Needs the
//     window of the frame and 1 MiB. Frames need not have a checksum, and
//     damage to one without may go unnoticed. Dictionaries are not supported.
//   - gzip: members of RFC 1952, with CRC-32 and length. Needs 256 KiB.
//   - xz: streams of the .xz file format 1.1 whose only filter is LZMA2; the
//     filters for executables and delta are not supported. Needs the
//     dictionary that the block declares, or as much as can come out if that
//     is less, and 512 KiB. A file made with --check=none has no checksum.
//   - lz4: frames of the LZ4 frame format, not the legacy one. Skippable
//     frames are passed over. Needs two blocks, so at most 8.2 MiB.
//     Content and blocks need not have a checksum. Dictionaries are not
//     supported.
//   - bzip2: streams with a CRC-32 for each block. Needs 4 MiB.
//
// zstd and gzip can be encoded.
package codec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

var (
	// ErrCorrupt is the error for every input that is damaged, cut short,
	// hostile, or not of the length that was declared.
	ErrCorrupt = errors.New("corrupt artifact")

	// ErrTooLarge is the error when decoding would pass one of the [Limits]
	// other than Size.
	ErrTooLarge = errors.New("artifact too large")
)

// DefaultMemory is the memory that decoding may hold when [Limits] does not
// say, in bytes.
const DefaultMemory = 64 << 20

// AnySize is the size of a caller that does not know the exact one.
const AnySize = -1

// Limits bounds what decoding may give and hold. Quantities are bytes.
type Limits struct {
	// Size is the exact size of what comes out, or [AnySize]. One byte more
	// or less than that is [ErrCorrupt].
	Size int64
	// Max is the most that may come out. One byte more is [ErrTooLarge].
	// Zero sets no bound beside Size.
	Max int64
	// Memory is how much the decoder may hold. Zero means [DefaultMemory].
	Memory int64
	// Ratio is how many bytes may come out for each byte that went in, the
	// first [RatioFree] bytes aside. More is [ErrTooLarge]. Zero sets no bound.
	Ratio int64
}

// RatioFree is how many bytes may come out before [Limits.Ratio] is looked at:
// small files of little content compress far better than large ones.
const RatioFree = 1 << 20

// Codec is one compressed format. It may be shared between goroutines. Only
// [Lookup] makes one that works.
type Codec struct {
	name   string
	magic  func(head []byte) bool
	decode func(src *source, limits Limits) (decoder, error)
}

var codecs = map[string]Codec{
	"bzip2": {name: "bzip2", magic: isBzip2, decode: decodeBzip2},
	"gzip":  {name: "gzip", magic: isGzip, decode: decodeGzip},
	"lz4":   {name: "lz4", magic: isLZ4, decode: decodeLZ4},
	"xz":    {name: "xz", magic: isXZ, decode: decodeXZ},
	"zstd":  {name: "zstd", magic: isZstd, decode: decodeZstd},
}

// Lookup gives the codec of that name. The error names those that there are.
func Lookup(name string) (Codec, error) {
	c, ok := codecs[name]
	if !ok {
		return Codec{}, fmt.Errorf("unknown codec %q (have %q)", name, Names())
	}
	return c, nil
}

// Names gives the names of all codecs in alphabetical order.
func Names() []string {
	return slices.Sorted(maps.Keys(codecs))
}

// DetectLength is how many bytes of a file [Detect] needs to see at most.
const DetectLength = 10

// Detect gives the name of the codec that wrote a file with this head, or ""
// if none of them did. A file that is shorter than [DetectLength] is given whole.
func Detect(head []byte) string {
	for _, name := range Names() {
		if codecs[name].magic(head) {
			return name
		}
	}
	return ""
}

// Name is the name under which [Lookup] knows the codec.
func (c Codec) Name() string { return c.name }

// NewReader gives the content of src. It reads the head of src before it
// returns, then src in order to its very end. Cancelling ctx ends the reader
// with ctx's error.
//
// An error of src itself is neither [ErrCorrupt] nor [ErrTooLarge] and is
// wrapped; a file that is right but uses what is not supported is
// [errors.ErrUnsupported]. The reader is for one goroutine. Close frees the
// memory and leaves src open.
func (c Codec) NewReader(ctx context.Context, src io.Reader, limits Limits) (io.ReadCloser, error) {
	if limits.Size < AnySize || limits.Max < 0 || limits.Memory < 0 || limits.Ratio < 0 {
		return nil, fmt.Errorf("decode %s: negative limit (size %d, max %d, memory %d, ratio %d)", c.name, limits.Size, limits.Max, limits.Memory, limits.Ratio)
	}
	if limits.Max == 0 {
		limits.Max = math.MaxInt64
	}
	if limits.Memory == 0 {
		limits.Memory = DefaultMemory
	}
	limits.Memory = min(limits.Memory, math.MaxInt)
	if limits.Size > limits.Max {
		return nil, fmt.Errorf("decode %s: %w: %d bytes are declared, %d are allowed", c.name, ErrTooLarge, limits.Size, limits.Max)
	}
	r := &reader{name: c.name, limits: limits, src: newSource(src, ctx.Err)}
	dec, err := c.decode(r.src, limits)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", c.name, r.src.explain(err))
	}
	r.dec = dec
	return r, nil
}

// Level is how hard an encoder tries. It changes nothing about decoding but
// the memory it takes.
type Level string

// The levels, by the words that deltas use too. Empty means [Default].
const (
	Fast    Level = "fast"
	Default Level = "default"
	Max     Level = "max"
)

// Options chooses how content is encoded.
type Options struct {
	// Level is how hard to try. Empty means [Default].
	Level Level
	// Size is the exact size of the content in bytes, or [AnySize]. zstd
	// writes it into the file. Another number of bytes is an error at Close.
	Size int64
}

// NewWriter gives an encoder that writes to dst. Equal content gives equal
// bytes with one version of updraft. Close finishes the file and leaves dst
// open. A codec that can only be decoded is [errors.ErrUnsupported].
//
// It is no method, so that a program which only decodes carries no encoder.
func NewWriter(dst io.Writer, c Codec, o Options) (io.WriteCloser, error) {
	encode := encoderOf(c.name)
	if encode == nil {
		return nil, fmt.Errorf("encode %s: the format can be decoded, not made: %w", c.name, errors.ErrUnsupported)
	}
	if o.Size < AnySize {
		return nil, fmt.Errorf("encode %s: negative size %d", c.name, o.Size)
	}
	switch o.Level {
	case "":
		o.Level = Default
	case Fast, Default, Max:
	default:
		return nil, fmt.Errorf("encode %s: unknown level %q (have %q)", c.name, o.Level, []Level{Fast, Default, Max})
	}
	w, err := encode(dst, o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.name, err)
	}
	return &writer{name: c.name, enc: w, size: o.Size}, nil
}

func encoderOf(codec string) func(dst io.Writer, o Options) (io.WriteCloser, error) {
	switch codec {
	case "gzip":
		return encodeGzip
	case "zstd":
		return encodeZstd
	}
	return nil
}

// hasMagic is the magic of formats that begin with the same bytes always.
func hasMagic(head []byte, magic string) bool {
	return bytes.HasPrefix(head, []byte(magic))
}

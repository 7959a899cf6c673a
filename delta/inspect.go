package delta

import (
	"fmt"
	"io"
)

// Info is what a patch says about itself. All sizes are bytes.
type Info struct {
	Format  string // "udelta"
	Version string // major.minor
	// Required and Optional are the feature bits of the patch.
	Required, Optional int64
	Identical          bool // new is old

	OldSize, NewSize, PatchSize int64
	OldSHA256, NewSHA256        [32]byte

	// Memory is what applying needs, LowMemory what it needs at the least,
	// when no frame is decoded ahead.
	Memory, LowMemory int64

	Frames, Ops  int64 // frames, and copies in all of them
	LargestFrame int64 // its section in the patch
	LargestStep  int64 // what a frame makes at most
	Coded        int64 // coded bytes of all frames
	Streams      []Stream
}

// Inspect reads a whole patch of format udelta and checks all that can be
// checked without the old file: structure, checksums and figures, but not what
// the frames hold. Errors are as in [Format.NewReader].
func Inspect(patch io.Reader) (Info, error) {
	info, err := inspect(patch)
	if err != nil {
		return Info{}, fmt.Errorf("inspect udelta delta: %w", err)
	}
	return info, nil
}

func inspect(patch io.Reader) (info Info, err error) {
	source := &patchSource{src: patch, alive: func() error { return nil }}
	h, err := source.header()
	if err != nil {
		return info, err
	}
	info = Info{Format: "udelta", Version: fmt.Sprintf("%d.%d", udeltaMajor, h.minor), Required: h.required, Optional: h.optional,
		Identical: h.identical(), OldSize: h.oldSize, NewSize: h.newSize, OldSHA256: h.oldSum, NewSHA256: h.newSum,
		Memory: h.caps.memory(1), LowMemory: h.caps.memory(0)}
	for _, name := range udeltaKindNames {
		info.Streams = append(info.Streams, Stream{Name: name})
	}
	d := &udeltaDecoder{header: h, source: source}
	for {
		s, f, err := d.head()
		if err == io.EOF {
			info.PatchSize = source.at
			return info, nil
		}
		if err != nil {
			return info, err
		}
		d.frames++
		d.written += int64(f.output)
		info.Frames++
		info.Ops += int64(f.ops)
		info.LargestFrame = max(info.LargestFrame, s.end-s.at)
		info.LargestStep = max(info.LargestStep, int64(f.output))
		info.Coded += int64(len(f.coded))
		for i, n := range f.raw {
			info.Streams[i].Raw += int64(n)
		}
	}
}

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

	// As in [Stats].
	Regions, Elements, ElementBytes int64
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
	info = Info{Format: "udelta", Version: h.version(), Required: h.required, Optional: h.optional,
		Identical: h.identical(), OldSize: h.oldSize, NewSize: h.newSize, OldSHA256: h.oldSum, NewSHA256: h.newSum,
		Memory: h.caps.memory(1), LowMemory: h.caps.memory(0)}
	var raw [udeltaKinds]int64
	var mapRaw [regionKinds]int64
	var mapCoded, coded, refs int64
	d := &udeltaDecoder{header: h, source: source}
	var last *udeltaRegion
	for {
		s, f, err := d.head()
		if err == io.EOF {
			info.PatchSize = source.at
			info.Streams = udeltaStreams(mapRaw, mapCoded, raw, coded, refs)
			return info, nil
		}
		if err != nil {
			return info, err
		}
		if r := d.region; r != last && r != nil {
			last = r
			info.Regions++
			info.Ops += int64(r.ops)
			info.Elements += int64(len(r.elements))
			for _, run := range r.runs {
				info.ElementBytes += run.length
			}
			for i, c := range r.column {
				mapRaw[i] += int64(len(c))
			}
			mapCoded += int64(r.coded)
			info.Coded += int64(r.coded)
		}
		d.frames++
		d.written += int64(f.output)
		info.Frames++
		info.Ops += int64(f.ops)
		info.LargestFrame = max(info.LargestFrame, s.end-s.at)
		info.LargestStep = max(info.LargestStep, int64(f.output))
		info.Coded += int64(len(s.body))
		refs += int64(len(f.refs))
		coded += int64(len(s.body) - len(f.refs))
		for i, n := range f.raw {
			raw[i] += int64(n)
		}
	}
}

// udeltaStreams says what the bytes of a patch are: those of map sections, of
// frames, and of references in frames.
func udeltaStreams(mapRaw [regionKinds]int64, mapCoded int64, raw [udeltaKinds]int64, coded, refs int64) []Stream {
	var all []Stream
	if mapCoded > 0 {
		for kind, n := range mapRaw {
			all = append(all, Stream{Name: "map " + regionKindNames[kind], Raw: n})
		}
		all[regionKinds-1].Coded = mapCoded
	}
	for kind, n := range raw {
		all = append(all, Stream{Name: udeltaKindNames[kind], Raw: n})
	}
	all[len(all)-1].Coded = coded
	if refs > 0 {
		all = append(all, Stream{Name: "references", Coded: refs})
	}
	return all
}

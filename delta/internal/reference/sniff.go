package reference

import "io"

// Sniff says whether an executable that [Parse] understands begins at place at
// of r, and how many bytes its headers claim: up to the end of what lies last
// of its headers, segments and sections, and for a kernel of the list of where
// it is to be relocated. limit is how many bytes it may have at most; one whose
// tables or segments end behind that is none. It is for images in which files
// lie that no directory tells of. It reads the headers only, at most 1 MiB, and
// such a list.
func Sniff(r io.ReaderAt, at, limit int64) (size int64, ok bool) {
	if at < 0 || limit < 64 {
		return 0, false
	}
	limit = min(limit, maxSize)
	part := io.NewSectionReader(r, at, limit)
	var h [64]byte
	if !readAt(part, h[:], 0, limit) {
		return 0, false
	}
	e := &Element{size: limit}
	end, ok := tableEnds(h[:])
	switch {
	case e.readImage(part):
		end, ok = 0, true // a loader wants no more than headers and sections
	case !e.readHeaders(part):
		return 0, false
	}
	for _, s := range e.segments {
		if e.kind != elfRelocatable {
			end = max(end, s.off+s.file)
		}
	}
	for _, s := range e.sections {
		if s.off > 0 {
			end = max(end, uint64(s.off+s.size))
		}
	}
	if !ok || end > uint64(limit) {
		return 0, false
	}
	return e.sitesEnd(part, int64(end)), true
}

// tableEnds is where the last of an ELF file's header and its tables of
// segments and sections ends. It is false for places that no file has.
func tableEnds(h []byte) (uint64, bool) {
	end := uint64(64)
	segments, sections := little.Uint64(h[32:]), little.Uint64(h[40:])
	counts := h[54:]
	if h[4] == 1 { // 32-bit
		end = 52
		segments, sections = uint64(little.Uint32(h[28:])), uint64(little.Uint32(h[32:]))
		counts = h[42:]
	}
	if segments > maxSize || sections > maxSize {
		return 0, false
	}
	end = max(end, segments+uint64(little.Uint16(counts))*uint64(little.Uint16(counts[2:])))
	return max(end, sections+uint64(little.Uint16(counts[4:]))*uint64(little.Uint16(counts[6:]))), true
}

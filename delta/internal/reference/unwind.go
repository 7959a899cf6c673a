package reference

import "io"

// Unwind records (LSB core, "Exception Frames"): a length, the distance back
// to the common record (0 in a common record itself), then in what compilers
// write a 32-bit distance to the code, its length, and a length of extra data
// that is 4 where a table of landing pads follows.
const (
	frameCode  = 8
	frameExtra = 16
	framePads  = 17
)

// addFrames walks along the records of .eh_frame once, and marks where they
// begin.
func (e *Element) addFrames(r io.ReaderAt, g region) {
	g.form = formFrames
	t := &tape{r: r, size: g.hi}
	at := g.lo
	for at+4 <= g.hi {
		n, ok := t.uint32(at)
		if !ok || n == 0 || int64(n) > g.hi-at-4 {
			break
		}
		g.mark(at)
		at += 4 + int64(n)
	}
	g.closeAt(at)
	e.regions = append(e.regions, g)
}

func (s *scanner) frames() {
	for p := s.g.record(s.lo); p < s.hi; {
		n, ok := s.uint32(p)
		if !ok || n == 0 {
			return
		}
		if back, ok := s.uint32(p + 4); ok && back != 0 && n >= framePads-4 && n <= reach-4 {
			s.add(p+4, Back32, 0)
			s.distance(p + frameCode)
			if extra, ok := s.uint32(p + frameExtra); ok && extra&255 == 4 && n >= framePads {
				s.distance(p + framePads)
			}
		}
		p += 4 + int64(n)
	}
}

// distance adds a 32-bit distance at p to a mapped address.
func (s *scanner) distance(p int64) {
	if v, ok := s.uint32(p); ok && s.e.mapped(s.address(p)+uint64(int64(int32(v)))) {
		s.add(p, Frame32, 0)
	}
}

// addFrameIndex takes .eh_frame_hdr in the one form that linkers write: pairs
// of signed 32-bit distances from the section's start.
func (e *Element) addFrameIndex(r io.ReaderAt, g region) {
	var h [12]byte
	if g.hi-g.lo < 12 || !readAt(r, h[:], g.lo, e.size) || h[1] != 0x1B || h[3] != 0x3B {
		return
	}
	g.form, g.base = formFrameIndex, g.lo
	e.regions = append(e.regions, g)
}

func (s *scanner) frameIndex() {
	for p := max(s.align(s.lo, 4), s.g.lo+12); p < s.hi; p += 4 {
		s.add(p, Base32, s.g.base)
	}
}

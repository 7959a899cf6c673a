package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A section is
//
//	u8 type, u length, length bytes, u32 CRC-32C
//
// The checksum is over the header's own checksum, the place of the section in
// the patch (u64), type, length and bytes. So a section of another patch, or
// in another place, is not taken for the right one.

// sectionSeed begins the checksum of the section at a place.
func (h *udeltaHeader) sectionSeed(at int64) uint32 {
	var b [12]byte
	binary.LittleEndian.PutUint32(b[:], h.sum)
	binary.LittleEndian.PutUint64(b[4:], uint64(at))
	return crc32.Checksum(b[:], castagnoli)
}

// appendSection appends the section that stands at a place in the patch.
func (h *udeltaHeader) appendSection(b []byte, at int64, kind byte, body []byte) []byte {
	start := len(b)
	b = append(binary.AppendUvarint(append(b, kind), uint64(len(body))), body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Update(h.sectionSeed(at), castagnoli, b[start:]))
}

// udeltaSection is a section as it was read, or as it comes.
type udeltaSection struct {
	kind    byte
	at, end int64  // places in the patch
	body    []byte // of which here bytes are there

	rest   []byte // room for the body and its checksum
	here   int    // how much of that is there
	sum    uint32 // CRC-32C up to there, or to the end of the body
	failed error  // to read on
}

// section reads the next section of an ordinary patch. Its body stands in room,
// which grows to what the header allows at most.
func (p *patchSource) section(h *udeltaHeader, room *[]byte) (udeltaSection, error) {
	return p.sectionOf(h, room, h.longest)
}

// longest is how long the body of a section of a kind may be, or -1 for a kind
// that no ordinary patch has.
func (h *udeltaHeader) longest(kind byte) int64 {
	switch {
	case kind == udeltaFrameSection:
		return 1 << h.caps.Coded
	case kind == udeltaMapSection && h.hasElements():
		return 1 << h.caps.Map
	case kind == udeltaEndSection:
		return 9
	}
	return -1
}

// sectionOf reads the next section. Longest says how long its body may be, and
// is less than 0 if there may be none of its kind.
func (p *patchSource) sectionOf(h *udeltaHeader, room *[]byte, longest func(kind byte) int64) (udeltaSection, error) {
	s, err := p.openSection(h, room, longest)
	if err != nil {
		return s, err
	}
	return s, p.closeSection(&s)
}

// openSection reads the head of the next section, and nothing of its body yet.
func (p *patchSource) openSection(h *udeltaHeader, room *[]byte, longest func(kind byte) int64) (udeltaSection, error) {
	if p.begin != nil {
		p.begin(p.at)
	}
	s := udeltaSection{at: p.at}
	head := make([]byte, 1, 16)
	if err := p.fill(head); err != nil {
		return s, err
	}
	s.kind = head[0]
	most := longest(s.kind)
	if most < 0 {
		return s, corrupt(s.at, fmt.Errorf("a section of unknown type %#x, or one that may not stand here", s.kind))
	}
	n, head, err := p.number(head)
	if err != nil {
		return s, err
	}
	if n > most {
		return s, corrupt(s.at, fmt.Errorf("section %c of %d bytes, the header allows %d", s.kind, n, most))
	}
	s.rest = grown(room, int(n)+4, int(most)+4)
	s.body, s.end = s.rest[:n], p.at+n+4
	s.sum = crc32.Update(h.sectionSeed(s.at), castagnoli, head)
	return s, nil
}

// waitSection waits until at least n bytes of the body are there, or all of a
// shorter one. Once it has failed it fails again.
func (p *patchSource) waitSection(s *udeltaSection, n int) error {
	return p.wait(s, min(n, len(s.body)))
}

// wait waits for n bytes after the head of a section.
func (p *patchSource) wait(s *udeltaSection, n int) error {
	for s.here < n && s.failed == nil {
		k := 0
		k, s.failed = p.some(s.rest[s.here:])
		body := min(s.here, len(s.body))
		s.here += k
		s.sum = crc32.Update(s.sum, castagnoli, s.body[body:min(s.here, len(s.body))])
	}
	return s.failed
}

// closeSection reads the rest of a section and compares its checksum.
func (p *patchSource) closeSection(s *udeltaSection) error {
	if err := p.wait(s, len(s.rest)); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(s.rest[len(s.body):]) != s.sum {
		return corrupt(s.at, fmt.Errorf("section %c: damaged, or of another patch: its checksum does not fit", s.kind))
	}
	return nil
}

// grown gives n bytes of what room points to, which it makes larger if need be:
// by steps, so that what it leaves behind is less than what it makes, but not
// to more than most bytes.
func grown(room *[]byte, n, most int) []byte {
	if cap(*room) < n {
		*room = nil
		*room = make([]byte, min(1<<logUp(n), most))
	}
	return (*room)[:n]
}

// end checks the last section of a patch with that many frames.
func (s udeltaSection) checkEnd(frames int64) error {
	n, length := number(s.body)
	switch {
	case length == 0 || length != len(s.body):
		return corrupt(s.at, errors.New("section Z: not one number"))
	case n != frames:
		return corrupt(s.at, fmt.Errorf("section Z: the patch has %d frames, %d were read", n, frames))
	}
	return nil
}

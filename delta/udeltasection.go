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

// udeltaSection is a section as it was read.
type udeltaSection struct {
	kind    byte
	at, end int64 // places in the patch
	body    []byte
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
	b := grown(room, int(n)+4, int(most)+4)
	if err := p.fill(b); err != nil {
		return s, err
	}
	s.end, s.body = p.at, b[:n]
	sum := crc32.Update(crc32.Update(h.sectionSeed(s.at), castagnoli, head), castagnoli, s.body)
	if binary.LittleEndian.Uint32(b[n:]) != sum {
		return s, corrupt(s.at, fmt.Errorf("section %c: damaged, or of another patch: its checksum does not fit", s.kind))
	}
	return s, nil
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

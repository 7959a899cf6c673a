package delta

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"sort"
)

// udeltaPredict changes the bytes of a copy, taken from old at oldAt, into
// what is expected in new at newAt. It is called for each piece of a copy in
// turn (see udeltaSpan), by the maker and the reader alike, and must do the
// same for both. Changes of a frame are those against its result. Nil changes
// nothing.
type udeltaPredict func(base []byte, oldAt, newAt int64)

// udeltaSlack is more than the numbers of one copy take in bytes.
const udeltaSlack = 64

// udeltaPlanner cuts a stretch of new into frames.
type udeltaPlanner struct {
	m      *udeltaMaker
	at, to int64
	limit  int // raw bytes of a frame

	f      *udeltaFrame
	raw    int // bytes of all columns of f
	recent udeltaDiagonal
	run    int // bytes since the last change in f
	base   []byte
}

// frame makes the next frame, which has at least one byte.
func (p *udeltaPlanner) frame() *udeltaFrame {
	p.f = &udeltaFrame{outputAt: p.at}
	p.raw, p.run, p.recent = 0, 0, udeltaDiagonal{}
	to := min(p.to, p.at+1<<p.m.header.caps.Output)
	copies := p.m.copies
	i := sort.Search(len(copies), func(i int) bool { return copies[i].New+copies[i].Length > p.at })
	for ; p.at < to; i++ {
		start, end, shift := to, to, int64(0)
		if i < len(copies) && copies[i].New < to {
			c := copies[i]
			start, end, shift = max(c.New, p.at), min(c.New+c.Length, to), c.Old-c.New
		}
		gap := start - p.at
		if !p.literals(start) || start == end || !p.copy(gap, end, shift) {
			break
		}
	}
	f := p.f
	f.output = int(p.at - f.outputAt)
	f.sum = crc32.Checksum(p.m.new[f.outputAt:p.at], castagnoli)
	return f
}

// room is how many raw bytes the frame may still have, beside one copy.
func (p *udeltaPlanner) room() int { return p.limit - udeltaSlack - p.raw }

func (p *udeltaPlanner) add(kind int, b ...byte) {
	p.f.column[kind] = append(p.f.column[kind], b...)
	p.raw += len(b)
}

func (p *udeltaPlanner) number(kind int, v int64) {
	before := len(p.f.column[kind])
	p.f.column[kind] = binary.AppendUvarint(p.f.column[kind], uint64(v))
	p.raw += len(p.f.column[kind]) - before
}

// literals takes the bytes up to to, and says whether all had room.
func (p *udeltaPlanner) literals(to int64) bool {
	n := min(to-p.at, int64(max(p.room(), 0)))
	p.add(udeltaLiterals, p.m.new[p.at:p.at+n]...)
	p.at += n
	return p.at == to
}

// copy takes the bytes up to end from old, shift ahead of new, and says whether
// all that changes in them had room.
func (p *udeltaPlanner) copy(gap, end, shift int64) bool {
	start := p.at
	for p.at < end {
		from := p.at + shift
		n := min(end-p.at, spanLeft(from))
		base := p.m.old[from : from+n]
		if p.m.predict != nil {
			p.base = append(p.base[:0], base...)
			base = p.base
			p.m.predict(base, from, p.at)
		}
		done := p.changes(base, p.m.new[p.at:p.at+n])
		p.at += int64(done)
		if done < len(base) {
			break
		}
	}
	if p.at > start {
		p.number(udeltaGaps, gap)
		p.number(udeltaLengths, p.at-start-1)
		before := len(p.f.column[udeltaDiagonals])
		p.f.column[udeltaDiagonals] = p.recent.append(p.f.column[udeltaDiagonals], shift)
		p.raw += len(p.f.column[udeltaDiagonals]) - before
		p.f.ops++
	}
	return p.at == end
}

// spanLeft is how far a piece of a copy that begins at a place in old goes.
func spanLeft(at int64) int64 { return udeltaSpan - at%udeltaSpan }

// changes notes what makes new of base, and how far the frame had room for it.
func (p *udeltaPlanner) changes(base, new []byte) int {
	for i := 0; ; i++ {
		n := equalBytes(base[i:], new[i:])
		p.run += n
		i += n
		if i == len(base) || p.room() <= 0 {
			return i
		}
		p.number(udeltaChanges, int64(p.run))
		p.add(udeltaChanges, new[i]-base[i])
		p.run = 0
	}
}

// equalBytes counts the equal bytes at the start of a and b, which are equally
// long.
func equalBytes(a, b []byte) int {
	i := 0
	for ; i+8 <= len(a) && i+8 <= len(b); i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

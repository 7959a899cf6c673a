package delta

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"sort"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/reference"
)

// udeltaSlack is more than the numbers of one copy take in bytes.
const udeltaSlack = 64

// udeltaPlanner cuts a stretch of new into frames.
type udeltaPlanner struct {
	m      *udeltaMaker
	region *udeltaRegion // the stretch is in, or nil
	at, to int64
	limit  int // raw bytes of a frame

	f      *udeltaFrame
	raw    int // bytes of all columns of f
	recent udeltaDiagonal
	run    int // bytes since the last change in f

	inside *elements
	refs   *coder.Encoder // nil before the first copy inside an element
	base   [udeltaSpan]byte
}

// frame makes the next frame, which has at least one byte.
func (p *udeltaPlanner) frame() *udeltaFrame {
	p.f = &udeltaFrame{outputAt: p.at, region: p.region}
	p.raw, p.run, p.recent, p.refs = 0, 0, udeltaDiagonal{}, nil
	to := min(p.to, p.at+1<<p.m.header.caps.Output)
	if p.region != nil {
		p.insideRegion(to)
	} else {
		p.outside(to)
	}
	f := p.f
	f.output = int(p.at - f.outputAt)
	f.sum = crc32.Checksum(p.m.new[f.outputAt:p.at], castagnoli)
	return f
}

// outside plans up to a place, or less, with copies of the frame's own.
func (p *udeltaPlanner) outside(to int64) {
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
	done := p.changes(p.m.old[start+shift:end+shift], p.m.new[start:end])
	p.at += int64(done)
	if done > 0 {
		p.number(udeltaGaps, gap)
		p.number(udeltaLengths, p.at-start-1)
		before := len(p.f.column[udeltaDiagonals])
		p.f.column[udeltaDiagonals] = p.recent.append(p.f.column[udeltaDiagonals], shift)
		p.raw += len(p.f.column[udeltaDiagonals]) - before
		p.f.ops++
	}
	return p.at == end
}

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

// insideRegion plans up to a place, or less, with the copies of the region.
func (p *udeltaPlanner) insideRegion(to int64) {
	clips := (&udeltaFrame{region: p.region, outputAt: p.at, output: int(to - p.at)}).clips(p.m.header.oldSize)
	for {
		c, err := clips.next()
		if err != nil {
			panic("delta: made a region that cannot be read: " + err.Error())
		}
		if !p.literals(p.at+int64(c.gap)) || c.length == 0 || !p.foretold(c) {
			break
		}
	}
	if p.refs != nil {
		p.f.refs = p.refs.Finish()
	}
}

// foretold takes the bytes of a copy, and says whether all that changes in them
// had room.
func (p *udeltaPlanner) foretold(c udeltaClip) bool {
	from := c.old - c.whole.old
	to := from + int64(c.length)
	for at := from; at < to; {
		s := p.region.stretch(c.whole, at)
		at = s.to()
		if !p.stretch(c.whole, s, max(s.from, from), min(at, to)) {
			return false
		}
	}
	return true
}

// stretch takes the bytes of a stretch from begin to end. Those of an element
// are taken only where there is room for any number of changes in them:
// references that are coded cannot be taken back.
func (p *udeltaPlanner) stretch(op udeltaOp, s udeltaStretch, begin, end int64) bool {
	for begin < end {
		n := min(end-begin, udeltaSpan)
		base := p.m.old[op.old+begin : op.old+begin+n]
		if s.element >= 0 {
			room := int64(p.room())
			if p.refs != nil {
				room -= p.refs.Len()
			}
			if p.at == p.f.outputAt {
				room = max(room, 4*udeltaSlack) // some progress
			}
			if n = min(n, room/2-udeltaSlack); n <= 0 {
				return false
			}
			base = p.base[:n]
			p.reference(base, s, begin-s.from, op.new+s.from)
		}
		done := int64(p.changes(base, p.m.new[p.at:p.at+int64(len(base))]))
		p.at += done
		if done < int64(len(base)) {
			return false
		}
		begin += done
	}
	return true
}

// reference fills dst with what old has from skip bytes into a stretch on, with
// the references in it corrected.
func (p *udeltaPlanner) reference(dst []byte, s udeltaStretch, skip, newAt int64) {
	if p.inside == nil {
		p.inside = newElements(&p.m.header, p.m.oldFile())
	}
	if p.refs == nil {
		p.refs = coder.NewEncoder()
		p.inside.copier.Reset()
	}
	err := p.inside.use(p.region, s.element, newAt)
	if err == nil {
		err = reference.Encode(p.inside.copier, dst, p.m.new[newAt:newAt+s.length], s.in, skip, p.refs)
	}
	if err != nil {
		panic("delta: an element that was read cannot be read again: " + err.Error())
	}
}

// spanLeft is how far a piece of a copy that begins at a place in old goes.
func spanLeft(at int64) int64 { return udeltaSpan - at%udeltaSpan }

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

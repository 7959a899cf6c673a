package inplace

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// Plan is an order of blocks and what is left of the copies in it.
type Plan struct {
	Shape
	// Batches are the blocks of each batch, as runs in rising order.
	Batches [][]Run
	// Copied is how many bytes of all batches are in copies as they were
	// given; Moved how many of them are taken from where the new image has
	// them already; Lost how many are destroyed too soon.
	Copied, Moved, Lost int64
	// Pieces is how many copies the batches have, Runs how many runs.
	Pieces, Runs int64

	oldSize int64
	copies  []match.Copy
	byOld   []match.Copy // copies, cut where a block of the new image ends
	batchOf []int32      // by block; never for one that is in no batch
}

const (
	// shortest is the least length of a copy that was cut out of another
	// one: what is shorter is cheaper without.
	shortest = 12
	// heirs is how many copies of the same stretch are looked at for one
	// that was made already.
	heirs = 32

	never = math.MaxInt32
)

func newPlan(copies []match.Copy, s Shape, batches [][]Run) *Plan {
	p := &Plan{Shape: s, Batches: batches, copies: copies, batchOf: make([]int32, s.Blocks())}
	for i := range p.batchOf {
		p.batchOf[i] = never
	}
	for k, batch := range batches {
		p.Runs += int64(len(batch))
		for _, r := range batch {
			for i := r.First; i < r.First+r.Count; i++ {
				p.batchOf[i] = int32(k)
			}
		}
	}
	for _, c := range copies {
		p.oldSize = max(p.oldSize, c.Old+c.Length)
		for c.Length > 0 {
			n := min(c.Length, s.Block-c.New%s.Block)
			p.byOld = append(p.byOld, match.Copy{Old: c.Old, New: c.New, Length: n})
			c.Old, c.New, c.Length = c.Old+n, c.New+n, c.Length-n
		}
	}
	slices.SortFunc(p.byOld, func(a, b match.Copy) int {
		return cmp.Or(cmp.Compare(a.Old, b.Old), cmp.Compare(a.New, b.New))
	})
	for k := range batches {
		list := p.list(k)
		p.Pieces += int64(len(list.copies))
		p.Copied, p.Moved, p.Lost = p.Copied+list.given, p.Moved+list.moved, p.Lost+list.lost
	}
	return p
}

// Copies gives the copies of a batch, in order. Old is a place in the region
// as it stands before the batch, New one in the batch: of its bytes in the
// order of its runs.
func (p *Plan) Copies(batch int) []match.Copy { return p.list(batch).copies }

func (p *Plan) list(batch int) (out copyList) {
	base := int64(0)
	for _, r := range p.Batches[batch] {
		from, to := p.Span(r)
		i := sort.Search(len(p.copies), func(i int) bool { return p.copies[i].New+p.copies[i].Length > from })
		for ; i < len(p.copies) && p.copies[i].New < to; i++ {
			c := p.copies[i]
			if early := from - c.New; early > 0 {
				c.Old, c.New, c.Length = c.Old+early, from, c.Length-early
			}
			c.Length = min(c.Length, to-c.New)
			out.given += c.Length
			c.New += base - from
			out.floor = min(shortest, p.copies[i].Length)
			p.keep(&out, c, batch)
		}
		base += to - from
	}
	return out
}

// keep adds to out what can still be read of c.
func (p *Plan) keep(out *copyList, c match.Copy, batch int) {
	for c.Length > 0 {
		n := min(c.Length, p.Block-c.Old%p.Block)
		if place := c.Old / p.Block; place >= p.Blocks() || int(p.batchOf[place]) >= batch {
			out.add(match.Copy{Old: c.Old, New: c.New, Length: n})
		} else {
			n = p.inherit(out, match.Copy{Old: c.Old, New: c.New, Length: n}, batch)
		}
		c.Old, c.New, c.Length = c.Old+n, c.New+n, c.Length-n
	}
}

// inherit adds a copy for the start of c, whose place was overwritten: from a
// place to which an earlier batch has copied the same. It gives how many bytes
// are done with.
func (p *Plan) inherit(out *copyList, c match.Copy, batch int) int64 {
	next := sort.Search(len(p.byOld), func(i int) bool { return p.byOld[i].Old > c.Old })
	best := match.Copy{}
	for i := next - 1; i >= 0 && i >= next-heirs; i-- {
		h := p.byOld[i]
		h.Old, h.New, h.Length = c.Old, h.New+c.Old-h.Old, h.Length-(c.Old-h.Old)
		h.Length = min(h.Length, c.Length, p.oldSize-h.New)
		if h.Length > best.Length && p.there(h, batch) {
			best = h
		}
	}
	if best.Length > 0 {
		out.moved += best.Length
		out.add(match.Copy{Old: best.New, New: c.New, Length: best.Length})
		return best.Length
	}
	n := c.Length
	if next < len(p.byOld) {
		n = min(n, p.byOld[next].Old-c.Old)
	}
	out.lost += n
	return n
}

// there says whether what h makes is in the region before a batch.
func (p *Plan) there(h match.Copy, batch int) bool {
	k := p.batchOf[h.New/p.Block]
	return int(k) < batch || k == never
}

// copyList joins copies that go on where the one before ended.
type copyList struct {
	copies []match.Copy
	floor  int64 // what a copy has at least
	least  int64 // the floor of the last one

	given, moved, lost int64 // bytes
}

func (l *copyList) add(c match.Copy) {
	if k := len(l.copies) - 1; k >= 0 {
		last := &l.copies[k]
		if last.New+last.Length == c.New && last.Old+last.Length == c.Old {
			last.Length += c.Length
			l.least = min(l.least, l.floor)
			return
		}
		if last.Length < l.least {
			l.copies = l.copies[:k]
		}
	}
	l.copies, l.least = append(l.copies, c), l.floor
}

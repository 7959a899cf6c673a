package inplace

import (
	"cmp"
	"slices"
	"sort"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// edge says that a block reads bytes which the writing of another one, or of
// the block on the other side of the edge, destroys.
type edge struct {
	block int32
	bytes int32
}

// graph holds what each block reads of the places of others, both ways round.
type graph struct {
	reads, readers [][]edge
}

// newGraph finds what blocks read of each other's places. What a block reads
// of its own place is not in it, nor what no block overwrites.
//
// Nor is what stays: a stretch that a copy takes from its own place is there
// before and after, but for the bytes that change in it. Blocks that are not
// written read nothing.
func newGraph(copies []match.Copy, s Shape, written func(block int64) bool) graph {
	n := int(s.Blocks())
	g := graph{make([][]edge, n), make([][]edge, n)}
	stays := staying(copies)
	var found []edge
	done := int64(0) // blocks
	flush := func(block int64) {
		if len(found) == 0 {
			return
		}
		slices.SortFunc(found, func(a, b edge) int { return cmp.Compare(a.block, b.block) })
		for _, e := range found {
			list := g.reads[block]
			if k := len(list) - 1; k >= 0 && list[k].block == e.block {
				list[k].bytes += e.bytes
				continue
			}
			g.reads[block] = append(list, e)
		}
		for _, e := range g.reads[block] {
			g.readers[e.block] = append(g.readers[e.block], edge{int32(block), e.bytes})
		}
		found = found[:0]
	}
	for _, c := range copies {
		if c.Old == c.New {
			continue
		}
		for left := c.Length; left > 0; {
			block, place := c.New/s.Block, c.Old/s.Block
			if block != done {
				flush(done)
				done = block
			}
			step := min(left, s.Block-c.New%s.Block, s.Block-c.Old%s.Block)
			if place != block && c.Old < s.Size && written(block) && written(place) {
				if moved := step - stays.covered(c.Old, c.Old+step); moved > 0 {
					found = append(found, edge{int32(place), int32(moved)})
				}
			}
			c.New, c.Old, left = c.New+step, c.Old+step, left-step
		}
	}
	flush(done)
	return g
}

// stay are the copies that take bytes from their own place, in order.
type stay []match.Copy

func staying(copies []match.Copy) (all stay) {
	for _, c := range copies {
		if c.Old == c.New {
			all = append(all, c)
		}
	}
	return all
}

// covered is how many bytes from one place to another stay.
func (s stay) covered(from, to int64) (n int64) {
	i := sort.Search(len(s), func(i int) bool { return s[i].Old+s[i].Length > from })
	for ; i < len(s) && s[i].Old < to; i++ {
		n += min(to, s[i].Old+s[i].Length) - max(from, s[i].Old)
	}
	return n
}

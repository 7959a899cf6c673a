package coder

import (
	"encoding/binary"
	"math/bits"
)

// found is a match that the finder saw: length bytes, distance back.
type found struct{ length, distance uint32 }

// finder gives the matches at each position of a window, asked for in order.
// It keeps the latest position of each hash of three and four bytes, and of two
// in a tree, and all positions with one hash of four bytes either in a binary
// tree, sorted by what follows them, or in a chain, newest first.
//
// Positions in the tables are one more than they are, so that zero is none.
type finder struct {
	window  []byte
	nice    int // a match this long ends the search
	depth   int // how many positions are looked at
	chained bool

	two, three, four []uint32
	links            []uint32 // tree: two for each position; chain: one
	at               int
	found            []found
}

const (
	twoBits    = 16
	threeBits  = 16
	minFour    = 12
	maxFour    = 20
	maxChained = 18 // of a table that stays in a processor's cache
	hashFactor = 0x9E3779B1
	passStep   = 16
)

// reset begins a window, with the memory of the one before.
func (f *finder) reset(window []byte, nice, depth int, chained bool) {
	f.window, f.nice, f.depth, f.chained, f.at = window, nice, depth, chained, 0
	most, links := maxFour, 2*len(window)
	if chained {
		most, links = maxChained, len(window)
	} else {
		f.two = cleared(f.two, 1<<twoBits)
	}
	f.three = cleared(f.three, 1<<threeBits)
	f.four = cleared(f.four, 1<<min(max(bits.Len(uint(len(window))), minFour), most))
	// A link is written before it is followed.
	if cap(f.links) < links {
		f.links = nil
		f.links = make([]uint32, roomFor(links))
	}
	f.links = f.links[:links]
}

// cleared gives n zeros, in the place of table if it is large enough.
func cleared(table []uint32, n int) []uint32 {
	if cap(table) < n {
		return make([]uint32, n)
	}
	table = table[:n]
	clear(table)
	return table
}

// find gives the matches at the next position in order of length, each the
// nearest of at least that length among those looked at, and goes on by one.
// The slice is good until the next call.
func (f *finder) find() []found {
	f.found = f.found[:0]
	f.step(true)
	f.at++
	return f.found
}

// skip goes on by n positions.
func (f *finder) skip(n int) {
	for ; n > 0; n-- {
		f.step(false)
		f.at++
	}
}

func (f *finder) step(report bool) {
	at := f.at
	limit := min(len(f.window)-at, f.nice)
	if limit < 4 {
		return
	}
	word := binary.LittleEndian.Uint32(f.window[at:])
	best := 1
	if !f.chained {
		best = f.latest(&f.two[word&0xFFFF], best, limit, report)
	}
	best = f.latest(&f.three[(word<<8)*hashFactor>>(32-threeBits)], best, limit, report)
	four := f.head(word)
	last := *four
	*four = uint32(at + 1)
	switch {
	case f.chained:
		f.links[at] = last
		if report {
			f.chain(last, limit, best)
		}
	default:
		f.tree(last, limit, best, report)
	}
}

// head is the latest position with the hash of these four bytes.
func (f *finder) head(word uint32) *uint32 {
	return &f.four[word*hashFactor>>(32-bits.Len(uint(len(f.four)-1)))]
}

// latest reports the match at the position in a table, if it is longer than
// best, and puts the current one in its place.
func (f *finder) latest(slot *uint32, best, limit int, report bool) int {
	last := *slot
	*slot = uint32(f.at + 1)
	if !report || last == 0 {
		return best
	}
	n := common(f.window, int(last)-1, f.at, limit)
	if n <= best {
		return best
	}
	f.found = append(f.found, found{uint32(n), uint32(f.at+1) - last})
	return n
}

// seen counts the positions among the next n at which four bytes stand that
// the tables have.
func (f *finder) seen(n int) int {
	count := 0
	for at := f.at; at < min(f.at+n, len(f.window)-3); at++ {
		word := binary.LittleEndian.Uint32(f.window[at:])
		if last := *f.head(word); last != 0 && binary.LittleEndian.Uint32(f.window[last-1:]) == word {
			count++
		}
	}
	return count
}

// pass goes on by n positions, most of which no later one will find.
func (f *finder) pass(n int) {
	for to := f.at + n; f.at < to; f.at = min(f.at+passStep, to) {
		f.step(false)
	}
}

// common is how many bytes at two positions agree, at most limit.
func common(window []byte, a, b, limit int) int {
	n := 0
	x, y := window[a:a+limit], window[b:b+limit]
	for n+8 <= limit {
		if d := binary.LittleEndian.Uint64(x[n:]) ^ binary.LittleEndian.Uint64(y[n:]); d != 0 {
			return n + bits.TrailingZeros64(d)>>3
		}
		n += 8
	}
	for n < limit && x[n] == y[n] {
		n++
	}
	return n
}

// chain reports what follows the positions from last backwards.
func (f *finder) chain(last uint32, limit, best int) {
	at := f.at
	for depth := f.depth; last != 0 && depth > 0 && best < limit; depth-- {
		p := int(last) - 1
		if f.window[p+best] == f.window[at+best] {
			if n := common(f.window, p, at, limit); n > best {
				best = n
				f.found = append(f.found, found{uint32(n), uint32(at - p)})
			}
		}
		last = f.links[p]
	}
}

// tree makes the current position the root of the tree that last was the root
// of, and reports what it meets on the way down. A position with the same nice
// bytes as the current one is replaced by it.
func (f *finder) tree(last uint32, limit, best int, report bool) {
	at := f.at
	// less and more are where the next smaller and larger position goes.
	less, more := 2*at, 2*at+1
	lessLen, moreLen := 0, 0
	for depth := f.depth; last != 0 && depth > 0; depth-- {
		p := int(last) - 1
		n := min(lessLen, moreLen)
		n += common(f.window, p+n, at+n, limit-n)
		if report && n > best {
			best = n
			f.found = append(f.found, found{uint32(n), uint32(at - p)})
		}
		if n == limit {
			f.links[less], f.links[more] = f.links[2*p], f.links[2*p+1]
			return
		}
		if f.window[p+n] < f.window[at+n] {
			f.links[less] = last
			less, lessLen = 2*p+1, n
			last = f.links[less]
		} else {
			f.links[more] = last
			more, moreLen = 2*p, n
			last = f.links[more]
		}
	}
	f.links[less], f.links[more] = 0, 0
}

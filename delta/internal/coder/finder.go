package coder

import (
	"encoding/binary"
	"math/bits"
)

// found is a match that the finder saw: length bytes, distance back.
type found struct{ length, distance uint32 }

// finder gives the matches at each position of a window, asked for in order.
// It keeps the latest position of each hash of two, three and four bytes, and
// all positions with one hash of four bytes either in a binary tree, sorted by
// what follows them, or in a chain, newest first.
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
	hashFactor = 0x9E3779B1
)

func newFinder(window []byte, nice, depth int, chained bool) *finder {
	f := &finder{window: window, nice: nice, depth: depth, chained: chained}
	f.two = make([]uint32, 1<<twoBits)
	f.three = make([]uint32, 1<<threeBits)
	f.four = make([]uint32, 1<<min(max(bits.Len(uint(len(window))), minFour), maxFour))
	links := len(window)
	if !chained {
		links *= 2
	}
	f.links = make([]uint32, links)
	return f
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
	two := &f.two[word&0xFFFF]
	three := &f.three[(word<<8)*hashFactor>>(32-threeBits)]
	four := &f.four[word*hashFactor>>(32-bits.Len(uint(len(f.four)-1)))]
	if report {
		for _, last := range [2]uint32{*two, *three} {
			if last == 0 {
				continue
			}
			if n := common(f.window, int(last)-1, at, limit); n > best {
				best = n
				f.found = append(f.found, found{uint32(n), uint32(at+1) - last})
			}
		}
	}
	*two, *three = uint32(at+1), uint32(at+1)
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

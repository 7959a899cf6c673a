package match

import (
	"context"
	"math"
	"math/bits"
)

const (
	// bucketLoad is how many entries a bucket of the index has on average.
	bucketLoad = 6
	// sparsely is how many places there are for one that is held where old is
	// in new already.
	sparsely = 32
	// partLoad is how many entries are sorted at a time, so that they and
	// their buckets stay in a processor's cache.
	partLoad = 1 << 16
)

// index finds the places of old at which a key stands. It holds one place in
// 2*radius+1: those whose key has the least rank among its neighbours. The same
// rule picks places in new, so that only those need to be asked for, and a run
// of one byte is held once.
//
// Entries are sorted by bucket, then by place: the index is the same however
// it was built. An entry is a place, in units, above a tag of its hash, in 32
// bits; only in an old file of 4 GiB or more is the unit more than a byte, and
// places between are not held.
type index struct {
	old     []byte
	key     int
	radius  int
	unit    int
	tagBits uint
	first   []uint32 // by bucket: its first entry; one more at the end
	entries []uint32
}

// newIndex indexes old, with at most about half of old and new in bytes, unless
// e wants every place. Where the long stretches are, few are held.
func newIndex(ctx context.Context, old []byte, long [][]Copy, newSize int, o Options, e effort) (*index, error) {
	x := &index{old: old, key: e.key, radius: e.radius, unit: 1}
	if e.all {
		long = nil
	}
	work := cut(len(old), long)
	var inside, beside int
	for _, s := range work {
		if s.long {
			inside += s.to - s.from
		} else {
			beside += s.to - s.from
		}
	}
	places := func() int { return beside/(2*x.radius+1) + inside/sparsely }
	for x.radius > 0 && beside/(2*x.radius-1) <= e.small {
		x.radius--
	}
	if e.radius > 0 {
		limit := max(e.small, (len(old)+newSize)/8)
		for places() > limit && x.radius < maxRadius {
			x.radius++
		}
	}
	for uint64(len(old)/x.unit) >= math.MaxUint32 {
		x.unit *= 2
	}
	x.tagBits = uint(32 - bits.Len(uint(len(old)/x.unit)))
	return x, x.build(ctx, work, places()/x.unit, o.Scratch, o.Threads)
}

// picker chooses the places whose keys an index holds: those with a rank below
// that of all neighbours within radius. It has room of its own, so each
// goroutine needs one.
type picker struct {
	key    int
	radius int
	ranks  [pickSize + 2*maxRadius]int64
	// first and last have the least rank of those from the beginning of a
	// row, or up to its end.
	first, last [pickSize + 2*maxRadius]int64
	places      [pickSize]int32
}

const (
	pickSize  = 1 << 10 // places that are looked at in one call
	maxRadius = 64
)

// pick gives the places that are chosen of the n from lo on in b, relative to
// lo, until the next call. A key that would pass the end of b is none.
func (p *picker) pick(b []byte, lo, n int) []int32 {
	end := len(b) - p.key + 1
	n = min(n, pickSize, end-lo)
	if n <= 0 {
		return nil
	}
	if p.radius == 0 {
		for i := range p.places[:n] {
			p.places[i] = int32(i)
		}
		return p.places[:n]
	}
	r := p.radius
	p.rank(b, lo, n, end)
	p.rows(n + 2*r)
	// Of a row of r+1 places one is chosen at most: the one with the least
	// rank, if those up to r away in the rows beside have no lesser one.
	chosen := 0
	for k := r; k < n+3*r; k += r + 1 {
		least := p.first[min(k, n+2*r-1)]
		at := int(least & placeMask)
		if at < r || at >= r+n {
			continue
		}
		p.places[chosen] = int32(at - r)
		chosen += bit(p.last[at-r] >= least && p.first[at+r] >= least)
	}
	return p.places[:chosen]
}

// few gives one in so many places, by and large; pick would choose them too.
func (p *picker) few(b []byte, lo, n, many int) []int32 {
	end := len(b) - p.key + 1
	n = min(n, pickSize, end-lo)
	if n <= 0 {
		return nil
	}
	r, chosen := p.radius, 0
	p.rank(b, lo, n, end)
	most := math.MaxInt64 / int64(many)
	for i, v := range p.ranks[r : r+n] {
		if v < most && !anyBelow(p.ranks[i:i+2*r+1], v) {
			p.places[chosen] = int32(i)
			chosen++
		}
	}
	return p.places[:chosen]
}

func anyBelow(ranks []int64, least int64) bool {
	for _, v := range ranks {
		if v < least {
			return true
		}
	}
	return false
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rows cuts the first n ranks into rows of radius+1 and finds the least ones.
func (p *picker) rows(n int) {
	for k := 0; k < n; k += p.radius + 1 {
		to := min(k+p.radius+1, n)
		row, first, last := p.ranks[k:to], p.first[k:to], p.last[k:to]
		least := row[0]
		for i, v := range row {
			least = lesser(least, v)
			first[i] = least
		}
		least = row[len(row)-1]
		for i := len(row) - 1; i >= 0; i-- {
			least = lesser(least, row[i])
			last[i] = least
		}
	}
}

// lesser is the minimum of two ranks. It has no branch: half of those would be
// guessed wrong.
func lesser(a, b int64) int64 {
	d := a - b
	return b + d&(d>>63)
}

// placeMask covers the low bits of a rank, which hold where it stands in
// picker.ranks: of equal keys the first one has the least rank.
const placeMask = 1<<12 - 1

// rankOf gives the rank of a key that begins with word. It says nothing about
// the key's bucket.
func rankOf(word uint64) int64 {
	return int64(word * 0x9FB21C651E98DF25 >> 1 &^ placeMask)
}

// rank ranks the places from r before lo to r behind lo+n. Outside b every rank
// is the largest there is.
func (p *picker) rank(b []byte, lo, n, end int) {
	r := p.radius
	from, to := max(lo-r, 0), min(lo+n+r, end)
	before, ranks := from-(lo-r), p.ranks[:n+2*r]
	for i := range before {
		ranks[i] = math.MaxInt64
	}
	text, dst, k := b[from:to+7], ranks[before:before+to-from], int64(before)
	for len(dst) >= 4 && len(text) >= 11 {
		dst[0] = rankOf(load64(text)) | k
		dst[1] = rankOf(load64(text[1:9])) | (k + 1)
		dst[2] = rankOf(load64(text[2:10])) | (k + 2)
		dst[3] = rankOf(load64(text[3:11])) | (k + 3)
		dst, text, k = dst[4:], text[4:], k+4
	}
	for i := range dst {
		dst[i] = rankOf(load64(text[i:])) | k
		k++
	}
	for i := before + to - from; i < len(ranks); i++ {
		ranks[i] = math.MaxInt64
	}
}

// bucket gives the bucket of a hash.
func (x *index) bucket(h uint64) uint32 {
	hi, _ := bits.Mul64(h, uint64(len(x.first)-1))
	return uint32(hi)
}

// tag gives what an entry keeps of a hash.
func (x *index) tag(h uint64) uint32 { return uint32(h) & (1<<x.tagBits - 1) }

// place gives the place in old of an entry.
func (x *index) place(entry uint32) int { return int(entry>>x.tagBits) * x.unit }

// hash mixes the first key bytes of b, 8 to 16.
func hash(b []byte, key int) uint64 {
	h := load64(b)*0x9E3779B185EBCA87 ^ bits.RotateLeft64(load64(b[key-8:])*0xC2B2AE3D27D4EB4F, 32)
	h ^= h >> 32
	h *= 0xD6E8FEB86659FD93
	return h ^ h>>32
}

// fits says whether an entry of list has the tag.
func (x *index) fits(list []uint32, tag uint32) bool {
	mask := uint32(1)<<x.tagBits - 1
	for _, e := range list {
		if e&mask == tag {
			return true
		}
	}
	return false
}

// near gives those entries of a bucket with a tag that are closest to the
// place expected of old: at most as many as fit into dst.
func (x *index) near(dst []int, list []uint32, tag uint32, expected int) []int {
	dst = dst[:0]
	if len(list) > 2*cap(dst) {
		list = x.around(list, expected, cap(dst))
	}
	mask := uint32(1)<<x.tagBits - 1
	for _, e := range list {
		if e&mask != tag {
			continue
		}
		at := x.place(e)
		if len(dst) < cap(dst) {
			dst = append(dst, at)
			continue
		}
		// Places come in order: the first one held is the farthest before
		// expected, and once a later one is farther still no other helps.
		if distance(at, expected) >= distance(dst[0], expected) {
			break
		}
		copy(dst, dst[1:])
		dst[len(dst)-1] = at
	}
	return dst
}

// around cuts list to those up to 2n entries whose places surround expected.
func (x *index) around(list []uint32, expected, n int) []uint32 {
	lo, hi := 0, len(list)
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if x.place(list[m]) < expected {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return list[max(lo-n, 0):min(lo+n, len(list))]
}

func distance(a, b int) int {
	if a < b {
		return b - a
	}
	return a - b
}

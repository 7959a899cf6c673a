package match

import (
	"context"
	"math"
	"math/bits"
)

const (
	// bucketLoad is how many entries a bucket of the index has on average.
	bucketLoad = 6
	// partLoad is how many entries are sorted at a time, so that they and
	// their buckets stay in a processor's cache.
	partLoad = 1 << 15
	// smallIndex is a size of index, in bytes, that is good at any size of
	// old: below it more places are held.
	smallIndex = 4 << 20
	// stretch is how much of old one goroutine takes at a time.
	stretch = 1 << 20
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

// newIndex indexes old, with at most about half of old and new in bytes.
func newIndex(ctx context.Context, old []byte, newSize int, e effort, threads int) (*index, error) {
	x := &index{old: old, key: e.key, radius: e.radius, unit: 1}
	size := func(radius int) int64 { return int64(len(old)) / int64(2*radius+1) * 4 * (bucketLoad + 1) / bucketLoad }
	for x.radius > 0 && size(x.radius-1) <= smallIndex {
		x.radius--
	}
	if e.radius > 0 {
		for limit := max(smallIndex, (int64(len(old))+int64(newSize))/2); size(x.radius) > limit && x.radius < maxRadius; {
			x.radius++
		}
	}
	for uint64(len(old)/x.unit) >= math.MaxUint32 {
		x.unit *= 2
	}
	x.tagBits = uint(32 - bits.Len(uint(len(old)/x.unit)))
	return x, x.build(ctx, threads)
}

// picker chooses the places whose keys an index holds: those with a rank below
// that of all neighbours within radius. It has room of its own, so each
// goroutine needs one.
type picker struct {
	key    int
	radius int
	ranks  [pickSize + 2*maxRadius]uint32
	least  [pickSize + 2*maxRadius]uint32 // of the radius ranks from here on
	places [pickSize]int32
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
	// Outside b every rank is the largest there is.
	ranks := p.ranks[:n+2*r]
	from, to := max(lo-r, 0), min(lo+n+r, end)
	before := from - (lo - r)
	for i := range ranks[:before] {
		ranks[i] = math.MaxUint32
	}
	for i := before + to - from; i < len(ranks); i++ {
		ranks[i] = math.MaxUint32
	}
	text := b[from:]
	for i := range ranks[before : before+to-from] {
		ranks[before+i] = rank(text[i:])
	}
	// The least of the r ranks from each on, from the least of half as many
	// and more: two windows that overlap make one that is longer.
	least := p.least[:len(ranks)]
	copy(least, ranks)
	for w := 1; w < r; {
		more := min(w, r-w)
		next := least[more:]
		for i := range next {
			least[i] = min(least[i], next[i])
		}
		w += more
	}
	chosen := 0
	left, middle, right := least[:n], ranks[r:r+n], least[r+1:]
	for i := range n {
		p.places[chosen] = int32(i)
		if middle[i] < left[i] && middle[i] <= right[i] {
			chosen++
		}
	}
	return p.places[:chosen]
}

// rank orders keys by their first bytes. It says nothing about their bucket.
func rank(b []byte) uint32 { return uint32(load64(b) * 0x9FB21C651E98DF25 >> 32) }

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

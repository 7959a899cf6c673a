package match

import (
	"context"
	"math/bits"
)

// builder sorts the places of old into the buckets of an index: first into
// parts by the high bits of their hash, then each part by itself. Filling the
// buckets directly would cost two cache misses for each place, several times
// the whole of this.
type builder struct {
	x       *index
	parts   int
	perPart int        // buckets in a part
	held    []uint64   // one bit for each place of old: the index holds it
	high    [][]uint8  // by stretch: the highest bits of the hash of each place held
	counts  [][]uint32 // by stretch of old and part: first how many, then where the next goes
	starts  []uint32   // by part: its first entry; one more at the end
}

// item is an entry on its way into its bucket.
type item struct{ bucket, entry uint32 }

func (x *index) build(ctx context.Context, threads int) error {
	places := len(x.old)/(2*x.radius+1)/x.unit + 1
	b := &builder{x: x, parts: places/partLoad + 1, held: make([]uint64, len(x.old)/64+1)}
	b.perPart = places/bucketLoad/b.parts + 1
	b.counts = make([][]uint32, len(x.old)/stretch+1)
	b.high = make([][]uint8, len(b.counts))
	x.first = make([]uint32, b.parts*b.perPart+1)
	err := parallel(ctx, threads, len(b.counts), func() func(int) {
		p := &picker{key: x.key, radius: x.radius}
		return func(i int) { b.count(i, p) }
	})
	if err != nil {
		return err
	}
	b.layOut()
	x.entries = make([]uint32, b.starts[b.parts])
	x.first[len(x.first)-1] = b.starts[b.parts]
	// A quarter of the items at a time: room is short.
	var room []item
	for lo := 0; lo < b.parts; {
		hi := lo + 1
		for limit := b.starts[b.parts]/4 + partLoad; hi < b.parts && b.starts[hi+1]-b.starts[lo] <= limit; {
			hi++
		}
		n := int(b.starts[hi] - b.starts[lo])
		if n > cap(room) {
			room = make([]item, n)
		}
		err := parallel(ctx, threads, len(b.counts), func() func(int) {
			return func(i int) { b.scatter(i, lo, hi, room[:n]) }
		})
		if err != nil {
			return err
		}
		err = parallel(ctx, threads, hi-lo, func() func(int) {
			return func(i int) { b.sort(lo+i, room[b.starts[lo+i]-b.starts[lo]:b.starts[lo+i+1]-b.starts[lo]]) }
		})
		if err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

// part gives the part of a hash: its bucket divided by perPart.
func (b *builder) part(h uint64) int {
	hi, _ := bits.Mul64(h, uint64(b.parts))
	return int(hi)
}

// count marks the places of stretch i that the index holds, and counts them by
// part.
func (b *builder) count(i int, p *picker) {
	counts := make([]uint32, b.parts)
	lo, hi := i*stretch, min((i+1)*stretch, len(b.x.old))
	high := make([]uint8, 0, (hi-lo)/(2*b.x.radius+1)*17/16)
	for ; lo < hi; lo += pickSize {
		for _, k := range p.pick(b.x.old, lo, pickSize) {
			if at := lo + int(k); at%b.x.unit == 0 {
				h := hash(b.x.old[at:], b.x.key)
				b.held[at/64] |= 1 << (at % 64)
				counts[b.part(h)]++
				high = append(high, uint8(h>>56))
			}
		}
	}
	b.counts[i], b.high[i] = counts, high
}

// layOut turns counts into the places where entries go.
func (b *builder) layOut() {
	b.starts = make([]uint32, b.parts+1)
	sum := uint32(0)
	for p := range b.parts {
		b.starts[p] = sum
		for _, c := range b.counts {
			c[p], sum = sum, sum+c[p]
		}
	}
	b.starts[b.parts] = sum
}

// scatter writes the items of stretch i that belong to parts [lo, hi).
func (b *builder) scatter(i, lo, hi int, items []item) {
	x, next, high := b.x, b.counts[i], b.high[i]
	base := b.starts[lo]
	// Most places of other parts are known by the high bits alone.
	least, most := uint8(lo*256/b.parts), uint8((hi*256-1)/b.parts)
	words := b.held[i*stretch/64 : min((i+1)*stretch/64, len(b.held))]
	for k, w := range words {
		n := bits.OnesCount64(w)
		some := high[:n]
		high = high[n:]
		for _, v := range some {
			if v >= least && v <= most {
				at := i*stretch + k*64 + bits.TrailingZeros64(w)
				h := hash(x.old[at:], x.key)
				if p := b.part(h); p >= lo && p < hi {
					items[next[p]-base] = item{x.bucket(h), uint32(at/x.unit)<<x.tagBits | x.tag(h)}
					next[p]++
				}
			}
			w &= w - 1
		}
	}
}

// sort puts the items of a part into their buckets, in their order.
func (b *builder) sort(part int, items []item) {
	at := uint32(part * b.perPart)
	first := b.x.first[at : at+uint32(b.perPart)]
	for _, it := range items {
		first[it.bucket-at]++
	}
	sum := b.starts[part]
	for k, n := range first {
		first[k], sum = sum, sum+n
	}
	for _, it := range items {
		n := &first[it.bucket-at]
		b.x.entries[*n] = it.entry
		*n++
	}
	// Each bucket now tells where it ends, which is where the next starts.
	copy(first[1:], first)
	first[0] = b.starts[part]
}

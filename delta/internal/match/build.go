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
	work    []span // the stretches of old, each for one goroutine at a time
	parts   int
	perPart int        // buckets in a part
	held    [][]uint64 // by stretch: one bit for each place, the index holds it
	counts  [][]uint32 // by stretch and part: first how many, then where the next goes
	starts  []uint32   // by part: its first entry; one more at the end
	within  []uint16   // by entry, until it is in its bucket: which of its part
}

// build indexes the spans of work, about so many places.
func (x *index) build(ctx context.Context, work []span, places int, s *Scratch, threads int) error {
	b := &builder{x: x, work: work, parts: places/partLoad + 1}
	b.perPart = places/bucketLoad/b.parts + 1
	b.layHeld(s)
	b.counts = make([][]uint32, len(b.work))
	x.first = cleared(&s.first, b.parts*b.perPart+1)
	err := parallel(ctx, threads, len(b.work), func() func(int) {
		p := &picker{key: x.key, radius: x.radius}
		return func(i int) { b.count(i, p) }
	})
	if err != nil {
		return err
	}
	b.layOut()
	total := int(b.starts[b.parts])
	x.entries, b.within = sized(&s.entries, total), sized(&s.within, total)
	x.first[len(x.first)-1] = b.starts[b.parts]
	err = parallel(ctx, threads, len(b.work), func() func(int) { return b.scatter })
	if err != nil {
		return err
	}
	return parallel(ctx, threads, b.parts, func() func(int) {
		var room []uint32
		return func(i int) { room = b.sort(i, room) }
	})
}

// layHeld gives each stretch its bits.
func (b *builder) layHeld(s *Scratch) {
	words := 0
	for _, w := range b.work {
		words += (w.to-w.from)/64 + 1
	}
	all := cleared(&s.held, words)
	b.held = make([][]uint64, len(b.work))
	for i, w := range b.work {
		n := (w.to-w.from)/64 + 1
		b.held[i], all = all[:n:n], all[n:]
	}
}

// sized gives n values of what room points to, which it makes larger if need be.
func sized[T any](room *[]T, n int) []T {
	if cap(*room) < n {
		*room = nil
		*room = make([]T, n)
	}
	return (*room)[:n]
}

// cleared gives n zeros of what room points to.
func cleared[T any](room *[]T, n int) []T {
	b := sized(room, n)
	clear(b)
	return b
}

// part gives the part of a hash: its bucket divided by perPart.
func (b *builder) part(h uint64) int {
	hi, _ := bits.Mul64(h, uint64(b.parts))
	return int(hi)
}

// count marks the places of stretch i that the index holds, and counts them by
// part.
func (b *builder) count(i int, p *picker) {
	counts, held := make([]uint32, b.parts), b.held[i]
	s := b.work[i]
	for lo := s.from; lo < s.to; lo += pickSize {
		for _, k := range p.choose(b.x.old, lo, min(pickSize, s.to-lo), s.long) {
			if at := lo + int(k); at%b.x.unit == 0 {
				held[(at-s.from)/64] |= 1 << ((at - s.from) % 64)
				counts[b.part(hash(b.x.old[at:], b.x.key))]++
			}
		}
	}
	b.counts[i] = counts
}

// choose gives the places that an index holds of n from lo on.
func (p *picker) choose(b []byte, lo, n int, long bool) []int32 {
	if long {
		return p.few(b, lo, n, sparsely)
	}
	return p.pick(b, lo, n)
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

// scatter writes the entries of stretch i into their parts.
func (b *builder) scatter(i int) {
	x, next, from := b.x, b.counts[i], b.work[i].from
	for k, w := range b.held[i] {
		for ; w != 0; w &= w - 1 {
			at := from + k*64 + bits.TrailingZeros64(w)
			h := hash(x.old[at:], x.key)
			p := b.part(h)
			to := next[p]
			next[p]++
			x.entries[to] = uint32(at/x.unit)<<x.tagBits | x.tag(h)
			b.within[to] = uint16(x.bucket(h) - uint32(p*b.perPart))
		}
	}
}

// sort puts the entries of a part into their buckets, in their order. It uses
// room, and gives it back.
func (b *builder) sort(part int, room []uint32) []uint32 {
	from, to := b.starts[part], b.starts[part+1]
	entries, within := b.x.entries[from:to], b.within[from:to]
	first := b.x.first[part*b.perPart:][:b.perPart]
	for _, w := range within {
		first[w]++
	}
	sum := from
	for k, n := range first {
		first[k], sum = sum, sum+n
	}
	items := append(room[:0], entries...)
	for k, w := range within {
		n := &first[w]
		b.x.entries[*n] = items[k]
		*n++
	}
	// Each bucket now tells where it ends, which is where the next starts.
	copy(first[1:], first)
	first[0] = from
	return items
}

package match

import (
	"cmp"
	"context"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
)

const (
	// longEnough is how many equal bytes make a long stretch.
	longEnough = 4 << 10
	longKey    = 16
	// longStep is how far apart the places of old are that are known while
	// long stretches are looked for. Of longPeriod places of new as many are
	// looked up: within a stretch, one of them is a place known.
	longStep   = 256
	longPeriod = longEnough - longStep
	// longMargin is what stays in the index at the ends of a long stretch.
	longMargin = 64
)

// sparse holds one place of old in longStep, by the hash of what follows: the
// first one of those with a slot. A slot of 0 has none; the further on a place
// is, the lower its number. Runs of one byte are not held.
type sparse []uint32

func newSparse(ctx context.Context, old []byte, o Options) (sparse, error) {
	places := max(len(old)-longKey, 0) / longStep
	s := sparse(cleared(&o.Scratch.first, 2*places+1))
	const batch = 1 << 12
	err := parallel(ctx, o.Threads, places/batch+1, func() func(int) {
		return func(i int) {
			for k := i * batch; k < min((i+1)*batch, places); k++ {
				if b := old[k*longStep:]; load64(b) != load64(b[8:]) {
					s.put(b, math.MaxUint32-uint32(k))
				}
			}
		}
	})
	return s, err
}

// put keeps number in the slot of b, if there is none higher. Many goroutines
// may be at it.
func (s sparse) put(b []byte, number uint32) {
	slot := s.slot(b)
	for {
		was := atomic.LoadUint32(slot)
		if was >= number || atomic.CompareAndSwapUint32(slot, was, number) {
			return
		}
	}
}

func (s sparse) slot(b []byte) *uint32 {
	hi, _ := bits.Mul64(hash(b, longKey), uint64(len(s)))
	return &s[hi]
}

// long gives stretches of new that stand in old unchanged and are long, by
// piece of new. It is quick rather than thorough.
func long(ctx context.Context, old, new []byte, o Options) ([][]Copy, error) {
	s, err := newSparse(ctx, old, o)
	if err != nil {
		return nil, err
	}
	pieces := make([][]Copy, (len(new)-1)/pieceSize+1)
	err = parallel(ctx, o.Threads, len(pieces), func() func(int) {
		return func(i int) {
			f := longFinder{old: old, new: new[:min((i+1)*pieceSize, len(new))], sparse: s}
			pieces[i] = f.from(i * pieceSize)
		}
	})
	return pieces, err
}

// longFinder goes through a piece of new. Each byte is compared a bounded
// number of times.
type longFinder struct {
	old, new []byte
	sparse   sparse
	// beside has the diagonals of the last two stretches, and up to where in
	// new they are known to be no good.
	beside [2]struct{ diagonal, until int }
	asked  int // the places looked up are counted from here
	until  int // up to where they are known to be no good
	all    []Copy
}

// from gives the long stretches from lo on.
func (f *longFinder) from(lo int) []Copy {
	f.asked, f.beside[0].until, f.beside[1].until = lo, lo, lo
	for i := lo; i+longEnough <= len(f.new); {
		c := f.along(i)
		if c.Length == 0 && i >= f.until && (i-f.asked)%longPeriod < longStep {
			c = f.look(i, lo)
		}
		if c.Length == 0 {
			i = f.next(i)
			continue
		}
		f.all = append(f.all, c)
		lo = int(c.New + c.Length)
		i, f.asked = lo, lo
		if d := c.diagonal(); d != f.beside[0].diagonal {
			f.beside[1] = f.beside[0]
			f.beside[0].diagonal = d
		}
		f.beside[0].until = i + 1
	}
	return f.all
}

// along looks for a stretch that begins at i of new, on the diagonal of one of
// the last two.
func (f *longFinder) along(i int) Copy {
	for k := range f.beside {
		b := &f.beside[k]
		at := i + b.diagonal
		if at < 0 {
			b.until = -b.diagonal
		} else if at >= len(f.old) {
			b.until = len(f.new)
		}
		if i < b.until {
			continue
		}
		n := matchLength(f.old[at:], f.new[i:])
		if n >= longEnough {
			return Copy{int64(at), int64(i), int64(n)}
		}
		b.until = i + n + 1
	}
	return Copy{}
}

// next is the next place after i where along or look has something to do.
func (f *longFinder) next(i int) int {
	i++
	look := max(i, f.until)
	if rest := (look - f.asked) % longPeriod; rest >= longStep {
		look += longPeriod - rest
	}
	return max(i, min(look, f.beside[0].until, f.beside[1].until))
}

// look looks i of new up, for a stretch that begins there or before it, but
// not before lo.
func (f *longFinder) look(i, lo int) Copy {
	number := *f.sparse.slot(f.new[i:])
	if number == 0 {
		return Copy{}
	}
	at := int(math.MaxUint32-number) * longStep
	n := matchLength(f.old[at:], f.new[i:])
	f.until = i + n
	if n < longStep {
		return Copy{}
	}
	back := 0
	for most := min(i-lo, at); back < most && f.old[at-back-1] == f.new[i-back-1]; {
		back++
	}
	if n+back < longEnough {
		return Copy{}
	}
	return Copy{int64(at - back), int64(i - back), int64(n + back)}
}

// span is a stretch of old, in a long one or not.
type span struct {
	from, to int
	long     bool
}

// cut cuts a file of size bytes at the ends of the long stretches that stand in
// it, and into spans of which there are some hundreds beside those.
func cut(size int, pieces [][]Copy) []span {
	var long []span
	for _, p := range pieces {
		for _, c := range p {
			long = append(long, span{int(c.Old) + longMargin, int(c.Old+c.Length) - longMargin, true})
		}
	}
	slices.SortFunc(long, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	var all []span
	at, most := 0, max(1<<20, size/256)
	add := func(to int, long bool) {
		for at < to {
			n := min(to-at, most)
			all = append(all, span{at, at + n, long})
			at += n
		}
	}
	for _, s := range long {
		add(s.from, false)
		add(s.to, true)
	}
	add(size, false)
	return all
}

// Package match finds what a new file has in common with an old one.
//
// [Find] cuts the new file into copies: stretches that stand in the old file
// at one distance, most of their bytes unchanged. What no copy covers is new.
//
//	copies, err := match.Find(ctx, old, new, match.Options{})
//
// It works in three steps. A quick look finds long stretches that are in both
// files unchanged (long.go). An index holds places of old by the hash of what
// follows (index.go, build.go): most of them where no such stretch is, for what
// is left of new stems from there as a rule, so that files that are much alike
// take little time and memory. Each piece of new then looks for the cheapest
// way through itself: at every byte either on along one of a few diagonals of
// old, paying for bytes that differ, or as a literal, paying for that; a change
// of diagonal is paid as the entry in the copy list that it becomes (path.go,
// price.go). So a copy is only there if it saves more than it costs, and two
// copies on one diagonal become one across what changed between them if that
// is cheaper.
//
// The result depends on the two files and the level alone, never on the number
// of threads or their order. The work per byte of new is bounded, whatever the
// files hold. See [Options] for memory.
package match

import (
	"context"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// Copy says that the bytes of new at [New, New+Length) come from those of old
// at [Old, Old+Length). Some of them may differ.
type Copy struct {
	Old, New, Length int64
}

// diagonal is how far old lies ahead of new in c.
func (c Copy) diagonal() int { return int(c.Old - c.New) }

// Level is how hard [Find] looks.
type Level uint8

const (
	Default Level = iota // small at a time that suits a build
	Fast                 // the least time
	Max                  // the most copies that are worth having
	Glance               // enough to see what went where
)

// Options are the settings of [Find]. The zero value is usable.
//
// Beside the files, which should be mapped, the index takes up to half of old
// and new together at [Default], a quarter at [Fast] and two and a half times
// both at [Max]; while it is built it is half as much again. Each thread adds a
// few megabytes.
type Options struct {
	Level   Level
	Threads int // goroutines at work at once; 0 means GOMAXPROCS
	// Scratch, if not nil, lends its memory, and keeps it for the next call.
	Scratch *Scratch
}

// Scratch is the memory of an index, for one call of [Find] after the other.
// The zero value is ready.
type Scratch struct {
	first, entries []uint32
	within         []uint16
	held           []uint64
}

const (
	// pieceSize is how much of new one path covers, in bytes. It never
	// depends on the number of threads.
	pieceSize = 4 << 20
	// warmUp is how far before its piece a path starts, so that it enters
	// the piece on a diagonal already.
	warmUp = 2 << 10
)

// Find gives the copies that lead from old to new, in the order of new,
// disjoint in new, none empty. Only the context can make it fail; it is looked
// at every few milliseconds.
func Find(ctx context.Context, old, new []byte, o Options) ([]Copy, error) {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if err := ctx.Err(); err != nil {
		return nil, stopped(err)
	}
	if len(old) == 0 || len(new) == 0 {
		return nil, nil
	}
	if same, err := isPrefix(ctx, old, new); err != nil {
		return nil, stopped(err)
	} else if same {
		return []Copy{{Length: int64(len(new))}}, nil
	}
	e := efforts[min(o.Level, Glance)]
	if o.Scratch == nil {
		o.Scratch = &Scratch{}
	}
	pieces, err := long(ctx, old, new, o)
	if err != nil {
		return nil, stopped(err)
	}
	x, err := newIndex(ctx, old, pieces, len(new), o, e)
	if err != nil {
		return nil, stopped(err)
	}
	err = parallel(ctx, o.Threads, len(pieces), func() func(int) {
		p := newPath(x, new, e)
		return func(i int) {
			lo := i * pieceSize
			pieces[i] = p.copies(ctx, pieces[i], lo, min(lo+pieceSize, len(new)))
		}
	})
	if err != nil {
		return nil, stopped(err)
	}
	return join(pieces), nil
}

// isPrefix says whether old begins with new, or is it.
func isPrefix(ctx context.Context, old, new []byte) (bool, error) {
	for len(new) > 0 {
		n := min(len(new), 1<<26)
		if len(old) < n || matchLength(old[:n], new[:n]) < n {
			return false, nil
		}
		old, new = old[n:], new[n:]
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}

func stopped(err error) error { return fmt.Errorf("find copies: %w", err) }

// parallel calls the function that start returns for 0 to n-1, on at most
// threads goroutines with one call of start each, and returns the error of ctx.
func parallel(ctx context.Context, threads, n int, start func() func(int)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(threads, n) {
		wg.Go(func() {
			do := start()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(i)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// join puts the copies of the pieces into one list, and makes one copy of two
// that meet on one diagonal.
func join(pieces [][]Copy) []Copy {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	all := make([]Copy, 0, n)
	for _, p := range pieces {
		for _, c := range p {
			if k := len(all) - 1; k >= 0 && all[k].New+all[k].Length == c.New && all[k].diagonal() == c.diagonal() {
				all[k].Length += c.Length
				continue
			}
			all = append(all, c)
		}
	}
	return all
}

// load64 reads the 8 bytes at b as a little-endian number.
func load64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// matchLength counts the bytes that a and b have in common at their start.
func matchLength(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for ; i+8 <= len(a) && i+8 <= len(b); i += 8 {
		if x := load64(a[i:]) ^ load64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}

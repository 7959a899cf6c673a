package inplace

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// random gives n bytes that nothing else has.
func random(seed uint64, n int) []byte {
	dice := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(dice.Uint32())
	}
	return b
}

// pair is an old image and a new one.
type pair struct {
	name     string
	old, new []byte
}

// pairs are the ways in which images change, for images of n bytes.
func pairs(n int) []pair {
	old := random(1, n)
	fresh := random(2, n)
	h, odd := n/2, n/7+13
	var reversed, touched []byte
	for from := n; from > 0; from -= odd {
		reversed = append(reversed, old[max(0, from-odd):from]...)
	}
	touched = bytes.Clone(old)
	for i := 100; i < n; i += 999 {
		touched[i]++
	}
	return []pair{
		{"identical", old, old},
		{"unrelated", old, fresh},
		{"bytes changed", old, touched},
		{"inserted in front", old, slices.Concat(fresh[:odd], old)},
		{"inserted in the middle", old, slices.Concat(old[:h], fresh[:odd], old[h:])},
		{"inserted at the end", old, slices.Concat(old, fresh[:odd])},
		{"deleted in front", old, old[odd:]},
		{"deleted in the middle", old, slices.Concat(old[:h], old[h+odd:])},
		{"deleted at the end", old, old[:n-odd]},
		{"halves swapped", old, slices.Concat(old[h:], old[:h])},
		{"parts swapped", old, slices.Concat(old[odd:], old[:odd])},
		{"parts in reverse order", old, reversed},
		{"shifted both ways", old, slices.Concat(fresh[:odd], old[:h], old[h+2*odd:], fresh[odd:2*odd])},
		{"doubled", old, slices.Concat(old, old)},
		{"quartered", old, old[h/2 : h]},
		{"one part all over", old, bytes.Repeat(old[h:h+odd], 7)},
		{"from nothing", nil, fresh},
		{"to nothing", old, nil},
	}
}

// step is one batch of an update as a test applies it: what is copied, and what
// the bytes are then to be.
type step struct {
	runs   []Run
	copies []match.Copy
	diff   []byte // what to add to the copied bytes, or to 0 where none are
}

// update is an update that was made.
type update struct {
	pair
	plan  *Plan
	steps []step
}

// makeUpdate makes an update as a maker of patches does: each batch from the
// image that the batches before it left.
func makeUpdate(t *testing.T, p pair, block, batch int64) update {
	t.Helper()
	copies, err := match.Find(context.Background(), p.old, p.new, match.Options{Level: match.Max, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Order(context.Background(), copies, Shape{Size: int64(len(p.new)), Block: block, Batch: batch},
		unchanged(p, block))
	if err != nil {
		t.Fatal(err)
	}
	u := update{pair: p, plan: plan}
	image := append(bytes.Clone(p.old), make([]byte, max(0, len(p.new)-len(p.old)))...)
	for k, runs := range plan.Batches {
		s := step{runs: runs, copies: plan.Copies(k)}
		for _, r := range runs {
			from, to := plan.Span(r)
			s.diff = append(s.diff, p.new[from:to]...)
		}
		for _, c := range s.copies {
			if c.Old < 0 || c.Length <= 0 || c.Old+c.Length > int64(len(p.old)) || c.New+c.Length > int64(len(s.diff)) {
				t.Fatalf("batch %d: copy %+v is out of bounds", k, c)
			}
			for i := range c.Length {
				s.diff[c.New+i] -= image[c.Old+i]
			}
		}
		for _, r := range runs {
			from, to := plan.Span(r)
			copy(image[from:to], p.new[from:to])
		}
		u.steps = append(u.steps, s)
	}
	if !bytes.Equal(image[:len(p.new)], p.new) {
		t.Fatal("the batches do not make the new image")
	}
	return u
}

// unchanged says which blocks are the same in both images.
func unchanged(p pair, block int64) func(int64) bool {
	return func(i int64) bool {
		from, to := i*block, min((i+1)*block, int64(len(p.new)))
		return to <= int64(len(p.old)) && bytes.Equal(p.old[from:to], p.new[from:to])
	}
}

// make gives the bytes of a step, from the region.
func (s *step) make(region Region) ([]byte, error) {
	out := bytes.Clone(s.diff)
	for _, c := range s.copies {
		b := make([]byte, c.Length)
		if _, err := region.ReadAt(b, c.Old); err != nil {
			return nil, err
		}
		for i := range b {
			out[c.New+int64(i)] += b[i]
		}
	}
	return out, nil
}

// apply goes on with u where the journal says, until it is done.
func (u *update) apply(region, file Region) error {
	j := OpenJournal(file, [32]byte{7}, u.plan.BatchSize())
	state, err := j.Recover(region)
	if err != nil {
		return err
	}
	next := 0
	if state == nil {
		if err := j.Clear(); err != nil {
			return err
		}
	} else {
		next = int(state[0])
	}
	for ; next < len(u.steps); next++ {
		s := &u.steps[next]
		made, err := s.make(region)
		if err != nil {
			return err
		}
		b := j.Begin(region, int64(len(u.old)))
		for _, r := range s.runs {
			from, to := u.plan.Span(r)
			// In two parts, to see that parts are put together.
			half := (to - from) / 2
			if err := b.Write(made[:half], from); err != nil {
				return err
			}
			if err := b.Write(made[half:to-from], from+half); err != nil {
				return err
			}
			made = made[to-from:]
		}
		if err := b.Commit([]byte{byte(next + 1)}); err != nil {
			return err
		}
	}
	return nil
}

package inplace

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

func TestEveryBlockThatDiffersIsInOneBatch(t *testing.T) {
	for _, p := range pairs(300_000) {
		for _, batch := range []int64{1, 2, 5, 100} {
			t.Run(fmt.Sprint(p.name, " in batches of ", batch), func(t *testing.T) {
				u := makeUpdate(t, p, MinBlock, batch)
				seen := NewSeen(u.plan.Shape)
				for _, runs := range u.plan.Batches {
					coded := AppendRuns(nil, runs)
					if int64(len(coded)) > u.plan.MaxRuns() {
						t.Errorf("%d bytes of runs, want at most %d", len(coded), u.plan.MaxRuns())
					}
					got, err := u.plan.ParseRuns(coded, nil)
					if err != nil || !slices.Equal(got, runs) {
						t.Fatalf("runs %v came back as %v, %v", runs, got, err)
					}
					if err := seen.Add(runs); err != nil {
						t.Error(err)
					}
				}
				all, stays := u.plan.Blocks(), unchanged(p, MinBlock)
				for i := range u.plan.Blocks() {
					if stays(i) {
						all--
					}
				}
				if seen.Count() != all {
					t.Errorf("%d blocks are in batches, want %d", seen.Count(), all)
				}
			})
		}
	}
}

// What moves one way loses nothing, whichever way. What has swapped places
// loses nothing as long as it fits into a batch.
func TestOrderLosesLittle(t *testing.T) {
	const n = 1 << 20
	most := map[string]int64{
		"parts swapped":          n/7 + 3*MinBlock, // a circle through the whole image
		"parts in reverse order": n / 8,
		"halves swapped":         0,
		"one part all over":      0,
	}
	for _, p := range pairs(n) {
		if len(p.old) == 0 || len(p.new) == 0 {
			continue
		}
		u := makeUpdate(t, p, MinBlock, 16)
		if u.plan.Lost > most[p.name] {
			t.Errorf("%s: %d of %d bytes are lost, want at most %d", p.name, u.plan.Lost, u.plan.Copied, most[p.name])
		}
		t.Logf("%s: lost %d, moved %d of %d", p.name, u.plan.Lost, u.plan.Moved, u.plan.Copied)
	}
}

func TestOrderIsTheSameEachTime(t *testing.T) {
	for _, p := range pairs(200_000) {
		first, second := makeUpdate(t, p, MinBlock, 4), makeUpdate(t, p, MinBlock, 4)
		for k := range first.plan.Batches {
			if !slices.Equal(first.plan.Batches[k], second.plan.Batches[k]) {
				t.Errorf("%s: batch %d is %v, then %v", p.name, k, first.plan.Batches[k], second.plan.Batches[k])
			}
		}
	}
}

func TestOrderStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Order(ctx, nil, Shape{1 << 20, MinBlock, 1}, nil); err == nil {
		t.Error("a cancelled context ended without an error")
	}
}

func TestShapesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		shape Shape
		ok    bool
	}{
		{Shape{1, MinBlock, 1}, true},
		{Shape{0, MinBlock, 1}, true},
		{Shape{MaxBlocks * MinBlock, MinBlock, 1}, true},
		{Shape{MaxBlocks*MinBlock + 1, MinBlock, 1}, false},
		{Shape{1 << 62, MaxBlock, 1}, false},
		{Shape{-1, MinBlock, 1}, false},
		{Shape{1, MinBlock - 1, 1}, false},
		{Shape{1, MinBlock + 1, 1}, false},
		{Shape{1, 2 * MaxBlock, 1}, false},
		{Shape{1, -MinBlock, 1}, false},
		{Shape{1, MinBlock, 0}, false},
		{Shape{1, MinBlock, MaxBatch / MinBlock}, true},
		{Shape{1, MinBlock, MaxBatch/MinBlock + 1}, false},
		{Shape{1, MinBlock, 1 << 62}, false},
	} {
		if err := tt.shape.Check(); (err == nil) != tt.ok {
			t.Errorf("%+v: %v, want it to be right: %v", tt.shape, err, tt.ok)
		}
	}
}

func TestWrongRunsAreRefused(t *testing.T) {
	s := Shape{Size: 100*MinBlock - 1, Block: MinBlock, Batch: 10}
	for _, tt := range []struct {
		name  string
		coded []byte
		ok    bool
	}{
		{"one block", []byte{99, 0}, true},
		{"as many as there may be", []byte{90, 9}, true},
		{"two runs", []byte{0, 4, 0, 4}, true},
		{"none", nil, false},
		{"half a run", []byte{3}, false},
		{"a number cut short", []byte{0x80}, false},
		{"a number that is too long", []byte{0x80, 0x80, 0x80, 0x01, 0}, false},
		{"a number that is not canonical", []byte{0x81, 0x00, 0}, false},
		{"too many in a run", []byte{0, 10}, false},
		{"too many in two runs", []byte{0, 4, 0, 5}, false},
		{"behind the image", []byte{100, 0}, false},
		{"across the end", []byte{95, 5}, false},
		{"the second one behind the image", []byte{98, 0, 0, 0}, false},
	} {
		if _, err := s.ParseRuns(tt.coded, nil); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want it to be right: %v", tt.name, err, tt.ok)
		}
	}
}

func TestBlocksInTwoBatches(t *testing.T) {
	seen := NewSeen(Shape{Size: 3 * MinBlock, Block: MinBlock, Batch: 2})
	if err := seen.Add([]Run{{0, 2}}); err != nil {
		t.Error(err)
	}
	if err := seen.Add([]Run{{1, 2}}); err == nil {
		t.Error("block 1 is there twice, and nothing says so")
	}
}

func BenchmarkOrder(b *testing.B) {
	// A shift that grows, with a copy every 4 KiB: the usual case.
	var copies []match.Copy
	const n = 150 << 20
	for at := int64(0); at < n-1<<20; at += 4096 {
		copies = append(copies, match.Copy{Old: at, New: at + at/200, Length: 4000})
	}
	b.SetBytes(n)
	for b.Loop() {
		if _, err := Order(context.Background(), copies, Shape{Size: n, Block: 16 << 10, Batch: 256}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

package match

import (
	"bytes"
	"context"
	"slices"
	"testing"
)

func TestLongStretches(t *testing.T) {
	const n = 40_000
	old := random(20, n)
	other := random(21, 5000)
	changed := bytes.Clone(old)
	for i := 0; i < n; i += longEnough / 2 {
		changed[i]++
	}
	for _, tt := range []struct {
		name     string
		old, new []byte
		want     []Copy
	}{
		{"all of it", old, old, []Copy{{0, 0, n}}},
		{"moved by a little", old, slices.Concat(other[:77], old), []Copy{{0, 77, n}}},
		{"a stretch put in", old, slices.Concat(old[:9000], other, old[9000:]), []Copy{{0, 0, 9000}, {9000, 14_000, n - 9000}}},
		{"a stretch taken out", old, slices.Concat(old[:9000], old[9500:]), []Copy{{0, 0, 9000}, {9500, 9000, n - 9500}}},
		{"in other order", old, slices.Concat(old[9000:], old[:9000]), []Copy{{9000, 0, n - 9000}, {0, n - 9000, 9000}}},
		{"bytes changed close to each other", old, changed, nil},
		{"too short", old, slices.Concat(other, old[5000:5000+longEnough-1], other), nil},
		{"unrelated", old, random(22, n), nil},
		{"zeros, and the rest in another place", slices.Concat(other, make([]byte, n)), slices.Concat(make([]byte, n), other), []Copy{{5000, 5000, n - 5000}, {0, n, 5000}}},
		{"old shorter than a key", old[:5], old, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pieces, err := long(context.Background(), tt.old, tt.new, Options{Threads: 2, Scratch: &Scratch{}})
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Concat(pieces...); !slices.Equal(got, tt.want) {
				t.Errorf("stretches %v, want %v", got, tt.want)
			}
		})
	}
}

// What new has twice is found in a long stretch of old too, where the index
// holds few places.
func TestTextFromALongStretchIsFoundAgain(t *testing.T) {
	old := random(23, 8<<20)
	new := slices.Concat(old, random(24, 100), old[3<<20:3<<20+1000])
	for name, level := range levels() {
		t.Run(name, func(t *testing.T) {
			if got := same(old, new, find(t, old, new, Options{Level: level})); got < len(old)+900 {
				t.Errorf("%d of %d bytes are copied unchanged, want %d or more", got, len(new), len(old)+900)
			}
		})
	}
}

func TestScratchChangesNothing(t *testing.T) {
	var s Scratch
	for _, size := range []int{3 << 20, 300, 1 << 20} {
		old := random(uint64(size), size)
		new := edited(old, 25)
		for name, level := range levels() {
			want := find(t, old, new, Options{Level: level})
			if got := find(t, old, new, Options{Level: level, Scratch: &s}); !slices.Equal(got, want) {
				t.Errorf("%s, %d bytes: %d copies with memory used before, %d without", name, size, len(got), len(want))
			}
		}
	}
}

func TestCutCoversOld(t *testing.T) {
	pieces := [][]Copy{{{Old: 10_000, New: 0, Length: 5000}, {Old: 2000, New: 5000, Length: 4000}}, nil, {{Old: 11_000, New: 9000, Length: 2500}}}
	want := []span{{0, 2064, false}, {2064, 5936, true}, {5936, 10_064, false}, {10_064, 14_936, true}, {14_936, 20_000, false}}
	if got := cut(20_000, pieces); !slices.Equal(got, want) {
		t.Errorf("spans %v, want %v", got, want)
	}
	if got := cut(0, nil); len(got) > 0 {
		t.Errorf("spans of nothing: %v", got)
	}
}

package reference

import (
	"errors"
	"runtime"
	"slices"
	"testing"
)

// slowAt is where the longest copy that has off takes it.
func slowAt(copies []Copy, off int64) (int64, bool) {
	best, found := Copy{}, false
	for _, c := range copies {
		if c.Length < shortest || off < c.Old || off >= c.Old+c.Length {
			continue
		}
		if !found || c.Length > best.Length || c.Length == best.Length && (c.Old < best.Old || c.Old == best.Old && c.New < best.New) {
			best, found = c, true
		}
	}
	return off - best.Old + best.New, found
}

func TestMapTakesTheLongestCopy(t *testing.T) {
	for seed := range uint64(20) {
		r := seeded(seed)
		const size = 20000
		var copies []Copy
		for range 1 + r.IntN(60) {
			n := 1 + r.Int64N(1<<r.IntN(13))
			copies = append(copies, Copy{r.Int64N(size - n), r.Int64N(size), n})
		}
		m, err := NewMap(slices.Values(copies), size)
		if err != nil {
			t.Fatal(err)
		}
		for off := range int64(size) {
			want, ok := slowAt(copies, off)
			if got := m.at(off); ok && got != want {
				t.Fatalf("seed %d: %d went to %d, want %d", seed, off, got, want)
			}
		}
	}
}

func TestMapBetweenCopies(t *testing.T) {
	m, err := NewMap(slices.Values([]Copy{{100, 300, 50}, {5000, 9000, 50}, {0, 0, 7}}), 10000)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ off, want int64 }{
		{100, 300}, {149, 349}, {150, 350}, {4999, 5199}, {5000, 9000}, {9999, 13999}, {0, 200}, {-5, -5}, {20000, 20000},
	} {
		if got := m.at(tt.off); got != tt.want {
			t.Errorf("place %d went to %d, want %d", tt.off, got, tt.want)
		}
	}
	if m.Parts() != 2 {
		t.Errorf("%d parts, want 2", m.Parts())
	}
	empty, err := NewMap(slices.Values([]Copy(nil)), 0)
	if err != nil || empty.at(0) != 0 {
		t.Errorf("empty map: place 0 went to %d, error %v", empty.at(0), err)
	}
}

func TestMapRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Copy
		size int64
	}{
		{"a place behind old", Copy{90, 0, 20}, 100},
		{"a negative place", Copy{-1, 0, 20}, 100},
		{"a place in new past 4 GiB", Copy{0, 1<<32 - 10, 20}, 100},
		{"a length that wraps around", Copy{10, 0, 1<<63 - 1}, 100},
		{"an element past 4 GiB", Copy{0, 0, 1}, 1 << 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewMap(slices.Values([]Copy{tt.c}), tt.size); !errors.Is(err, ErrCorrupt) {
				t.Errorf("error = %v, want %v", err, ErrCorrupt)
			}
		})
	}
	forever := func(yield func(Copy) bool) {
		for yield(Copy{0, 0, 1}) {
		}
	}
	if _, err := NewMap(forever, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("endless copies: error = %v, want %v", err, ErrCorrupt)
	}
}

func TestMapNeedsLittleMemory(t *testing.T) {
	const size = MaxCopies * 64
	for _, tt := range []struct {
		name   string
		length int64
		parts  int
	}{
		{"one after the other", 64, MaxCopies},
		{"all at once", size / 2, MaxCopies},
	} {
		copies := func(yield func(Copy) bool) {
			for i := range int64(MaxCopies) {
				if !yield(Copy{i * 32, i * i % size, tt.length}) {
					return
				}
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := NewMap(copies, size)
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if m.Parts() < tt.parts*9/10 {
			t.Errorf("%s: %d parts, want about %d", tt.name, m.Parts(), tt.parts)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 6<<20 {
			t.Errorf("%s: %d bytes allocated, want at most 6 MiB", tt.name, n)
		}
	}
}

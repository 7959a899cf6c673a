package match

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// check fails unless copies is a list as Find promises it.
func check(t *testing.T, old, new []byte, copies []Copy) {
	t.Helper()
	at := int64(0)
	for i, c := range copies {
		if c.Length <= 0 || c.New < at || c.Length > int64(len(new))-c.New || c.Old < 0 || c.Length > int64(len(old))-c.Old {
			t.Fatalf("copy %d of %d = %+v: empty, out of order or outside (old %d, new %d, last end %d)", i, len(copies), c, len(old), len(new), at)
		}
		at = c.New + c.Length
	}
}

// find gives the copies at a level and checks them.
func find(t *testing.T, old, new []byte, o Options) []Copy {
	t.Helper()
	copies, err := Find(t.Context(), old, new, o)
	if err != nil {
		t.Fatal(err)
	}
	check(t, old, new, copies)
	return copies
}

// same counts the bytes of new that copies give unchanged.
func same(old, new []byte, copies []Copy) int {
	n := 0
	for _, c := range copies {
		for i := range c.Length {
			if old[c.Old+i] == new[c.New+i] {
				n++
			}
		}
	}
	return n
}

func random(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// edited gives old after a few hundred edits per megabyte: bytes changed,
// stretches put in, taken out and moved.
func edited(old []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for at := 0; at < len(old); {
		n := min(1+r.IntN(6000), len(old)-at)
		b = append(b, old[at:at+n]...)
		at += n
		switch r.IntN(4) {
		case 0:
			b[len(b)-1-r.IntN(n)] ^= 0x55
		case 1:
			b = append(b, random(r.Uint64(), r.IntN(200))...)
		case 2:
			at = min(at+r.IntN(300), len(old))
		case 3:
			from := r.IntN(len(old))
			b = append(b, old[from:min(from+r.IntN(3000), len(old))]...)
		}
	}
	return b
}

func levels() map[string]Level { return map[string]Level{"default": Default, "fast": Fast, "max": Max} }

func TestFindTellsTheEdit(t *testing.T) {
	old := random(1, 50_000)
	patched := bytes.Clone(old)
	for i := 1000; i < len(patched); i += 1000 {
		patched[i]++
	}
	tests := []struct {
		name string
		old  []byte
		new  []byte
		want []Copy
	}{
		{"nothing", nil, nil, nil},
		{"old is empty", nil, old, nil},
		{"new is empty", old, nil, nil},
		{"one byte each, equal", []byte{1}, []byte{1}, []Copy{{0, 0, 1}}},
		{"one byte each, different", []byte{1}, []byte{2}, nil},
		{"identical", old, old, []Copy{{0, 0, 50_000}}},
		{"new is the start of old", old, old[:777], []Copy{{0, 0, 777}}},
		{"new is the end of old", old, old[40_000:], []Copy{{40_000, 0, 10_000}}},
		{"bytes changed far apart", old, patched, []Copy{{0, 0, 50_000}}},
		{"bytes put in", old, slices.Concat(old[:20_000], random(2, 500), old[20_000:]), []Copy{{0, 0, 20_000}, {20_000, 20_500, 30_000}}},
		{"bytes taken out", old, slices.Concat(old[:20_000], old[20_500:]), []Copy{{0, 0, 20_000}, {20_500, 20_000, 29_500}}},
		{"halves swapped", old, slices.Concat(old[25_000:], old[:25_000]), []Copy{{25_000, 0, 25_000}, {0, 25_000, 25_000}}},
		{"unrelated", old, random(3, 50_000), nil},
	}
	for _, tt := range tests {
		for name, level := range levels() {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				got := find(t, tt.old, tt.new, Options{Level: level})
				if !slices.EqualFunc(got, tt.want, func(g, w Copy) bool {
					// A byte or two beside an edit may be equal by chance.
					return g.diagonal() == w.diagonal() && distance(int(g.New), int(w.New)) <= 2 && distance(int(g.Length), int(w.Length)) <= 4
				}) {
					t.Errorf("copies = %v, want about %v", got, tt.want)
				}
			})
		}
	}
}

func TestResultIsTheSameForAnyNumberOfThreads(t *testing.T) {
	old := random(4, 2*pieceSize+12_345)
	// Repeats within old make equally good places to choose from.
	copy(old[pieceSize:], old[:pieceSize/2])
	clear(old[pieceSize*3/2:][:100_000])
	new := edited(old, 5)
	for name, level := range levels() {
		t.Run(name, func(t *testing.T) {
			want := find(t, old, new, Options{Level: level, Threads: 1})
			if got := same(old, new, want); got < len(new)*9/10 {
				t.Errorf("%d of %d bytes are copied unchanged, want nine tenths", got, len(new))
			}
			for _, threads := range []int{2, 4, 1} {
				if got := find(t, old, new, Options{Level: level, Threads: threads}); !slices.Equal(got, want) {
					t.Errorf("%d threads: %d copies differ from the %d of one thread", threads, len(got), len(want))
				}
			}
		})
	}
}

// The bounds of TestTrapsStayFast are some ten times what is seen on one slow
// core; work that grows with the square of a run would pass them a hundredfold.
func TestTrapsStayFast(t *testing.T) {
	const n = 4 << 20
	zeros := make([]byte, n)
	holes := random(6, n)
	clear(holes[n/4 : n/2])
	clear(holes[5*n/8 : 7*n/8])
	period := func(p int) []byte { return bytes.Repeat(random(7, p), n/p+1)[:n] }
	text := bytes.Repeat([]byte("all work and no play makes Jack a dull boy\n"), n/43)
	spoilt := func(b []byte) []byte {
		b = bytes.Clone(b)
		for i := 500; i < len(b); i += 997 {
			b[i] ^= byte(i)
		}
		return b
	}
	tests := []struct {
		name     string
		old, new []byte
	}{
		{"zeros, one longer", zeros[1:], zeros},
		{"zeros spoilt in new", zeros, spoilt(zeros)},
		{"zeros spoilt in old", spoilt(zeros), zeros},
		{"zeros spoilt in both", spoilt(zeros[3:]), spoilt(zeros)},
		{"zeros between random bytes", holes, spoilt(holes[100:])},
		{"zeros against random bytes", zeros, random(8, n)},
		{"random bytes against zeros", random(8, n), zeros},
		{"period of 2", period(2), spoilt(period(2)[1:])},
		{"period of 3 against 7", period(3), period(7)},
		{"period of 13", spoilt(period(13)), spoilt(period(13)[5:])},
		{"period of 4097", spoilt(period(4097)), spoilt(period(4097)[77:])},
		{"one line again and again", text, spoilt(text[20:])},
		{"unrelated", random(9, n), random(10, n)},
	}
	for _, tt := range tests {
		for name, level := range levels() {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				start := time.Now()
				got := find(t, tt.old, tt.new, Options{Level: level, Threads: 1})
				took := time.Since(start)
				if took > 30*time.Second {
					t.Errorf("took %v for %d bytes, want less than 30 s", took, n)
				}
				t.Logf("%d copies, %d bytes unchanged, %v", len(got), same(tt.old, tt.new, got), took.Round(time.Millisecond))
			})
		}
	}
}

func TestFindStopsWithItsContext(t *testing.T) {
	old, new := random(11, 16<<20), random(12, 16<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, old, new, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("before it begins: error = %v, want %v", err, context.Canceled)
	}
	for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			start := time.Now()
			if _, err := Find(ctx, old, new, Options{Level: Max, Threads: 1}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error = %v, want %v", err, context.DeadlineExceeded)
			}
			late := time.Since(start) - after
			if late > 2*time.Second {
				t.Errorf("stopped %v after the deadline, want about a tenth of a second", late)
			}
			t.Logf("stopped %v after the deadline", late)
		})
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(""), []byte(""), uint8(0))
	f.Add([]byte("the quick brown fox jumps over the lazy dog"), []byte("the quick brown cat jumps over the lazy dog"), uint8(1))
	f.Add(bytes.Repeat([]byte{0}, 3000), bytes.Repeat([]byte{0}, 2999), uint8(2))
	f.Add(random(1, 4000), random(1, 5000)[500:], uint8(0))
	f.Fuzz(func(t *testing.T, old, new []byte, level uint8) {
		one := find(t, old, new, Options{Level: Level(level), Threads: 1})
		// A longer pair made of the same bytes reaches what short ones do not.
		long := bytes.Repeat(old, min(8, 1+4096/(len(old)+1)))
		mixed := slices.Concat(new, long, new)
		find(t, long, mixed, Options{Level: Level(level), Threads: 2})
		if again := find(t, old, new, Options{Level: Level(level), Threads: 3}); !slices.Equal(one, again) {
			t.Errorf("three threads give %v, one gives %v", again, one)
		}
	})
}

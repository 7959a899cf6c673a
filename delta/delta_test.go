package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gabstv/go-bsdiff/pkg/bsdiff"
)

// pair makes two files of about size bytes: words in a random order, and the
// same with some of them moved, changed and added.
func pair(size int) (old, upd []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 512)
	for i := range words {
		words[i] = make([]byte, 4+r.IntN(60))
		for j := range words[i] {
			words[i][j] = byte(r.UintN(256))
		}
	}
	for len(old) < size {
		old = append(old, words[r.IntN(len(words))]...)
	}
	old = old[:size]
	third := size / 3
	upd = append(upd, old[2*third:]...)
	upd = append(upd, old[:2*third]...)
	for range size / 2000 {
		upd[r.IntN(len(upd))]++
	}
	return old, append(upd, "and something that was not there"...)
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func lookup(t testing.TB, name string) Format {
	t.Helper()
	f, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustMake(t testing.TB, f Format, old, upd []byte, level Level) []byte {
	t.Helper()
	var patch bytes.Buffer
	stats, err := Make(t.Context(), f, &patch, section(old), section(upd), Options{Level: level, Bsdiff: bsdiff.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	need := f.Need(int64(len(old)), int64(len(upd)))
	if stats.OldSize != int64(len(old)) || stats.NewSize != int64(len(upd)) || stats.PatchSize != int64(patch.Len()) ||
		stats.Memory > need || stats.Memory != need && !f.Streams() {
		t.Errorf("Stats = %+v for %d and %d bytes, a patch of %d and a need of %d", stats, len(old), len(upd), patch.Len(), need)
	}
	return patch.Bytes()
}

// apply gives all that came before the error, if any.
func apply(ctx context.Context, f Format, old, patch []byte, limits Limits) ([]byte, error) {
	r, err := f.NewReader(ctx, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), limits)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

// made are the formats that can be made.
var made = []string{"bsdiff", "udelta", "zstd"}

func TestLookup(t *testing.T) {
	for _, name := range Names() {
		if f := lookup(t, name); f.Name() != name {
			t.Errorf("Lookup(%q).Name() = %q", name, f.Name())
		}
	}
	_, err := Lookup("x")
	if want := fmt.Sprintf(`unknown delta format "x" (have %q)`, Names()); err == nil || err.Error() != want {
		t.Errorf("Lookup(x) = %v, want %s", err, want)
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]Level{"": Default, "fast": Fast, "default": Default, "max": Max} {
		if got, err := ParseLevel(in); got != want || err != nil {
			t.Errorf("ParseLevel(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	want := `unknown delta level "9" (have ["fast" "default" "max"])`
	if _, err := ParseLevel("9"); err == nil || err.Error() != want {
		t.Errorf("ParseLevel(9) = %v, want %s", err, want)
	}
	_, err := Make(t.Context(), lookup(t, "zstd"), io.Discard, section(nil), section(nil), Options{Level: "9"})
	if err == nil || err.Error() != want {
		t.Errorf("Make = %v, want %s", err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	old, upd := pair(300_000)
	cases := []struct {
		name     string
		old, upd []byte
	}{
		{"changed", old, upd},
		{"both empty", nil, nil},
		{"from nothing", nil, upd},
		{"to nothing", old, nil},
		{"identical", old, old},
		{"old of three bytes", []byte("abc"), []byte("abcabcabc")},
		{"old with the magic number of a trained dictionary", append([]byte("\x37\xa4\x30\xec"), old...), upd},
		{"long run", old, bytes.Repeat([]byte{7}, 1<<20)},
	}
	for _, n := range []int{1, 255, 256, 1023, 1024, 1025, 65791, 65792, 128 << 10, 128<<10 + 1, 256 << 10} {
		cases = append(cases, struct {
			name     string
			old, upd []byte
		}{fmt.Sprintf("new of %d bytes", n), old, upd[:n]})
	}
	for _, name := range made {
		f := lookup(t, name)
		for _, tt := range cases {
			for _, level := range []Level{Fast, Default} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, tt.name, level), func(t *testing.T) {
					patch := mustMake(t, f, tt.old, tt.upd, level)
					for _, size := range []int64{int64(len(tt.upd)), AnySize} {
						got, err := apply(t.Context(), f, tt.old, patch, Limits{Size: size})
						if err != nil || !bytes.Equal(got, tt.upd) {
							t.Errorf("size %d: got %d bytes, %v, want %d", size, len(got), err, len(tt.upd))
						}
					}
				})
			}
		}
	}
}

func TestDeterminism(t *testing.T) {
	old, upd := pair(300_000)
	for _, name := range made {
		f := lookup(t, name)
		size := math.MaxInt
		for _, level := range []Level{Fast, Default, Max} {
			patch := mustMake(t, f, old, upd, level)
			if again := mustMake(t, f, old, upd, level); !bytes.Equal(patch, again) {
				t.Errorf("%s at %s: the same input gave another patch", name, level)
			}
			if len(patch) > size {
				t.Errorf("%s at %s: %d bytes, the level below gave %d", name, level, len(patch), size)
			}
			size = len(patch)
		}
	}
}

func TestReaderIsAReader(t *testing.T) {
	old, upd := pair(40_000)
	for _, name := range made {
		f := lookup(t, name)
		patch := mustMake(t, f, old, upd, Default)
		// One byte at a time in, and in any portion out.
		r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), iotest.OneByteReader(bytes.NewReader(patch)), Limits{Size: int64(len(upd))})
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, upd); err != nil {
			t.Error(err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read after Close = %v, want os.ErrClosed", err)
		}
	}
}

func TestSize(t *testing.T) {
	old, upd := pair(40_000)
	for _, name := range made {
		f := lookup(t, name)
		patch := mustMake(t, f, old, upd, Default)
		for _, d := range []int64{-1, 1, -int64(len(upd))} {
			got, err := apply(t.Context(), f, old, patch, Limits{Size: int64(len(upd)) + d})
			if !errors.Is(err, ErrCorrupt) || len(got) != 0 {
				t.Errorf("size off by %d: %d bytes, %v, want ErrCorrupt", d, len(got), err)
			}
		}
		if _, err := apply(t.Context(), f, old, patch, Limits{Size: -2}); err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("size -2: %v", err)
		}
	}
}

func TestOtherOldFile(t *testing.T) {
	old, upd := pair(40_000)
	other := bytes.Clone(old)
	for i := range other {
		other[i] ^= 1
	}
	for _, name := range made {
		f := lookup(t, name)
		if name == "bsdiff" {
			continue // nothing in a patch tells which old file it wants
		}
		patch := mustMake(t, f, old, upd, Default)
		for what, b := range map[string][]byte{"other bytes": other, "one byte less": old[1:], "nothing": nil} {
			if _, err := apply(t.Context(), f, b, patch, Limits{Size: int64(len(upd))}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v, want ErrCorrupt", what, err)
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	old, upd := pair(100_000)
	for _, name := range made {
		f := lookup(t, name)
		if name != "zstd" {
			continue // what it needs depends on the patch, not on the files
		}
		patch := mustMake(t, f, old, upd, Default)
		need := f.Need(int64(len(old)), int64(len(upd)))
		for _, size := range []int64{int64(len(upd)), AnySize} {
			if _, err := apply(t.Context(), f, old, patch, Limits{Memory: need, Size: size}); err != nil {
				t.Errorf("with what Need says: %v", err)
			}
			_, err := apply(t.Context(), f, old, patch, Limits{Memory: need - 1, Size: size})
			if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprintf("need %d bytes of memory, the limit is %d", need, need-1)) {
				t.Errorf("with one byte less: %v, want ErrTooLarge with both figures", err)
			}
		}
		if n := f.Need(math.MaxInt64, math.MaxInt64); n != math.MaxInt64 {
			t.Errorf("Need of everything = %d", n)
		}
		// A reader that nobody may read: the sizes alone must decide.
		huge := io.NewSectionReader(readerAt(nil), 0, 512<<20)
		if _, err := Make(t.Context(), f, io.Discard, huge, section(upd), Options{Bsdiff: bsdiff.Bytes}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Make: %v, want ErrTooLarge", err)
		}
		most := Limits{Memory: math.MaxInt64, Size: int64(len(upd))}
		if _, err := f.NewReader(t.Context(), readerAt(nil), math.MaxInt64, bytes.NewReader(patch), most); !errors.Is(err, ErrTooLarge) {
			t.Errorf("NewReader: %v, want ErrTooLarge", err)
		}
	}
}

// readerAt is a function that stands for a file.
type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func TestFailingFiles(t *testing.T) {
	old, upd := pair(400_000)
	broken := errors.New("no such sector")
	fails := io.NewSectionReader(readerAt(func([]byte, int64) (int, error) { return 0, broken }), 0, int64(len(old)))
	short := io.NewSectionReader(bytes.NewReader(old[:1000]), 0, int64(len(old)))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range made {
		f := lookup(t, name)
		patch := mustMake(t, f, old, upd, Default)
		making := func(ctx context.Context, dst io.Writer, old, upd *io.SectionReader) error {
			_, err := Make(ctx, f, dst, old, upd, Options{Bsdiff: bsdiff.Bytes})
			return err
		}
		applying := func(ctx context.Context, old *io.SectionReader, patch io.Reader) error {
			r, err := f.NewReader(ctx, old, old.Size(), patch, Limits{Size: int64(len(upd))})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return err
		}
		cut := func(err error) io.Reader {
			return io.MultiReader(bytes.NewReader(patch[:len(patch)/2]), iotest.ErrReader(err))
		}
		ctx := t.Context()
		for _, tt := range []struct {
			name      string
			got, want error
			says      string
		}{
			{"make, old fails", making(ctx, io.Discard, fails, section(upd)), broken, "read old file"},
			{"make, old is short", making(ctx, io.Discard, short, section(upd)), io.ErrUnexpectedEOF, "read old file: 1000 of 400000 bytes"},
			{"make, new fails", making(ctx, io.Discard, section(old), fails), broken, "read new file"},
			{"make, new is short", making(ctx, io.Discard, section(old), short), io.ErrUnexpectedEOF, "read new file: 1000 of 400000 bytes"},
			{"make, no room for the head", making(ctx, &disk{err: broken}, section(old), section(upd)), broken, "make"},
			{"make, no room for the rest", making(ctx, &disk{err: broken, room: 100}, section(old), section(upd)), broken, "make"},
			{"make, cancelled", making(gone, io.Discard, section(old), section(upd)), context.Canceled, "make"},
			{"apply, old fails", applying(ctx, fails, bytes.NewReader(patch)), broken, "read old file"},
			{"apply, old is short", applying(ctx, short, bytes.NewReader(patch)), io.ErrUnexpectedEOF, "read old file"},
			{"apply, patch fails at once", applying(ctx, section(old), iotest.ErrReader(broken)), broken, "read patch"},
			{"apply, patch fails half-way", applying(ctx, section(old), cut(broken)), broken, "read patch"},
			{"apply, transfer breaks off", applying(ctx, section(old), cut(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF, "read patch"},
			{"apply, patch fails after its end", applying(ctx, section(old), io.MultiReader(bytes.NewReader(patch), iotest.ErrReader(broken))), broken, "read patch"},
			{"apply, cancelled", applying(gone, section(old), bytes.NewReader(patch)), context.Canceled, "apply"},
		} {
			if !errors.Is(tt.got, tt.want) || errors.Is(tt.got, ErrCorrupt) || !strings.Contains(tt.got.Error(), tt.says) {
				t.Errorf("%s %s: %v, want %v and %q", name, tt.name, tt.got, tt.want, tt.says)
			}
		}
	}
}

// disk takes room bytes and then gives err.
type disk struct {
	room int
	err  error
}

func (d *disk) Write(p []byte) (int, error) {
	if len(p) > d.room {
		return 0, d.err
	}
	d.room -= len(p)
	return len(p), nil
}

func TestCancelHalfWay(t *testing.T) {
	old, upd := pair(1 << 20)
	for _, name := range made {
		f := lookup(t, name)
		patch := mustMake(t, f, old, upd, Default)
		ctx, cancel := context.WithCancel(t.Context())
		r, err := f.NewReader(ctx, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) || n > 128<<10 {
			t.Errorf("%s: %d more bytes, %v, want context.Canceled within a block", name, n, err)
		}
	}
}

func BenchmarkMake(b *testing.B) {
	old, upd := pair(2 << 20)
	for _, name := range made {
		f := lookup(b, name)
		for _, level := range []Level{Fast, Default} {
			b.Run(fmt.Sprintf("%s/%s", name, level), func(b *testing.B) {
				b.SetBytes(int64(len(upd)))
				var stats Stats
				for b.Loop() {
					var err error
					if stats, err = Make(b.Context(), f, io.Discard, section(old), section(upd), Options{Level: level, Bsdiff: bsdiff.Bytes}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(stats.PatchSize)/float64(len(upd)), "patch/new")
			})
		}
	}
}

func BenchmarkApply(b *testing.B) {
	old, upd := pair(2 << 20)
	for _, name := range made {
		f := lookup(b, name)
		b.Run(name, func(b *testing.B) {
			patch := mustMake(b, f, old, upd, Default)
			b.SetBytes(int64(len(upd)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := f.NewReader(b.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd))})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
			b.ReportMetric(float64(len(patch))/float64(len(upd)), "patch/new")
		})
	}
}

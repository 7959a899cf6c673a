package codec

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

const fox = "the quick brown fox, the quick brown dog\n"

// What the bzip2 program makes, as nothing here can: of fox, and of
// 45,899,235 zeros, which is one block.
const (
	bzip2Fox   = "425a683931415926535935794b41000011d180001040041fe9b6c02000212a680003214c269a034c4ae0c9626d4342684df853631d616a288ac61df17724538509035794b410"
	bzip2Zeros = "425a68393141592653590e09e2df015f8e4000c0000008200030804d4642a025a90a80971772453850900e09e2df"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func lookup(t testing.TB, name string) Codec {
	t.Helper()
	c, err := Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pack makes a file of content with checksums. For bzip2, which cannot be
// made, content has to be fox.
func pack(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "bzip2":
		if string(content) != fox {
			t.Fatal("there is no bzip2 file of this content")
		}
		return unhex(t, bzip2Fox)
	case "xz":
		w, err = xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	case "lz4":
		z := lz4.NewWriter(&b)
		err = z.Apply(lz4.ChecksumOption(true), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(content))))
		w = z
	default:
		w, err = NewWriter(&b, lookup(t, name), Options{Size: int64(len(content))})
	}
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decode(ctx context.Context, c Codec, src io.Reader, limits Limits) ([]byte, error) {
	r, err := c.NewReader(ctx, src, limits)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

func unpack(t testing.TB, name string, file []byte, limits Limits) ([]byte, error) {
	return decode(t.Context(), lookup(t, name), bytes.NewReader(file), limits)
}

// content is n bytes that compress by about a half.
func content(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(16) * r.UintN(2))
	}
	return b
}

// words is n bytes of words in no order.
func words(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	list := make([][]byte, 1000)
	for i := range list {
		list[i] = content(4096)[r.IntN(4000):][:3+r.IntN(12)]
	}
	var b []byte
	for len(b) < n {
		b = append(b, list[r.IntN(1+r.IntN(1000))]...)
	}
	return b[:n]
}

func TestLookup(t *testing.T) {
	want := []string{"bzip2", "gzip", "lz4", "xz", "zstd"}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("Names = %q, want %q", got, want)
	}
	for _, name := range want {
		if c := lookup(t, name); c.Name() != name {
			t.Errorf("Lookup(%q).Name() = %q", name, c.Name())
		}
		if got := Detect(pack(t, name, []byte(fox))); got != name {
			t.Errorf("Detect = %q, want %q", got, name)
		}
		if got := Detect(pack(t, name, []byte(fox))[:2]); got != "" {
			t.Errorf("Detect of two bytes of %s = %q", name, got)
		}
	}
	if got := Detect([]byte("BZh9 is no bzip2")); got != "" {
		t.Errorf("Detect of text = %q", got)
	}
	_, err := Lookup("x")
	if want := `unknown codec "x" (have ["bzip2" "gzip" "lz4" "xz" "zstd"])`; err == nil || err.Error() != want {
		t.Errorf("Lookup(x) = %v, want %s", err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"gzip", "lz4", "xz", "zstd"} {
		for _, n := range []int{0, 1, 1000, 65535, 65536, 1 << 20, 5 << 20} {
			want := content(n)
			file := pack(t, name, want)
			for _, size := range []int64{int64(n), AnySize} {
				got, err := unpack(t, name, file, Limits{Size: size, Max: int64(n)})
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes, size %d: got %d, %v", name, n, size, len(got), err)
				}
			}
		}
	}
}

func TestReaderIsAReader(t *testing.T) {
	for _, name := range Names() {
		file := pack(t, name, []byte(fox))
		r, err := lookup(t, name).NewReader(t.Context(), iotest.OneByteReader(bytes.NewReader(file)), Limits{Size: AnySize})
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, []byte(fox)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: Read after Close = %v, want os.ErrClosed", name, err)
		}
	}
}

// TestEnds holds all codecs to the same end: whole files may follow each
// other, anything else may not.
func TestEnds(t *testing.T) {
	skippable := "\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
	for _, name := range Names() {
		file := string(pack(t, name, []byte(fox)))
		skips := name == "zstd" || name == "lz4"
		for _, tt := range []struct {
			name, file string
			want       string
			ok         bool
		}{
			{"twice", file + file, fox + fox, true},
			{"thrice", file + file + file, fox + fox + fox, true},
			{"a frame for others behind it", file + skippable, fox, skips},
			{"a frame for others before it", skippable + file, fox, skips},
			{"a frame for others that is cut", file + skippable[:10], "", false},
			{"nothing at all", "", "", false},
			{"one zero behind it", file + "\x00", "", false},
			{"four zeros behind it", file + "\x00\x00\x00\x00", "", false},
			{"many zeros behind it", file + strings.Repeat("\x00", 1000), "", false},
			{"text behind it", file + "and so on", "", false},
			{"the second is cut", file + file[:len(file)-1], "", false},
			{"the second is one byte", file + file[:1], "", false},
			{"the second is three bytes", file + file[:3], "", false},
		} {
			got, err := unpack(t, name, []byte(tt.file), Limits{Size: AnySize})
			if tt.ok && (err != nil || string(got) != tt.want) || !tt.ok && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s, %s: %q, %v", name, tt.name, got, err)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	size := int64(len(fox))
	for _, name := range Names() {
		file := pack(t, name, []byte(fox))
		for _, tt := range []struct {
			name   string
			limits Limits
			want   error
			says   string
			most   int64
		}{
			{"one byte too many", Limits{Size: size - 1}, ErrCorrupt, "more than the 40 bytes that were declared", size - 1},
			{"one byte too few", Limits{Size: size + 1}, ErrCorrupt, "41 bytes come out, 42 were declared", size},
			{"nothing was declared", Limits{}, ErrCorrupt, "more than the 0 bytes", 0},
			{"one byte more than allowed", Limits{Size: AnySize, Max: size - 1}, ErrTooLarge, "more than 40 bytes come out", size - 1},
			{"declared more than allowed", Limits{Size: size, Max: size - 1}, ErrTooLarge, "41 bytes are declared, 40 are allowed", 0},
			{"no memory", Limits{Size: size, Memory: 1000}, ErrTooLarge, "the limit is 1000", 0},
			{"negative", Limits{Size: -2}, nil, "negative limit", 0},
		} {
			got, err := unpack(t, name, file, tt.limits)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || int64(len(got)) > tt.most {
				t.Errorf("%s, %s: %d bytes, %v, want %q", name, tt.name, len(got), err, tt.says)
			}
		}
	}
}

func TestFailingInput(t *testing.T) {
	broken := errors.New("no such sector")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range Names() {
		c, file := lookup(t, name), pack(t, name, []byte(fox))
		for n := range len(file) + 1 {
			// A transfer that breaks off is no damage to the file.
			for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
				_, err := decode(t.Context(), c, io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(cause)), Limits{Size: AnySize})
				if !errors.Is(err, cause) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "read artifact") {
					t.Errorf("%s: input failed after %d bytes: %v, want %v", name, n, err, cause)
				}
			}
		}
		if _, err := decode(gone, c, bytes.NewReader(file), Limits{Size: AnySize}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: cancelled: %v", name, err)
		}
	}
}

// TestDamage flips every bit and cuts at every byte. A cut is always an
// error. A flip is one, or changes nothing that comes out: each format has
// bits that no content depends on.
func TestDamage(t *testing.T) {
	for _, name := range Names() {
		file := pack(t, name, []byte(fox))
		for n := range len(file) {
			if _, err := unpack(t, name, file[:n], Limits{Size: AnySize}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: cut to %d of %d bytes: %v, want ErrCorrupt", name, n, len(file), err)
			}
		}
		var harmless []int
		for bit := range 8 * len(file) {
			bad := bytes.Clone(file)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := unpack(t, name, bad, Limits{Size: AnySize})
			switch {
			case err == nil && string(got) == fox:
				harmless = append(harmless, bit/8)
			case err == nil:
				t.Errorf("%s: bit %d of byte %d flipped: %q without an error", name, bit%8, bit/8, got)
			case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, errors.ErrUnsupported):
				t.Errorf("%s: bit %d of byte %d flipped: %v", name, bit%8, bit/8, err)
			}
		}
		harmless = slices.Compact(harmless)
		t.Logf("%s: %d bytes, every bit flipped; without any effect only in bytes %d", name, len(file), harmless)
	}
}

func TestWriter(t *testing.T) {
	for _, name := range Names() {
		c := lookup(t, name)
		if encoderOf(c.name) == nil {
			if _, err := NewWriter(io.Discard, c, Options{}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "can be decoded, not made") {
				t.Errorf("%s: NewWriter = %v", name, err)
			}
			continue
		}
		want := words(300_000)
		sizes := make(map[Level]int)
		for _, level := range []Level{Fast, Default, Max} {
			var files [2]bytes.Buffer
			for _, declared := range []int64{AnySize, int64(len(want))} {
				files = [2]bytes.Buffer{}
				for i := range files {
					w, err := NewWriter(&files[i], c, Options{Level: level, Size: declared})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := w.Write(want); err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(w.Close(), w.Close()); err != nil {
						t.Fatal(err)
					}
					if _, err := w.Write(nil); !errors.Is(err, os.ErrClosed) {
						t.Errorf("%s: Write after Close = %v", name, err)
					}
				}
				if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
					t.Errorf("%s at %s: the same content gave other bytes", name, level)
				}
			}
			sizes[level] = files[0].Len()
		}
		if sizes[Max] >= sizes[Fast] {
			t.Errorf("%s: %d bytes at the highest level, %d at the lowest", name, sizes[Max], sizes[Fast])
		}
		for _, n := range []int{4, 6} {
			w, err := NewWriter(io.Discard, c, Options{Size: 5})
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(make([]byte, n))
			if err = errors.Join(err, w.Close()); err == nil || !strings.Contains(err.Error(), "5") {
				t.Errorf("%s: %d bytes where 5 were declared: %v", name, n, err)
			}
		}
		if _, err := NewWriter(io.Discard, c, Options{Level: "9"}); err == nil || !strings.Contains(err.Error(), `unknown level "9"`) {
			t.Errorf("%s: level 9: %v", name, err)
		}
		w, err := NewWriter(&full{}, c, Options{Size: AnySize})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(want)
		if err = errors.Join(err, w.Close()); !errors.Is(err, errFull) {
			t.Errorf("%s: on a full disk: %v", name, err)
		}
	}
}

var errFull = errors.New("disk full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func BenchmarkDecode(b *testing.B) {
	want := content(8 << 20)
	for _, name := range []string{"gzip", "lz4", "xz", "zstd"} {
		file := pack(b, name, want)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(want)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := lookup(b, name).NewReader(b.Context(), bytes.NewReader(file), Limits{Size: int64(len(want))})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
			b.ReportMetric(float64(len(file))/float64(len(want)), "packed/content")
		})
	}
}

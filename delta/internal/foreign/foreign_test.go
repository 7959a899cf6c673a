package foreign

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// texts is an old file of 1,510 bytes and a new one of 1,704, the pair of all
// patches in this test that a program made.
func texts() (old, upd []byte) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("line %d of a file that is long enough\n", i))
	}
	join := func(from, to int) string { return strings.Join(lines[from:to], "") }
	return []byte(join(0, 40)), []byte(join(20, 30) + join(5, 18) + "something that was not there\n" + strings.Repeat("=", 100) + "\n" +
		strings.ReplaceAll(join(2, 9), "long", "very long") + join(30, 40) + strings.Repeat("0123456789", 3) + "\n")
}

// made are patches of texts as programs made them.
var made = []struct {
	name    string
	open    opener
	patch   string
	checked bool // damage to any byte that matters is noticed
}{
	{"bsdiff 4.3", Bsdiff, "42534449464634305c000000000000002c00000000000000a806000000000000425a6839314159265359876f1f6f00000f72497c540014810000226020200000012000486d42869ea1a6d4f504a4f5000022219819fadd13da1f58d4880552150aafd80576e925866aa1cb88648b8e03bef8bb9229c284843b78fb78425a6839314159265359eb092cac000002c001c00000020008200030cc089a49403c5dc914e14243ac24b2b0425a6839314159265359babb98630000245980001040007fe262e39da0200040daa8c806993406350a3434000004a1f4e89c9b3343536206e4491c129a4de5ae60adba1ecd5a635493472bf14fa219d10fc5dc914e14242eaee618c0", true},
	{"bsdiff of mendsley", Bsdiff, "454e44534c45592f4253444946463433a806000000000000425a6839314159265359613f90fb00000f7bc9fd540114d1407fe2003262e39da0612020000001000820009288d50d046981a9a6431323269934f41b541b529ea406400000c41a0643d477766068d12c9810f542d4b5a2ec6444890925f63099d728627428668924ad03513f573a58cf5535ab22fc86b8a1313941cce8753b14990afe84c2968d4b60c0dd738419ed4b959111eaeb2e1237582344404a414ccd966d1074bf8bb9229c2848309fc87d80", true},
	{"xdelta3 3.0.11 -S none -A", Vcdiff, "d6c3c40000058b66007a8d28002e2b17e6672fa3736f6d657468696e67207468617420776173206e6f742074686572650a3d7665727934303132333435363738390a13825d138408011d0064131a05132623160223132316231423166314231643143213183243827b0b231402856e811a49622a84752a85692a252a252a82292a86420a", true},
	{"xdelta3 3.0.11 -S none -A -n", Vcdiff, "d6c3c40000018b6600768d28002e2b17736f6d657468696e67207468617420776173206e6f742074686572650a3d7665727934303132333435363738390a13825d138408011d0064131a05132623160223132316231423166314231643143213183243827b0b231402856e811a49622a84752a85692a252a252a82292a86420a", false},
	{"xdelta3 3.0.11 -A", Vcdiff, "d6c3c4000102058b6600814e8d28074a4733e6672fa32efd377a585a000000ff12d941020021010c0000008f98419c01002d736f6d657468696e67207468617420776173206e6f742074686572650a3d7665727934303132333435363738390a2bfd377a585a000000ff12d941020021010c0000008f98419c01002a13825d138408011d0064131a05132623160223132316231423166314231643143213183243827b0b23140217fd377a585a000000ff12d941020021010c0000008f98419c010016856e811a49622a84752a85692a252a252a82292a86420a", true},
	{"xdelta3 3.0.11 -9 -S lzma -A -n", Vcdiff, "d6c3c4000102018b6600813e8d280748432d2cfd377a585a000000ff12d941020021010c0000008f98419c01002b736f6d657468696e67776173206e6f742074686572650a3d766572793435363738303132333435363738390a28fd377a585a000000ff12d941020021010c0000008f98419ce0002700235d0009a183442aa375e3ecda0418ff21138e0eacfb1177af4f59f0d483452e3309760841c011fd377a585a000000ff12d941020021010c0000008f98419c010010856e811a836249622a2a2a2a2ad3885d0a", false},
	{"open-vcdiff 0.8.4", Vcdiff, "d6c3c40000018b660081598d28007c3c1b353639313131313133736f6d657468696e67207468617420776173206e6f742074686572650a3d0a6c696e652032206f6620612066696c65207468617420697320766572797665727976657279766572797665727976657279766572793031323334353637383930313233343536373839303132333435363738390a13830102132402732423252325027324022325037324024325037324438113011e2363011e432605332605232605532605632605332605138309011f856e5050813b843650873150857050833f0112258569252525885d", false},
	{"open-vcdiff 0.8.4 interleaved", Vcdiff, "d6c3c45300018b6600815a8d280000815300138301856e023513245002367324502325813b232584360239732450023123258731033131732450023143258570033133732450438113833f011e736f6d657468696e67207468617420776173206e6f742074686572650a3d236301011e0a6c696e652032206f6620612066696c652074686174206973207665727943261205766572793326250576657279232685690576657279532625057665727963262505766572793326250576657279138309885d011f3031323334353637383930313233343536373839303132333435363738390a", false},
	{"open-vcdiff 0.8.4 checksum", Vcdiff, "d6c3c45300058b6600815e8d28007c3c1b8dfdfcdf22353639313131313133736f6d657468696e67207468617420776173206e6f742074686572650a3d0a6c696e652032206f6620612066696c65207468617420697320766572797665727976657279766572797665727976657279766572793031323334353637383930313233343536373839303132333435363738390a13830102132402732423252325027324022325037324024325037324438113011e2363011e432605332605232605532605632605332605138309011f856e5050813b843650873150857050833f0112258569252525885d", true},
	{"open-vcdiff 0.8.4 interleaved, checksum, many windows", Vcdiff, "d6c3c45300058b6600208310000015008687968a7f138301856e1035206f6620612066696c6520746861058b66001083100000050088dd8a8c40138310814d058b6600815b83100000814f0081a08dfd3313245002312320840d01811f736f6d657468696e67207468617420776173206e6f742074686572650a3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d0a6c696e652032206f6620612066696c65207468617420697320766572793326120576657279532625057665727963262505766572793326250976657279206c6f6e058b660021831000001600899aea8d371322817a057665727933262105766572792382408359058b66002e68000024008bd59cbc5b234949011f3031323334353637383930313233343536373839303132333435363738390a", true},
}

// opener is Bsdiff or Vcdiff.
type opener func(context.Context, Files, Limits) (*Reader, error)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is what tests let a reader hold.
const memory = 64 << 20

// apply gives all that came before the error, if any.
func apply(t testing.TB, open opener, old []byte, patch io.Reader, limits Limits) ([]byte, error) {
	t.Helper()
	if limits.Memory == 0 {
		limits.Memory = memory
	}
	r, err := open(t.Context(), Files{bytes.NewReader(old), int64(len(old)), patch}, limits)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

// stream hides all but Read of a patch.
func stream(patch []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(patch)} }

func TestPatchesOfPrograms(t *testing.T) {
	old, want := texts()
	for _, tt := range made {
		patch := unhex(t, tt.patch)
		behind := bytes.NewReader(append([]byte("head"), patch...))
		if _, err := behind.Seek(4, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		for how, src := range map[string]io.Reader{
			"at random":     bytes.NewReader(patch),
			"from a middle": behind,
			"as a stream":   stream(patch),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(patch)),
		} {
			for _, size := range []int64{int64(len(want)), AnySize} {
				if how == "byte by byte" {
					src = iotest.OneByteReader(bytes.NewReader(patch))
				} else if s, ok := src.(io.Seeker); ok && how == "at random" {
					s.Seek(0, io.SeekStart)
				} else if ok {
					s.Seek(4, io.SeekStart)
				} else {
					src = stream(patch)
				}
				got, err := apply(t, tt.open, old, src, Limits{Size: size})
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %s, size %d: %d bytes, %v", tt.name, how, size, len(got), err)
				}
			}
		}
		r, err := tt.open(t.Context(), Files{bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch)}, Limits{memory, AnySize})
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, want); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestDamage flips every bit of each patch, and cuts each at every byte. A
// cut is always an error. A flip is one, or changes nothing that comes out;
// only formats without checksums may give another file of the right size.
func TestDamage(t *testing.T) {
	old, want := texts()
	for _, tt := range made {
		damage(t, tt.name, tt.open, unhex(t, tt.patch), old, want, tt.checked)
	}
}

// damage damages one patch in all these ways.
func damage(t *testing.T, name string, open opener, patch, old, want []byte, checked bool) {
	t.Helper()
	limits := Limits{Size: int64(len(want))}
	for n := range len(patch) {
		for _, src := range []io.Reader{bytes.NewReader(patch[:n]), stream(patch[:n])} {
			if _, err := apply(t, open, old, src, limits); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v, want ErrCorrupt", name, n, len(patch), err)
			}
		}
	}
	var harmless, unnoticed int
	for bit := range 8 * len(patch) {
		bad := bytes.Clone(patch)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := apply(t, open, old, bytes.NewReader(bad), limits)
		switch {
		case err == nil && bytes.Equal(got, want):
			harmless++
		case err == nil && !checked && len(got) == len(want):
			unnoticed++
		case err == nil:
			t.Errorf("%s, bit %d of byte %d flipped: another file of %d bytes without an error", name, bit%8, bit/8, len(got))
		case !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, errors.ErrUnsupported):
			t.Errorf("%s, bit %d of byte %d flipped: %v", name, bit%8, bit/8, err)
		}
	}
	t.Logf("%s: %d bits flipped, %d without any effect, %d unnoticed", name, 8*len(patch), harmless, unnoticed)
	if _, err := apply(t, open, old, bytes.NewReader(append(patch, 0)), limits); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%s with a byte behind it: %v, want ErrCorrupt", name, err)
	}
}

func TestSize(t *testing.T) {
	old, want := texts()
	for _, tt := range made {
		for _, d := range []int{-1, 1, -len(want)} {
			got, err := apply(t, tt.open, old, bytes.NewReader(unhex(t, tt.patch)), Limits{Size: int64(len(want) + d)})
			if !errors.Is(err, ErrCorrupt) || len(got) > len(want)+d {
				t.Errorf("%s, size off by %d: %d bytes, %v, want ErrCorrupt", tt.name, d, len(got), err)
			}
		}
		_, err := tt.open(t.Context(), Files{bytes.NewReader(old), -1, bytes.NewReader(nil)}, Limits{memory, AnySize})
		if err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("old of -1 bytes: %v", err)
		}
	}
}

// TestFailingFiles holds what is not the patch's fault apart from what is.
func TestFailingFiles(t *testing.T) {
	old, want := texts()
	broken := errors.New("no such sector")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range made {
		patch := unhex(t, tt.patch)
		read := func(ctx context.Context, f Files) error {
			r, err := tt.open(ctx, f, Limits{memory, int64(len(want))})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			return err
		}
		full := bytes.NewReader(old)
		size := int64(len(old))
		for n := range len(patch) + 1 {
			// A transfer that breaks off is no damage to the patch.
			for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
				err := read(t.Context(), Files{full, size, io.MultiReader(bytes.NewReader(patch[:n]), iotest.ErrReader(cause))})
				if !errors.Is(err, cause) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "read patch") {
					t.Errorf("%s: patch failed after %d bytes: %v, want %v", tt.name, n, err, cause)
				}
			}
		}
		err := read(t.Context(), Files{readerAt(func([]byte, int64) (int, error) { return 0, broken }), size, bytes.NewReader(patch)})
		if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "read old file") {
			t.Errorf("%s: old fails: %v", tt.name, err)
		}
		err = read(t.Context(), Files{bytes.NewReader(old[:900]), size, bytes.NewReader(patch)})
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "of 1510 in all") {
			t.Errorf("%s: old is short: %v", tt.name, err)
		}
		if err := read(gone, Files{full, size, bytes.NewReader(patch)}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: cancelled: %v", tt.name, err)
		}
	}
}

// readerAt is a function that stands for a file.
type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// TestMemoryLimit holds readers to what they say that they need.
func TestMemoryLimit(t *testing.T) {
	old, want := texts()
	for _, tt := range made {
		patch := unhex(t, tt.patch)
		least, most := int64(0), int64(memory)
		for least < most {
			half := (least + most) / 2
			if _, err := apply(t, tt.open, old, stream(patch), Limits{Memory: half, Size: int64(len(want))}); err == nil {
				most = half
			} else if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprintf("the limit is %d", half)) {
				t.Fatalf("%s with %d bytes of memory: %v, want ErrTooLarge", tt.name, half, err)
			} else {
				least = half + 1
			}
		}
		before := allocated()
		r, err := tt.open(t.Context(), Files{bytes.NewReader(old), int64(len(old)), stream(patch)}, Limits{least, int64(len(want))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
			t.Fatal(err)
		}
		got := allocated() - before
		t.Logf("%s: needs %d bytes of memory, allocated %d in all", tt.name, least, got)
		if got > least {
			t.Errorf("%s: allocated %d bytes, needs %d", tt.name, got, least)
		}
	}
}

// allocated is how many bytes were ever allocated.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

func TestArithmetic(t *testing.T) {
	for _, tt := range []struct {
		offset, length, size int64
		want                 bool
	}{
		{0, 0, 0, true}, {0, 1, 0, false}, {1, 0, 0, false}, {2, 3, 5, true}, {3, 3, 5, false},
		{-1, 1, 5, false}, {1, -1, 5, false}, {math.MaxInt64, 1, math.MaxInt64, false},
		{1, math.MaxInt64, math.MaxInt64, false}, {math.MaxInt64, math.MaxInt64, math.MaxInt64, false},
		{0, math.MaxInt64, math.MaxInt64, true}, {math.MinInt64, math.MinInt64, 5, false}, {0, 0, -1, false},
	} {
		if got := inside(tt.offset, tt.length, tt.size); got != tt.want {
			t.Errorf("inside(%d, %d, %d) = %v", tt.offset, tt.length, tt.size, got)
		}
	}
	for _, tt := range []struct {
		numbers []int64
		want    int64
	}{{nil, 0}, {[]int64{1, 2, 3}, 6}, {[]int64{math.MaxInt64, 1}, math.MaxInt64}, {[]int64{-1, 5}, math.MaxInt64}, {[]int64{math.MaxInt64, math.MaxInt64, math.MaxInt64}, math.MaxInt64}} {
		if got := sum(tt.numbers...); got != tt.want {
			t.Errorf("sum(%d) = %d, want %d", tt.numbers, got, tt.want)
		}
	}
}

package delta

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var corpusFlag = flag.String("corpus", "", "directory with real pairs, each a folder with the files old and new")

// TestBsdiffPrograms has bspatch apply what is made here, and applies here
// what bsdiff, xdelta3 and zstd make. With -corpus it does so on real pairs.
func TestBsdiffPrograms(t *testing.T) {
	old, upd := pair(300_000)
	larger, _ := pair(600_000)
	type files struct {
		name     string
		old, upd []byte
	}
	cases := []files{
		{"changed", old, upd},
		{"identical", old, old},
		{"new begins elsewhere", old, old[1000:]},
		{"new much larger than old", old[:1000], larger},
		{"new much smaller than old", larger, upd[:3000]},
		{"unrelated", old[:1000], bytes.Repeat([]byte{7}, 1000)},
	}
	if *corpusFlag != "" {
		for _, name := range []string{"elf-c-1m", "src-go-tar"} {
			dir := filepath.Join(*corpusFlag, name)
			cases = append(cases, files{name, readFile(t, dir, "old"), readFile(t, dir, "new")})
		}
	}
	for _, tt := range cases {
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, name) }
		writeFile(t, path("old"), tt.old)
		writeFile(t, path("new"), tt.upd)
		t.Run(tt.name+"/to bspatch", func(t *testing.T) {
			program := look(t, "bspatch")
			before := allocated()
			patch := mustMake(t, lookup(t, "bsdiff"), tt.old, tt.upd, Default)
			t.Logf("old %d, new %d, patch %d bytes, allocated %d to make it", len(tt.old), len(tt.upd), len(patch), allocated()-before)
			writeFile(t, path("patch"), patch)
			run(t, program, path("old"), path("got"), path("patch"))
			if got := readFile(t, dir, "got"); !bytes.Equal(got, tt.upd) {
				t.Errorf("bspatch gave %d bytes, want the %d of new", len(got), len(tt.upd))
			}
		})
		for _, made := range []struct {
			format, name string
			args         []string
		}{
			{"bsdiff", "bsdiff", []string{"bsdiff", path("old"), path("new"), path("patch")}},
			{"vcdiff", "xdelta3", []string{"xdelta3", "-e", "-f", "-s", path("old"), path("new"), path("patch")}},
			{"vcdiff", "xdelta3 -S none", []string{"xdelta3", "-e", "-f", "-S", "none", "-s", path("old"), path("new"), path("patch")}},
			{"zstd", "zstd", []string{"zstd", "-19", "-q", "-f", "--patch-from=" + path("old"), path("new"), "-o", path("patch")}},
		} {
			format, args := made.format, made.args
			t.Run(tt.name+"/from "+made.name, func(t *testing.T) {
				run(t, look(t, args[0]), args[1:]...)
				patch := readFile(t, dir, "patch")
				for _, size := range []int64{int64(len(tt.upd)), AnySize} {
					got, err := apply(t.Context(), lookup(t, format), tt.old, patch, Limits{Size: size})
					if err != nil || !bytes.Equal(got, tt.upd) {
						t.Errorf("got %d bytes, %v, want the %d of new", len(got), err, len(tt.upd))
					}
				}
				t.Logf("old %d, new %d, patch %d bytes", len(tt.old), len(tt.upd), len(patch))
			})
		}
	}
}

func look(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("the %s program is not here", program)
	}
	return path
}

func TestVcdiffIsNotMade(t *testing.T) {
	_, err := Make(t.Context(), lookup(t, "vcdiff"), io.Discard, section(nil), section(nil), Options{})
	want := "make vcdiff delta: the format can be applied, not made: unsupported operation"
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
		t.Errorf("Make = %v, want %s", err, want)
	}
}

// TestForeignErrors holds the readers of other formats to the errors of this
// package.
func TestForeignErrors(t *testing.T) {
	window := "\xd6\xc3\xc4\x00\x00\x00\x09\x80\x80\x80\x80\x01\x00\x00\x00\x00"
	for _, tt := range []struct {
		format, patch string
		memory        int64
		want          error
		says          string
	}{
		{"bsdiff", "", 0, ErrCorrupt, "apply bsdiff delta: corrupt delta: byte 0: the patch ends early"},
		{"bsdiff", "BSDIFF40" + strings.Repeat("\x00", 24), 1000, ErrTooLarge, "apply bsdiff delta: delta too large: byte 32: the patch and its window need"},
		{"bsdiff", "BSDIFF40" + strings.Repeat("\x00", 24), 0, ErrCorrupt, "apply bsdiff delta: corrupt delta: byte 32: the patch ends early"},
		{"vcdiff", "\xd6\xc3\xc4\x01\x00", 0, errors.ErrUnsupported, "apply vcdiff delta: byte 5: VCDIFF version 0x1"},
		{"vcdiff", window, 0, ErrCorrupt, "apply vcdiff delta: corrupt delta: byte 16: a window ends after 0 of its 1 bytes"},
		{"vcdiff", window, 1000, ErrTooLarge, "apply vcdiff delta: delta too large: byte 16: the patch and its window need 131073 bytes"},
	} {
		_, err := apply(t.Context(), lookup(t, tt.format), nil, []byte(tt.patch), Limits{Size: AnySize, Memory: tt.memory})
		if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
			t.Errorf("%s %q: %v, want %q", tt.format, tt.patch, err, tt.says)
		}
	}
}

// TestBsdiffNeed holds all that applying ever allocates, garbage included, to
// what Need says.
// TestVcdiffNeed holds [Format.Need] to several windows of which nothing is in
// the old file and nothing can be compressed.
func TestVcdiffNeed(t *testing.T) {
	program := look(t, "xdelta3")
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	upd := make([]byte, 17<<20)
	for i := range upd {
		upd[i] = byte(r.UintN(256))
	}
	writeFile(t, filepath.Join(dir, "new"), upd)
	f := lookup(t, "vcdiff")
	need := f.Need(0, int64(len(upd)))
	run(t, program, "-e", "-f", "-1", "-A", "-f", filepath.Join(dir, "new"), filepath.Join(dir, "patch"))
	got, err := apply(t.Context(), f, nil, readFile(t, dir, "patch"), Limits{Size: int64(len(upd)), Memory: need})
	if err != nil || !bytes.Equal(got, upd) {
		t.Errorf("with the %d bytes that it needs: got %d bytes, %v", need, len(got), err)
	}
}

func TestBsdiffNeed(t *testing.T) {
	old, upd := pair(3 << 20)
	f := lookup(t, "bsdiff")
	patch := mustMake(t, f, old, upd, Default)
	need := f.Need(int64(len(old)), int64(len(upd)))
	runtime.GC()
	before := allocated()
	r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd)), Memory: need})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != nil {
		t.Fatal(err)
	}
	got := allocated() - before
	t.Logf("old %d, new %d, patch %d bytes, allocated %d in all, Need says %d", len(old), len(upd), len(patch), got, need)
	if got > need {
		t.Errorf("allocated %d bytes, Need says %d", got, need)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd)), Memory: need - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("with one byte less: %v, want ErrTooLarge", err)
	}
}

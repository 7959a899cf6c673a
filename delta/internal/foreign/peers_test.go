package foreign

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var corpusFlag = flag.String("corpus", "", "directory with real pairs, each a folder with the files old and new")

// pairs are folders with old and new: one made up, and those of -corpus.
func pairs(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	old := make([]byte, 300_000)
	for i := range old {
		old[i] = byte(r.UintN(256))
	}
	upd := append(bytes.Clone(old[200_000:]), old[:180_000]...)
	for range 200 {
		upd[r.IntN(len(upd))]++
	}
	writeFile(t, filepath.Join(dir, "old"), old)
	writeFile(t, filepath.Join(dir, "new"), append(upd, "and something that was not there"...))
	found := []string{dir}
	if *corpusFlag != "" {
		for _, name := range []string{"elf-c-1m", "elf-go-11m", "src-go-tar"} {
			found = append(found, filepath.Join(*corpusFlag, name))
		}
	}
	return found
}

// TestPrograms applies what the programs write.
func TestPrograms(t *testing.T) {
	for _, tt := range []struct {
		open opener
		args []string
	}{
		{Bsdiff, []string{"bsdiff", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-S", "none", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-9", "-S", "none", "-D", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-1", "-W", "16384", "-n", "-S", "none", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-n", "-A", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-9", "-S", "lzma", "-D", "-s", "OLD", "NEW", "PATCH"}},
		{Vcdiff, []string{"xdelta3", "-e", "-f", "-1", "-W", "16384", "-s", "OLD", "NEW", "PATCH"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			if _, err := exec.LookPath(tt.args[0]); err != nil {
				t.Skipf("the %s program is not here", tt.args[0])
			}
			for _, dir := range pairs(t) {
				patch := runOn(t, dir, tt.args)
				old, want := readFile(t, dir, "old"), readFile(t, dir, "new")
				for _, src := range []io.Reader{bytes.NewReader(patch), stream(patch)} {
					before := allocated()
					got, err := apply(t, tt.open, old, src, Limits{Size: int64(len(want))})
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: got %d bytes, %v, want %d", dir, len(got), err, len(want))
					}
					t.Logf("%s: old %d, new %d, patch %d bytes, allocated %d with the result", filepath.Base(dir), len(old), len(want), len(patch), allocated()-before)
				}
			}
		})
	}
}

// TestSecondaryCompression has xdelta3 compress in the ways that are not read.
func TestSecondaryCompression(t *testing.T) {
	if _, err := exec.LookPath("xdelta3"); err != nil {
		t.Skip("the xdelta3 program is not here")
	}
	dir := t.TempDir()
	var words []byte
	for i := range 20_000 {
		words = append(words, "one two three four five six"[i*7%23:][:3]...)
	}
	writeFile(t, filepath.Join(dir, "old"), words[:100])
	writeFile(t, filepath.Join(dir, "new"), words)
	for _, name := range []string{"djw", "fgk"} {
		args := []string{"xdelta3", "-S", name, "-e", "-f", "-0", "-s", "OLD", "NEW", "PATCH"}
		_, err := apply(t, Vcdiff, words[:100], stream(runOn(t, dir, args)), Limits{Size: int64(len(words))})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "secondary compression "+name+": make the patch with xdelta3 -S lzma or -S none") {
			t.Errorf("%v: %v, want %s refused by its name", args, err, name)
		}
	}
}

// TestLargeFile has xdelta3 make several windows of the size that it takes by
// itself, of files that LZMA has something to do with.
func TestLargeFile(t *testing.T) {
	if _, err := exec.LookPath("xdelta3"); err != nil {
		t.Skip("the xdelta3 program is not here")
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(3, 4))
	old := make([]byte, 18<<20)
	for i := range old {
		old[i] = byte(r.UintN(256))
	}
	want := bytes.Clone(old)
	for i := 0; i < len(want)-100; i += 2000 + r.IntN(2000) {
		copy(want[i:], strings.Repeat(string(rune('a'+r.IntN(26))), 3)+"and some words that come again")
	}
	copy(want[9<<20:], old[1<<20:2<<20])
	writeFile(t, filepath.Join(dir, "old"), old)
	writeFile(t, filepath.Join(dir, "new"), want)
	for _, level := range []string{"-3", "-9"} {
		patch := runOn(t, dir, []string{"xdelta3", "-e", "-f", level, "-s", "OLD", "NEW", "PATCH"})
		for _, size := range []int64{int64(len(want)), AnySize} {
			got, err := apply(t, Vcdiff, old, stream(patch), Limits{Memory: 12 << 20, Size: size})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got %d bytes, %v, want %d", level, len(got), err, len(want))
			}
		}
		t.Logf("%s: new %d, patch %d bytes", level, len(want), len(patch))
	}
}

// runOn runs a program on the files of a folder and gives the patch.
func runOn(t *testing.T, dir string, args []string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "patch")
	named := map[string]string{"OLD": filepath.Join(dir, "old"), "NEW": filepath.Join(dir, "new"), "PATCH": out}
	var full []string
	for _, a := range args {
		if path, ok := named[a]; ok {
			a = path
		}
		full = append(full, a)
	}
	if says, err := exec.Command(full[0], full[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(full, " "), err, says)
	}
	return readFile(t, filepath.Dir(out), "patch")
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzBsdiff(f *testing.F) {
	f.Add(bsdiff40(12, []int64{10, 2, 0}, make([]byte, 10), []byte("ab")), int64(12))
	f.Add(bsdiff43(5, signed(2), signed(1), signed(1), []byte{0, 1}, []byte("x"), signed(2), signed(0), signed(0), make([]byte, 2)), int64(AnySize))
	fuzz(f, Bsdiff)
}

// FuzzBsdiffTriples fuzzes what is inside of the streams, which random bytes
// hardly get to.
func FuzzBsdiffTriples(f *testing.F) {
	f.Add(int64(12), int64(10), int64(2), int64(0), int64(0), int64(0), int64(0), make([]byte, 10), []byte("ab"))
	f.Add(int64(8), int64(2), int64(1), int64(-2), int64(4), int64(1), int64(0), make([]byte, 6), []byte("xy"))
	old := []byte("0123456789")
	f.Fuzz(func(t *testing.T, size, a, b, c, d, e, g int64, diff, extra []byte) {
		if len(diff)+len(extra) > 256 {
			return
		}
		patch := bsdiff40(size, []int64{a, b, c, d, e, g}, diff, extra)
		got, err := apply(t, Bsdiff, old, stream(patch), Limits{Size: AnySize})
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt):
			t.Errorf("error %v", err)
		case len(got) > len(diff)+len(extra) || err == nil && int64(len(got)) != size:
			t.Errorf("%d bytes came out, %v", len(got), err)
		}
	})
}

func FuzzVcdiff(f *testing.F) {
	f.Add(vcdiffOf(vcdiffWindow{target: 1, data: []byte("ab"), codes: []byte{2, 2}}), int64(1))
	f.Add(vcdiffOf(vcdiffWindow{source: 16, target: 17, codes: []byte{20, 36, 52, 19 + 16*6, 5}, addrs: []byte{2, 4, 1, 2}}), int64(AnySize))
	f.Add(unhex(f, threeWindows), int64(len(blocks())))
	fuzz(f, Vcdiff)
}

// fuzz gives any bytes as a patch. Neither what comes out nor memory may pass
// the limits, and every error is one of three.
func fuzz(f *testing.F, open opener) {
	old, want := texts()
	for _, m := range made {
		f.Add(unhex(f, m.patch), int64(len(want)))
	}
	f.Fuzz(func(t *testing.T, patch []byte, size int64) {
		limits := Limits{Memory: 16 << 20, Size: max(size, AnySize)}
		before := allocated()
		r, err := open(t.Context(), Files{bytes.NewReader(old), int64(len(old)), stream(patch)}, limits)
		var n int64
		if err == nil {
			// No caller takes more than it wants.
			n, err = io.CopyN(io.Discard, struct{ io.Reader }{r}, 4<<20)
			if err == nil {
				return
			}
			if err == io.EOF {
				err = nil
			}
		}
		switch got := allocated() - before; {
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, errors.ErrUnsupported):
			t.Errorf("error %v", err)
		case got > 2*limits.Memory+n:
			t.Errorf("%d bytes were allocated for %d", got, n)
		case err == nil && limits.Size != AnySize && n != limits.Size:
			t.Errorf("%d bytes came out without an error, want %d", n, limits.Size)
		}
	})
}

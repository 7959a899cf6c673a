package delta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var pairFlag = flag.String("pair", "", "directory with the files old and new of a real pair")

// frame puts a zstd frame together: head, blocks, and a checksum that is
// wrong unless the caller appends its own.
func frame(head []byte, blocks ...[]byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, zstdMagic), append(head, bytes.Join(blocks, nil)...)...)
}

func block(kind, size int, last bool, body ...byte) []byte {
	bits := size<<3 | kind<<1
	if last {
		bits |= 1
	}
	return append([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16)}, body...)
}

func u64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// TestHostile holds every hostile patch to an error and to less than 1 MiB
// allocated, whatever the patch claims.
func TestHostile(t *testing.T) {
	const size = 1000
	old := make([]byte, 5000)
	f := lookup(t, "zstd")
	good := mustMake(t, f, old, old[:size], Default)
	single := byte(3<<6 | headSingle | headChecksum) // 8 bytes of content size
	window := byte(headChecksum)
	long := block(1, 128<<10, false, 'x')
	skippable := append(binary.LittleEndian.AppendUint32(nil, zstdSkippableMagic+3), 4, 0, 0, 0, 1, 2, 3, 4)
	for _, tt := range []struct {
		name  string
		patch []byte
		says  string
	}{
		{"empty", nil, "byte 0: the patch ends early"},
		{"half a magic number", good[:2], "byte 2: the patch ends early"},
		{"not zstd", []byte("BSDIFF40 and more of it"), "not a zstd frame: it begins with 42534449"},
		{"head cut", good[:6], "byte 6: the patch ends early"},
		{"reserved bit", frame([]byte{headReserved, 0, 0}), "reserved bit"},
		{"content of 2 GiB", frame(append([]byte{single}, u64(2<<30)...), long), "gives 2147483648 bytes, expected 1000"},
		{"content of 128 GiB", frame(append([]byte{single}, u64(128<<30)...), long), "gives 137438953472 bytes, expected 1000"},
		{"content of 2^63 bytes", frame(append([]byte{single}, u64(1<<63)...), long), "content of 9223372036854775808 bytes"},
		{"window of 2 GiB, size not told, a bomb", frame([]byte{window, 21 << 3}, long, long, long), ""},
		{"window of 128 GiB, size not told, a bomb", frame([]byte{window, 27 << 3}, long, long, long), ""},
		{"window of 3.75 TiB, right size, a bomb", frame(append([]byte{window | 3<<6, 255}, u64(size)...), long, long), ""},
		{"right size, a bomb", frame(append([]byte{single}, u64(size)...), bytes.Repeat(block(1, 900, false, 'x'), 1000)), ""},
		{"block beyond the limit of the format", frame(append([]byte{single}, u64(size)...), block(0, 1<<21-1, false)), ""},
		{"block of the reserved kind", frame(append([]byte{single}, u64(size)...), block(3, 10, true)), ""},
		{"empty blocks for ever", frame(append([]byte{single}, u64(size)...), bytes.Repeat(block(0, 0, false), 1<<20)), "more than 67536 bytes of patch"},
		{"too little", frame(append([]byte{single}, u64(size)...), block(1, 999, true, 'x'), []byte{1, 2, 3, 4}), ""},
		{"wrong checksum", frame(append([]byte{single}, u64(size)...), block(1, 1000, true, 'x'), []byte{1, 2, 3, 4}), "does not have its checksum"},
		{"checksum cut", good[:len(good)-1], "the patch ends early"},
		{"no checksum", frame(append([]byte{single &^ headChecksum}, u64(size)...), block(1, 1000, true, 'x')), "no checksum"},
		{"dictionary number", frame(append([]byte{single | 1, 77}, u64(size)...), block(1, 1000, true, 'x')), "wants dictionary 77"},
		{"skippable frame first", append(bytes.Clone(skippable), good...), "skippable zstd frame"},
		{"skippable frame after", append(bytes.Clone(good), skippable...), "the patch goes on after its end"},
		{"second frame", append(bytes.Clone(good), good...), "the patch goes on after its end"},
		{"empty second frame", append(bytes.Clone(good), frame([]byte{headSingle, 0}, block(0, 0, true))...), "the patch goes on after its end"},
		{"one byte after the end", append(bytes.Clone(good), 0), fmt.Sprintf("byte %d: the patch goes on after its end", len(good))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := allocated()
			r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(tt.patch), Limits{Size: size})
			var n int64
			if err == nil {
				n, err = io.Copy(io.Discard, r)
				r.Close()
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want ErrCorrupt and %q", err, tt.says)
			}
			if n > size {
				t.Errorf("%d bytes came out, want at most %d", n, size)
			}
			if got := allocated() - before; got > 1<<20 {
				t.Errorf("%d bytes were allocated, want less than 1 MiB", got)
			}
		})
	}
	for _, n := range []uint64{2 << 30, 128 << 30, 1<<63 - 1} {
		before := allocated()
		patch := frame(append([]byte{single}, u64(n)...), long)
		if _, err := apply(t.Context(), f, old, patch, Limits{Size: AnySize}); !errors.Is(err, ErrTooLarge) {
			t.Errorf("content of %d bytes, any size: %v, want ErrTooLarge", n, err)
		}
		if got := allocated() - before; got > 1<<20 {
			t.Errorf("%d bytes were allocated, want less than 1 MiB", got)
		}
	}
	if _, err := apply(t.Context(), f, old, frame([]byte{window, 0}, long), Limits{Size: AnySize}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no size anywhere: %v, want ErrCorrupt", err)
	}
}

// allocated is how many bytes were ever allocated: no collection can hide one.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// TestDamage flips every bit of small patches, and cuts them at every byte.
func TestDamage(t *testing.T) {
	old, upd := pair(6000)
	f := lookup(t, "zstd")
	for _, n := range []int{0, 40, 900, len(upd)} {
		upd := upd[:n]
		patch := mustMake(t, f, old, upd, Default)
		for _, size := range []int64{int64(n), AnySize} {
			limits := Limits{Size: size, Memory: 8 << 20}
			if got, err := apply(t.Context(), f, old, patch, limits); err != nil || !bytes.Equal(got, upd) {
				t.Fatalf("undamaged: %d bytes, %v", len(got), err)
			}
			for i := range patch {
				if _, err := apply(t.Context(), f, old, patch[:i], limits); !errors.Is(err, ErrCorrupt) {
					t.Errorf("new of %d bytes, patch cut at %d: %v, want ErrCorrupt", n, i, err)
				}
				for bit := range 8 {
					bad := bytes.Clone(patch)
					bad[i] ^= 1 << bit
					got, err := apply(t.Context(), f, old, bad, limits)
					tooLarge := size == AnySize && errors.Is(err, ErrTooLarge)
					if err == nil && !bytes.Equal(got, upd) || err != nil && !errors.Is(err, ErrCorrupt) && !tooLarge {
						t.Errorf("new of %d bytes, bit %d of byte %d flipped: %d bytes, %v", n, bit, i, len(got), err)
					}
				}
			}
		}
	}
}

// TestHead holds the two ways to read a head against each other, and shows
// that writing one down loses nothing.
func TestHead(t *testing.T) {
	for _, size := range []int64{0, 1, 255, 256, 1023, 1024, 65791, 65792, 1<<32 - 1, 1 << 32, 1 << 40} {
		for _, windowByte := range []byte{0, 1, 7, 8, 80, 175, 255} {
			base := uint64(1024) << (windowByte >> 3)
			in := frameHead{size: size, window: base + base/8*uint64(windowByte&7), windowByte: windowByte, checksum: true}
			b := in.append(nil)
			out, n, err := parseHead(b)
			if err != nil || n != len(b) || headLength(b[4]) != n {
				t.Fatalf("%+v: head of %d bytes, parsed %d, told %d, %v", in, len(b), n, headLength(b[4]), err)
			}
			var theirs zstd.Header
			if err := theirs.Decode(append(b, 1, 0, 0)); err != nil {
				t.Fatalf("%+v: %v", in, err)
			}
			if out.size != size || theirs.FrameContentSize != uint64(size) || theirs.WindowSize != out.window || !theirs.HasCheckSum {
				t.Errorf("wrote %+v, read %+v, the library read %+v", in, out, theirs)
			}
			if in.window < uint64(size) && out != in || in.window >= uint64(size) && out.window != 0 {
				t.Errorf("wrote %+v, read %+v", in, out)
			}
		}
	}
}

// TestSmallWindow applies a frame whose window is far smaller than its
// content, as other encoders may write it: the old file is then only within
// reach of the first window.
func TestSmallWindow(t *testing.T) {
	old, upd := pair(1 << 20)
	var patch bytes.Buffer
	enc, err := zstd.NewWriter(&patch, zstd.WithEncoderDictRaw(0, old[:32<<10]), zstd.WithWindowSize(64<<10), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(upd); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := apply(t.Context(), lookup(t, "zstd"), old[:32<<10], patch.Bytes(), Limits{Size: int64(len(upd))})
	if err != nil || !bytes.Equal(got, upd) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(upd))
	}
}

// heap is how much the heap takes of the system, which it hardly gives back.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}

// TestReach makes the new file of bytes that only the far end of a long old
// file has.
func TestReach(t *testing.T) {
	old := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range old {
		old[i] = byte(r.UintN(256))
	}
	upd := old[:100_000]
	for _, level := range []Level{Fast, Default} {
		if n := len(mustMake(t, lookup(t, "zstd"), old, upd, level)); n > 1000 {
			t.Errorf("%s: a patch of %d bytes for a piece of the old file", level, n)
		}
	}
}

// TestNeed holds all that applying ever allocates, garbage included, to what
// Need says. With -pair DIR it does so on a real pair and logs the figures.
func TestNeed(t *testing.T) {
	old, upd := pair(3 << 20)
	if *pairFlag != "" {
		old, upd = readFile(t, *pairFlag, "old"), readFile(t, *pairFlag, "new")
	}
	f := lookup(t, "zstd")
	for _, level := range []Level{Fast, Default} {
		before := allocated()
		patch := mustMake(t, f, old, upd, level)
		t.Logf("make at %s: old %d, new %d, patch %d bytes, allocated %d", level, len(old), len(upd), len(patch), allocated()-before)

		need := f.Need(int64(len(old)), int64(len(upd)))
		before = allocated()
		r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd)), Memory: need})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		got := allocated() - before
		t.Logf("apply: allocated %d bytes in all, %d more than old and new, Need says %d", got, got-int64(len(old)+len(upd)), need)
		if got > need {
			t.Errorf("allocated %d bytes, Need says %d", got, need)
		}
		r.Close()
	}
}

// TestZstdProgram exchanges patches with the zstd program, both ways.
func TestZstdProgram(t *testing.T) {
	program, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("the zstd program is not here")
	}
	f := lookup(t, "zstd")
	old, upd := pair(1 << 20)
	larger, _ := pair(2 << 20)
	for _, tt := range []struct {
		name     string
		old, upd []byte
	}{
		{"changed", old, upd},
		{"new much larger than old", old[:100_000], larger},
		{"new much smaller than old", larger, upd[:3000]},
		{"identical", old, old},
		{"a few bytes", old, upd[:20]},
		{"to nothing", old, nil},
	} {
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, name) }
		writeFile(t, path("old"), tt.old)
		writeFile(t, path("new"), tt.upd)
		for _, level := range []Level{Fast, Default} {
			t.Run(fmt.Sprintf("%s/%s to zstd", tt.name, level), func(t *testing.T) {
				writeFile(t, path("patch"), mustMake(t, f, tt.old, tt.upd, level))
				run(t, program, "-d", "-q", "-f", "--memory=128MB", "--patch-from="+path("old"), path("patch"), "-o", path("got"))
				if got := readFile(t, dir, "got"); !bytes.Equal(got, tt.upd) {
					t.Errorf("zstd gave %d bytes, want the %d of new", len(got), len(tt.upd))
				}
			})
		}
		if len(tt.upd) == 0 {
			continue // zstd 1.5.4 aborts when it shall make this patch
		}
		for _, args := range [][]string{{"-3"}, {"-1", "--long=24"}, {"-12"}, {"-3", "--no-content-size"}} {
			t.Run(fmt.Sprintf("%s/from zstd %s", tt.name, strings.Join(args, " ")), func(t *testing.T) {
				run(t, program, append(args, "-q", "-f", "--patch-from="+path("old"), path("new"), "-o", path("patch"))...)
				got, err := apply(t.Context(), f, tt.old, readFile(t, dir, "patch"), Limits{Size: int64(len(tt.upd))})
				if err != nil || !bytes.Equal(got, tt.upd) {
					t.Errorf("got %d bytes, %v, want the %d of new", len(got), err, len(tt.upd))
				}
			})
		}
	}
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
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

// FuzzApply gives any bytes as patch against a fixed old file. The heap, with
// its garbage, may never take 64 MiB more than before.
func FuzzApply(f *testing.F) {
	format := lookup(f, "zstd")
	old, upd := pair(5000)
	for _, n := range []int{0, 100, 1500, len(upd)} {
		f.Add(mustMake(f, format, old, upd[:n], Default), int64(n))
		f.Add(mustMake(f, format, old, upd[:n], Fast), int64(AnySize))
	}
	before := heap()
	f.Fuzz(func(t *testing.T, patch []byte, size int64) {
		limits := Limits{Memory: 2 << 20, Size: max(size, AnySize)}
		r, err := format.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), limits)
		var n int64
		if err == nil {
			n, err = io.Copy(io.Discard, r)
			r.Close()
		}
		switch {
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge):
			t.Errorf("error %v, want ErrCorrupt or ErrTooLarge", err)
		case heap() > before+64<<20:
			t.Errorf("the heap grew from %d to %d bytes", before, heap())
		case n > limits.Memory:
			t.Errorf("%d bytes came out with a limit of %d", n, limits.Memory)
		case err == nil && limits.Size != AnySize && n != limits.Size:
			t.Errorf("%d bytes came out without an error, want %d", n, limits.Size)
		}
	})
}

package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/updraft-ota/updraft/delta/internal/coder"
	"github.com/updraft-ota/updraft/delta/internal/match"
	"github.com/updraft-ota/updraft/internal/sample"
)

// smallFrames makes frames of a few hundred bytes, so that small files have
// many of them.
var smallFrames = udeltaLevel{match: match.Default, coder: coder.Default, caps: smallCaps, whole: smallCaps}

var smallCaps = udeltaCaps{Coded: 9, Raw: 9, Known: 10, Output: 13}

// makeSmall makes a patch with small frames.
func makeSmall(t testing.TB, old, upd []byte) []byte {
	t.Helper()
	var patch bytes.Buffer
	m := &udeltaMaker{old: old, new: upd, level: smallFrames, dst: &patch}
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return patch.Bytes()
}

// mutated gives a file that has much in common with old: stretches of it in
// any order, with bytes changed, left out and added.
func mutated(r *rand.Rand, old []byte, size int) []byte {
	var upd []byte
	for len(upd) < size {
		switch n := 1 + r.IntN(1<<r.IntN(12)); r.IntN(5) {
		case 0:
			for range min(n, 200) {
				upd = append(upd, byte(r.UintN(256)))
			}
		default:
			if len(old) == 0 {
				upd = append(upd, 7)
				continue
			}
			from := r.IntN(len(old))
			start := len(upd)
			upd = append(upd, old[from:min(from+8*n, len(old))]...)
			for range r.IntN(1 + (len(upd)-start)/50) {
				upd[start+r.IntN(len(upd)-start)] += byte(r.UintN(256))
			}
		}
	}
	return upd[:size]
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256)) >> r.UintN(4)
	}
	return b
}

func TestUdeltaRandom(t *testing.T) {
	f := lookup(t, "udelta")
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		old := randomBytes(r, r.IntN(1<<r.IntN(18)))
		upd := mutated(r, old, r.IntN(1<<r.IntN(18)))
		for what, patch := range map[string][]byte{
			"fast": mustMake(t, f, old, upd, Fast), "default": mustMake(t, f, old, upd, Default), "small frames": makeSmall(t, old, upd)} {
			got, err := apply(t.Context(), f, old, patch, Limits{Size: int64(len(upd))})
			if err != nil || !bytes.Equal(got, upd) {
				t.Errorf("seed %d, %s: %d bytes, %v, want %d", seed, what, len(got), err, len(upd))
			}
		}
	}
}

func TestUdeltaThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(5, 5))
	old := randomBytes(r, 300_000)
	upd := mutated(r, old, 300_000)
	want := makeSmall(t, old, upd)
	for _, n := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(n)
		for range 2 {
			if got := makeSmall(t, old, upd); !bytes.Equal(got, want) {
				t.Errorf("%d threads gave another patch", n)
			}
		}
	}
}

// TestUdeltaDamage flips every bit of patches with one frame, several, and
// none, and cuts them at every byte.
func TestUdeltaDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	old := randomBytes(r, 5000)
	upd := mutated(r, old, 4000)
	f := lookup(t, "udelta")
	oldProgram, updProgram := sample.Programs(60)
	for what, tt := range map[string]struct{ old, upd, patch []byte }{
		"one frame":      {old, upd, mustMake(t, f, old, upd, Default)},
		"several frames": {old, upd, makeSmall(t, old, upd)},
		"identical":      {old, old, makeSmall(t, old, old)},
		"empty":          {old, nil, makeSmall(t, old, nil)},
		"elements":       {oldProgram, updProgram, mustMake(t, f, oldProgram, updProgram, Default)},
	} {
		old := tt.old
		if info, err := Inspect(bytes.NewReader(tt.patch)); err != nil || (info.Elements > 0) != (what == "elements") {
			t.Fatalf("%s: %d elements, %v", what, info.Elements, err)
		}
		limits := Limits{Size: int64(len(tt.upd))}
		for i := range tt.patch {
			if _, err := apply(t.Context(), f, old, tt.patch[:i], limits); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("byte %d: the patch ends early", i)) {
				t.Errorf("%s, cut at %d: %v, want ErrCorrupt there", what, i, err)
			}
			for bit := range 8 {
				bad := bytes.Clone(tt.patch)
				bad[i] ^= 1 << bit
				// The byte after the magic is the version.
				if _, err := apply(t.Context(), f, old, bad, limits); !errors.Is(err, ErrCorrupt) && !(errors.Is(err, ErrUnsupported) && i == len(udeltaMagic)) {
					t.Errorf("%s, bit %d of byte %d flipped: %v, want ErrCorrupt", what, bit, i, err)
				}
			}
		}
		if _, err := apply(t.Context(), f, old, append(bytes.Clone(tt.patch), 0), limits); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s, one byte more: %v, want ErrCorrupt", what, err)
		}
	}
}

// forged writes a patch whose checksums are right and whose digests are those
// of old and upd, whatever its frames say.
func forged(old, upd []byte, h udeltaHeader, bodies ...[]byte) []byte {
	h.oldSize, h.newSize = int64(len(old)), int64(len(upd))
	h.oldSum, h.newSum = sha256.Sum256(old), sha256.Sum256(upd)
	b := h.append(nil)
	for _, body := range bodies {
		b = h.appendSection(b, int64(len(b)), udeltaFrameSection, body)
	}
	return h.appendSection(b, int64(len(b)), udeltaEndSection, []byte{byte(len(bodies))})
}

// frameBody is the body of the section of a frame with these columns.
func frameBody(output, ops int, sum uint32, columns ...[]byte) []byte {
	f := &udeltaFrame{output: output, ops: ops, sum: sum}
	var parts []coder.Part
	for kind, c := range columns {
		f.column[kind] = c
		parts = append(parts, coder.Part{Kind: kind, Raw: c})
	}
	return append(f.appendHead(nil, &udeltaHeader{}), coder.Compress(coder.Fast, udeltaModels, parts)...)
}

// TestUdeltaHostile has frames whose checksums are right and whose contents
// are not.
func TestUdeltaHostile(t *testing.T) {
	old, upd := []byte("0123456789"), []byte("0123456789abcdef")
	caps := udeltaCaps{Coded: 12, Raw: 12, Known: 12, Output: 12}
	h := udeltaHeader{caps: caps}
	long := bytes.Repeat([]byte{0x80}, 8)
	f := lookup(t, "udelta")
	for _, tt := range []struct {
		name  string
		patch []byte
		says  string
	}{
		{"makes nothing", forged(old, upd, h, frameBody(0, 0, 0)), "it makes nothing"},
		{"too much", forged(old, upd, h, frameBody(17, 0, 0)), "makes 17 bytes, 16 are left"},
		{"end too soon", forged(old, upd, h), "16 bytes of the new file are missing"},
		{"copies without bytes", forged(old, upd, h, frameBody(16, 1000, 0)), "1000 copies have too few bytes"},
		{"too few literals", forged(old, upd, h, frameBody(16, 0, 0)), "16 literals where 0 are left"},
		{"too many literals", forged(old, upd, h, frameBody(2, 0, 0, nil, nil, nil, nil, []byte("abc"))), "1 literals too many"},
		{"copy beyond the output", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, []byte{5}, []byte{0})), "a copy of 6 bytes where 5 bytes are left"},
		{"gap beyond the output", forged(old, upd, h, frameBody(5, 1, 0, []byte{6}, []byte{0}, []byte{0})), "6 literals and a copy"},
		{"copy beyond old", forged(old, upd, h, frameBody(11, 1, 0, []byte{0}, []byte{10}, []byte{0})), "a copy of 11 bytes from 0 of an old file of 10"},
		{"copy before old", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, []byte{4}, []byte{4})), "from -1 of an old file"},
		{"copy from far away", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, []byte{4}, append(long, 0x7F))), "of an old file of 10"},
		{"number of ten bytes", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, append(long, 0x80, 1), []byte{0})), "not canonical"},
		{"number with a zero too many", forged(old, upd, h, frameBody(5, 1, 0, []byte{0x80, 0}, []byte{4}, []byte{0})), "not canonical"},
		{"gap without a copy", forged(old, upd, h, frameBody(5, 1, 0, []byte{0, 0}, []byte{4}, []byte{0})), "without a copy"},
		{"fewer copies than told", forged(old, upd, h, frameBody(5, 2, 0, []byte{0, 0}, []byte{0x84, 0}, []byte{0, 0})), "not canonical"},
		{"change behind the copy", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, []byte{4}, []byte{0}, []byte{5, 1})), "a change after 5 bytes more, where 5"},
		{"change without its value", forged(old, upd, h, frameBody(5, 1, 0, []byte{0}, []byte{4}, []byte{0}, []byte{1})), "cut short"},
		{"wrong checksum of the output", forged(old, upd, h, frameBody(10, 1, 1, []byte{0}, []byte{9}, []byte{0})), "do not have their checksum"},
		{"nothing coded", forged(old, upd, h, (&udeltaFrame{output: 16}).appendHead(nil, &h)), "corrupt coded data"},
		{"a byte too many", forged(old, upd, h, append(frameBody(16, 0, 0, nil, nil, nil, nil, upd), 0)), "1 bytes too many"},
		{"identical with a frame", forged(old, old, udeltaHeader{required: udeltaIdentical, caps: caps}, frameBody(1, 0, 0)), "it makes 1 bytes, 0 are left"},
		{"identical with two digests", forged(old, upd, udeltaHeader{required: udeltaIdentical}), "identical and gives two digests"},
		{"bounds beyond the format's", forged(old, upd, udeltaHeader{caps: udeltaCaps{Coded: 63, Raw: 63, Known: 63, Output: 63}}), "logarithms [63 63 63 63 0 0]"},
		{"section of 1 GiB", append(forged(old, upd, h)[:h.length], 'F', 0x80, 0x80, 0x80, 0x80, 4), ""},
		{"section of unknown type", append((&udeltaHeader{newSize: 16, oldSize: 10, oldSum: sha256.Sum256(old)}).append(nil), 'f', 0), "unknown type 0x66"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := allocated()
			r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(tt.patch), Limits{Size: AnySize})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				r.Close()
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want ErrCorrupt and %q", err, tt.says)
			}
			if got := allocated() - before; got > 2<<20 {
				t.Errorf("%d bytes were allocated, want less than 2 MiB", got)
			}
		})
	}
	patch := forged(old, upd, udeltaHeader{required: udeltaPayloads | 1<<40})
	if _, err := apply(t.Context(), f, old, patch, Limits{Size: AnySize}); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "features 0x10000000004") {
		t.Errorf("unknown features: %v, want ErrUnsupported", err)
	}
}

func TestUdeltaMemoryLimit(t *testing.T) {
	old, upd := pair(100_000)
	f := lookup(t, "udelta")
	var patch bytes.Buffer
	stats, err := Make(t.Context(), f, &patch, section(old), section(upd), Options{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(bytes.NewReader(patch.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if info.Memory != stats.Memory || info.LowMemory >= info.Memory || info.Memory > f.Need(1, 1) {
		t.Errorf("Make needs %d, Inspect says %d and %d, the format %d", stats.Memory, info.Memory, info.LowMemory, f.Need(1, 1))
	}
	for _, memory := range []int64{info.Memory, info.Memory - 1, info.LowMemory} {
		got, err := apply(t.Context(), f, old, patch.Bytes(), Limits{Size: AnySize, Memory: memory})
		if err != nil || !bytes.Equal(got, upd) {
			t.Errorf("memory %d: %d bytes, %v", memory, len(got), err)
		}
	}
	_, err = apply(t.Context(), f, old, patch.Bytes(), Limits{Size: AnySize, Memory: info.LowMemory - 1})
	want := fmt.Sprintf("needs %d bytes of memory, the limit is %d", info.LowMemory, info.LowMemory-1)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), want) {
		t.Errorf("too little memory: %v, want ErrTooLarge and %q", err, want)
	}
}

func TestUdeltaSizes(t *testing.T) {
	old, _ := pair(200_000)
	if n := len(makeSmall(t, old, old)); n > 128 {
		t.Errorf("identical: %d bytes, want at most 128", n)
	}
	f := lookup(t, "udelta")
	r := rand.New(rand.NewPCG(4, 4))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(r.UintN(256))
	}
	if n := len(mustMake(t, f, old, noise, Default)); n > len(noise)+len(noise)/100+200 {
		t.Errorf("noise of %d bytes: a patch of %d, want at most one percent more", len(noise), n)
	}
}

// TestUdeltaOldChecked reads old only where copies are when the caller has
// checked it.
func TestUdeltaOldChecked(t *testing.T) {
	old, upd := pair(100_000)
	f := lookup(t, "udelta")
	patch := makeSmall(t, old, upd[:1000])
	var read atomic.Int64
	counting := readerAt(func(p []byte, off int64) (int, error) {
		read.Add(int64(len(p)))
		return bytes.NewReader(old).ReadAt(p, off)
	})
	for _, checked := range []bool{false, true} {
		read.Store(0)
		r, err := f.NewReader(t.Context(), counting, int64(len(old)), bytes.NewReader(patch), Limits{Size: 1000, OldChecked: checked})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1, 1000)
		if _, err := r.Read(got); err != nil {
			t.Fatal(err)
		}
		if all := read.Load() >= int64(len(old)); all == checked {
			t.Errorf("checked before: %v, and %d bytes of old were read", checked, read.Load())
		}
		rest, err := io.ReadAll(r)
		if got = append(got, rest...); err != nil || !bytes.Equal(got, upd[:1000]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		r.Close()
	}
	// A wrong old file that was not looked at is found out before the end.
	other := bytes.Repeat([]byte{1}, len(old))
	if _, err := apply(context.Background(), f, other, patch, Limits{Size: 1000, OldChecked: true}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong old file: %v, want ErrCorrupt", err)
	}
	if _, err := apply(context.Background(), f, other, patch, Limits{Size: 1000}); !errors.Is(err, ErrCorrupt) ||
		!strings.Contains(err.Error(), fmt.Sprintf("%x, this one has %x", sha256.Sum256(old), sha256.Sum256(other))) {
		t.Errorf("wrong old file: %v, want ErrCorrupt and both digests", err)
	}
}

package delta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/updraft-ota/updraft/internal/sample"
)

// sectionsOf gives where each section of a patch begins and ends, and how many
// bytes of the new file there are at its end.
func sectionsOf(t *testing.T, patch []byte) (all []framePlace) {
	t.Helper()
	p := source(patch)
	h, err := p.header()
	if err != nil {
		t.Fatal(err)
	}
	d := &udeltaDecoder{header: h, source: p}
	for {
		s, f, err := d.head()
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		d.frames++
		at := d.written
		d.written += int64(f.output)
		all = append(all, framePlace{patchAt: s.at, patchTo: s.end, outputAt: at, outputTo: d.written})
		if err == io.EOF {
			return all
		}
	}
}

// TestUdeltaPipe feeds a patch section by section: all bytes of a frame come
// out before a byte of the next section is there, and nothing is read ahead of
// what is announced.
func TestUdeltaPipe(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	old := randomBytes(rnd, 60_000)
	upd := mutated(rnd, old, 50_000)
	patch := makeSmall(t, old, upd)
	sections := sectionsOf(t, patch)
	from, to := io.Pipe()
	go to.Write(patch[:sections[0].patchAt])
	announced := make(chan int64, len(sections))
	r, err := lookup(t, "udelta").NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), from,
		Limits{Size: int64(len(upd)), Frame: func(at int64) { announced <- at }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, s := range sections {
		read := make(chan error, 1)
		got := make([]byte, s.outputTo-s.outputAt)
		go func() {
			_, err := io.ReadFull(r, got)
			if s.outputTo == int64(len(upd)) && i == len(sections)-1 {
				_, err = r.Read(make([]byte, 1))
			}
			read <- err
		}()
		if at := <-announced; at != s.patchAt {
			t.Fatalf("section %d announced at %d, it is at %d", i, at, s.patchAt)
		}
		if _, err := to.Write(patch[s.patchAt:s.patchTo]); err != nil {
			t.Fatal(err)
		}
		if i == len(sections)-1 {
			to.Close()
		}
		err := <-read
		if want := upd[s.outputAt:s.outputTo]; !bytes.Equal(got, want) {
			t.Fatalf("section %d: wrong bytes, %v", i, err)
		}
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
}

// TestUdeltaComing applies patches of which a byte comes at a time, and some
// whose last frame is damaged where only its checksum tells: nothing of that
// frame comes out.
func TestUdeltaComing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	plain := randomBytes(rnd, 60_000)
	programs, updated := sample.Programs(30)
	for _, tt := range []struct {
		name     string
		old, upd []byte
	}{
		{"literals and copies", plain, mutated(rnd, plain, 50_000)},
		{"executables", programs, updated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patch := makeSmall(t, tt.old, tt.upd)
			apply := func(patch io.Reader) ([]byte, error) {
				r, err := lookup(t, "udelta").NewReader(t.Context(), bytes.NewReader(tt.old), int64(len(tt.old)), patch, Limits{Size: int64(len(tt.upd))})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				return io.ReadAll(r)
			}
			if got, err := apply(iotest.OneByteReader(bytes.NewReader(patch))); err != nil || !bytes.Equal(got, tt.upd) {
				t.Errorf("byte by byte: %d bytes, %v, want %d", len(got), err, len(tt.upd))
			}
			sections := sectionsOf(t, patch)
			last := sections[len(sections)-2]
			bad := bytes.Clone(patch)
			bad[last.patchTo-1] ^= 1
			got, err := apply(iotest.OneByteReader(bytes.NewReader(bad)))
			if !errors.Is(err, ErrCorrupt) || !bytes.Equal(got, tt.upd[:last.outputAt]) {
				t.Errorf("damaged: %d bytes, %v, want %d and ErrCorrupt", len(got), err, last.outputAt)
			}
			got, err = apply(iotest.DataErrReader(bytes.NewReader(patch[:last.patchTo-1])))
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), errCut.Error()) || !bytes.Equal(got, tt.upd[:last.outputAt]) {
				t.Errorf("cut: %d bytes, %v, want %d and %v", len(got), err, last.outputAt, errCut)
			}
		})
	}
}

// TestUdeltaCloseEarly closes readers that are at work, and cancels one.
func TestUdeltaCloseEarly(t *testing.T) {
	old, upd := pair(3 << 20)
	patch := makeSmall(t, old, upd)
	f := lookup(t, "udelta")
	before := runtime.NumGoroutine()
	for n := range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := f.NewReader(ctx, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: AnySize})
		if err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, r, int64(n)*1000)
		if n%2 == 1 {
			cancel()
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	}
	// A goroutine that has told it is done may take a moment to be gone.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

// TestUdeltaMemory allocates, all in all, no more than the patch declares,
// however large the new file.
func TestUdeltaMemory(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	old := randomBytes(rnd, 2<<20)
	var upd []byte
	for range 12 {
		from := rnd.IntN(len(old) / 4)
		upd = append(append(upd, old[from:]...), randomBytes(rnd, 50_000)...)
	}
	for range len(upd) / 30 {
		upd[rnd.IntN(len(upd))]++
	}
	f := lookup(t, "udelta")
	for _, level := range []Level{Fast, Default} {
		patch := mustMake(t, f, old, upd, level)
		info, err := Inspect(bytes.NewReader(patch))
		if err != nil {
			t.Fatal(err)
		}
		if info.Frames < 2 {
			t.Fatalf("%d frames: too few to show anything", info.Frames)
		}
		for _, memory := range []int64{info.Memory, info.LowMemory} {
			runtime.GC()
			before := allocated()
			r, err := f.NewReader(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch), Limits{Size: int64(len(upd)), Memory: memory})
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 32<<10))
			if err != nil || n != int64(len(upd)) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if got := allocated() - before; got > memory {
				t.Errorf("%s: %d bytes were allocated for %d of output, %d are declared", level, got, n, memory)
			} else {
				t.Logf("%s: %d bytes allocated, %d declared, %d frames", level, got, memory, info.Frames)
			}
			r.Close()
		}
	}
}

// TestOldCacheWaste jumps between more places than the cache has room for: that
// must not make it read far more of old than is asked for.
func TestOldCacheWaste(t *testing.T) {
	old := make([]byte, 1<<20)
	for i := range old {
		old[i] = byte(i >> 8)
	}
	read := int64(0)
	counting := readerAt(func(p []byte, off int64) (int, error) {
		read += int64(len(p))
		return bytes.NewReader(old).ReadAt(p, off)
	})
	var c oldCache
	b := make([]byte, 1)
	const asked = 100_000
	for i := range asked {
		at := int64(i*37%7) << 17
		if err := c.fill(counting, int64(len(old)), b, at); err != nil || b[0] != old[at] {
			t.Fatalf("%d at %d, %v, want %d", b[0], at, err, old[at])
		}
	}
	if most := int64((cacheWaste+1)*asked + cacheSlack + cacheStep); read > most {
		t.Errorf("%d bytes read for %d, want at most %d", read, asked, most)
	}
	// In order, it reads each byte once.
	c, read = oldCache{}, 0
	for at := range int64(len(old)) {
		if err := c.fill(counting, int64(len(old)), b, at); err != nil || b[0] != old[at] {
			t.Fatal(err)
		}
	}
	if read != int64(len(old)) {
		t.Errorf("%d bytes read, want %d", read, len(old))
	}
}

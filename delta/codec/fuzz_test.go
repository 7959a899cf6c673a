package codec

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzZstd(f *testing.F)  { fuzz(f, "zstd") }
func FuzzGzip(f *testing.F)  { fuzz(f, "gzip") }
func FuzzXZ(f *testing.F)    { fuzz(f, "xz") }
func FuzzLZ4(f *testing.F)   { fuzz(f, "lz4") }
func FuzzBzip2(f *testing.F) { fuzz(f, "bzip2") }

// fuzz gives any bytes as a file. Neither memory nor content may pass the
// limits, and every error is one of three.
func fuzz(f *testing.F, name string) {
	c := lookup(f, name)
	file := pack(f, name, []byte(fox))
	f.Add(file, int64(len(fox)))
	f.Add(append(bytes.Clone(file), file...), int64(AnySize))
	f.Add(append([]byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"), file...), int64(AnySize))
	if name != "bzip2" {
		f.Add(pack(f, name, content(3000)), int64(3000))
		f.Add(pack(f, name, nil), int64(0))
	} else {
		f.Add(unhex(f, bzip2Zeros), int64(45_899_235))
	}
	f.Fuzz(func(t *testing.T, file []byte, size int64) {
		limits := Limits{Size: max(size, AnySize), Max: 4 << 20, Memory: 16 << 20}
		limits.Size = min(limits.Size, limits.Max)
		before := allocated()
		r, err := c.NewReader(t.Context(), bytes.NewReader(file), limits)
		var n int64
		if err == nil {
			n, err = io.Copy(io.Discard, r)
			r.Close()
		}
		switch got := allocated() - before; {
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, errors.ErrUnsupported):
			t.Errorf("error %v", err)
		case got > 64<<20+8*n:
			t.Errorf("%d bytes were allocated for %d", got, n)
		case n > limits.Max || limits.Size != AnySize && n > limits.Size:
			t.Errorf("%d bytes came out with %+v", n, limits)
		case err == nil && limits.Size != AnySize && n != limits.Size:
			t.Errorf("%d bytes came out without an error with %+v", n, limits)
		}
	})
}

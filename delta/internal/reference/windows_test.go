package reference

import (
	"bytes"
	"io"
	"testing"
)

// countingReader counts calls.
type countingReader struct {
	io.ReaderAt
	calls int
}

func (r *countingReader) ReadAt(b []byte, off int64) (int, error) {
	r.calls++
	return r.ReaderAt.ReadAt(b, off)
}

func TestWindowsGiveWhatIsThere(t *testing.T) {
	r := seeded(8)
	old := make([]byte, 300<<10)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	w := new(windows)
	w.use(bytes.NewReader(old), int64(len(old)))
	at := int64(0)
	for range 5000 {
		if r.IntN(3) == 0 {
			at = r.Int64N(int64(len(old)))
		}
		n := min(1+r.Int64N(windowSize>>r.IntN(9)), int64(len(old))-at)
		got, err := w.read(at, at+n)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, old[at:at+n]) {
			t.Fatalf("%d bytes from %d are not those of old", n, at)
		}
		at = min(at+n, int64(len(old))-1)
	}
}

// TestWindowsReadSeldom goes forwards on several lines in turn.
func TestWindowsReadSeldom(t *testing.T) {
	const lines, length, step = 12, 1 << 20, 512
	r := &countingReader{ReaderAt: bytes.NewReader(make([]byte, lines*length))}
	w := new(windows)
	w.use(r, lines*length)
	for off := int64(0); off < length; off += step {
		for i := range int64(lines) {
			if _, err := w.read(i*length+off, i*length+off+step); err != nil {
				t.Fatal(err)
			}
		}
	}
	if most := lines * (length/windowSize + 5); r.calls > most {
		t.Errorf("%d reads, want at most %d", r.calls, most)
	}
}

func TestWindowsTellOfFailure(t *testing.T) {
	w := new(windows)
	w.use(bytes.NewReader(make([]byte, 100)), 200)
	for range 2 {
		if _, err := w.read(50, 150); err == nil {
			t.Error("bytes that are not there were given")
		}
	}
	if b, err := w.read(0, 0); err != nil || len(b) != 0 {
		t.Errorf("nothing gave %d bytes, error %v", len(b), err)
	}
}

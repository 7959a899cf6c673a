package wasmhost

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// endlessDecoder is a decoder that never ends, during which the phase does.
type endlessDecoder struct {
	end func()
	n   int
}

func (e *endlessDecoder) Read(b []byte) (int, error) {
	if e.n++; e.n == 3 {
		e.end()
	}
	return min(len(b), 10), nil
}

func (e *endlessDecoder) Close() error { return nil }

// A phase that ends while a decoder works ends the service. Which of the two
// goroutines sees it first differs, so that it is tried often.
func TestPhaseEndsWhileDecoding(t *testing.T) {
	over := errors.New("over")
	for range 100 {
		ctx, stop := context.WithCancelCause(t.Context())
		f := newFerry()
		err := f.run(ctx, &call{g: &Grants{}}, func(context.Context) (io.ReadCloser, error) {
			return &endlessDecoder{end: func() { stop(over) }}, nil
		}, func(r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if !errors.Is(err, over) {
			t.Fatalf("error = %v, want the cause of the end", err)
		}
	}
}

// The digest of a whole stream is the one that the host makes of it anyway.
func TestHashOfAWholeStream(t *testing.T) {
	for _, size := range []int{0, 1, mib + 7} {
		data := image(size)
		b := newBench(data, device.Slots)
		err := run(t, abi.Install, plain(""), &b.grants, func(s *script) {
			art, sum := s.must("art_open", "image"), make([]byte, 64)
			if s.want(64, "svc_hash", art, 0, -1, abi.SHA256, sum); string(sum) != sha(data) {
				t.Errorf("hash of %d bytes = %s", size, sum)
			}
			if size > 0 {
				s.want(abi.ESEQ, "svc_hash", art, 0, -1, abi.SHA256, sum)
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}

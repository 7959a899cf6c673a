package delta

import (
	"context"
	"fmt"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// maxZstdFiles bounds old and new together, in bytes: the encoder's window
// reaches over both and is at most this large. Making needs about twice the
// old file, once the new one and 80 MiB of tables.
const maxZstdFiles = zstd.MaxWindowSize

// readStep is how much is read between two looks at the context.
const readStep = 1 << 20

// zstdLevels maps levels to the encoder's. Its two lower ones index the
// dictionary so thinly that they miss most of an old file of some megabytes.
var zstdLevels = map[Level]zstd.EncoderLevel{
	Fast:    zstd.SpeedBetterCompression,
	Default: zstd.SpeedBestCompression,
	Max:     zstd.SpeedBestCompression,
}

func makeZstd(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o Options) (Stats, error) {
	if sum := old.Size() + new.Size(); sum < 0 || sum > maxZstdFiles {
		return Stats{}, fmt.Errorf("%w: old (%d bytes) and new (%d bytes) may be %d bytes together", ErrTooLarge, old.Size(), new.Size(), maxZstdFiles)
	}
	base, err := readOld(ctx, old, old.Size())
	if err != nil {
		return Stats{}, err
	}
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderDictRaw(0, base),
		zstd.WithEncoderLevel(zstdLevels[o.Level]),
		zstd.WithWindowSize(windowOver(old.Size()+new.Size())),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		return Stats{}, err
	}
	out := &headWriter{dst: dst, size: new.Size()}
	enc.ResetContentSize(out, new.Size())
	// With one goroutine, the caller's, an encoder that is not closed holds
	// nothing that must be let go.
	n, err := enc.ReadFrom(&aliveReader{alive: ctx.Err, name: "new file", src: io.NewSectionReader(new, 0, new.Size())})
	if err == nil && n != new.Size() {
		err = fmt.Errorf("read new file: %d of %d bytes: %w", n, new.Size(), io.ErrUnexpectedEOF)
	}
	if err != nil {
		return Stats{}, err
	}
	err = enc.Close()
	return Stats{PatchSize: out.written}, err
}

// windowOver is the smallest window that the encoder accepts from which every
// byte of both files can be reached.
func windowOver(size int64) int {
	return max(minWindow, 1<<bits.Len64(uint64(max(size, 1)-1)))
}

// headWriter replaces the head of the frame that the encoder writes, which
// leaves small sizes out and rounds the window up, by one with the exact size.
type headWriter struct {
	dst     io.Writer
	size    int64
	begun   bool
	written int64
}

func (w *headWriter) Write(p []byte) (int, error) {
	head := 0
	if !w.begun {
		h, n, err := parseHead(p)
		if err != nil {
			return 0, err
		}
		w.begun, head = true, n
		h.size = w.size
		m, err := w.dst.Write(h.append(nil))
		w.written += int64(m)
		if err != nil {
			return 0, err
		}
	}
	if head == len(p) {
		return head, nil
	}
	n, err := w.dst.Write(p[head:])
	w.written += int64(n)
	return head + n, err
}

// readOld reads the first size bytes of old into one allocation of that size.
func readOld(ctx context.Context, old io.ReaderAt, size int64) ([]byte, error) {
	return readAll(ctx, "old file", io.NewSectionReader(old, 0, size))
}

// readAll reads a whole section, called name in errors, into one allocation.
func readAll(ctx context.Context, name string, s *io.SectionReader) ([]byte, error) {
	b := make([]byte, s.Size())
	in := &aliveReader{alive: ctx.Err, name: name, src: io.NewSectionReader(s, 0, s.Size())}
	n, err := io.ReadFull(in, b)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, fmt.Errorf("read %s: %d of %d bytes: %w", name, n, s.Size(), io.ErrUnexpectedEOF)
	case err != nil:
		return nil, err
	}
	return b, nil
}

// aliveReader asks alive before each read of at most readStep bytes, and says
// in errors what was read.
type aliveReader struct {
	alive func() error
	name  string
	src   io.Reader
}

func (r *aliveReader) Read(p []byte) (int, error) {
	if err := r.alive(); err != nil {
		return 0, err
	}
	n, err := r.src.Read(p[:min(len(p), readStep)])
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read %s: %w", r.name, err)
	}
	return n, err
}

package delta

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdOverhead is what the reader holds beside the files: two blocks of
	// room in the decoder's ring, block buffers, tables, the patch's buffer.
	zstdOverhead = 1 << 20

	patchBuffer = 32 << 10

	// maxZstdFile bounds each file when a patch is applied, in bytes: the
	// zstd program cannot reach farther back.
	maxZstdFile = math.MaxInt32
)

// needZstd: the dictionary is the old file itself, not a copy, and the
// decoder's window is the new file.
func needZstd(oldSize, newSize int64) int64 {
	need := int64(zstdOverhead)
	for _, n := range []int64{oldSize, newSize} {
		if n > math.MaxInt64-need {
			return math.MaxInt64
		}
		need += n
	}
	return need
}

// openZstd checks everything that the head of the patch says before it reads
// the old file or lets the decoder see a byte.
func openZstd(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	if err := fits(oldSize, max(limits.Size, 0), limits.Memory); err != nil {
		return nil, err
	}
	frame := &frameReader{src: bufio.NewReaderSize(patch, patchBuffer), alive: ctx.Err}
	head, err := frame.head()
	if err != nil {
		return nil, err
	}
	if err := settle(&head, limits.Size); err != nil {
		return nil, corrupt(frame.at, err)
	}
	if err := fits(oldSize, head.size, limits.Memory); err != nil {
		return nil, err
	}
	base, err := readOld(ctx, old, oldSize)
	if err != nil {
		return nil, err
	}
	// No encoder writes this much. It bounds the work of blocks that are
	// there but give nothing.
	frame.limit = 2*head.size + 64<<10
	frame.ready = head.append(nil)

	window := uint64(head.size)
	if head.window != 0 {
		window = min(window, head.window)
	}
	window = max(window, minWindow)
	dec, err := zstd.NewReader(frame,
		zstd.WithDecoderDictRaw(0, base),
		zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderMaxMemory(window),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		return nil, err
	}
	return &zstdReader{dec: dec, frame: frame, left: head.size}, nil
}

func fits(oldSize, newSize, memory int64) error {
	if larger := max(oldSize, newSize); larger > maxZstdFile {
		return fmt.Errorf("%w: a file of %d bytes, the format takes %d", ErrTooLarge, larger, maxZstdFile)
	}
	if need := needZstd(oldSize, newSize); need > memory {
		return fmt.Errorf("%w: old (%d bytes) and new (%d bytes) need %d bytes of memory, the limit is %d", ErrTooLarge, oldSize, newSize, need, memory)
	}
	return nil
}

// settle checks the head against the size that the caller wants, and fills
// the size in where only the caller knows it.
func settle(h *frameHead, want int64) error {
	switch {
	case !h.checksum:
		return errors.New("the frame has no checksum: make the patch with one")
	case h.dictionary != 0:
		return fmt.Errorf("the frame wants dictionary %d, not an old file", h.dictionary)
	case h.size == AnySize && want == AnySize:
		return errors.New("nothing says how large the result is")
	case h.size == AnySize:
		h.size = want
	case want != AnySize && h.size != want:
		return fmt.Errorf("the patch gives %d bytes, expected %d", h.size, want)
	}
	return nil
}

// zstdReader is the new file while a frame is decoded.
type zstdReader struct {
	dec   *zstd.Decoder
	frame *frameReader
	left  int64 // bytes still to come
	err   error
}

// Read gives the next bytes of the new file.
func (r *zstdReader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	n, err := r.dec.Read(p)
	r.left -= int64(n)
	if err != nil {
		r.err = r.explain(err)
	}
	return n, r.err
}

// explain prefers what the frame reader saw to what the decoder made of it.
func (r *zstdReader) explain(err error) error {
	seen := r.frame.err
	switch {
	case err == io.EOF && seen == io.EOF && r.left == 0:
		return io.EOF
	case seen != nil && seen != io.EOF:
		return fmt.Errorf("apply zstd delta: %w", seen)
	case errors.Is(err, zstd.ErrCRCMismatch):
		err = errors.New("the result does not have its checksum: the patch is damaged, or made from another old file")
	}
	return fmt.Errorf("apply zstd delta: %w", corrupt(r.frame.at, err))
}

// Close lets go of the old file and the window.
func (r *zstdReader) Close() error {
	if r.dec != nil {
		r.dec.Close()
		r.dec, r.frame = nil, nil
		r.err = fmt.Errorf("read zstd delta: %w", os.ErrClosed)
	}
	return nil
}

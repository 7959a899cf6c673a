package codec

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdOverhead is what the decoder holds beside the window: room for two
	// blocks, tables and the input's buffer.
	zstdOverhead = 1 << 20

	// maxZstdHead is the longest head of a frame.
	maxZstdHead = 18

	// maxZstdWindow is the largest window that the format can express: the
	// library refuses to be asked for more.
	maxZstdWindow = 1<<41 + 7<<38
)

func isZstd(head []byte) bool { return hasMagic(head, "\x28\xb5\x2f\xfd") }

func decodeZstd(src *source, limits Limits) (decoder, error) {
	if err := fits(zstdOverhead+zstd.MinWindowSize, limits); err != nil {
		return nil, err
	}
	// The library checks the window of each frame; only this tells how much
	// the first one wants.
	head, err := src.peek(maxZstdHead)
	if err != nil {
		return nil, err
	}
	var h zstd.Header
	switch err := h.Decode(head); {
	case err != nil:
		return nil, noEOF(err)
	case h.DictionaryID != 0:
		return nil, unsupportedf("the frame needs dictionary %d", h.DictionaryID)
	case h.WindowSize > maxZstdWindow:
		return nil, tooLargef("a window of %d bytes", h.WindowSize)
	}
	if err := fits(zstdOverhead+int64(h.WindowSize), limits); err != nil {
		return nil, err
	}
	window := min(uint64(limits.Memory-zstdOverhead), maxZstdWindow)
	dec, err := zstd.NewReader(src,
		zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderMaxMemory(window),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		return nil, err
	}
	return &zstdDecoder{dec}, nil
}

// zstdDecoder lets the library join the frames and pass over skippable ones.
type zstdDecoder struct{ dec *zstd.Decoder }

func (d *zstdDecoder) Read(p []byte) (int, error) {
	n, err := d.dec.Read(p)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = tooLargef("a frame needs more memory than the limit: %v", err)
	case errors.Is(err, zstd.ErrUnknownDictionary):
		err = unsupportedf("a frame needs a dictionary")
	}
	return n, err
}

func (d *zstdDecoder) free() { d.dec.Close() }

var zstdLevels = map[Level]zstd.EncoderLevel{
	Fast:    zstd.SpeedDefault,
	Default: zstd.SpeedBetterCompression,
	Max:     zstd.SpeedBestCompression,
}

func encodeZstd(dst io.Writer, o Options) (io.WriteCloser, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstdLevels[o.Level]), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if o.Size == AnySize {
		enc.Reset(dst)
	} else {
		enc.ResetContentSize(dst, o.Size)
	}
	return enc, nil
}

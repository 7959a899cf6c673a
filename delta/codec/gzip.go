package codec

import (
	"compress/gzip" // which programs that speak HTTP hold anyway
	"io"
)

// gzipMemory is the window of 32 KiB, tables and buffers.
const gzipMemory = 256 << 10

func isGzip(head []byte) bool { return hasMagic(head, "\x1f\x8b\x08") }

func decodeGzip(src *source, limits Limits) (decoder, error) {
	if err := fits(gzipMemory, limits); err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(src)
	if err != nil {
		return nil, noEOF(err)
	}
	return gzipDecoder{r}, nil
}

// gzipDecoder lets the library join the members.
type gzipDecoder struct{ *gzip.Reader }

func (d gzipDecoder) free() {}

var gzipLevels = map[Level]int{Fast: 3, Default: 6, Max: 9}

func encodeGzip(dst io.Writer, o Options) (io.WriteCloser, error) {
	return gzip.NewWriterLevel(dst, gzipLevels[o.Level])
}

package codec

import (
	"compress/bzip2"
	"io"
)

// bzip2Memory is the largest block of 900,000 bytes, four times, and tables.
const bzip2Memory = 4 << 20

// A bzip2 stream begins with the level and either a block or, if it is empty,
// the end.
const (
	bzip2Block = "\x31\x41\x59\x26\x53\x59"
	bzip2End   = "\x17\x72\x45\x38\x50\x90"
)

func isBzip2(head []byte) bool {
	if !hasMagic(head, "BZh") || len(head) < DetectLength || head[3] < '1' || head[3] > '9' {
		return false
	}
	return hasMagic(head[4:], bzip2Block) || hasMagic(head[4:], bzip2End)
}

func decodeBzip2(src *source, limits Limits) (decoder, error) {
	if err := fits(bzip2Memory, limits); err != nil {
		return nil, err
	}
	// The library takes an input without any byte for an early end, and
	// joins the streams.
	return bzip2Decoder{bzip2.NewReader(src)}, nil
}

type bzip2Decoder struct{ io.Reader }

func (d bzip2Decoder) free() {}

package coder

import (
	"errors"
	"fmt"
)

// ErrCorrupt is the error for bytes that no encoder wrote.
var ErrCorrupt = errors.New("corrupt coded data")

// Decoder reads the decisions that an [Encoder] wrote, asked for with the same
// models in the same order. It accepts any bytes: past their end it reads
// zeros and [Decoder.Err] says so, and [Decoder.Close] finds whatever else is
// not as an encoder leaves it. It holds the bytes, copies nothing, allocates
// nothing, and serves one goroutine.
type Decoder struct {
	width, code uint32
	src         []byte
	at          int // how much of src was read; more than there is, if it ended too soon
}

// NewDecoder starts to read src.
func NewDecoder(src []byte) *Decoder {
	d := new(Decoder)
	d.Reset(src)
	return d
}

// Reset starts to read src, as [NewDecoder] does.
func (d *Decoder) Reset(src []byte) {
	*d = Decoder{width: 1<<32 - 1, src: src}
	for range 4 {
		d.code = d.code<<8 | uint32(d.next())
	}
}

func (d *Decoder) next() (b byte) {
	if d.at < len(d.src) {
		b = d.src[d.at]
	}
	d.at++
	return b
}

func (d *Decoder) widen() {
	d.width <<= 8
	d.code = d.code<<8 | uint32(d.next())
}

// Bit gives the next decision, 0 or 1, and lets p learn from it.
func (d *Decoder) Bit(p *Prob) int {
	if d.width < topRange {
		d.widen()
	}
	bound := d.width >> probBits * p.zero()
	if d.code < bound {
		d.width = bound
		p.saw(0)
		return 0
	}
	d.width -= bound
	d.code -= bound
	p.saw(-1)
	return 1
}

// above is all ones if code is bound or more, which is a 1, and otherwise 0.
func above(code, bound uint32) uint32 {
	return ^uint32((int64(code) - int64(bound)) >> 63)
}

// Direct gives the next n bits that were coded at even odds. n is at most 32.
func (d *Decoder) Direct(n int) uint32 {
	var v uint32
	width, code := d.width, d.code
	for range n {
		if width < topRange {
			width <<= 8
			code = code<<8 | uint32(d.next())
		}
		width >>= 1
		one := above(code, width)
		code -= width & one
		v = v<<1 - one
	}
	d.width, d.code = width, code
	return v
}

// Err is an [ErrCorrupt] once more was read than there is, else nil. A caller
// whose loop does not end by itself asks now and then.
func (d *Decoder) Err() error {
	if d.at > len(d.src) {
		return fmt.Errorf("%w: ends after %d bytes, before the data does", ErrCorrupt, len(d.src))
	}
	return nil
}

// Close is called after the last decision. What follows must be exactly what
// [Encoder.Finish] adds: any other ending, and any byte too many, is
// [ErrCorrupt].
func (d *Decoder) Close() error {
	mark := d.Direct(1)
	if d.width < topRange {
		d.widen()
	}
	if err := d.Err(); err != nil {
		return err
	}
	if d.at < len(d.src) {
		return fmt.Errorf("%w: %d bytes too many after the first %d", ErrCorrupt, len(d.src)-d.at, d.at)
	}
	if mark != 1 || d.code != 0 {
		return fmt.Errorf("%w: does not end as it should", ErrCorrupt)
	}
	return nil
}

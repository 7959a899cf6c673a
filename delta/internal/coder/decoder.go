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
	at          int           // how much of src was read; more than there is, if it ended too soon
	more        func() []byte // nil if src is all there is
}

// NewDecoder starts to read src.
func NewDecoder(src []byte) *Decoder {
	d := new(Decoder)
	d.Reset(src)
	return d
}

// Reset starts to read src, as [NewDecoder] does.
func (d *Decoder) Reset(src []byte) { d.ResetComing(src, nil) }

// ResetComing starts to read bytes that are still coming. Src has those that
// are there; whenever more are needed, more gives all of them anew, src and
// what came behind it. No more than it gave before says that there are none,
// and then it is not called again.
func (d *Decoder) ResetComing(src []byte, more func() []byte) {
	*d = Decoder{width: 1<<32 - 1, src: src, more: more}
	for range 4 {
		d.code = d.code<<8 | uint32(d.next())
	}
}

func (d *Decoder) next() byte {
	if d.at >= len(d.src) {
		return d.late()
	}
	d.at++
	return d.src[d.at-1]
}

// late is next where the bytes that were there are used up.
func (d *Decoder) late() (b byte) {
	if d.wait() {
		b = d.src[d.at]
	}
	d.at++
	return b
}

// wait waits for more bytes after the last one, and says whether there are any.
func (d *Decoder) wait() bool {
	if d.more == nil {
		return false
	}
	src := d.more()
	if len(src) <= len(d.src) {
		d.more = nil
		return false
	}
	d.src = src
	return true
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

// DirectBytes fills b as [Decoder.Direct] of 8 bits would, byte by byte.
//
// Halving alone keeps width where 8 bits lie between two widenings: then all of
// them are the quotient of code by an eighth part of a byte's worth of width.
func (d *Decoder) DirectBytes(b []byte) {
	left := 8 * len(b) // bits
	var bits, have uint32
	width, code := d.width, d.code
	for left > 0 {
		if width < topRange {
			if width >= topRange/2 && left >= 8 {
				break
			}
			width <<= 8
			code = code<<8 | uint32(d.next())
		}
		width >>= 1
		one := above(code, width)
		code -= width & one
		bits = bits<<1 - one
		left--
		if have++; have == 8 {
			b[0], b, have = byte(bits), b[1:], 0
		}
	}
	for ; left >= 8; left -= 8 {
		code = code<<8 | uint32(d.next())
		v := min(code/width, 255)
		code -= v * width
		bits = bits<<8 | v
		b[0], b = byte(bits>>have), b[1:]
	}
	d.width, d.code = width, code
	if left > 0 {
		b[0] = byte(bits<<left | d.Direct(left))
	}
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
	if d.at < len(d.src) || d.wait() {
		return fmt.Errorf("%w: %d bytes too many after the first %d", ErrCorrupt, len(d.src)-d.at, d.at)
	}
	if mark != 1 || d.code != 0 {
		return fmt.Errorf("%w: does not end as it should", ErrCorrupt)
	}
	return nil
}

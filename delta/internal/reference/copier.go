package reference

import (
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// batch is how many fields are handled at once.
const batch = 32

// Copier makes the bytes of copies inside elements: those of old, with each
// reference set to what it holds in new. It is for one goroutine.
type Copier struct {
	guide  guide // of the element in use
	old    windows
	model  *model
	fields []Field
	ready  [batch]pending

	carry    [Margin]byte // bytes after the last piece, as far as they are made
	carried  int
	in       Copy  // the copy of the last call
	next     int64 // where in it the next call goes on
	lastCopy Copy  // the copy of the last reference
}

// pending is a field of which all is known but its value in new.
type pending struct {
	Field
	guess
	to uint64 // what its value is counted from in new
}

// NewCopier makes a Copier that has no element yet. It holds 1.5 MiB, however
// many elements it is used for.
func NewCopier() *Copier {
	c := &Copier{model: new(model)}
	c.Reset()
	return c
}

// Use makes the calls that follow be about e, of which old has the bytes. What
// was learned stays, for other elements too: id, which is different for each
// element and the same on both sides, keeps their targets apart. Both sides
// call it at the same places of the sequence of copies.
func (c *Copier) Use(id uint64, e *Element, l *Layout, m *Map, old io.ReaderAt) {
	c.guide = guide{e: e, l: l, m: m}
	c.model.salt = id * 0xD6E8FEB86659FD93
	c.old.use(old, e.size)
	c.forgetCopy()
}

// Reset forgets what was learned, as both sides do where a frame begins. The
// element in use stays in use. It takes microseconds.
func (c *Copier) Reset() {
	c.model.reset()
	c.forgetCopy()
}

func (c *Copier) forgetCopy() {
	c.in, c.lastCopy = Copy{}, Copy{}
	c.next, c.carried = 0, 0
}

// Decode fills dst with the bytes of copy in from skip on, taking from d what
// the forecasts miss. The calls for one copy go on where the last one ended,
// those for several copies follow the order of their encoding. However the
// bytes are cut into calls, they are the same.
//
// Decode returns errors of reading old, and [ErrCorrupt] for a copy that does
// not lie inside of the element. What is wrong with d is for the caller to ask.
func (c *Copier) Decode(dst []byte, in Copy, skip int64, d *coder.Decoder) error {
	return c.run(dst, nil, in, skip, reader{d})
}

// Encode does what Decode will do, and codes for it what the forecasts miss.
// want is the bytes of new that copy in stands for, all of them.
func Encode(c *Copier, dst, want []byte, in Copy, skip int64, e *coder.Encoder) error {
	if int64(len(want)) != in.Length {
		return fmt.Errorf("encode references: %d bytes of new for a copy of %d", len(want), in.Length)
	}
	return c.run(dst, want, in, skip, writer{e})
}

func (c *Copier) run(dst, want []byte, in Copy, skip int64, l link) error {
	if c.guide.e == nil {
		return errors.New("copy references: no element is in use")
	}
	if in.Old < 0 || in.New < 0 || in.Length < 0 || skip < 0 || in.Old > c.guide.e.size || in.Length > c.guide.e.size-in.Old ||
		skip > in.Length || int64(len(dst)) > in.Length-skip || in.New > maxSize-in.Length {
		return fmt.Errorf("%w: copy of %d bytes from %d to %d does not lie inside of the element", ErrCorrupt, in.Length, in.Old, in.New)
	}
	if in != c.in || skip != c.next {
		c.in, c.next, c.carried = in, skip, 0
	}
	for len(dst) > 0 {
		n, err := c.piece(dst, want, l)
		if err != nil {
			return err
		}
		dst = dst[n:]
		c.next += int64(n)
	}
	return nil
}

// piece makes the first bytes of dst, and as much of what follows as the
// fields that begin in them reach into. It says how many are made.
func (c *Copier) piece(dst, want []byte, l link) (int, error) {
	lo, end := c.in.Old+c.next, c.in.Old+c.in.Length
	from, _ := c.guide.e.Window(lo, lo)
	hi := min(lo+int64(len(dst)), from+windowSize-Margin)
	_, to := c.guide.e.Window(lo, hi)
	data, err := c.old.read(from, to)
	if err != nil {
		return 0, err
	}
	old := data[lo-from : min(hi+Margin, end)-from]
	dst = dst[:hi-lo]
	copy(dst, old)
	copy(dst, c.carry[:c.carried])
	var carry [Margin]byte
	carried := copy(carry[:], old[len(dst):])
	if c.carried > len(dst) {
		copy(carry[:], c.carry[len(dst):c.carried])
	}
	c.carry, c.carried = carry, carried
	c.fields = c.guide.e.Scan(c.fields[:0], data, from, lo, hi)
	if want != nil {
		want = want[c.next:]
	}
	for f := c.fields; len(f) > 0; {
		n := min(len(f), batch)
		c.set(dst, old, want, f[:n], lo, l)
		f = f[n:]
	}
	return len(dst), nil
}

// set sets fields in dst, and in the carry what of them lies behind it. old
// and (for an encoder) want are the bytes of old and of new for dst and on.
// All that can be known before the first is coded is found out first, so that
// the processor can wait for many places of the memory of targets at once.
func (c *Copier) set(dst, old, want []byte, fields []Field, lo int64, l link) {
	n := 0
	for _, f := range fields {
		i := f.Off - lo
		if i+f.size() > int64(len(old)) || c.guide.l.off[f.Kind] {
			continue
		}
		p := &c.ready[n]
		p.Field = f
		if c.prepare(p, old[i:]) {
			n++
		}
	}
	var sum uint16
	for k := range c.ready[:n] {
		sum += c.model.memory[c.ready[k].slot].tag
	}
	c.model.sum += sum // or the compiler might leave it out
	same := c.lastCopy == c.in
	for k := range c.ready[:n] {
		p := &c.ready[k]
		i := p.Off - lo
		var actual uint64
		if want != nil {
			actual = p.value(want[i:], old[i:], p.to)
		}
		p.same = same
		same, c.lastCopy = true, c.in
		v := c.model.code(l, &p.guess, actual)
		switch end := i + p.size(); {
		case v == p.plain:
		case end <= int64(len(dst)):
			p.write(dst[i:], old[i:], v)
		default:
			var b [Margin]byte
			k := copy(b[:], dst[i:])
			copy(b[k:], c.carry[:c.carried])
			p.write(b[:], old[i:], v)
			copy(dst[i:], b[:k])
			copy(c.carry[:c.carried], b[k:])
		}
	}
}

// write is [Field.set], with less to decide for most fields.
func (p *pending) write(b, old []byte, v uint64) {
	if p.Kind.isDistance() {
		little.PutUint32(b, uint32(v-p.to)-p.Kind.bias())
		return
	}
	p.set(b, old, p.to, v)
}

// prepare finds out about a field, of which old has the bytes, what is known
// before its value is coded. It is false if it is none.
func (c *Copier) prepare(p *pending, old []byte) bool {
	from, ok := c.guide.from(p.Field)
	to, more := c.guide.to(p.Field, c.in)
	if !ok || !more {
		return false
	}
	p.to, p.kind = to, p.Kind
	switch {
	case p.Kind.isDistance():
		bias := uint64(p.Kind.bias())
		d := bias + uint64(int64(int32(little.Uint32(old))))
		p.old, p.plain = from+d, to+d
		p.near = d+1<<16 < 1<<17
		p.moved = p.plain
		if v, ok := c.guide.moveAddress(p.old, c.in); ok {
			p.moved = to + bias + uint64(int64(int32(uint32(v-to-bias))))
		}
	case p.Kind == Branch26:
		d := uint64(branch(little.Uint32(old)))
		p.old, p.plain = from+d, to+d
		p.near = d+1<<16 < 1<<17
		p.moved = p.plain
		if v, ok := c.guide.moveAddress(p.old, c.in); ok {
			p.moved = to + uint64(branch(uint32(v-to)>>2))
		}
	default:
		p.old, p.plain = p.value(old, old, from), p.value(old, old, to)
		p.near = p.Kind.space() == addresses && p.old-from+1<<16 < 1<<17
		p.moved = p.plain
		if v, ok := c.guide.move(p.Kind, p.old, c.in); ok {
			p.moved = p.held(old, to, v)
		}
	}
	c.model.find(&p.guess)
	return true
}

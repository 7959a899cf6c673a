package coder

import "fmt"

// Block decodes the parts of a block one after the other, so that what one
// part says can decide on the next: its length and the bytes known before it.
// All bytes end up one behind the other in a window that the caller lends; a
// match may reach back to its start. It serves one goroutine.
type Block struct {
	d      *Decoder
	window []byte
	at     int // how much of window is filled
	kinds  int
	models [MaxKinds]kindModel
	err    error // of an earlier call; nothing is read after it
}

// NewBlock starts to decode a block of these kinds with d, into window, which
// must have room for all that is coded and known. Its models take 110 KiB for
// each kind at most (LC + LP = 4, Expect), 12 KiB at least, and are all that it
// allocates.
func NewBlock(d *Decoder, window []byte, kinds []Kind) (*Block, error) {
	b := new(Block)
	return b, b.Reset(d, window, kinds)
}

// Reset starts over as [NewBlock] does and keeps the memory of the models.
func (b *Block) Reset(d *Decoder, window []byte, kinds []Kind) error {
	if err := CheckKinds(kinds); err != nil {
		return fmt.Errorf("decode block: %w", err)
	}
	if len(window) > MaxWindow {
		return fmt.Errorf("decode block: window of %d bytes, more than %d", len(window), MaxWindow)
	}
	b.d, b.window, b.at, b.kinds, b.err = d, window, 0, len(kinds), nil
	for i, k := range kinds {
		b.models[i].reset(k)
	}
	return nil
}

// Know appends bytes that the encoder knew as well and did not code.
func (b *Block) Know(p []byte) error {
	if len(p) > len(b.window)-b.at {
		return fmt.Errorf("%w: %d known bytes for %d left in the window", ErrCorrupt, len(p), len(b.window)-b.at)
	}
	b.at += copy(b.window[b.at:], p)
	return nil
}

// Beside says that the next byte of that kind stands in the place of the one
// that lies distance bytes before it in the window, as [Part.Beside] told the
// encoder.
func (b *Block) Beside(kind, distance int) error {
	if kind < 0 || kind >= b.kinds {
		return b.noKind(kind)
	}
	if distance < 1 || distance > b.at {
		return fmt.Errorf("%w: %d bytes back from %d", ErrCorrupt, distance, b.at)
	}
	b.models[kind].beside(distance, b.at)
	return nil
}

func (b *Block) noKind(kind int) error {
	return fmt.Errorf("decode block: no kind %d (there are %d)", kind, b.kinds)
}

// Read decodes the next n bytes, which are of that kind, and gives them as a
// piece of the window. If the window has no room for them, or the coded bytes
// are such as no encoder wrote, the error is [ErrCorrupt], and so is that of
// every later call. It costs time in proportion to n, whatever the input.
func (b *Block) Read(kind, n int) ([]byte, error) {
	switch {
	case kind < 0 || kind >= b.kinds:
		return nil, b.noKind(kind)
	case n < 0 || n > len(b.window)-b.at:
		return nil, fmt.Errorf("%w: %d bytes for %d left in the window", ErrCorrupt, n, len(b.window)-b.at)
	}
	start, end := b.at, b.at+n
	m := &b.models[kind]
	for b.at < end && b.err == nil {
		b.err = b.piece(m, min(b.at+pieceSize, end))
	}
	if b.err == nil {
		b.err = b.d.Err()
	}
	if b.err != nil {
		return nil, b.err
	}
	return b.window[start:end:end], nil
}

// piece decodes the bytes up to end.
func (b *Block) piece(m *kindModel, end int) (err error) {
	if end-b.at >= minStored && b.d.Bit(&m.stored) != 0 {
		m.position += uint32(end - b.at)
		b.d.DirectBytes(b.window[b.at:end])
		b.at = end
	}
	for b.at < end && err == nil {
		if b.d.Bit(&m.isMatch[m.state][m.slot()]) == 0 {
			b.literal(m)
		} else {
			err = b.match(m, end)
		}
	}
	return err
}

// literal decodes one byte.
func (b *Block) literal(m *kindModel) {
	var before byte
	if b.at > 0 {
		before = b.window[b.at-1]
	}
	models, expect := m.literal(m.position, b.at, before, m.state)
	if expect {
		b.window[b.at] = matchedLiteral(b.d, models, b.window[b.at-int(m.repeat[0])])
	} else {
		b.window[b.at] = byte(Tree(models[:]).Decode(b.d, 8))
	}
	b.at++
	m.position++
	m.state = m.state.afterLiteral()
}

// matchedLiteral decodes a byte beside the one that it was expected to be: as
// long as their high bits agree, a bit has models of its own for each value of
// the expected one, 256 apart.
func matchedLiteral(d *Decoder, models *[literalModels]Prob, expected byte) byte {
	width, code := d.width, d.code
	sym, want, agree := uint32(1), uint32(expected), uint32(0x100)
	for sym < 0x100 {
		if width < topRange {
			width <<= 8
			code = code<<8 | uint32(d.next())
		}
		want <<= 1
		bit := want & agree
		p := &models[agree+bit+sym]
		bound := width >> probBits * p.zero()
		one := above(code, bound)
		width = bound&^one | (width-bound)&one
		code -= bound & one
		sym = sym<<1 - one
		agree &= bit ^ ^one
		p.saw(int32(one))
	}
	d.width, d.code = width, code
	return byte(sym)
}

// match decodes a match or a repeat and copies what it says.
func (b *Block) match(m *kindModel, end int) error {
	length := b.step(m)
	distance := m.repeat[0]
	if uint(distance-1) >= uint(b.at) {
		return fmt.Errorf("%w: match at %d reaches back %d", ErrCorrupt, b.at, distance)
	}
	if int(length) > end-b.at {
		return fmt.Errorf("%w: match of %d bytes where %d are left", ErrCorrupt, length, end-b.at)
	}
	to, from := b.window[b.at:b.at+int(length)], b.window[b.at-int(distance):b.at+int(length)]
	if int(distance) >= len(to) {
		copy(to, from)
	} else {
		for i := range to {
			to[i] = from[i]
		}
	}
	b.at += int(length)
	m.position += length
	return b.d.Err()
}

// step decodes what a match is. Its distance becomes the first of m.repeat.
func (b *Block) step(m *kindModel) (length uint32) {
	d, s, slot := b.d, m.state, m.slot()
	if d.Bit(&m.isRepeat[s]) == 0 {
		m.state = s.afterMatch()
		length = m.matchLength.decode(d, slot)
		m.repeat = pushed(m.repeat, m.distance.decode(d, lengthClass(length)))
		return length
	}
	switch {
	case d.Bit(&m.notFirst[s]) == 0:
		if d.Bit(&m.isLong[s][slot]) == 0 {
			m.state = s.afterShort()
			return 1
		}
	case d.Bit(&m.notSecond[s]) == 0:
		m.promote(1)
	default:
		m.promote(2 + d.Bit(&m.notThird[s]))
	}
	m.state = s.afterRepeat()
	return m.repeatLength.decode(d, slot)
}

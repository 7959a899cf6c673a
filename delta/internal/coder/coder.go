package coder

import "fmt"

// Level is how hard [Encode] looks for the shortest coding. It changes nothing
// about decoding.
type Level uint8

const (
	// Fast takes matches as it finds them, looking one byte ahead.
	Fast Level = iota
	// Default weighs all ways to code a stretch against each other.
	Default
	// Max does the same with a longer search for matches.
	Max
)

// Kind says how one kind of bytes is modelled. Bytes of one kind should
// resemble each other; each kind has models of its own.
type Kind struct {
	// LC is how many high bits of the byte before are context of a literal.
	LC uint8
	// LP is how many low bits of the position are. The position counts the
	// bytes of this kind. LC and LP together are at most 4.
	LP uint8
	// PB is how many low bits of the position are context of the choice
	// between literal and match and of lengths: 0 to 4.
	PB uint8
	// Expect makes every literal look at the byte at the last distance, and
	// not just the one after a match. It suits tables, code and text beside
	// what it replaces: anything where bytes equal those a fixed distance
	// before more often than not.
	Expect bool
}

const (
	// MaxKinds is how many kinds a block can have.
	MaxKinds = 8
	// MaxWindow is how long a window can be, known bytes included, in bytes.
	MaxWindow = 64 << 20

	maxLiteralBits  = 4
	maxPositionBits = 4
)

// Part is a stretch of bytes of one kind in a block.
type Part struct {
	Kind int    // index into the block's kinds
	Raw  []byte // what is coded
	// Known is what the decoder will have before it decodes Raw. It joins
	// the window in front of Raw and is not coded.
	Known []byte
	// Beside is how far before the first byte of Raw a byte lies that it
	// stands in the place of, in the window; 0 if there is none. Raw is then
	// coded as if a match at that distance had just ended.
	Beside int
}

// CheckKinds tells what is wrong with kinds, if anything is.
func CheckKinds(kinds []Kind) error {
	if len(kinds) > MaxKinds {
		return fmt.Errorf("%d kinds of bytes, more than %d", len(kinds), MaxKinds)
	}
	for i, k := range kinds {
		if int(k.LC)+int(k.LP) > maxLiteralBits || k.PB > maxPositionBits {
			return fmt.Errorf("kind %d: lc %d, lp %d, pb %d (want lc + lp at most %d, pb at most %d)",
				i, k.LC, k.LP, k.PB, maxLiteralBits, maxPositionBits)
		}
	}
	return nil
}

// Compress codes the raw bytes of parts, in order, as one block. Equal input
// gives equal bytes. It panics if a kind, a distance or the sum of all lengths
// is out of bounds (see [CheckKinds] and [MaxWindow]).
func Compress(level Level, kinds []Kind, parts []Part) []byte {
	e := NewEncoder()
	Encode(e, level, kinds, parts)
	return e.Finish()
}

// Decompress is the reverse of [Compress]: it fills the Raw of each part, whose
// lengths must be those that were coded. window is room for all Known and Raw
// together. Anything but exactly what Compress wrote for these lengths, kinds
// and known bytes is [ErrCorrupt] or gives other bytes; then Raw is of no use.
func Decompress(window, src []byte, kinds []Kind, parts []Part) error {
	d := NewDecoder(src)
	b, err := NewBlock(d, window, kinds)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := b.Know(p.Known); err != nil {
			return err
		}
		if p.Beside != 0 {
			if err := b.Beside(p.Kind, p.Beside); err != nil {
				return err
			}
		}
		raw, err := b.Read(p.Kind, len(p.Raw))
		if err != nil {
			return err
		}
		copy(p.Raw, raw)
	}
	return d.Close()
}

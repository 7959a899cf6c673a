package delta

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/updraft-ota/updraft/delta/internal/coder"
)

// The native format is specified in docs/delta-format.md. A patch is a header,
// frames that stand for one stretch of the new file after the other, and an
// end. A frame says which stretches of old are copied, what changes in them,
// and what stands between them; it is decoded with nothing but the header.

// The kinds of bytes in a frame, in the order in which they are coded.
const (
	udeltaGaps      = iota // literals before each copy, as numbers
	udeltaLengths          // lengths of copies less one, as numbers
	udeltaDiagonals        // how far old is ahead of new: see udeltaOps
	udeltaChanges          // of copied bytes: a number of unchanged ones, then new less old byte
	udeltaLiterals         // what no copy covers
	udeltaKinds
)

var udeltaKindNames = [udeltaKinds]string{"gaps", "lengths", "diagonals", "changes", "literals"}

// udeltaModels is how each kind is modelled. It is part of the format.
var udeltaModels = []coder.Kind{
	udeltaGaps:      {},
	udeltaLengths:   {LC: 1},
	udeltaDiagonals: {LC: 1},
	udeltaChanges:   {LC: 3},
	udeltaLiterals:  {LC: 3, Expect: true},
}

const (
	// udeltaSpan is how much of old is looked at at once: a copy is made in
	// pieces that end where old has a multiple of it.
	udeltaSpan = 64 << 10

	// Sections.
	udeltaMapSection   = 'M'
	udeltaFrameSection = 'F'
	udeltaEndSection   = 'Z'
)

// udeltaCaps bounds every frame of a patch. All are binary logarithms of
// bytes.
type udeltaCaps struct {
	Coded  uint8 // a section
	Raw    uint8 // all kinds of a frame together, decoded
	Known  uint8 // known bytes of a frame
	Output uint8 // what a frame makes

	// Of patches with elements, else 0.
	Map    uint8 // a map section, coded and decoded
	Tables uint8 // what open elements hold
}

// udeltaMost is the most that the format allows.
var udeltaMost = udeltaCaps{Coded: 21, Raw: 22, Known: 22, Output: 26, Map: 21, Tables: 24}

func (c udeltaCaps) within(most udeltaCaps) bool {
	return c.Coded <= most.Coded && c.Raw <= most.Raw && c.Known <= most.Known && c.Output <= most.Output &&
		c.Map <= most.Map && c.Tables <= most.Tables
}

// bytes is how the header has them.
func (c udeltaCaps) bytes() []byte {
	return []byte{c.Coded, c.Raw, c.Known, c.Output, c.Map, c.Tables}
}

func capsOf(b [6]byte) udeltaCaps { return udeltaCaps{b[0], b[1], b[2], b[3], b[4], b[5]} }

// logUp is the binary logarithm of n, rounded up.
func logUp(n int) uint8 { return uint8(bits.Len(uint(max(n, 1) - 1))) }

// What the reader holds beside the parts of frames, in bytes.
const (
	udeltaWindow  = 256 << 10 // of output, at most
	udeltaWindows = 3
	udeltaFixed   = 1 << 20 // models, stretches of old, everything small
	udeltaCopier  = 3 << 19 // models of references, stretches of old
	mapWork       = 20      // for each copy that a map is made of
)

// memory is what a reader needs that decodes ahead frames ahead of the one in
// hand.
func (c udeltaCaps) memory(ahead int) int64 {
	frame := int64(1)<<c.Coded + int64(1)<<c.Raw + int64(1)<<c.Known
	n := udeltaFixed + udeltaWindows*udeltaWindow + frame + int64(1+ahead)<<c.Raw
	if c.Map > 0 {
		region := int64(1)<<c.Map + regionMemory
		n += mapWork * min(maxRegionOps, int64(1)<<c.Map/3) // a copy takes three bytes at least
		n += udeltaCopier + int64(1)<<c.Map + int64(1)<<c.Tables + int64(1+ahead)*(region+int64(1)<<c.Coded)
	}
	return n
}

// needUdelta does not depend on the files: a patch has frames of bounded size.
func needUdelta(_, _ int64) int64 { return udeltaMost.memory(1) }

// number reads a number in canonical LEB128: seven bits a byte, lowest first,
// the highest bit set in all but the last, no byte more than needed, below
// 1<<63. It gives the length 0 for anything else.
func number(b []byte) (v int64, n int) {
	for i, c := range b {
		if i == 9 {
			return 0, 0
		}
		v |= int64(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, 0
			}
			return v, i + 1
		}
	}
	return 0, 0
}

// castagnoli is the polynomial of all checksums of the format.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// patchSource reads a patch in order, and no further than asked.
type patchSource struct {
	src   io.Reader
	alive func() error   // the caller's context
	begin func(at int64) // told before each section, may be nil
	at    int64          // bytes of the patch before the next one
}

var errCut = errors.New("the patch ends early")

// fill reads all of b.
func (p *patchSource) fill(b []byte) error {
	for len(b) > 0 {
		n, err := p.some(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// some reads at least one byte into b, and no more than there are at once.
func (p *patchSource) some(b []byte) (int, error) {
	for {
		if err := p.alive(); err != nil {
			return 0, err
		}
		n, err := p.src.Read(b)
		p.at += int64(n)
		switch {
		case n > 0:
			return n, nil
		case err == io.EOF:
			return 0, corrupt(p.at, errCut)
		case err != nil:
			return 0, fmt.Errorf("read patch: %w", err)
		}
	}
}

// number appends to b the bytes of a number and gives its value.
func (p *patchSource) number(b []byte) (int64, []byte, error) {
	start := len(b)
	for {
		b = append(b, 0)
		if err := p.fill(b[len(b)-1:]); err != nil {
			return 0, b, err
		}
		if b[len(b)-1] < 0x80 {
			break
		}
		if len(b)-start == 9 {
			return 0, b, corrupt(p.at, errors.New("a number of more than 63 bits"))
		}
	}
	v, n := number(b[start:])
	if n == 0 {
		return 0, b, corrupt(p.at, errors.New("a number that is longer than need be"))
	}
	return v, b, nil
}

// end expects the patch to be over.
func (p *patchSource) end() error {
	var b [1]byte
	for {
		if err := p.alive(); err != nil {
			return err
		}
		n, err := p.src.Read(b[:])
		switch {
		case n > 0:
			return corrupt(p.at, errors.New("the patch goes on after its end"))
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read patch: %w", err)
		}
	}
}

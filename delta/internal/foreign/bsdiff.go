package foreign

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"fmt"
	"io"
)

// A BSDIFF40 patch is a head of 32 bytes (magic, sizes of control and
// difference as they are compressed, size of new) and three bzip2 streams:
// control, difference, extra. Control is triples: so many bytes of the
// difference to add to old, so many of extra to insert, and how far to move
// in old then. An ENDSLEY/BSDIFF43 patch has a head of 24 bytes (magic, size
// of new) and one bzip2 stream in which each triple is followed by its bytes.
// Numbers are 64 bits, little-endian, sign and magnitude.
const (
	bsdiffMagic  = "BSDIFF40"
	endsleyMagic = "ENDSLEY/BSDIFF43"

	bsdiffHead = 32
	triple     = 24

	// bsdiffWindow is how much of new is made at once.
	bsdiffWindow = 128 << 10

	// bzip2Memory is four times the largest block of 900,000 bytes, tables
	// and the buffer of its input.
	bzip2Memory = 3600<<10 + 128<<10

	// BsdiffMemory is what applying holds of memory in bytes, whatever the
	// sizes of the files; [Bsdiff] tells what may come on top.
	BsdiffMemory = 3*bzip2Memory + bsdiffWindow + addStep + inputBuffer

	// emptyTriples is how many triples may make nothing before the first one
	// that does. There is one where new begins elsewhere than old. After that
	// there may be as many as others.
	emptyTriples = 16
)

// Bsdiff applies a patch in format BSDIFF40 or ENDSLEY/BSDIFF43.
//
// BSDIFF40 keeps what belongs together in three places. Of a patch that is
// also an [io.ReaderAt] and an [io.Seeker] and knows its Size, as
// [bytes.Reader] and [io.SectionReader] are, all three are read where they
// lie, from the current position on, which does not move. Of any other, the
// control and difference parts are held in memory as they are compressed, on
// top of [BsdiffMemory] and with half of their size to spare, and the extra
// part is read as it comes. ENDSLEY/BSDIFF43 is a single stream.
//
// bzip2 has checksums, so damage to the bytes of a patch is [ErrCorrupt]; a
// wrong old file goes unnoticed.
func Bsdiff(ctx context.Context, f Files, limits Limits) (*Reader, error) {
	if err := check(f, limits); err != nil {
		return nil, err
	}
	in := &input{alive: ctx.Err}
	b := &bsdiff{oldSize: f.OldSize}
	r := &Reader{files: f, size: limits.Size, script: b, input: in, alive: ctx.Err}
	if err := b.open(in, f.Patch, limits); err != nil {
		return nil, r.explain(err)
	}
	return r, nil
}

// bsdiff is a script of either format.
type bsdiff struct {
	head                 *part // where the head was read
	control, diff, extra io.Reader
	position             *part // of control in the patch

	oldSize, size int64
	planned, made int64 // bytes of new in triples read, in operations given out
	empty, full   int64 // triples without and with any bytes

	old           int64 // position in the old file
	adds, inserts int64 // left of the triple in hand
	seek          int64 // to be done after it
}

func (b *bsdiff) at() int64 {
	if b.position != nil {
		return b.position.at
	}
	return b.head.at
}

// randomPatch is a patch that can be read in three places.
type randomPatch interface {
	io.ReaderAt
	io.Seeker
	Size() int64
}

// open reads the head and finds the streams.
func (b *bsdiff) open(in *input, patch io.Reader, limits Limits) error {
	b.head = in.reader(patch, 0)
	parts, random := patch.(randomPatch)
	var from int64
	if random {
		var err error
		if from, err = parts.Seek(0, io.SeekCurrent); err != nil {
			return &outside{fmt.Errorf("read patch: %w", err)}
		}
		b.head = in.reader(io.NewSectionReader(parts, from, parts.Size()-from), 0)
	}
	head := make([]byte, bsdiffHead)
	if err := b.head.full(head[:8]); err != nil {
		return err
	}
	switch {
	case string(head[:8]) == endsleyMagic[:8]:
		return b.openEndsley(head[8:24], limits)
	case string(head[:8]) != bsdiffMagic:
		return corruptf("not a bsdiff patch: it begins with %x", head[:8])
	}
	if err := b.head.full(head[8:]); err != nil {
		return err
	}
	control, diff := number(head[8:]), number(head[16:])
	if control < 0 || diff < 0 {
		return corruptf("a control part of %d bytes, a difference of %d", control, diff)
	}
	if err := b.expect(number(head[24:]), limits.Size); err != nil {
		return err
	}
	both := sum(control, diff)
	if random {
		rest := parts.Size() - from
		if !inside(bsdiffHead, both, rest) {
			return corruptf("a control part of %d bytes and a difference of %d in a patch of %d", control, diff, rest)
		}
		if err := fits(BsdiffMemory, limits); err != nil {
			return err
		}
		section := func(offset, n int64) *part { return in.reader(io.NewSectionReader(parts, from+offset, n), offset) }
		b.streams(section(bsdiffHead, control), section(bsdiffHead+control, diff), section(bsdiffHead+both, rest-bsdiffHead-both))
		return nil
	}
	// What take holds while it grows.
	if err := fits(sum(BsdiffMemory, both, both/2), limits); err != nil {
		return err
	}
	held, err := b.head.take(nil, both)
	if err != nil {
		return err
	}
	b.streams(in.reader(bytes.NewReader(held[:control]), bsdiffHead), in.reader(bytes.NewReader(held[control:]), bsdiffHead+control), b.head)
	return nil
}

func (b *bsdiff) openEndsley(head []byte, limits Limits) error {
	if err := b.head.full(head); err != nil {
		return err
	}
	if string(head[:8]) != endsleyMagic[8:] {
		return corruptf("not a bsdiff patch: it begins with %s%x", endsleyMagic[:8], head[:8])
	}
	if err := b.expect(number(head[8:]), limits.Size); err != nil {
		return err
	}
	if err := fits(BsdiffMemory-2*bzip2Memory, limits); err != nil {
		return err
	}
	b.position = b.head
	b.control = bzip2.NewReader(b.head)
	b.diff, b.extra = b.control, b.control
	return nil
}

func (b *bsdiff) streams(control, diff, extra *part) {
	b.position = control
	b.control, b.diff, b.extra = bzip2.NewReader(control), bzip2.NewReader(diff), bzip2.NewReader(extra)
}

// expect holds the size of new that the patch declares to the caller's.
func (b *bsdiff) expect(size, want int64) error {
	switch {
	case size < 0:
		return corruptf("a new file of %d bytes", size)
	case want != AnySize && size != want:
		return corruptf("the patch gives %d bytes, expected %d", size, want)
	}
	b.size = size
	return nil
}

// number reads 64 bits, little-endian, of which the highest is the sign.
func number(b []byte) int64 {
	u := binary.LittleEndian.Uint64(b)
	n := int64(u &^ (1 << 63))
	if u>>63 != 0 {
		return -n
	}
	return n
}

func (b *bsdiff) window() (int64, error) {
	if b.made < b.size {
		return min(b.size-b.made, bsdiffWindow), nil
	}
	for _, r := range []io.Reader{b.control, b.diff, b.extra} {
		var more [1]byte
		switch n, err := io.ReadFull(r, more[:]); {
		case n > 0:
			return 0, corruptf("the patch goes on after the last byte of the new file")
		case err != io.EOF:
			return 0, err
		}
	}
	return 0, io.EOF
}

func (b *bsdiff) next(room int64) (op, error) {
	for b.adds == 0 && b.inserts == 0 {
		if err := b.triple(); err != nil {
			return op{}, err
		}
	}
	o := op{kind: insert, length: min(b.inserts, room), data: b.extra}
	if b.adds > 0 {
		o = op{kind: addOld, length: min(b.adds, room), from: b.old, data: b.diff}
		b.adds -= o.length
		b.old += o.length
	} else {
		b.inserts -= o.length
	}
	b.made += o.length
	return o, nil
}

// triple moves in old as the last triple says, and reads the next. All of its
// numbers are checked before any of its bytes is made.
func (b *bsdiff) triple() error {
	var t [triple]byte
	if _, err := io.ReadFull(b.control, t[:]); err != nil {
		return noEOF(err)
	}
	b.old += b.seek
	b.adds, b.inserts, b.seek = number(t[:]), number(t[8:]), number(t[16:])
	switch {
	case b.adds < 0 || b.inserts < 0:
		return corruptf("a triple with %d bytes to add and %d to insert", b.adds, b.inserts)
	case !inside(b.planned, sum(b.adds, b.inserts), b.size):
		return corruptf("a triple with %d and %d bytes after %d of %d", b.adds, b.inserts, b.planned, b.size)
	case !inside(b.old, b.adds, b.oldSize):
		return corruptf("%d bytes from %d of an old file of %d", b.adds, b.old, b.oldSize)
	case b.seek < -b.old-b.adds || b.seek > b.oldSize-b.old-b.adds:
		return corruptf("a move by %d from %d of an old file of %d", b.seek, b.old+b.adds, b.oldSize)
	}
	b.planned += b.adds + b.inserts
	if b.adds > 0 || b.inserts > 0 {
		b.full++
	} else if b.empty++; b.empty > b.full+emptyTriples {
		return corruptf("%d triples without any bytes", b.empty)
	}
	return nil
}

// done has nothing to check: the streams have checksums of their own.
func (b *bsdiff) done([]byte) error { return nil }

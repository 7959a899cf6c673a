package delta

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const udeltaStateVersion = 2

// Mark gives the position after the last byte that Read gave.
func (r *udeltaReader) Mark() (Position, error) {
	if r.err != nil && r.err != io.EOF {
		return Position{}, fmt.Errorf("mark udelta delta: %w", errNotMarked)
	}
	f := r.frame
	if r.at == f.outputTo && !r.header.identical() {
		f = f.after()
	}
	mid, err := r.piece.before.after(r.piece.b[:r.given])
	if err != nil {
		return Position{}, fmt.Errorf("mark udelta delta: %w", err)
	}
	pos := Position{Output: r.at, Patch: f.patchAt, Map: Range{f.mapAt, f.mapTo - f.mapAt}}
	h := r.header
	b := []byte{udeltaStateVersion}
	b = binary.LittleEndian.AppendUint32(b, h.sum)
	for _, v := range []int64{h.required, h.oldSize, h.newSize, f.number, f.outputAt, f.regionAt, f.regionTo} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	b = append(append(b, h.oldSum[:]...), h.newSum[:]...)
	b = append(b, h.caps.bytes()...)
	b = append(b, mid...)
	pos.State = binary.LittleEndian.AppendUint32(b, pos.checksum(b))
	return pos, nil
}

// checksum is that of a position with state b.
func (p Position) checksum(b []byte) uint32 {
	var places [32]byte
	for i, v := range []int64{p.Output, p.Patch, p.Map.At, p.Map.Length} {
		binary.LittleEndian.PutUint64(places[8*i:], uint64(v))
	}
	return crc32.Update(crc32.Checksum(places[:], castagnoli), castagnoli, b)
}

func unusable(why error) error { return fmt.Errorf("%w: %v", ErrPosition, why) }

// resumeUdelta goes on at pos.
func resumeUdelta(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, pos Position, limits Limits) (io.ReadCloser, error) {
	h, at, mid, err := pos.parse()
	if err != nil {
		return nil, unusable(err)
	}
	if err := h.supported(); err != nil {
		return nil, err
	}
	if limits.Size != AnySize && limits.Size != h.newSize {
		return nil, unusable(fmt.Errorf("it is of a new file of %d bytes, expected %d", h.newSize, limits.Size))
	}
	source := &patchSource{src: patch, alive: ctx.Err, begin: limits.Frame, at: pos.Patch}
	r, err := newUdeltaReader(ctx, old, oldSize, source, h, limits, at)
	if err != nil {
		return nil, err
	}
	if _, err := digestState(mid).hash(); err != nil {
		return nil, unusable(err)
	}
	r.piece.before, r.at = bytes.Clone(mid), pos.Output
	return r, nil
}

// parse gives what Mark wrote down.
func (p Position) parse() (h *udeltaHeader, at framePlace, mid []byte, err error) {
	n := len(p.State) - 4
	if n < 5 || n+4 > MaxState || binary.LittleEndian.Uint32(p.State[n:]) != p.checksum(p.State[:n]) {
		return nil, at, nil, errors.New("it is damaged: its checksum does not fit")
	}
	if v := p.State[0]; v != udeltaStateVersion {
		return nil, at, nil, fmt.Errorf("it has version %d, this is version %d", v, udeltaStateVersion)
	}
	h = &udeltaHeader{sum: binary.LittleEndian.Uint32(p.State[1:])}
	f := fields{b: p.State[5:n]}
	h.required, h.oldSize, h.newSize = f.number(), f.number(), f.number()
	at = framePlace{number: f.number(), patchAt: p.Patch, patchTo: p.Patch, outputAt: f.number()}
	at.outputTo = at.outputAt
	at.mapAt, at.mapTo = p.Map.At, p.Map.At+p.Map.Length
	at.regionAt, at.regionTo = f.number(), f.number()
	f.bytes(h.oldSum[:])
	f.bytes(h.newSum[:])
	var caps [6]byte
	f.bytes(caps[:])
	h.caps = capsOf(caps)
	switch {
	case f.bad != nil:
		return nil, at, nil, f.bad
	case !h.caps.within(udeltaMost) || h.oldSize >= maxUdeltaFile || h.newSize >= maxUdeltaFile ||
		p.Output > h.newSize || at.outputAt > p.Output || p.Patch < 0 || at.mapAt < 0 || at.mapTo < at.mapAt ||
		at.mapTo > at.mapAt && (at.mapTo > p.Patch || at.regionAt > at.outputAt || at.regionTo <= at.outputAt):
		return nil, at, nil, errors.New("its figures do not fit together")
	}
	return h, at, f.b, nil
}

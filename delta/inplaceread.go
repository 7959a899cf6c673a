package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
)

// An in-place patch has a header with the feature below, a section I that says
// how the new image is cut, and for each batch a section B with its blocks and
// its frames. The frames of a batch are those of a patch that makes the bytes
// of these blocks from the region as it stands then.

const (
	udeltaInPlace = 1 << 3 // required feature: see docs/delta-format.md

	inPlaceSection = 'I'
	batchSection   = 'B'

	inPlaceFixed = 5 * udeltaWindow // of the journal
)

// inPlaceReader reads an in-place patch.
type inPlaceReader struct {
	source *patchSource
	header udeltaHeader
	start  []byte // the bodies of what comes before the first batch
	shape  inplace.Shape
	count  int64 // batches
	all    int64 // bytes of all batches
	order  [32]byte

	done    int64 // batches read
	left    int64 // bytes of those to come
	orders  hash.Hash
	room    []byte
	ran     []inplace.Run
	batch   udeltaHeader // as the header of a patch that makes one batch
	decoder udeltaDecoder
	exec    *udeltaExec
}

// openInPlace reads what comes before the first batch.
func openInPlace(source *patchSource) (*inPlaceReader, error) {
	h, err := source.header()
	if h == nil {
		return nil, err
	}
	more := h.required &^ (udeltaInPlace | udeltaIdentical)
	switch {
	case err != nil && !errors.Is(err, ErrUnsupported):
		return nil, err
	case h.required&udeltaInPlace == 0:
		return nil, fmt.Errorf("%w: the patch is an ordinary one, which makes a new file beside the old one and is not for use in place", ErrUnsupported)
	case more != 0:
		return nil, fmt.Errorf("%w: the patch uses features %#x that this version of updraft does not know in place", ErrUnsupported, more)
	}
	r := &inPlaceReader{source: source, header: *h, orders: sha256.New()}
	s, err := r.section(inPlaceSection, 128)
	if err != nil {
		return nil, err
	}
	f := fields{b: s.body}
	block := f.number()
	r.shape = inplace.Shape{Size: h.newSize, Batch: f.number()}
	r.count, r.all = f.number(), f.number()
	f.bytes(r.order[:])
	if block < 63 {
		r.shape.Block = 1 << block
	}
	err = f.bad
	if err == nil && len(f.b) > 0 {
		err = fmt.Errorf("%d bytes too many", len(f.b))
	}
	if err == nil {
		err = r.shape.Check()
	}
	if err == nil && (r.count > r.shape.Blocks() || r.all > h.newSize || (r.count == 0) != (r.all == 0)) {
		err = fmt.Errorf("%d batches with %d bytes, of %d blocks with %d", r.count, r.all, r.shape.Blocks(), h.newSize)
	}
	if err == nil && h.identical() && r.count > 0 {
		err = errors.New("there are batches, but old and new are identical")
	}
	if err != nil {
		return nil, corrupt(s.at, fmt.Errorf("section I: %w", err))
	}
	r.start = bytes.Clone(s.body)
	r.left = r.all
	r.batch = udeltaHeader{oldSize: h.oldSize, caps: h.caps, sum: h.sum}
	r.decoder = udeltaDecoder{header: &r.batch, source: source}
	return r, nil
}

// id tells an update from all others.
func (r *inPlaceReader) id() [32]byte {
	b := binary.LittleEndian.AppendUint32(nil, r.header.sum)
	b = append(append(b, r.header.oldSum[:]...), r.header.newSum[:]...)
	return sha256.Sum256(append(b, r.start...))
}

func (r *inPlaceReader) memory() int64 {
	return r.header.caps.memory(0) + inPlaceFixed + r.shape.MaxRuns()*4 + r.shape.Blocks()/8
}

func (r *inPlaceReader) info() InPlace {
	h := &r.header
	return InPlace{Version: h.version(), OldSize: h.oldSize, NewSize: h.newSize, OldSHA256: h.oldSum, NewSHA256: h.newSum,
		Region: max(h.oldSize, h.newSize), Journal: inplace.JournalSize(r.shape.BatchSize()),
		PatchSize: r.source.at, Written: r.all, Batches: r.count, Frames: r.decoder.frames, Memory: r.memory()}
}

// section reads the next section, which must be of a kind.
func (r *inPlaceReader) section(kind byte, most int64) (udeltaSection, error) {
	return r.source.sectionOf(&r.header, &r.room, func(k byte) int64 {
		if k != kind {
			return -1
		}
		return most
	})
}

// runs reads the blocks of the next batch. They are good until the next call.
func (r *inPlaceReader) runs() ([]inplace.Run, error) {
	s, err := r.section(batchSection, r.shape.MaxRuns())
	if err != nil {
		return nil, err
	}
	r.ran, err = r.shape.ParseRuns(s.body, r.ran)
	if err != nil {
		return nil, corrupt(s.at, fmt.Errorf("section B, batch %d: %w", r.done, err))
	}
	n := r.shape.Length(r.ran)
	if n > r.left {
		return nil, corrupt(s.at, fmt.Errorf("section B, batch %d: %d bytes, %d are left", r.done, n, r.left))
	}
	r.orders.Write(s.body)
	r.done++
	r.left -= n
	r.batch.newSize = n
	r.decoder.written = 0
	return r.ran, nil
}

// structure reads all the rest of the patch and checks it as far as it can be
// checked without the old image.
func (r *inPlaceReader) structure() error {
	seen := inplace.NewSeen(r.shape)
	d := &r.decoder
	for r.done < r.count {
		at := r.source.at
		runs, err := r.runs()
		if err != nil {
			return err
		}
		if err := seen.Add(runs); err != nil {
			return corrupt(at, fmt.Errorf("section B, batch %d: %w", r.done-1, err))
		}
		for d.written < r.batch.newSize {
			_, h, err := d.head()
			if err != nil {
				return err
			}
			d.frames++
			d.written += int64(h.output)
		}
	}
	if got := [32]byte(r.orders.Sum(nil)); got != r.order {
		return corrupt(r.source.at, fmt.Errorf("the blocks of all batches have SHA-256 %x, section I says %x", got, r.order))
	}
	return r.end()
}

// end expects the end of the patch.
func (r *inPlaceReader) end() error {
	if r.left != 0 {
		return corrupt(r.source.at, fmt.Errorf("%d bytes are in no batch", r.left))
	}
	r.batch.newSize, r.decoder.written = 0, 0
	if _, _, err := r.decoder.head(); err != io.EOF {
		return err
	}
	return nil
}

// make reads the frames of a batch of that length, and gives sink what they
// make of old, piece by piece.
func (r *inPlaceReader) make(ctx context.Context, old io.ReaderAt, length int64, sink func(p []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, x := &r.decoder, r.exec
	if x == nil {
		x = &udeltaExec{header: &r.batch, oldSize: r.header.oldSize, free: make(chan []byte, udeltaWindows)}
		for range udeltaWindows {
			x.free <- make([]byte, udeltaWindow)
		}
		r.exec = x
	}
	// What was read before may have been overwritten since.
	d.old, x.old = old, old
	d.cache, x.cache = oldCache{}, oldCache{}
	x.out = make(chan udeltaPiece, udeltaWindows)
	var failed error
	go func() {
		defer close(x.out)
		var f udeltaFrame
		for d.written < length && failed == nil {
			if failed = d.next(&f); failed == nil {
				failed = x.frame(ctx, &f)
			}
		}
	}()
	var err error
	for p := range x.out {
		if err == nil {
			if err = sink(p.b); err != nil {
				cancel()
			}
		}
		x.free <- p.room
	}
	if err == nil {
		err = failed
	}
	return err
}

// close frees what is large.
func (r *inPlaceReader) close() {
	r.exec, r.decoder, r.room = nil, udeltaDecoder{header: &r.batch, source: r.source}, nil
}

// state is what goOn needs.
func (r *inPlaceReader) state() []byte {
	b := binary.AppendUvarint(nil, uint64(r.done))
	b = binary.AppendUvarint(b, uint64(r.left))
	b = binary.AppendUvarint(b, uint64(r.decoder.frames))
	return binary.AppendUvarint(b, uint64(r.source.at))
}

// goOn goes on after the batch that a state was of.
func (r *inPlaceReader) goOn(state []byte, patch *io.SectionReader) error {
	f := fields{b: state}
	done, left, frames, at := f.number(), f.number(), f.number(), f.number()
	if f.bad != nil || done > r.count || left > r.all || at > patch.Size() {
		return unusable(fmt.Errorf("the journal goes on at byte %d of the patch, which has %d, after %d of %d batches", at, patch.Size(), done, r.count))
	}
	r.done, r.left, r.decoder.frames = done, left, frames
	r.source.at, r.source.src = at, io.NewSectionReader(patch, at, patch.Size()-at)
	return nil
}

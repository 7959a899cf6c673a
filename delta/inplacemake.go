package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
	"github.com/updraft-ota/updraft/delta/internal/match"
)

// InPlaceOptions chooses how [MakeInPlace] makes a patch. The zero value is
// usable.
type InPlaceOptions struct {
	// Level is how hard to look for a small patch. Empty means [Default].
	Level Level
	// Journal is how many bytes the journal of [ApplyInPlace] may take, from
	// 64 KiB. Zero means a sixteenth of the new image, but at least 4 MiB
	// and at most 16 MiB. The more it is, the smaller the patch, and the
	// fewer syncs.
	Journal int64
}

const leastJournal = 64 << 10

// MakeInPlace writes to dst a patch that turns old into new where both have the
// same place, for [ApplyInPlace]. It is larger than one that [Make] makes, and
// no other function reads it.
//
// Each part of the patch is applied to a copy of old in memory before it is
// written to dst: old, new, that copy and an index of old are held at once.
// What else holds for [Make] holds here.
func MakeInPlace(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o InPlaceOptions) (Stats, error) {
	stats, err := makeInPlace(ctx, dst, old, new, o)
	if err != nil {
		return Stats{}, fmt.Errorf("make in-place delta: %w", err)
	}
	return stats, nil
}

func makeInPlace(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o InPlaceOptions) (stats Stats, err error) {
	level, err := ParseLevel(string(o.Level))
	if err != nil {
		return stats, err
	}
	if o.Journal != 0 && o.Journal < leastJournal {
		return stats, fmt.Errorf("a journal of %d bytes: it takes %d at least", o.Journal, leastJournal)
	}
	if n := max(old.Size(), new.Size()); n > math.MaxInt/2 || n > inplace.MaxBlocks*inplace.MaxBlock {
		return stats, fmt.Errorf("%w: a file of %d bytes, this machine can address %d", ErrTooLarge, n, min(int64(math.MaxInt/2), inplace.MaxBlocks*inplace.MaxBlock))
	}
	oldBytes, free, forget, err := wholeFile(ctx, "old file", old)
	if err != nil {
		return stats, err
	}
	defer free()
	newBytes, free, _, err := wholeFile(ctx, "new file", new)
	if err != nil {
		return stats, err
	}
	defer free()
	m := &inPlaceMaker{old: oldBytes, new: newBytes, journal: o.Journal, dst: dst, forget: forget}
	m.frames = udeltaMaker{level: udeltaLevels[level], dst: &m.made}
	if err := m.run(ctx); err != nil {
		return stats, err
	}
	stats = m.frames.stats
	stats.OldSize, stats.NewSize = old.Size(), new.Size()
	stats.Streams = udeltaStreams(m.frames.mapRaw, m.frames.mapCoded, m.frames.raw, m.frames.coded, m.frames.refs)
	return stats, nil
}

// inPlaceMaker makes one in-place patch.
type inPlaceMaker struct {
	old, new []byte
	journal  int64
	dst      io.Writer
	forget   func() // gives back the memory of old for now
	plan     *inplace.Plan
	image    []byte      // the old image as the batches so far leave it
	frames   udeltaMaker // makes the frames of one batch after the other
	made     bytes.Buffer
	check    *inPlaceReader // reads what was made
}

func (m *inPlaceMaker) run(ctx context.Context) error {
	m.frames.old, m.frames.new = m.old, m.new
	wait := m.frames.sums()
	h := &m.frames.header
	h.required = udeltaInPlace
	copies, err := match.Find(ctx, m.old, m.new, match.Options{Level: m.frames.level.match})
	if err == nil {
		err = m.order(ctx, copies)
	}
	wait()
	if err != nil {
		return err
	}
	if h.oldSize == h.newSize && h.oldSum == h.newSum {
		h.required |= udeltaIdentical
	}
	h.caps = m.frames.level.capsFor(h.newSize, copies)
	batch := int(m.plan.BatchSize())
	h.caps.Raw = min(h.caps.Raw, logUp(2*batch+udeltaSlack))
	h.caps.Coded = min(h.caps.Coded, h.caps.Raw+1)
	h.caps.Output = min(h.caps.Output, logUp(batch))
	if err := m.head(); err != nil {
		return err
	}
	var free func()
	m.image, free = scratch(len(m.old))
	defer free()
	copy(m.image, m.old)
	m.forget()
	for k := range m.plan.Batches {
		if err := m.batch(ctx, k); err != nil {
			return err
		}
	}
	return m.end()
}

// order cuts new into blocks of the size that costs the least: bytes that are
// lost, numbers of runs, and what a frame costs that begins afresh.
func (m *inPlaceMaker) order(ctx context.Context, copies []match.Copy) error {
	journal := m.journal
	if journal == 0 {
		journal = min(max(int64(len(m.new))/16, 4<<20), 16<<20)
	}
	best := int64(math.MaxInt64)
	for _, block := range []int64{16 << 10, 64 << 10, 256 << 10} {
		for block < inplace.MaxBlock && int64(len(m.new)-1)/block >= inplace.MaxBlocks {
			block *= 2
		}
		shape := inplace.Shape{Size: int64(len(m.new)), Block: block, Batch: min(journal, 2*inplace.MaxBatch) / 2 / block}
		if n := shape.Blocks(); n > 0 {
			shape.Batch = min(shape.Batch, n) // a small image takes a small journal
		}
		for shape.Batch > 0 && inplace.JournalSize(shape.BatchSize()) > journal {
			shape.Batch--
		}
		if shape.Batch == 0 {
			continue
		}
		plan, err := inplace.Order(ctx, copies, shape, func(i int64) bool { return m.stays(i, block) })
		if err != nil {
			return err
		}
		if cost := plan.Lost + 8*plan.Runs + 256*int64(len(plan.Batches)); cost < best {
			m.plan, best = plan, cost
		}
	}
	if m.plan == nil {
		return fmt.Errorf("%w: an image of %d bytes has blocks that do not fit into a journal of %d bytes", ErrTooLarge, len(m.new), journal)
	}
	return nil
}

// stays says whether a block is the same in both files.
func (m *inPlaceMaker) stays(i, block int64) bool {
	from, to := i*block, min((i+1)*block, int64(len(m.new)))
	return to <= int64(len(m.old)) && bytes.Equal(m.old[from:to], m.new[from:to])
}

// head writes what comes before the batches.
func (m *inPlaceMaker) head() error {
	orders, all := sha256.New(), int64(0)
	for _, runs := range m.plan.Batches {
		orders.Write(inplace.AppendRuns(nil, runs))
		all += m.plan.Length(runs)
	}
	body := binary.AppendUvarint(nil, uint64(bits.TrailingZeros64(uint64(m.plan.Block))))
	body = binary.AppendUvarint(body, uint64(m.plan.Batch))
	body = binary.AppendUvarint(body, uint64(len(m.plan.Batches)))
	body = binary.AppendUvarint(body, uint64(all))
	f := &m.frames
	if err := f.write(f.header.append(nil)); err != nil {
		return err
	}
	if err := m.section(inPlaceSection, orders.Sum(body)); err != nil {
		return err
	}
	var err error
	m.check, err = openInPlace(&patchSource{src: bytes.NewReader(m.made.Bytes()), alive: func() error { return nil }})
	if err != nil {
		return fmt.Errorf("made a head that cannot be read: %w", err)
	}
	f.stats.Memory = m.check.memory()
	return m.flush()
}

func (m *inPlaceMaker) section(kind byte, body []byte) error {
	return m.frames.write(m.frames.header.appendSection(nil, m.frames.stats.PatchSize, kind, body))
}

// flush hands on what was made.
func (m *inPlaceMaker) flush() error {
	_, err := m.made.WriteTo(m.dst)
	m.made.Reset()
	if err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

// batch makes a batch, applies it to the image, and hands it on.
func (m *inPlaceMaker) batch(ctx context.Context, k int) error {
	runs := m.plan.Batches[k]
	f := &m.frames
	f.old, f.new, f.copies = m.image, m.new, m.plan.Copies(k)
	if from, to := m.plan.Span(runs[0]); len(runs) == 1 {
		f.new = m.new[from:to]
	} else {
		f.new = make([]byte, 0, m.plan.Length(runs))
		for _, r := range runs {
			from, to := m.plan.Span(r)
			f.new = append(f.new, m.new[from:to]...)
		}
	}
	if err := m.section(batchSection, inplace.AppendRuns(nil, runs)); err != nil {
		return err
	}
	if err := f.frames(ctx); err != nil {
		return err
	}
	if err := m.verify(ctx, f.new); err != nil {
		return fmt.Errorf("made a batch that cannot be read: %w", err)
	}
	for _, r := range runs {
		from, to := m.plan.Span(r)
		if from < int64(len(m.image)) {
			copy(m.image[from:], m.new[from:to])
		}
	}
	return m.flush()
}

// verify reads the batch that was made.
func (m *inPlaceMaker) verify(ctx context.Context, want []byte) error {
	c := m.check
	c.source.src = bytes.NewReader(m.made.Bytes())
	if _, err := c.runs(); err != nil {
		return err
	}
	err := c.make(ctx, bytes.NewReader(m.image), int64(len(want)), func(p []byte) error {
		if len(p) > len(want) || !bytes.Equal(p, want[:len(p)]) {
			return errors.New("it makes other bytes")
		}
		want = want[len(p):]
		return nil
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%d bytes are missing", len(want))
	}
	return err
}

func (m *inPlaceMaker) end() error {
	if err := m.section(udeltaEndSection, binary.AppendUvarint(nil, uint64(m.frames.stats.Frames))); err != nil {
		return err
	}
	return m.flush()
}

package inplace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Batch takes the bytes of one batch, and writes none of them to the region
// before all of them are durable in the journal. Pages that the region has
// already are left out.
type Batch struct {
	journal *Journal
	region  Region
	there   int64 // bytes of the region that may be read
	record  record
	from    int64  // place of the first byte in made
	made    []byte // not yet in the journal
	out     []byte // pieces not yet written
	written int64  // bytes of pieces written
	now     []byte // what the region has
}

// Begin begins the next batch. Only the first there bytes of the region are
// read. One batch is under way at a time.
func (j *Journal) Begin(region Region, there int64) *Batch {
	b := &Batch{journal: j, region: region, there: there}
	b.record = record{id: j.id, number: j.done + 1, at: (j.done + 1) % 2 * j.area}
	return b
}

// Write takes p, which is to stand at a place of the region. Places rise within
// a batch; each row of neighbouring bytes begins where a block does.
func (b *Batch) Write(p []byte, place int64) error {
	for len(p) > 0 {
		if len(b.made) > 0 && (place != b.from+int64(len(b.made)) || len(b.made) == window) {
			if err := b.compare(); err != nil {
				return err
			}
		}
		if len(b.made) == 0 {
			b.from = place
		}
		n := min(len(p), window-len(b.made))
		b.made = append(b.made, p[:n]...)
		p, place = p[n:], place+int64(n)
	}
	return nil
}

// compare puts the pages of made that are not in the region yet into pieces.
func (b *Batch) compare() error {
	known := max(0, min(int64(len(b.made)), b.there-b.from))
	b.now = append(b.now[:0], make([]byte, known)...)
	if n, err := b.region.ReadAt(b.now, b.from); n < len(b.now) {
		return fmt.Errorf("read region: %d of %d bytes at %d: %w", n, known, b.from, err)
	}
	start := 0 // of what differs
	for at := 0; at < len(b.made); at += page {
		end := min(at+page, len(b.made))
		if end <= len(b.now) && bytes.Equal(b.made[at:end], b.now[at:end]) {
			if err := b.piece(start, at); err != nil {
				return err
			}
			start = end
		}
	}
	err := b.piece(start, len(b.made))
	b.made = b.made[:0]
	return err
}

// piece writes a part of made to the journal.
func (b *Batch) piece(from, to int) error {
	if from == to {
		return nil
	}
	b.out = binary.LittleEndian.AppendUint64(b.out, uint64(b.from+int64(from)))
	b.out = binary.LittleEndian.AppendUint32(b.out, uint32(to-from))
	b.out = append(b.out, b.made[from:to]...)
	if len(b.out) < window {
		return nil
	}
	return b.flush()
}

func (b *Batch) flush() error {
	n := int64(len(b.out))
	if b.written+n > b.journal.area-recordSize {
		return errors.New("write journal: the batch is larger than it may be")
	}
	if _, err := b.journal.file.WriteAt(b.out, b.record.at+recordSize+b.written); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	b.record.sum = crc32.Update(b.record.sum, castagnoli(), b.out)
	b.written += n
	b.out = b.out[:0]
	return nil
}

// Commit makes the batch durable, first in the journal, together with a state
// of at most [MaxState] bytes that [Journal.Recover] gives back, then in the
// region. After an error the journal is of no more use; open both files again and begin
// with Recover.
func (b *Batch) Commit(state []byte) error {
	if len(state) > MaxState {
		return fmt.Errorf("write journal: a state of %d bytes, at most %d are allowed", len(state), MaxState)
	}
	if len(b.made) > 0 {
		if err := b.compare(); err != nil {
			return err
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	j := b.journal
	b.record.length, b.record.state = b.written, state
	if err := j.seal(b.record); err != nil {
		return err
	}
	if err := j.redo(b.record, b.region); err != nil {
		return err
	}
	j.done = b.record.number
	return nil
}

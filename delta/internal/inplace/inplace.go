// Package inplace replaces an old image by a new one in the same place, where
// there is no room for both.
//
// The new image is cut into blocks, and those that differ from what stands in
// their place are put into batches. A batch is made from the region as the batches before it left it, and all of
// it is made before any of it is written. So nothing within a batch destroys
// what the batch reads; a later batch reads what is left of the old image, and
// what is new already.
//
// Whoever makes a patch calls [Order], which chooses batches so that little is
// destroyed before it is read, and [Plan.Copies], which tells what a batch may
// copy. Whoever applies it gives each batch to a [Journal]:
//
//	j := inplace.OpenJournal(file, id, batchSize)
//	state, err := j.Recover(region)    // ends what a power cut left half done
//	…
//	b := j.Begin(region, oldSize)
//	err = b.Write(place, made)         // as often as need be
//	err = b.Commit(state)              // journal, sync, region, sync
//
// The journal is a redo log: a batch that is whole in it is written again after
// a break, one that is not was never begun in the region.
package inplace

import (
	"fmt"
	"io"
)

// Region is what is updated, or where the journal is kept: a file, a block
// device, or a part of one. Places are bytes.
type Region interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes all that was written durable. After an error of it nothing
	// may be written to the region before it was opened anew.
	Sync() error
}

const (
	// MinBlock and MaxBlock bound the size of blocks, which is a power of two.
	MinBlock = 4 << 10
	MaxBlock = 64 << 20
	// MaxBlocks is how many blocks an image has at most.
	MaxBlocks = 1 << 20
	// MaxBatch is how many bytes a batch has at most.
	MaxBatch = 64 << 20
)

// Shape is how an image is cut.
type Shape struct {
	Size  int64 // bytes of the image
	Block int64 // bytes of a block, the last one of the image excepted
	Batch int64 // blocks of a batch, at most
}

// Check says what is wrong with a shape that was read.
func (s Shape) Check() error {
	switch {
	case s.Size < 0 || s.Block < MinBlock || s.Block > MaxBlock || s.Block&(s.Block-1) != 0:
		return fmt.Errorf("an image of %d bytes in blocks of %d: a block is a power of two from %d to %d", s.Size, s.Block, MinBlock, MaxBlock)
	case s.Batch < 1 || s.Batch > MaxBatch/s.Block:
		return fmt.Errorf("batches of %d blocks of %d bytes: at least 1 block, at most %d bytes are allowed", s.Batch, s.Block, MaxBatch)
	case (s.Size-1)/s.Block >= MaxBlocks:
		return fmt.Errorf("%d bytes in blocks of %d: at most %d blocks are allowed", s.Size, s.Block, MaxBlocks)
	}
	return nil
}

// Blocks is how many blocks the image has.
func (s Shape) Blocks() int64 { return (s.Size + s.Block - 1) / s.Block }

// BatchSize is how many bytes a batch has at most.
func (s Shape) BatchSize() int64 { return s.Block * s.Batch }

// Run is a row of neighbouring blocks.
type Run struct {
	First, Count int64 // in blocks
}

// Span gives the first byte of r in the image, and the first one after it.
func (s Shape) Span(r Run) (from, to int64) {
	return r.First * s.Block, min((r.First+r.Count)*s.Block, s.Size)
}

// Length is how many bytes the runs of a batch have.
func (s Shape) Length(batch []Run) (n int64) {
	for _, r := range batch {
		from, to := s.Span(r)
		n += to - from
	}
	return n
}

// Seen notes which blocks were in a batch, and refuses those that cannot be.
// It takes a bit for each block.
type Seen struct {
	shape Shape
	bits  []uint64
	count int64
}

// NewSeen gives an empty one for a shape that was checked.
func NewSeen(s Shape) *Seen {
	return &Seen{shape: s, bits: make([]uint64, (s.Blocks()+63)/64)}
}

// Add notes the runs of a batch.
func (s *Seen) Add(batch []Run) error {
	for _, r := range batch {
		for i := r.First; i < r.First+r.Count; i++ {
			if s.bits[i/64]&(1<<(i%64)) != 0 {
				return fmt.Errorf("block %d is in two batches", i)
			}
			s.bits[i/64] |= 1 << (i % 64)
			s.count++
		}
	}
	return nil
}

// Count is how many blocks were noted.
func (s *Seen) Count() int64 { return s.count }

package inplace

import (
	"context"
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/delta/internal/match"
)

// Order puts the blocks of a new image into batches, so that few of the bytes
// that copies read are destroyed before that. Copies are as match.Find gives
// them. The batches are the same on every run. Blocks of which stays says that
// the old image has the same bytes in that place are in no batch; nil means
// that there are none.
//
// Blocks whose places nobody needs any more come first, in rising order; that
// alone is right for everything that has moved one way. Where blocks need each
// other's places round in a circle, the one that costs the least is taken, and
// then those that would suffer from it, because within a batch nothing is
// destroyed. Only circles that do not fit into a batch lose bytes.
//
// It takes O(n log n) steps for n copies and blocks.
func Order(ctx context.Context, copies []match.Copy, s Shape, stays func(block int64) bool) (*Plan, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	o := orderer{shape: s, score: make([]int64, s.Blocks()), at: make([]int32, s.Blocks())}
	for i := range o.at {
		if stays != nil && stays(int64(i)) {
			o.at[i] = -1
			continue
		}
		o.at[i] = int32(len(o.heap))
		o.heap = append(o.heap, int32(i))
	}
	o.graph = newGraph(copies, s, func(block int64) bool { return o.at[block] >= 0 })
	for block, readers := range o.graph.readers {
		for _, e := range readers {
			o.score[block] += int64(e.bytes)
		}
	}
	for i := len(o.heap)/2 - 1; i >= 0; i-- {
		o.down(i)
	}
	for len(o.heap) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("order blocks: %w", err)
		}
		o.batch()
	}
	return newPlan(copies, s, o.batches), nil
}

// orderer chooses one block after the other.
type orderer struct {
	shape   Shape
	graph   graph
	batches [][]Run

	// score is what writing a block now would destroy, in bytes that blocks
	// not yet written read, less what it saves: bytes that it reads itself
	// and that are lost to it if it does not get into the current batch.
	score []int64
	heap  []int32 // blocks not yet written, lowest score first, then lowest number
	at    []int32 // by block: its place in heap; -1 if it need not be written any more
}

// batch fills a batch.
func (o *orderer) batch() {
	var blocks []int32
	for len(o.heap) > 0 && int64(len(blocks)) < o.shape.Batch {
		block := o.heap[0]
		if o.score[block] > 0 && int64(len(blocks)) > o.shape.Batch*3/4 {
			break // a circle that starts here would not get round
		}
		o.take(0)
		blocks = append(blocks, block)
		for _, e := range o.graph.reads[block] {
			o.change(e.block, -int64(e.bytes))
		}
		for _, e := range o.graph.readers[block] {
			o.change(e.block, -int64(e.bytes))
		}
	}
	for _, block := range blocks {
		for _, e := range o.graph.readers[block] {
			o.change(e.block, int64(e.bytes)) // too late to save
		}
	}
	slices.Sort(blocks)
	var runs []Run
	for _, b := range blocks {
		if k := len(runs) - 1; k >= 0 && runs[k].First+runs[k].Count == int64(b) {
			runs[k].Count++
			continue
		}
		runs = append(runs, Run{int64(b), 1})
	}
	o.batches = append(o.batches, runs)
}

// change adds to the score of a block, if it is not yet written.
func (o *orderer) change(block int32, by int64) {
	i := o.at[block]
	if i < 0 {
		return
	}
	o.score[block] += by
	if by < 0 {
		o.up(int(i))
	} else {
		o.down(int(i))
	}
}

func (o *orderer) less(a, b int32) bool {
	if o.score[a] != o.score[b] {
		return o.score[a] < o.score[b]
	}
	return a < b
}

func (o *orderer) put(i int, block int32) { o.heap[i], o.at[block] = block, int32(i) }

func (o *orderer) up(i int) {
	block := o.heap[i]
	for i > 0 && o.less(block, o.heap[(i-1)/2]) {
		o.put(i, o.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	o.put(i, block)
}

func (o *orderer) down(i int) {
	block := o.heap[i]
	for {
		kid := 2*i + 1
		if kid >= len(o.heap) {
			break
		}
		if kid+1 < len(o.heap) && o.less(o.heap[kid+1], o.heap[kid]) {
			kid++
		}
		if !o.less(o.heap[kid], block) {
			break
		}
		o.put(i, o.heap[kid])
		i = kid
	}
	o.put(i, block)
}

// take removes what stands at i.
func (o *orderer) take(i int) {
	last := len(o.heap) - 1
	o.at[o.heap[i]] = -1
	block := o.heap[last]
	o.heap = o.heap[:last]
	if i < last {
		o.put(i, block)
		o.down(i)
		o.up(int(o.at[block]))
	}
}

package inplace

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AppendRuns appends the coded runs of a batch, which ascend and do not touch
// each other, to b: for each how many blocks stand between the one before (or
// the image's start) and it, and how many it has, less one where that cannot
// be 0. Numbers are LEB128.
func AppendRuns(b []byte, batch []Run) []byte {
	next := int64(0)
	for i, r := range batch {
		gap := r.First - next
		if i > 0 {
			gap--
		}
		b = binary.AppendUvarint(b, uint64(gap))
		b = binary.AppendUvarint(b, uint64(r.Count-1))
		next = r.First + r.Count
	}
	return b
}

// MaxRuns is how many bytes the runs of a batch take at most.
func (s Shape) MaxRuns() int64 { return 2 * 3 * s.Batch }

// ParseRuns reads the runs of a batch, all of b, into runs, which grows to
// what a batch has at most. A batch has at least one block.
func (s Shape) ParseRuns(b []byte, runs []Run) ([]Run, error) {
	runs = runs[:0]
	next, left := int64(0), s.Batch
	for len(b) > 0 {
		gap, g := number(b)
		b = b[g:]
		count, c := number(b)
		b = b[c:]
		if g == 0 || c == 0 {
			return nil, errors.New("a number of a run is missing or not canonical")
		}
		if len(runs) > 0 {
			gap++
		}
		count++
		if all := s.Blocks(); gap > all-next || count > all-next-gap {
			return nil, fmt.Errorf("%d blocks, %d after block %d, of an image that has %d", count, gap, next, all)
		}
		if count > left {
			return nil, fmt.Errorf("more than %d blocks in a batch", s.Batch)
		}
		left -= count
		runs = append(runs, Run{next + gap, count})
		next += gap + count
	}
	if len(runs) == 0 {
		return nil, errors.New("a batch without blocks")
	}
	return runs, nil
}

// number reads a number of at most three bytes in canonical LEB128, and gives
// the length 0 for anything else.
func number(b []byte) (v int64, n int) {
	for i, c := range b[:min(len(b), 3)] {
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

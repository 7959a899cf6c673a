package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/inplace"
)

// Region is what [ApplyInPlace] works on: a file, a block device, or a part of
// one. Places are bytes. It is not shared while it is worked on.
type Region interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes all that was written durable. After an error of it the
	// region must be opened anew before it is used again.
	Sync() error
}

// InPlace is what a patch made by [MakeInPlace] says about itself. All sizes
// are bytes.
type InPlace struct {
	Version                     string // major.minor
	OldSize, NewSize, PatchSize int64
	OldSHA256, NewSHA256        [32]byte
	// Region is how large the region must be, if it cannot grow.
	Region int64
	// Journal is how large the journal gets at most.
	Journal int64
	// Written is how many bytes of the new image the patch makes. The rest
	// stands in its place already.
	Written int64
	// Batches is how many times journal and region are synced, each.
	Batches int64
	// Frames is how many frames there are in all batches.
	Frames int64
	// Memory is what applying needs.
	Memory int64
}

// InspectInPlace reads a whole patch made by [MakeInPlace] and checks all that
// can be checked without the old image, as [Inspect] does for ordinary ones.
// Errors are as in [Format.NewReader]; an ordinary patch is [ErrUnsupported].
func InspectInPlace(patch io.Reader) (InPlace, error) {
	source := &patchSource{src: patch, alive: func() error { return nil }}
	r, err := openInPlace(source)
	if err == nil {
		err = r.structure()
	}
	if err != nil {
		return InPlace{}, fmt.Errorf("inspect in-place delta: %w", err)
	}
	return r.info(), nil
}

// ApplyInPlace turns the old image, with which region begins, into the new one,
// with which it begins then, and gives the new one's size. What stands in the
// region after that is left as it is; if it is a file, cut it.
//
// It may be stopped at any moment, by a power cut too. From the first write on
// the old image is lost, and the way out is forward: call it again with the
// same region, journal and patch, and it goes on where it was. So the patch
// should be on the device, and its digest verified, before the first call; its
// structure and all its checksums are looked at before the first write.
//
// The journal is an empty file at first, or [InPlace.Journal] bytes of a
// device. It belongs to the update until ApplyInPlace has returned nil, and is
// without content then. One that another update has left is used only if the
// region has the old image. A call for a region that has the new image already
// does nothing.
//
// Limits are as in [Format.NewReader], but OldChecked and Frame are not used:
// only a digest taken now tells that the update has not begun. Patches that are
// not for this region, or damaged, are [ErrCorrupt], ordinary ones [ErrUnsupported]. An error of the region or
// the journal is wrapped; open both anew before the next call.
func ApplyInPlace(ctx context.Context, region, journal Region, patch *io.SectionReader, limits Limits) (newSize int64, err error) {
	limits, err = limits.check(0)
	if err == nil {
		newSize, err = applyInPlace(ctx, region, journal, patch, limits)
	}
	if err != nil {
		return 0, fmt.Errorf("apply in-place delta: %w", err)
	}
	return newSize, nil
}

func applyInPlace(ctx context.Context, region, journal Region, patch *io.SectionReader, limits Limits) (int64, error) {
	source := &patchSource{src: io.NewSectionReader(patch, 0, patch.Size()), alive: ctx.Err}
	r, err := openInPlace(source)
	if err != nil {
		return 0, err
	}
	h := r.header
	switch {
	case limits.Size != AnySize && limits.Size != h.newSize:
		return 0, corrupt(0, fmt.Errorf("header: the patch gives %d bytes, expected %d", h.newSize, limits.Size))
	case r.memory() > limits.Memory:
		return 0, fmt.Errorf("%w: the patch needs %d bytes of memory, the limit is %d", ErrTooLarge, r.memory(), limits.Memory)
	}
	j := inplace.OpenJournal(journal, r.id(), r.shape.BatchSize())
	state, err := j.Recover(region)
	if err != nil {
		return 0, err
	}
	if state == nil {
		done, err := r.begin(ctx, region, j, patch)
		if done || err != nil {
			return h.newSize, err
		}
	} else if err := r.goOn(state, patch); err != nil {
		return 0, err
	}
	if err := r.batches(ctx, region, j); err != nil {
		return 0, err
	}
	if err := checkImage(ctx, region, h.newSize, h.newSum); err != nil {
		return 0, fmt.Errorf("after the last batch: %w", err)
	}
	return h.newSize, j.Clear()
}

// begin checks everything before the first write. Done says that the region
// has the new image already.
func (r *inPlaceReader) begin(ctx context.Context, region Region, j *inplace.Journal, patch *io.SectionReader) (done bool, err error) {
	check, err := openInPlace(&patchSource{src: io.NewSectionReader(patch, 0, patch.Size()), alive: ctx.Err})
	if err == nil {
		err = check.structure()
	}
	if err != nil {
		return false, err
	}
	err = checkImage(ctx, region, r.header.oldSize, r.header.oldSum)
	if errors.Is(err, ErrCorrupt) && checkImage(ctx, region, r.header.newSize, r.header.newSum) == nil {
		return true, j.Clear()
	}
	if errors.Is(err, ErrCorrupt) && j.Foreign() {
		err = fmt.Errorf("%w; the journal is of another update: end that one first, with its own patch", err)
	}
	if err != nil {
		return false, err
	}
	return false, j.Clear()
}

// checkImage compares the digest of what the region begins with.
func checkImage(ctx context.Context, region io.ReaderAt, size int64, want [32]byte) error {
	sum := sha256.New()
	in := &aliveReader{alive: ctx.Err, name: "region", src: io.NewSectionReader(region, 0, size)}
	n, err := io.CopyBuffer(struct{ io.Writer }{sum}, in, make([]byte, udeltaWindow))
	if err != nil {
		return err
	}
	if got := sum.Sum(nil); n != size || !bytes.Equal(got, want[:]) {
		return corrupt(0, fmt.Errorf("the region should have an image of %d bytes with SHA-256 %x, it has %d with %x", size, want, n, got))
	}
	return nil
}

// batches makes and writes all that is left.
func (r *inPlaceReader) batches(ctx context.Context, region Region, j *inplace.Journal) error {
	defer r.close()
	for r.done < r.count {
		runs, err := r.runs()
		if err != nil {
			return err
		}
		b := j.Begin(region, r.header.oldSize)
		to := &scatter{shape: r.shape, runs: runs, write: b.Write}
		if err := r.make(ctx, region, r.shape.Length(runs), to.take); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.Commit(r.state()); err != nil {
			return err
		}
	}
	return r.end()
}

// scatter hands the bytes of a batch on to their places.
type scatter struct {
	shape inplace.Shape
	runs  []inplace.Run // from the one that the next byte is in
	done  int64         // bytes of that one
	write func(p []byte, place int64) error
}

func (s *scatter) take(p []byte) error {
	for len(p) > 0 {
		from, to := s.shape.Span(s.runs[0])
		n := min(int64(len(p)), to-from-s.done)
		if err := s.write(p[:n], from+s.done); err != nil {
			return err
		}
		p, s.done = p[n:], s.done+n
		if from+s.done == to {
			s.runs, s.done = s.runs[1:], 0
		}
	}
	return nil
}

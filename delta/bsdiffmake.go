package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// maxBsdiffFiles bounds old and new together, in bytes. Making needs 18 times
// the old file and four times the new one.
const maxBsdiffFiles = 1 << 30

// makeBsdiff knows one level only. Between reading the files and writing the
// patch it does not look at the context.
func makeBsdiff(ctx context.Context, dst io.Writer, old, new *io.SectionReader, o Options) (Stats, error) {
	if o.Bsdiff == nil {
		return Stats{}, fmt.Errorf("the format can be applied, not made, without Options.Bsdiff: %w", errors.ErrUnsupported)
	}
	if sum := old.Size() + new.Size(); sum < 0 || sum > maxBsdiffFiles {
		return Stats{}, fmt.Errorf("%w: old (%d bytes) and new (%d bytes) may be %d bytes together", ErrTooLarge, old.Size(), new.Size(), maxBsdiffFiles)
	}
	base, err := readAll(ctx, "old file", old)
	if err != nil {
		return Stats{}, err
	}
	upd, err := readAll(ctx, "new file", new)
	if err != nil {
		return Stats{}, err
	}
	patch, err := o.Bsdiff(base, upd)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Stats{}, err
	}
	n, err := dst.Write(patch)
	return Stats{PatchSize: int64(n)}, err
}

package delta

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/foreign"
)

// needBsdiff: nothing is held of the files. A patch that comes as a stream
// needs room for its control and difference parts on top.
func needBsdiff(_, _ int64) int64 { return foreign.BsdiffMemory }

func openBsdiff(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	r, err := foreign.Bsdiff(ctx, foreign.Files{Old: old, OldSize: oldSize, Patch: patch}, foreignLimits(limits))
	if err != nil {
		return nil, foreignError(err)
	}
	return &foreignReader{name: "bsdiff", src: r}, nil
}

func foreignLimits(l Limits) foreign.Limits {
	return foreign.Limits{Memory: l.Memory, Size: l.Size}
}

// foreignError says in the errors of this package what a reader of another
// format says in its own.
func foreignError(err error) error {
	switch {
	case errors.Is(err, foreign.ErrCorrupt):
		return fmt.Errorf("%w: %v", ErrCorrupt, err)
	case errors.Is(err, foreign.ErrTooLarge):
		return fmt.Errorf("%w: %v", ErrTooLarge, err)
	}
	return err
}

// foreignReader is the new file while a patch of another format is applied.
type foreignReader struct {
	name string
	src  *foreign.Reader
}

// Read gives the next bytes of the new file.
func (r *foreignReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("apply %s delta: %w", r.name, foreignError(err))
	}
	return n, err
}

// Close lets go of the window.
func (r *foreignReader) Close() error { return r.src.Close() }

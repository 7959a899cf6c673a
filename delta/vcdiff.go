package delta

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/updraft-ota/updraft/delta/internal/foreign"
)

// vcdiffWindow is how much of the new file xdelta3 makes at once, unless it is
// told otherwise.
const vcdiffWindow = 8 << 20

// vcdiffHeads is how much longer a window's part of the patch may be than the
// window, if nothing can be compressed.
const vcdiffHeads = 16 << 10

// needVcdiff holds for patches with windows of that size that the programs
// make: the window, its part of the patch, which is hardly larger, with half of
// that to spare while it is read, the same part when it is unpacked, and what
// unpacks it.
func needVcdiff(_, newSize int64) int64 {
	return foreign.VcdiffOverhead + foreign.VcdiffStreams + vcdiffHeads + 7*min(newSize, vcdiffWindow)/2
}

func openVcdiff(ctx context.Context, old io.ReaderAt, oldSize int64, patch io.Reader, limits Limits) (io.ReadCloser, error) {
	r, err := foreign.Vcdiff(ctx, foreign.Files{Old: old, OldSize: oldSize, Patch: patch}, foreignLimits(limits))
	if err != nil {
		return nil, foreignError(err)
	}
	return &foreignReader{name: "vcdiff", src: r}, nil
}

func makeVcdiff(context.Context, io.Writer, *io.SectionReader, *io.SectionReader, Options) (Stats, error) {
	return Stats{}, fmt.Errorf("the format can be applied, not made: %w", errors.ErrUnsupported)
}

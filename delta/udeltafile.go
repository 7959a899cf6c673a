package delta

import (
	"context"
	"io"
)

// wholeFile gives all bytes of a section: mapped into memory where that can be
// done, else read. The bytes are of use until free is called.
func wholeFile(ctx context.Context, name string, s *io.SectionReader) (b []byte, free func(), err error) {
	if b, free, ok := mapped(s); ok {
		return b, free, nil
	}
	b, err = readAll(ctx, name, s)
	return b, func() {}, err
}

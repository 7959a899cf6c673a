package delta

import (
	"context"
	"io"
)

// wholeFile gives all bytes of a section: mapped into memory where that can be
// done, else read. The bytes are of use until free is called; forget gives back
// the memory of those that are mapped, until they are looked at again.
func wholeFile(ctx context.Context, name string, s *io.SectionReader) (b []byte, free, forget func(), err error) {
	if b, free, forget, ok := mapped(s); ok {
		return b, free, forget, nil
	}
	b, err = readAll(ctx, name, s)
	return b, func() {}, func() {}, err
}

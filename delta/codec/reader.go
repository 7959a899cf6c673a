package codec

import (
	"fmt"
	"io"
	"os"
)

// decoder decodes one format. Read gives io.EOF after the last of the joined
// streams, once its checksum was right.
type decoder interface {
	io.Reader
	// free lets go of what the garbage collector does not see.
	free()
}

// reader holds a decoder to the limits.
type reader struct {
	name   string
	limits Limits
	src    *source
	dec    decoder
	given  int64
	err    error // for good
}

// maxEmptyReads is how often in a row a decoder may give nothing.
const maxEmptyReads = 100

// Read gives the next bytes of the content.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	room := r.room()
	if room == 0 {
		p = make([]byte, 1) // to see that nothing comes
	} else if int64(len(p)) > room {
		p = p[:room]
	}
	n, err := r.step(p)
	if over := r.passed(n); over != nil {
		n, err = 0, over
	}
	r.given += int64(n)
	if err != nil {
		r.err = r.ended(err)
	}
	return n, r.err
}

// room is how many bytes may still come.
func (r *reader) room() int64 {
	if r.limits.Size != AnySize {
		return r.limits.Size - r.given
	}
	return r.limits.Max - r.given
}

// step reads until something comes.
func (r *reader) step(p []byte) (int, error) {
	for range maxEmptyReads {
		n, err := r.dec.Read(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// passed tells whether n more bytes pass a limit.
func (r *reader) passed(n int) error {
	switch total := r.given + int64(n); {
	case n > 0 && r.room() == 0 && r.limits.Size != AnySize:
		return corruptf("more than the %d bytes that were declared come out", r.limits.Size)
	case n > 0 && r.room() == 0:
		return tooLargef("more than %d bytes come out", r.limits.Max)
	case r.limits.Ratio > 0 && (total-RatioFree)/r.limits.Ratio > r.src.at:
		return tooLargef("%d bytes come out of %d, the limit is %d for each", total, r.src.at, r.limits.Ratio)
	}
	return nil
}

// ended says why there is nothing more, and lets the decoder go.
func (r *reader) ended(err error) error {
	if err == io.EOF {
		err = r.checkEnd()
	}
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("decode %s: %w", r.name, r.src.explain(err))
}

// checkEnd gives io.EOF if this is how the file should end.
func (r *reader) checkEnd() error {
	if r.limits.Size != AnySize && r.given != r.limits.Size {
		return corruptf("%d bytes come out, %d were declared", r.given, r.limits.Size)
	}
	switch ended, err := r.src.ended(); {
	case err != nil:
		return err
	case !ended:
		return corruptf("the file goes on after its end")
	}
	return io.EOF
}

// Close frees the decoder.
func (r *reader) Close() error {
	if r.dec != nil {
		r.dec.free()
		r.dec = nil
		r.err = fmt.Errorf("read %s: %w", r.name, os.ErrClosed)
	}
	return nil
}

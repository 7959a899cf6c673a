package engine

import (
	"context"
	"io"
)

// State restarts a stream at Offset bytes of its output. It is small: the
// journal keeps it at each checkpoint.
type State struct {
	Offset int64  `json:"offset"`
	Blob   []byte `json:"blob,omitempty"` // the filter's own, such as the state of a hash
	Up     *State `json:"up,omitempty"`   // of the stream that it reads from
}

// Source is an artifact that can be streamed, from the start or from a state
// that one of its streams gave.
type Source interface {
	// Size is the number of bytes, or -1 if it is not known before the end.
	Size() int64
	// Digest is the lower-case hex SHA-256 that a trusted party promised, or "".
	Digest() string
	// Open starts a stream. The zero State is the beginning.
	Open(ctx context.Context, at State) (Stream, error)
}

// Costly is a source that says what reading it costs, for plan.
type Costly interface {
	Source
	Cost() []Effect
}

// Random is a source that lies whole on a disk, already verified.
type Random interface {
	Source
	io.ReaderAt
}

// Stream is one reading of a source. It gives io.EOF only if every byte was
// there and every digest on the way was right.
type Stream interface {
	io.Reader
	// Mark gives the state behind the bytes read so far.
	Mark() (State, error)
	Close() error
}

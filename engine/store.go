package engine

import (
	"context"
	"errors"
)

// Errors of a [Store].
var (
	// ErrMoved says that a batch expected another length of the log: somebody
	// else wrote to it.
	ErrMoved = errors.New("journal moved")
	// ErrStore says that the stored bytes are damaged. What could not be read
	// is gone; the engine falls back on its guard.
	ErrStore = errors.New("damaged journal")
)

// Store is what the engine needs of a journal. It keeps bytes and knows no
// verb. One writer at a time; Load and Runs may run beside it.
type Store interface {
	// Load gives the entries of a run in order of Seq, and its values. An
	// unknown run is an empty log. Damage that the store can see is [ErrStore].
	// What Load gives may be kept.
	Load(ctx context.Context, run string) (Log, error)
	// Apply makes the whole batch durable before it returns nil, or none of it.
	// After another error than [ErrMoved] it is unknown which, and only a new
	// Store on the same place may go on.
	Apply(ctx context.Context, b Batch) error
	// Runs lists the runs that have entries or values, sorted.
	Runs(ctx context.Context) ([]string, error)
}

// Log is what a store holds of a run.
type Log struct {
	Entries []Entry
	Values  map[string][]byte
}

// Entry is one encoded record. Seq counts from 0 without gaps.
type Entry struct {
	Seq   uint64
	Bytes []byte // below 64 KiB
}

// Batch is one atomic change of a run's log and values.
type Batch struct {
	Run    string // letters, digits, '.', '_' and '-', 64 at the most
	Expect uint64 // the number of entries before the batch
	Append []Entry
	Put    map[string][]byte // overwritten keys, such as checkpoints; each value below 64 KiB
	Delete []string
}

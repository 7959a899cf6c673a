package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ErrBatch says that a batch breaks a rule of [Batch.Check]. Nothing of it was
// written, and the store can be used on.
var ErrBatch = errors.New("bad batch")

// Limits of a batch. Each store keeps them, so that a test in memory finds
// what a store on a disk would refuse.
const (
	maxRunName    = 64       // bytes
	maxKey        = 1 << 10  // bytes
	maxValue      = 64 << 10 // bytes, the first size that is too large
	maxBatchItems = 4096
	maxBatchBytes = 512 << 10
)

// Check says whether a store may take the batch, as an [ErrBatch]: a good name
// of the run, entries numbered from Expect on, entries and values below 64 KiB,
// keys up to 1 KiB, no key both put and deleted, at most 4096 entries and keys,
// and together, with the run's name and 32 bytes for each, at most 512 KiB.
func (b Batch) Check() error {
	if err := CheckRun(b.Run); err != nil {
		return err
	}
	items := len(b.Append) + len(b.Put) + len(b.Delete)
	if items > maxBatchItems {
		return fmt.Errorf("%w: %d entries and keys, expected at most %d: split it", ErrBatch, items, maxBatchItems)
	}
	total := items * (len(b.Run) + 32)
	for i, e := range b.Append {
		if want := b.Expect + uint64(i); e.Seq != want {
			return fmt.Errorf("%w: entry %d has number %d, expected %d", ErrBatch, i, e.Seq, want)
		}
		if len(e.Bytes) >= maxValue {
			return fmt.Errorf("%w: entry %d has %d bytes, expected less than %d", ErrBatch, e.Seq, len(e.Bytes), maxValue)
		}
		total += len(e.Bytes)
	}
	for key, value := range b.Put {
		if len(key) > maxKey || len(value) >= maxValue {
			return fmt.Errorf("%w: key %.32q of %d bytes has a value of %d, expected at most %d and less than %d",
				ErrBatch, key, len(key), len(value), maxKey, maxValue)
		}
		total += len(key) + len(value)
	}
	for _, key := range b.Delete {
		if _, ok := b.Put[key]; ok || len(key) > maxKey {
			return fmt.Errorf("%w: deleted key %.32q of %d bytes is put too, or longer than %d", ErrBatch, key, len(key), maxKey)
		}
		total += len(key)
	}
	if total > maxBatchBytes {
		return fmt.Errorf("%w: %d bytes, expected at most %d: split it", ErrBatch, total, maxBatchBytes)
	}
	return nil
}

// CheckRun says, as an [ErrBatch], whether run can name a run: 1 to 64 of the
// letters a-z and A-Z, digits, '.', '_' and '-', and no '.' first, since
// folders are named so too.
func CheckRun(run string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	if run == "" || run[0] == '.' || len(run) > maxRunName || strings.Trim(run, letters) != "" {
		return fmt.Errorf("%w: run %.80q, expected 1 to %d letters, digits, '.', '_' or '-', and no '.' first", ErrBatch, run, maxRunName)
	}
	return nil
}

// Memory is a [Store] that is gone with the process: for tests, plans and
// simulations. Set the hooks before it is shared.
type Memory struct {
	// Before is called first by Apply. Its error is returned, and nothing is
	// written.
	Before func(Batch) error
	// After is called when the batch is as durable as it gets here. It may
	// panic, as a kill at that moment.
	After func(Batch)

	mu   sync.Mutex
	runs map[string]Log
}

// NewMemory gives an empty store.
func NewMemory() *Memory { return &Memory{runs: map[string]Log{}} }

// Load gives a copy of what the run holds.
func (m *Memory) Load(ctx context.Context, run string) (Log, error) {
	if err := ctx.Err(); err != nil {
		return Log{}, fmt.Errorf("load run %s: %w", run, err)
	}
	if err := CheckRun(run); err != nil {
		return Log{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs[run].clone(), nil
}

// Apply takes the batch, between its two hooks.
func (m *Memory) Apply(ctx context.Context, b Batch) error {
	if m.Before != nil {
		if err := m.Before(b); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("apply to run %s: %w", b.Run, err)
	}
	if err := b.Check(); err != nil {
		return err
	}
	if err := m.apply(b); err != nil {
		return err
	}
	if m.After != nil {
		m.After(b)
	}
	return nil
}

func (m *Memory) apply(b Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.runs[b.Run]
	if have := uint64(len(log.Entries)); have != b.Expect {
		return fmt.Errorf("apply to run %s: %w: it has %d entries, expected %d", b.Run, ErrMoved, have, b.Expect)
	}
	for _, e := range b.Append {
		log.Entries = append(log.Entries, Entry{Seq: e.Seq, Bytes: copied(e.Bytes)})
	}
	if log.Values == nil {
		log.Values = map[string][]byte{}
	}
	for key, value := range b.Put {
		log.Values[key] = copied(value)
	}
	for _, key := range b.Delete {
		delete(log.Values, key)
	}
	m.runs[b.Run] = log
	return nil
}

// Delete forgets a run. An unknown one is no error.
func (m *Memory) Delete(ctx context.Context, run string) error {
	if err := errors.Join(CheckRun(run), ctx.Err()); err != nil {
		return fmt.Errorf("delete run %.80q: %w", run, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, run)
	return nil
}

// Runs lists the runs that have entries or values.
func (m *Memory) Runs(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.runs, func(_ string, l Log) bool { return len(l.Entries) == 0 && len(l.Values) == 0 })
	return slices.Sorted(maps.Keys(m.runs)), nil
}

func (l Log) clone() Log {
	c := Log{Entries: slices.Clone(l.Entries), Values: make(map[string][]byte, len(l.Values))}
	for i := range c.Entries {
		c.Entries[i].Bytes = copied(c.Entries[i].Bytes)
	}
	for key, value := range l.Values {
		c.Values[key] = copied(value)
	}
	return c
}

// copied is never nil: no bytes and none given are the same to a store.
func copied(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

var (
	_ Store  = (*Memory)(nil)
	_ Pruner = (*Memory)(nil)
)

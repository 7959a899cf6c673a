package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/updraft-ota/updraft/engine"
)

// The keys of Badger, by their first byte. A run's name holds no zero byte,
// so no run's keys begin with those of another.
//
//	e RUN 0 big-endian number   an entry
//	v RUN 0 KEY                 a value
//	d RUN                       the run is being deleted
//	n                           how many batches there were
//
// The last is written with every batch and never deleted: Badger's own
// transaction numbers then survive every merge, and a gap in them is a loss.
const (
	entryKind  = 'e'
	valueKind  = 'v'
	doomedKind = 'd'
	countKind  = 'n'
)

func prefix(kind byte, run string) []byte { return append(append([]byte{kind}, run...), 0) }

func entryKey(run string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(prefix(entryKind, run), seq)
}

func valueKey(run, key string) []byte { return append(prefix(valueKind, run), key...) }

func doomedKey(run string) []byte { return append([]byte{doomedKind}, run...) }

// Load gives the entries and values of a run. A gap in the entries' numbers is
// [engine.ErrStore].
func (j *Journal) Load(ctx context.Context, run string) (engine.Log, error) {
	log := engine.Log{Values: map[string][]byte{}}
	err := j.read(func(t *badger.Txn) error {
		if err := errors.Join(engine.CheckRun(run), ctx.Err()); err != nil {
			return err
		}
		if doomed, err := has(t, doomedKey(run)); doomed || err != nil {
			return err
		}
		if err := loadEntries(ctx, t, run, &log); err != nil {
			return err
		}
		return loadValues(ctx, t, run, &log)
	})
	if err != nil {
		return engine.Log{}, fmt.Errorf("load run %.80q: %w", run, err)
	}
	return log, nil
}

func loadEntries(ctx context.Context, t *badger.Txn, run string, log *engine.Log) error {
	start := prefix(entryKind, run)
	return scan(ctx, t, start, func(it *badger.Item) error {
		rest := it.Key()[len(start):]
		want := uint64(len(log.Entries))
		if len(rest) != 8 || binary.BigEndian.Uint64(rest) != want {
			return fmt.Errorf("%w: found entry %x, expected number %d", engine.ErrStore, rest, want)
		}
		value, err := it.ValueCopy(make([]byte, 0, it.ValueSize()))
		log.Entries = append(log.Entries, engine.Entry{Seq: want, Bytes: value})
		return err
	})
}

func loadValues(ctx context.Context, t *badger.Txn, run string, log *engine.Log) error {
	start := prefix(valueKind, run)
	return scan(ctx, t, start, func(it *badger.Item) error {
		value, err := it.ValueCopy(make([]byte, 0, it.ValueSize()))
		log.Values[string(it.Key()[len(start):])] = value
		return err
	})
}

func scan(ctx context.Context, t *badger.Txn, start []byte, do func(*badger.Item) error) error {
	it := t.NewIterator(badger.IteratorOptions{Prefix: start}) // no prefetch: it costs a goroutine an item
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

// Runs lists the runs that have entries or values, sorted.
func (j *Journal) Runs(ctx context.Context) ([]string, error) {
	var runs []string
	err := j.read(func(t *badger.Txn) error {
		have := map[string]bool{}
		for _, kind := range []byte{entryKind, valueKind} {
			if err := names(ctx, t, kind, have); err != nil {
				return err
			}
		}
		for run := range have {
			doomed, err := has(t, doomedKey(run))
			if err != nil {
				return err
			}
			if !doomed {
				runs = append(runs, run)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	slices.Sort(runs)
	return runs, nil
}

// names looks at the first key of each run alone.
func names(ctx context.Context, t *badger.Txn, kind byte, have map[string]bool) error {
	it := t.NewIterator(badger.IteratorOptions{Prefix: []byte{kind}})
	defer it.Close()
	for it.Rewind(); it.Valid(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		run, _, ok := bytes.Cut(it.Item().Key()[1:], []byte{0})
		if !ok {
			return fmt.Errorf("%w: unknown key %.80q", engine.ErrStore, it.Item().Key())
		}
		have[string(run)] = true
		it.Seek(append(append([]byte{kind}, run...), 1))
	}
	return nil
}

// Apply writes the batch as one transaction and syncs it. After an error other
// than [engine.ErrMoved] and [engine.ErrBatch] the journal takes no further
// batch.
func (j *Journal) Apply(ctx context.Context, b engine.Batch) error {
	err := b.Check()
	if err == nil {
		err = j.write(ctx, func(t *badger.Txn) (int64, error) { return fill(t, b) })
	}
	if err != nil {
		return fmt.Errorf("apply to run %.80q: %w", b.Run, err)
	}
	return nil
}

// fill puts the batch into t and gives the bytes that it adds at most.
func fill(t *badger.Txn, b engine.Batch) (int64, error) {
	if err := expect(t, b.Run, b.Expect); err != nil {
		return 0, err
	}
	var size int64
	set := func(key, value []byte) error {
		size += perKey + int64(len(key)+len(value))
		return t.Set(key, value)
	}
	for _, e := range b.Append {
		// Badger keeps what it is given until the commit; the caller waits.
		if err := set(entryKey(b.Run, e.Seq), e.Bytes); err != nil {
			return 0, err
		}
	}
	for key, value := range b.Put {
		if err := set(valueKey(b.Run, key), value); err != nil {
			return 0, err
		}
	}
	for _, key := range b.Delete {
		size += perKey + int64(len(b.Run)+len(key))
		if err := t.Delete(valueKey(b.Run, key)); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// expect asks for the last entry and the one behind it: all of them begin at
// 0 without gaps.
func expect(t *badger.Txn, run string, n uint64) error {
	longer, err := has(t, entryKey(run, n))
	if err != nil {
		return err
	}
	there := n == 0
	if !there {
		if there, err = has(t, entryKey(run, n-1)); err != nil {
			return err
		}
	}
	if longer || !there {
		return fmt.Errorf("%w: it has not %d entries", engine.ErrMoved, n)
	}
	return nil
}

func has(t *badger.Txn, key []byte) (bool, error) {
	_, err := t.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete removes a run. A cut on the way leaves the run gone, and the next
// Open removes the rest. An unknown run is no error. It must not be called for
// a run that is still written to.
func (j *Journal) Delete(ctx context.Context, run string) error {
	err := engine.CheckRun(run)
	if err == nil {
		err = j.write(ctx, func(t *badger.Txn) (int64, error) {
			return perKey, t.Set(doomedKey(run), nil)
		})
	}
	if err == nil {
		err = j.sweep(ctx, run)
	}
	if err != nil {
		return fmt.Errorf("delete run %.80q: %w", run, err)
	}
	return nil
}

// sweep removes the keys of a doomed run, and its doom with the last of them.
func (j *Journal) sweep(ctx context.Context, run string) error {
	const most = 1000 // keys a transaction
	for more := true; more; {
		err := j.write(ctx, func(t *badger.Txn) (int64, error) {
			var keys [][]byte
			for _, kind := range []byte{entryKind, valueKind} {
				err := scan(ctx, t, prefix(kind, run), func(it *badger.Item) error {
					if keys = append(keys, it.KeyCopy(nil)); len(keys) > most {
						return errEnough
					}
					return nil
				})
				if err != nil && err != errEnough {
					return 0, err
				}
			}
			if more = len(keys) > most; !more {
				keys = append(keys, doomedKey(run))
			}
			var size int64
			for _, key := range keys {
				size += perKey + int64(len(key))
				if err := t.Delete(key); err != nil {
					return 0, err
				}
			}
			return size, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var errEnough = errors.New("enough keys")

// doomed lists the runs whose deletion was cut short.
func doomed(t *badger.Txn) (runs []string, err error) {
	err = scan(context.Background(), t, []byte{doomedKind}, func(it *badger.Item) error {
		runs = append(runs, strings.TrimPrefix(string(it.Key()), string(doomedKind)))
		return nil
	})
	return runs, err
}

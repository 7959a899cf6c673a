package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/updraft-ota/updraft/engine"
)

// perKey is more than what a key costs in Badger's log and in a table beyond
// its bytes and those of its value.
const perKey = 64 // bytes

// read runs do on one state of the store.
func (j *Journal) read(do func(*badger.Txn) error) error {
	j.open.RLock()
	defer j.open.RUnlock()
	if j.closed {
		return ErrClosed
	}
	return j.judge(guarded(func() error { return j.db.View(do) }))
}

// write makes what do puts into the transaction durable. Once a write has
// failed nobody knows what is on the disk, so all later ones fail too.
func (j *Journal) write(ctx context.Context, do func(*badger.Txn) (int64, error)) error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.closed { // it changes under both locks
		return ErrClosed
	}
	if j.broken != nil {
		return fmt.Errorf("an earlier write failed, open the journal anew: %w", j.broken)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if j.fresh > turnAt {
		err = j.turn()
	}
	if err == nil {
		err = j.commitGuarded(do)
	}
	if j.broken != nil {
		j.broken = err
	}
	return err
}

func (j *Journal) commitGuarded(do func(*badger.Txn) (int64, error)) error {
	j.open.RLock()
	defer j.open.RUnlock()
	return j.judge(guarded(func() error { return j.commit(do) }))
}

var (
	errCommitting = errors.New("a commit is under way")
	errTurning    = errors.New("the log is being turned over")
)

func (j *Journal) commit(do func(*badger.Txn) (int64, error)) error {
	t := j.db.NewTransaction(true)
	defer t.Discard()
	size, err := do(t)
	if err != nil {
		return err
	}
	if err := t.Set([]byte{countKind}, binary.BigEndian.AppendUint64(nil, j.batches+1)); err != nil {
		return err
	}
	// Badger writes through a mapping, where a full disk ends the process:
	// look first. What is in the log is once more needed for the table that it
	// becomes, and all of the store for the merge at the end.
	fresh := j.fresh + size + 2*perKey
	if err := j.reserve(j.base + 2*fresh); err != nil {
		return err
	}
	j.broken = errCommitting
	if err := t.Commit(); err != nil {
		return err
	}
	if err := j.syncNames(); err != nil {
		return err
	}
	j.broken = nil
	j.fresh = fresh
	j.batches++
	return nil
}

// judge keeps the errors that callers decide on. Whatever else Badger says is
// about its bytes or the machine.
func (j *Journal) judge(err error) error {
	for _, ours := range []error{
		nil, engine.ErrMoved, engine.ErrBatch, engine.ErrStore,
		context.Canceled, context.DeadlineExceeded, syscall.ENOSPC,
	} {
		if errors.Is(err, ours) {
			return err
		}
	}
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("%w: %w", engine.ErrBatch, err)
	}
	return j.notes.explain(err)
}

// resume reads the number of batches and ends deletions that were cut short.
func (j *Journal) resume() error {
	var runs []string
	err := j.read(func(t *badger.Txn) error {
		item, err := t.Get([]byte{countKind})
		if err == nil {
			err = item.Value(j.count)
		}
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		runs, err = doomed(t)
		return err
	})
	for _, run := range runs {
		if err == nil {
			err = j.sweep(context.Background(), run)
		}
	}
	return err
}

func (j *Journal) count(value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("%w: the number of batches has %d bytes, expected 8", engine.ErrStore, len(value))
	}
	j.batches = binary.BigEndian.Uint64(value)
	return nil
}

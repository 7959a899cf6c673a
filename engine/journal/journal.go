// Package journal is the [engine.Store] on a disk: Badger, held to ordered,
// durable, all-or-nothing batches. It keeps bytes and knows no verb.
//
// [Open] comes first. It refuses a folder that is full, locked or not
// writable before Badger is touched; it copies a store that was not closed
// cleanly aside, to the same name with ".unclean-1" (only the last copy is
// kept); and it reads every file that Badger would trust, since Badger ends
// the process, allocates without bound or drops records in silence on some
// kinds of damage. What is found is [engine.ErrStore]; [Quarantine] then puts
// the damaged store aside so that a new one can begin. [Journal.Close] waits
// for Badger and marks the store as closed.
//
// One transaction carries one batch, and its log is synced before Apply
// returns. Every transaction also counts the batches, so that a transaction
// missing between others is noticed. The last one is different: a damaged last
// transaction looks as one that a power cut tore, and is dropped without an
// error. Whoever must know keeps a guard elsewhere.
//
// After each 512 KiB or so Badger is closed and opened again between two
// batches, which drops overwritten values: its files then stay small, and so
// do the tables that it builds in memory. An open journal maps 11 MiB of
// sparse files and its tables, keeps 2 to 3 MiB resident, and takes the size
// of its records and newest values on the disk and at most about 1 MiB more.
// Opening and loading 10,000 records takes less than 100 ms.
//
// Badger writes through mappings: if another program fills the disk between
// this package's look at the free space and the write, the kernel ends the
// process; the batch was then not acknowledged, and the next Open recovers.
// Badger also ends the process, with a line on stderr, when one of its own
// assertions fails; reading its files first keeps damage from getting there.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// ErrClosed is the error of every call after [Journal.Close].
var ErrClosed = errors.New("journal is closed")

// closeLimit bounds Close: Badger repeats a flush that fails without end.
const closeLimit = 10 * time.Second

const (
	// turnAt is after how many bytes Badger is closed and opened again, between
	// two batches. That writes its log out and drops overwritten values, so
	// that disk, memory and the tables that it builds stay small.
	turnAt = 512 << 10
	// manyTables is when Open merges what a store that was not closed left
	// behind. Badger itself waits up to a second with it, which a process that
	// is killed again and again may not live.
	manyTables = 4
)

// Names of our own beside Badger's files.
const (
	lockName   = "journal.lock"
	markerName = "journal.open" // there while the store is open, and after a cut
	markerText = "updraft removes this file when it closes the journal. If no updraft runs, the journal was not closed cleanly.\n"
)

// Options of a journal. The zero value is right for a device.
type Options struct {
	// Disk tells the free space, and writes the marker and the copy aside. nil
	// is the disk of the host, on which Badger's own files always are.
	Disk disk.FS
}

// Journal is an open store. It may be shared: writers wait for each other, and
// readers for nobody but a writer that turns the log over.
type Journal struct {
	dir   string
	disk  disk.FS
	lock  *disk.Held
	db    *badger.DB
	notes *notes

	// writing is taken before open, and guards what follows it.
	writing sync.Mutex
	// open is held by whoever uses db, and taken by who closes it.
	open   sync.RWMutex
	closed bool

	broken  error  // of the first write that failed
	batches uint64 // durable batches since the store began
	base    int64  // bytes on the disk when Badger was opened
	fresh   int64  // bytes at most written since then
	names   string // in dir, when it was last synced
}

// Open opens the journal in dir, a path of the host, and makes the folder if
// it is missing. Errors: [disk.ErrLocked] if it is open elsewhere, a
// [*SpaceError], fs.ErrPermission or EROFS if dir cannot be written, and
// [engine.ErrStore] if the store is damaged. Reading a damaged store removes
// none of its records.
func Open(dir string, o Options) (*Journal, error) {
	j := &Journal{dir: filepath.Clean(dir), disk: o.Disk}
	if j.disk == nil {
		j.disk = disk.OS()
	}
	if err := j.start(); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	return j, nil
}

func (j *Journal) start() (err error) {
	if err := j.reserve(0); err != nil {
		return err
	}
	if err := disk.MkdirAll(j.disk, j.dir, 0o700); err != nil {
		return err
	}
	// The folder's mode guards the files, which Badger makes with 0666.
	if err := os.Chmod(j.dir, 0o700); err != nil {
		return err
	}
	if j.lock, err = disk.Lock(filepath.Join(j.dir, lockName)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.lock.Close())
		}
	}()
	unclean, err := disk.Exists(j.disk, j.path(markerName))
	if err != nil {
		return err
	}
	if err := j.measure(unclean); err != nil {
		return err
	}
	if unclean {
		if err := j.copyAside(); err != nil {
			return fmt.Errorf("copy the store that was not closed aside: %w", err)
		}
	}
	plan, err := check(j.dir)
	if err != nil {
		return err
	}
	if err := disk.WriteFile(j.disk, j.path(markerName), []byte(markerText), 0o600); err != nil {
		return err
	}
	if err := plan.do(); err != nil {
		return err
	}
	return j.startBadger(unclean)
}

func (j *Journal) startBadger(unclean bool) error {
	j.notes = &notes{}
	if err := j.openBadger(); err != nil {
		if j.db != nil {
			err = errors.Join(err, j.db.Close())
		}
		return err
	}
	err := j.resume()
	if err == nil && unclean && len(j.db.Tables()) >= manyTables {
		err = j.judge(guarded(func() error { return j.db.Flatten(1) }))
	}
	if err != nil {
		return errors.Join(err, j.db.Close())
	}
	return nil
}

// Close ends the journal and marks the store as closed cleanly. It waits for
// calls under way, and at most 10 s for Badger. After an error the store counts
// as not closed cleanly, which loses nothing; if the error says so, its lock is
// held until the process ends. A second call does nothing.
func (j *Journal) Close() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.open.Lock()
	defer j.open.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	if err := j.stop(); err != nil {
		return fmt.Errorf("close journal %s: %w", j.dir, err)
	}
	return nil
}

func (j *Journal) stop() error {
	ended, err := j.stopBadger()
	if !ended {
		return fmt.Errorf("left open until the process ends: %w", err)
	}
	if err == nil && j.broken == nil {
		err = j.syncNames()
		if err == nil {
			err = j.disk.Remove(j.path(markerName))
		}
		if err == nil {
			err = j.disk.SyncDir(j.dir)
		}
	}
	return errors.Join(err, j.lock.Close())
}

// stopBadger says whether Badger has ended and no longer writes.
func (j *Journal) stopBadger() (ended bool, err error) {
	if err := j.reserve(j.base + 2*j.fresh); err != nil {
		return false, err
	}
	done := make(chan error, 1)
	go func() { done <- guarded(j.db.Close) }()
	select {
	case err := <-done:
		if err != nil {
			err = j.notes.explain(err)
		}
		return true, err
	case <-time.After(closeLimit):
		return false, fmt.Errorf("no end after %v: %s", closeLimit, j.notes)
	}
}

// turn closes Badger and opens it again. No reader is inside, so that no old
// value has to be kept for one.
func (j *Journal) turn() error {
	if err := j.reserve(j.base + 2*j.fresh); err != nil {
		return err // nothing has happened yet
	}
	j.open.Lock()
	defer j.open.Unlock()
	if j.closed {
		return ErrClosed
	}
	j.broken = errTurning
	_, err := j.stopBadger()
	if err == nil {
		j.base, j.fresh = 0, 0
		err = j.measure(false)
	}
	if err == nil {
		err = j.openBadger()
	}
	if err != nil {
		return fmt.Errorf("turn the log over: %w", err)
	}
	j.broken = nil
	return nil
}

func (j *Journal) openBadger() error {
	err := guarded(func() error {
		db, err := badger.Open(settings(j.dir, j.notes))
		if err == nil {
			j.db = db
		}
		return err
	})
	if err != nil {
		return j.notes.explain(err)
	}
	return j.syncNames()
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// syncNames makes the names of new files durable. Badger syncs what it writes
// into a new log, but not the log's name.
func (j *Journal) syncNames() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return err
	}
	var names string
	for _, e := range entries {
		names += e.Name() + "\n"
	}
	if names == j.names {
		return nil
	}
	for _, e := range entries {
		// Badger's background work may remove a file at any time.
		if err := os.Chmod(j.path(e.Name()), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := j.disk.SyncDir(j.dir); err != nil {
		return err
	}
	j.names = names
	return nil
}

var _ engine.Store = (*Journal)(nil)

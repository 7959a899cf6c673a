package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/disk"
)

// The file of patch --journal begins with two pages: the note of its lock, and
// a slot, as in the file of --resume, that says which update it belongs to.
// What stands behind them is the journal of [delta.ApplyInPlace].
const (
	journalPages = 2
	journalMagic = "updraftJ"
	journalHead  = journalPages * positionPage
)

// journalOwner is the update that a journal belongs to.
type journalOwner struct {
	File string `json:"file"` // that is updated, its path from the root
	Old  string `json:"old"`  // SHA-256
	New  string `json:"new"`
	Done bool   `json:"done"` // it is over, and anybody may have the journal
}

// journalFile is a journal, open and locked. It is the Region that follows the
// head. Not to be shared.
type journalFile struct {
	fs     disk.FS
	name   string
	lock   *disk.Held
	file   disk.File
	owner  journalOwner
	plain  bool // it is a regular file, not a device
	made   bool // it was not there before
	unused bool // it was of no update before
}

// openJournal opens the journal called name for an update, and makes it if it
// is missing. It takes need bytes. When this returns, the name and the owner
// are durable, and there is room.
func openJournal(fsys disk.FS, name string, need int64, owner journalOwner) (j *journalFile, err error) {
	j = &journalFile{fs: fsys, name: name, owner: owner, plain: true}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.made = true
	case err != nil:
		return nil, inputError(err)
	case !info.Mode().IsRegular() && !isBlockDevice(info.Mode()):
		return nil, usagef("--journal %s: it is neither a regular file nor a block device (%v)", name, info.Mode().Type())
	default:
		j.plain = info.Mode().IsRegular()
		if err := j.look(need); err != nil { // before the lock writes its note
			return nil, err
		}
	}
	if j.lock, err = disk.Lock(name); err != nil {
		return nil, inputError(err)
	}
	if j.file, err = fsys.OpenFile(name, os.O_RDWR, 0); err == nil {
		err = j.begin(need)
	}
	if err != nil {
		return nil, errors.Join(err, j.close(), j.removeMade())
	}
	return j, nil
}

func isBlockDevice(mode fs.FileMode) bool {
	return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
}

// look refuses what may not be written to.
func (j *journalFile) look(need int64) error {
	f, in, err := openFile(j.fs, j.name)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	if !j.plain && in.Size() < need {
		return usagef("--journal %s: the device has %s, the patch needs a journal of %s: name a larger one, or make the patch with diff --in-place --journal %d",
			j.name, agent.ByteCount(in.Size()), agent.ByteCount(need), in.Size())
	}
	_, err = j.read(in, need)
	return err
}

// read gives whether the journal is of no update. It is an error if it is of
// another one, or if something is there that updraft did not write.
func (j *journalFile) read(in *io.SectionReader, need int64) (unused bool, err error) {
	head := make([]byte, journalHead)
	if _, err := in.ReadAt(head, 0); err != nil && err != io.EOF {
		return false, fmt.Errorf("read %s: %w", j.name, err)
	}
	var is journalOwner
	noted := bytes.HasPrefix(head, []byte(lockNote))
	switch {
	case readSlot(head[positionPage:], journalMagic, &is):
		if !is.Done && is != j.owner {
			return false, usagef("--journal %s: it belongs to the update of %s from %s to %s, which may not be over: end that one first with the same command, or name another journal",
				j.name, agent.Printable(is.File), short(is.Old), short(is.New))
		}
		return is.Done, nil
	case !noted && !zeros(head[:len(lockNote)]):
		return false, j.foreign()
	}
	// A start that was cut short has written no further than the head.
	const step = 128 << 10
	b := make([]byte, step)
	for at := int64(journalHead); at < need; at += step {
		n, err := in.ReadAt(b[:min(step, need-at)], at)
		if err != nil && err != io.EOF {
			return false, fmt.Errorf("read %s: %w", j.name, err)
		}
		if !zeros(b[:n]) {
			return false, j.foreign()
		}
		if err == io.EOF {
			break
		}
	}
	if !noted && !zeros(head) {
		return false, j.foreign()
	}
	return true, nil
}

func (j *journalFile) foreign() error {
	return usagef("--journal %s: it has content that updraft patch did not write: name a file that is missing, or one full of zeros", j.name)
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// short is enough of a digest to tell two apart.
func short(sum string) string { return agent.Printable(sum[:min(len(sum), 12)]) + "…" }

// begin makes the journal that of its owner. A process that held the lock
// until now may have changed it.
func (j *journalFile) begin(need int64) error {
	size, err := j.file.Size()
	if err != nil {
		return fmt.Errorf("size of %s: %w", j.name, err)
	}
	if j.unused, err = j.read(io.NewSectionReader(j.file, 0, size), need); err != nil {
		return err
	}
	if !j.unused {
		return nil
	}
	if j.plain { // it takes its room now, not in the midst of the update
		if err := j.fill(journalHead, need); err != nil {
			return err
		}
	}
	if err := j.note(); err != nil {
		return err
	}
	if err := j.fs.SyncDir(filepath.Dir(j.name)); j.plain && err != nil {
		return fmt.Errorf("write %s: %w", j.name, err)
	}
	return nil
}

// fill writes zeros.
func (j *journalFile) fill(from, to int64) error {
	b := make([]byte, 128<<10)
	for ; from < to; from += int64(len(b)) {
		if _, err := j.file.WriteAt(b[:min(int64(len(b)), to-from)], from); err != nil {
			return fmt.Errorf("write %s: %w", j.name, err)
		}
	}
	return nil
}

// note makes the owner durable.
func (j *journalFile) note() error {
	b, err := appendSlot(journalMagic, j.owner)
	if err == nil {
		_, err = j.file.WriteAt(b, positionPage)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", j.name, err)
	}
	return nil
}

// ReadAt, WriteAt and Sync are those of what follows the head.
func (j *journalFile) ReadAt(p []byte, at int64) (int, error) {
	return j.file.ReadAt(p, at+journalHead)
}

func (j *journalFile) WriteAt(p []byte, at int64) (int, error) {
	return j.file.WriteAt(p, at+journalHead)
}

func (j *journalFile) Sync() error { return j.file.Sync() }

// finish gives the journal up: a file is removed, and a device says that it is
// free.
func (j *journalFile) finish() error {
	if j.plain {
		return errors.Join(j.fs.Remove(j.name), j.fs.SyncDir(filepath.Dir(j.name)))
	}
	j.owner.Done = true
	return j.note()
}

// drop gives up a journal that nothing was written to.
func (j *journalFile) drop() error {
	if j.made {
		return j.removeMade()
	}
	if j.unused {
		j.owner.Done = true
		return j.note()
	}
	return nil
}

func (j *journalFile) removeMade() error {
	if !j.made {
		return nil
	}
	return j.fs.Remove(j.name)
}

func (j *journalFile) close() error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

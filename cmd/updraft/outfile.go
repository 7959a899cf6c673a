package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/internal/disk"
)

// outFile is a new file that takes its name only when it is whole: until
// [outFile.commit] it stands beside it as "."+NAME+".new". Not to be shared.
type outFile struct {
	fs         disk.FS
	name, temp string
	file       disk.File
	size       int64 // bytes written so far
}

// create begins a new file. One that exists under that name stays until commit
// replaces it; anything but a file is refused, because a rename would put a
// file in the place of a device.
func create(fsys disk.FS, name string, perm fs.FileMode) (*outFile, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, usagef("%s is not a regular file (%v): write to another file, or to - for standard output", name, info.Mode().Type())
	}
	dir, base := filepath.Split(name)
	if base == "" {
		return nil, usagef("%q: expected the name of a file", name)
	}
	o := &outFile{fs: fsys, name: name, temp: dir + "." + base + ".new"}
	if err := fsys.Remove(o.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	var err error
	if o.file, err = fsys.OpenFile(o.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm); err != nil {
		return nil, inputError(fmt.Errorf("write %s: %w", name, err))
	}
	return o, nil
}

// Write adds p at the end.
func (o *outFile) Write(p []byte) (int, error) {
	n, err := o.file.WriteAt(p, o.size)
	o.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", o.name, err)
	}
	return n, nil
}

// commit makes the file durable under its name.
func (o *outFile) commit() error {
	if err := o.file.Sync(); err != nil {
		return o.abort(fmt.Errorf("write %s: %w", o.name, err))
	}
	err := o.file.Close()
	o.file = nil
	if err == nil {
		err = o.fs.Rename(o.temp, o.name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", o.name, err), o.fs.Remove(o.temp))
	}
	if err := o.fs.SyncDir(cmp.Or(filepath.Dir(o.name), ".")); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	return nil
}

// abort removes what was written, because of cause, which it returns.
func (o *outFile) abort(cause error) error {
	return errors.Join(cause, o.file.Close(), o.fs.Remove(o.temp))
}

// finish commits if err is nil, and aborts otherwise.
func (o *outFile) finish(err error) error {
	if err != nil {
		return o.abort(err)
	}
	return o.commit()
}

// createNew makes a small durable file that must not exist yet.
func createNew(fsys disk.FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists already, and a key is never overwritten: choose another name", name)
	}
	if err != nil {
		return inputError(fmt.Errorf("write %s: %w", name, err))
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, fsys.Remove(name)))
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// openFile opens a file or block device whole, for reading at any place.
func openFile(fsys disk.FS, name string) (disk.File, *io.SectionReader, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, inputError(err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("size of %s: %w", name, err), f.Close())
	}
	return f, io.NewSectionReader(f, 0, size), nil
}

// readSmall reads a file that the user named.
func readSmall(fsys disk.FS, name string, limit int64) ([]byte, error) {
	data, err := disk.ReadFile(fsys, name, limit)
	if err != nil {
		return nil, inputError(err)
	}
	return data, nil
}

// cancelReader ends a copy when ctx ends.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

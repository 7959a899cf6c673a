package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/updraft-ota/updraft/internal/disk"
)

// file is one file of a store.
type file struct {
	name string
	used int64 // bytes of the disk: Badger's logs are sparse
}

// files lists the store's files. A folder or link among them is an error:
// Badger makes none.
func (j *Journal) files() ([]file, error) {
	entries, err := j.disk.ReadDir(j.dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no regular file: remove it", j.path(e.Name()))
		}
		files = append(files, file{name: e.Name(), used: used(info)})
	}
	return files, nil
}

// copyAside keeps the store as the last process left it: opening cuts torn
// ends off.
func (j *Journal) copyAside() error {
	aside := j.dir + ".unclean-1"
	temp := aside + ".new"
	if err := errors.Join(disk.RemoveAll(j.disk, temp), disk.RemoveAll(j.disk, aside)); err != nil {
		return err
	}
	if err := j.disk.Mkdir(temp, 0o700); err != nil {
		return err
	}
	files, err := j.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.name == lockName || f.name == markerName || empty(f.name) {
			continue
		}
		if err := copySparse(j.disk, filepath.Join(temp, f.name), j.path(f.name)); err != nil {
			return err
		}
	}
	if err := j.disk.SyncDir(temp); err != nil {
		return err
	}
	if err := j.disk.Rename(temp, aside); err != nil {
		return err
	}
	return j.disk.SyncDir(filepath.Dir(aside))
}

// empty says whether a file is of Badger's value log or its statistics. Both
// are empty by construction here; without them a store is whole.
func empty(name string) bool { return filepath.Ext(name) == ".vlog" || name == "DISCARD" }

// copySparse leaves holes where from holds zeros.
func copySparse(d disk.FS, to, from string) (err error) {
	in, err := d.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := d.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	size, err := in.Size()
	if err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	if err := chunks(in, func(p []byte, off int64) error {
		_, err := out.WriteAt(p, off)
		return err
	}); err != nil {
		return err
	}
	return out.Sync()
}

const chunk = 64 << 10 // bytes

// zeros is compared with, never written.
var zeros [chunk]byte

// chunks calls do for each piece of the file that is not all zero.
func chunks(in io.ReaderAt, do func(p []byte, off int64) error) error {
	p := make([]byte, chunk)
	for off := int64(0); ; off += chunk {
		n, err := in.ReadAt(p, off)
		if !bytes.Equal(p[:n], zeros[:n]) {
			if err := do(p[:n], off); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Quarantine puts a damaged store aside, so that [Open] begins a new one. It
// renames dir to the same name with ".damaged-1", in place of an earlier one,
// syncs the folder above, and gives the new name. The store must not be open:
// [disk.ErrLocked]. A missing dir is fs.ErrNotExist.
func Quarantine(dir string) (string, error) {
	dir = filepath.Clean(dir)
	aside := dir + ".damaged-1"
	d := disk.OS()
	if err := quarantine(d, dir, aside); err != nil {
		return "", fmt.Errorf("put journal %s aside: %w", dir, err)
	}
	return aside, nil
}

func quarantine(d disk.FS, dir, aside string) (err error) {
	if _, err := d.Lstat(dir); err != nil {
		return err
	}
	lock, err := disk.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := disk.RemoveAll(d, aside); err != nil {
		return err
	}
	if err := d.Rename(dir, aside); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(dir))
}

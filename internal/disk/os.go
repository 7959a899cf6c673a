package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// OS gives the file system of the host. Relative names start at the working
// directory. Folders cannot be opened as files, and O_APPEND is refused,
// because a [File] writes at offsets.
//
// A [FS.Sub] of it is an [os.Root]; it holds its folder open until Close is
// called on it (it is an [io.Closer]) or it is garbage.
//
// A file whose Sync failed once stays failed: every later Sync, WriteAt and
// Truncate returns that first error.
func OS() FS { return host{} }

type host struct{}

func (host) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return openHostFile(name, flag, func() (*os.File, error) {
		return os.OpenFile(filepath.FromSlash(name), flag, perm.Perm())
	})
}

func (host) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(filepath.FromSlash(name)) }

func (host) ReadDir(name string) ([]fs.DirEntry, error) {
	return os.ReadDir(filepath.FromSlash(name))
}

func (host) Mkdir(name string, perm fs.FileMode) error {
	return os.Mkdir(filepath.FromSlash(name), perm.Perm())
}

func (host) Rename(oldName, newName string) error {
	oldName, newName = filepath.FromSlash(oldName), filepath.FromSlash(newName)
	if err := refuseFolder(os.Lstat, oldName, newName); err != nil {
		return err
	}
	return pathError(os.Rename(oldName, newName))
}

func (host) Remove(name string) error { return os.Remove(filepath.FromSlash(name)) }

func (host) Symlink(target, name string) error {
	return pathError(os.Symlink(target, filepath.FromSlash(name)))
}

func (host) Readlink(name string) (string, error) { return os.Readlink(filepath.FromSlash(name)) }

func (host) SyncDir(name string) error {
	return withDir(os.Open, filepath.FromSlash(name), (*os.File).Sync)
}

func (host) Free(name string) (int64, error) { return freeBelow(os.Open, filepath.FromSlash(name)) }

func (host) Sub(name string) (FS, error) {
	r, err := os.OpenRoot(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	return jail{r}, nil
}

// jail is a folder of the host that cannot be left.
type jail struct{ root *os.Root }

func (j jail) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return openHostFile(name, flag, func() (*os.File, error) {
		return j.root.OpenFile(name, flag, perm.Perm())
	})
}

func (j jail) Lstat(name string) (fs.FileInfo, error) { return j.root.Lstat(name) }

func (j jail) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = withDir(j.root.Open, name, func(d *os.File) error {
		entries, err = d.ReadDir(-1)
		return err
	})
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (j jail) Mkdir(name string, perm fs.FileMode) error { return j.root.Mkdir(name, perm.Perm()) }

func (j jail) Rename(oldName, newName string) error {
	if err := refuseFolder(j.root.Lstat, oldName, newName); err != nil {
		return err
	}
	return pathError(j.root.Rename(oldName, newName))
}

// refuseFolder makes a folder at newName an error, whether it is empty or
// oldName itself: systems and versions of package os differ in that.
func refuseFolder(lstat func(string) (fs.FileInfo, error), oldName, newName string) error {
	there, err := lstat(newName)
	if err != nil || !there.IsDir() {
		return nil
	}
	if _, err := lstat(oldName); err != nil {
		return renameError(oldName, newName, bare(err))
	}
	return renameError(oldName, newName, syscall.EEXIST)
}

func (j jail) Remove(name string) error { return j.root.Remove(name) }

func (j jail) Symlink(target, name string) error { return pathError(j.root.Symlink(target, name)) }

func (j jail) Readlink(name string) (string, error) { return j.root.Readlink(name) }

func (j jail) SyncDir(name string) error { return withDir(j.root.Open, name, (*os.File).Sync) }

func (j jail) Free(name string) (int64, error) { return freeBelow(j.root.Open, name) }

func (j jail) Sub(name string) (FS, error) {
	r, err := j.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return jail{r}, nil
}

// Close closes the folder. Files opened from it stay open.
func (j jail) Close() error { return j.root.Close() }

var _ io.Closer = jail{}

// withDir opens a folder, uses it and closes it.
func withDir(open func(string) (*os.File, error), name string, use func(*os.File) error) error {
	d, err := open(name)
	if err != nil {
		return err
	}
	info, err := d.Stat()
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open folder", Path: name, Err: syscall.ENOTDIR}
	}
	if err == nil {
		err = use(d)
	}
	return errors.Join(err, d.Close())
}

// pathError turns the two-name error of package os into the one that FS
// promises.
func pathError(err error) error {
	link, ok := err.(*os.LinkError)
	if !ok {
		return err
	}
	if link.Op == "symlink" || link.Op == "symlinkat" {
		return &fs.PathError{Op: "symlink", Path: link.New, Err: link.Err}
	}
	return renameError(link.Old, link.New, link.Err)
}

func renameError(oldName, newName string, err error) error {
	return &fs.PathError{Op: "rename", Path: oldName, Err: fmt.Errorf("to %s: %w", newName, err)}
}

// hostFile is an open file of the host.
type hostFile struct {
	*os.File

	mu  sync.Mutex
	bad error // of the first Sync that failed
}

func openHostFile(name string, flag int, open func() (*os.File, error)) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &hostFile{File: f}, nil
}

func (f *hostFile) poison() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

func (f *hostFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.poison(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *hostFile) Truncate(size int64) error {
	if err := f.poison(); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *hostFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad == nil {
		f.bad = f.File.Sync()
	}
	return f.bad
}

func (f *hostFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0 {
		return f.Seek(0, io.SeekEnd) // a block device has no size of its own
	}
	return info.Size(), nil
}

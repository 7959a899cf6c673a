// Package disk is the only way in which updraft touches files and clocks, so
// that tests can own both.
//
// [OS] is the real file system; [Forgetful] is a fake that loses what was not
// synced and fails on request. [Real] and [Virtual] are the clocks that go with
// them. [WriteFile] replaces a small file so that a power cut leaves the old
// content or the new one. A failed Sync is final: the kernel may have dropped
// the data, so a caller gives the file up and writes a new one.
package disk

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// FS is a file system. Names are slash-separated; those of [OS] are paths of
// the host, those of a [FS.Sub] are local to its folder and cannot leave it.
// Errors are [*fs.PathError] or wrap one. Implementations may be shared.
type FS interface {
	// OpenFile opens name with the flags of package os. Without O_CREATE a
	// missing file is fs.ErrNotExist.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Lstat describes name itself, not what it links to.
	Lstat(name string) (fs.FileInfo, error)
	// ReadDir lists a folder, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Mkdir makes one folder. An existing one is fs.ErrExist.
	Mkdir(name string, perm fs.FileMode) error
	// Rename replaces newName atomically, unless it is a folder (fs.ErrExist).
	// It is durable after SyncDir of both folders.
	Rename(oldName, newName string) error
	// Remove removes a file, a link or an empty folder.
	Remove(name string) error
	// Symlink makes name a link to target.
	Symlink(target, name string) error
	// Readlink gives the target of a link.
	Readlink(name string) (string, error)
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
	// Free gives the bytes that an ordinary user may still write below name.
	Free(name string) (int64, error)
	// Sub opens a folder as a file system of its own that cannot be left,
	// neither by ".." nor by links.
	Sub(name string) (FS, error)
}

// File is an open file. Offsets and sizes are bytes. It may be shared as far
// as its writes do not overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate cuts or extends the file to size bytes.
	Truncate(size int64) error
	// Sync makes content and size durable. After an error the content is
	// undefined, and calling Sync again proves nothing.
	Sync() error
	// Size gives the current size in bytes, of a block device too.
	Size() (int64, error)
}

// Clock is the source of time. Implementations may be shared.
type Clock interface {
	// Now is the wall clock. It may jump.
	Now() time.Time
	// Mono is the time since an arbitrary moment. It never goes back within a process.
	Mono() time.Duration
	// Sleep waits for d or until ctx ends, whose cause it then returns.
	Sleep(ctx context.Context, d time.Duration) error
}

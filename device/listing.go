package device

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/updraft-ota/updraft/internal/disk"
)

// What a version may have at the most.
const (
	maxEntries    = 1 << 16
	maxEntryNames = 8 << 20 // bytes of all names
	maxDepth      = 64
)

// listing says what is in a folder, in a way that two equal folders share.
type listing struct {
	digest string // of a line per file: kind, permissions, size, content, name
	size   int64  // bytes of all files
	files  int
	only   string // digest of the file, if there is one alone
}

// check compares with what the op expects.
func (l listing) check(op Op) error {
	if l.files == 0 {
		return fmt.Errorf("the version has no files: %w", fs.ErrNotExist)
	}
	if op.Digest != "" && op.Digest != l.digest && op.Digest != l.only {
		return fmt.Errorf("%w: expected sha256 %s, have %s", ErrDigest, quote(op.Digest), l.digest)
	}
	return nil
}

// listFolder reads a folder and, on the way, makes it durable if settle is set.
// Its memory is one folder's names and a buffer.
func listFolder(ctx context.Context, fsys disk.FS, folder string, settle bool) (l listing, err error) {
	sub, err := fsys.Sub(folder)
	if err != nil {
		return listing{}, err
	}
	defer func() { err = errors.Join(err, closeFS(sub)) }()
	lines := sha256.New()
	w := &lister{fs: sub, settle: settle, lines: lines}
	if err := w.folder(ctx, ".", 0); err != nil {
		return listing{}, fmt.Errorf("list %s: %w", folder, err)
	}
	w.list.digest = sum(lines)
	if w.list.files != 1 {
		w.list.only = ""
	}
	return w.list, nil
}

type lister struct {
	fs      disk.FS
	settle  bool
	lines   io.Writer
	list    listing
	entries int
}

func (w *lister) folder(ctx context.Context, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: %w: more than %d levels", quote(dir), ErrQuota, maxDepth)
	}
	entries, err := w.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	if w.entries += len(entries); w.entries > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrQuota, maxEntries)
	}
	for _, e := range entries {
		if err := w.entry(ctx, path.Join(dir, e.Name()), depth); err != nil {
			return err
		}
	}
	if w.settle {
		return w.fs.SyncDir(dir)
	}
	return nil
}

func (w *lister) entry(ctx context.Context, name string, depth int) error {
	info, err := w.fs.Lstat(name)
	if err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return w.folder(ctx, name, depth+1)
	case mode.IsRegular():
		return w.file(ctx, name, mode.Perm())
	case mode&fs.ModeSymlink != 0 && !w.settle:
		to, err := w.fs.Readlink(name)
		if err == nil {
			_, err = fmt.Fprintf(w.lines, "link %q %q\n", to, name)
		}
		return err
	}
	return fmt.Errorf("%s: %w: expected files and folders only", quote(name), ErrDenied)
}

func (w *lister) file(ctx context.Context, name string, perm fs.FileMode) (err error) {
	f, err := w.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if w.settle {
		if err := f.Sync(); err != nil {
			return err
		}
		forgetCache(f)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	h := sha256.New()
	if n, err := flow(ctx, f, size, h); err != nil {
		return err
	} else if n < size {
		return fmt.Errorf("%s: %w", quote(name), io.ErrUnexpectedEOF)
	}
	w.list.files++
	w.list.size += size
	w.list.only = sum(h)
	_, err = fmt.Fprintf(w.lines, "file %o %d %s %q\n", perm, size, w.list.only, name)
	return err
}

// closeFS lets go of a folder that [disk.FS.Sub] may hold open.
func closeFS(fsys disk.FS) error {
	if c, ok := fsys.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func openEntryToRead(fsys disk.FS, entry string) (disk.File, int64, error) {
	info, err := fsys.Lstat(entry)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("it is no regular file: %w", ErrDenied)
	}
	f, err := fsys.OpenFile(entry, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

// openListing gives the listing itself to be read: a line per file, whose
// SHA-256 is that of the version's stamp. It is made in memory, of at most
// maxListing bytes.
func openListing(fsys disk.FS, folder string) (*handle, error) {
	sub, err := fsys.Sub(folder)
	if err != nil {
		return nil, err
	}
	text := new(listingText)
	err = (&lister{fs: sub, lines: text}).folder(context.Background(), ".", 0)
	if err = errors.Join(err, closeFS(sub)); err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	return &handle{file: text, path: folder, size: int64(len(text.bytes))}, nil
}

const maxListing = 8 << 20 // bytes

// listingText is a listing as a file that can be read.
type listingText struct {
	disk.File // nil: the door writes no handle that is for reading
	bytes     []byte
}

func (l *listingText) Write(p []byte) (int, error) {
	if len(l.bytes)+len(p) > maxListing {
		return 0, fmt.Errorf("%w: the listing has more than %d bytes", ErrQuota, maxListing)
	}
	l.bytes = append(l.bytes, p...)
	return len(p), nil
}

func (l *listingText) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(l.bytes).ReadAt(p, off)
}

func (l *listingText) Close() error { return nil }

package device

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/updraft-ota/updraft/internal/disk"
)

const copyBuffer = 256 << 10 // bytes

// seen is what stands at a path, links followed.
type seen struct {
	path    string // without links at the end
	size    int64
	mode    fs.FileMode
	device  bool
	missing bool
}

// look follows the links of a file or block device. A missing file is no error.
func look(fsys disk.FS, name string) (seen, error) {
	const mostLinks = 40
	for range mostLinks {
		info, err := fsys.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return seen{path: name, missing: true}, nil
		case err != nil:
			return seen{}, err
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := fsys.Readlink(name)
			if err != nil {
				return seen{}, err
			}
			if !path.IsAbs(to) {
				to = path.Join(path.Dir(name), to)
			}
			name = to
			continue
		}
		at := seen{path: name, size: info.Size(), mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			return at, nil
		case info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0:
			return seen{}, fmt.Errorf("%s: %w: expected a file or block device", name, ErrDenied)
		}
		at.device = true
		f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return seen{}, err
		}
		at.size, err = f.Size()
		return at, errors.Join(err, f.Close())
	}
	return seen{}, fmt.Errorf("%s: %w: more than %d links", name, ErrDenied, mostLinks)
}

// readBack hashes the first size bytes of a file from the medium, as far as
// the system lets go of what it has cached.
func readBack(ctx context.Context, fsys disk.FS, name string, size int64) (digest string, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	forgetCache(f)
	h := sha256.New()
	n, err := flow(ctx, f, size, h)
	if err == nil && n < size {
		err = fmt.Errorf("%s ends after %d of %d bytes: %w", name, n, size, ErrDigest)
	}
	return sum(h), err
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// flow copies at most size bytes of f and stops when ctx ends.
func flow(ctx context.Context, f io.ReaderAt, size int64, to io.Writer) (int64, error) {
	buf := make([]byte, min(copyBuffer, max(size, 1)))
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return at, context.Cause(ctx)
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if _, err := to.Write(buf[:n]); err != nil {
			return at, err
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
	return size, nil
}

// writerAt appends to a file.
type writerAt struct {
	file io.WriterAt
	at   int64
}

func (w *writerAt) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}

// setMode gives a file its permissions whatever the umask was, where the file
// system can.
func setMode(f disk.File, perm fs.FileMode) error {
	if c, ok := f.(interface{ Chmod(fs.FileMode) error }); ok {
		return c.Chmod(perm.Perm())
	}
	return nil
}

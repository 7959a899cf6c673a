package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// CopyFrom copies a file, a link or a folder with all below it from src, as if
// it had been there, durable, for long. It makes the folders above dstPath, and
// replaces files and links; folders are merged. It counts as no call. Holes
// and pages of zeros take no memory. Anything but files, block devices, links
// and folders is an error.
func (f *Forgetful) CopyFrom(src FS, srcPath, dstPath string) error {
	there, err := src.Lstat(srcPath)
	if err != nil {
		return fmt.Errorf("copy %s: %w", srcPath, err)
	}
	var n *inode
	switch mode := there.Mode(); {
	case mode.IsDir():
		return f.copyFolder(src, srcPath, dstPath, mode.Perm())
	case mode&fs.ModeSymlink != 0:
		n = &inode{mode: fs.ModeSymlink | 0o777}
		n.target, err = src.Readlink(srcPath)
	case mode.IsRegular(), mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		n = &inode{mode: mode.Perm(), file: newStored()}
		err = n.file.load(src, srcPath)
	default:
		err = fmt.Errorf("%v: expected a file, a block device, a link or a folder", mode.Type())
	}
	if err == nil {
		err = f.plant(dstPath, n)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", srcPath, err)
	}
	return nil
}

func (f *Forgetful) copyFolder(src FS, srcPath, dstPath string, perm fs.FileMode) error {
	if err := f.plant(dstPath, &inode{mode: fs.ModeDir | perm, dir: newFolder()}); err != nil {
		return fmt.Errorf("copy %s: %w", srcPath, err)
	}
	entries, err := src.ReadDir(srcPath)
	if err != nil {
		return fmt.Errorf("copy %s: %w", srcPath, err)
	}
	for _, e := range entries {
		if err := f.CopyFrom(src, path.Join(srcPath, e.Name()), path.Join(dstPath, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// plant puts n at a name, both states.
func (f *Forgetful) plant(name string, n *inode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	chain := parts(name)
	dir := f.root
	for i, part := range chain {
		kid := dir.dir.live[part]
		if i == len(chain)-1 {
			return f.plantAt(dir, part, kid, n)
		}
		if kid == nil {
			kid = f.newInode(fs.ModeDir | 0o755)
			f.settle(dir, part, kid)
		}
		if kid.dir == nil {
			return wrap("mkdir", name, syscall.ENOTDIR)
		}
		dir = kid
	}
	if n.dir == nil {
		return wrap("create", name, syscall.EISDIR)
	}
	return nil // the root is a folder already
}

func (f *Forgetful) plantAt(dir *inode, name string, was, n *inode) error {
	if was != nil && was.dir != nil {
		if n.dir == nil {
			return wrap("create", name, syscall.EISDIR)
		}
		f.settle(dir, name, was)
		return nil
	}
	if was != nil {
		dir.dir.drop(name)
		f.free(was)
	}
	f.ids++
	n.id = f.ids
	if n.file != nil {
		f.used += n.file.live.used()
	}
	f.settle(dir, name, n)
	return nil
}

// settle gives n a durable name.
func (f *Forgetful) settle(dir *inode, name string, n *inode) {
	if dir.dir.live[name] != n {
		dir.dir.add(name, n)
	}
	dir.dir.keep(dir, name, n)
	delete(dir.dir.stale, name)
}

// load reads a file of another file system.
func (s *stored) load(src FS, name string) (err error) {
	r, err := src.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	size, err := r.Size()
	if err != nil {
		return err
	}
	if size > maxSize {
		return wrap("create", name, syscall.EFBIG)
	}
	buf := make([]byte, 64*pageSize)
	for off := int64(0); off < size; off += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), size-off)]
		if n, err := r.ReadAt(part, off); n < len(part) {
			return fmt.Errorf("read at %d: %w", off+int64(n), errors.Join(err, io.ErrUnexpectedEOF))
		}
		s.fill(part, off)
	}
	s.live.size = size
	s.kept = s.live.share()
	s.settle()
	return nil
}

// fill stores the pages of part that are not all zero. off is that of a page.
func (s *stored) fill(part []byte, off int64) {
	for at := 0; at < len(part); at += pageSize {
		page := part[at:min(at+pageSize, len(part))]
		for _, b := range page {
			if b != 0 {
				copy(s.live.writable((off + int64(at)) >> pageBits)[:], page)
				break
			}
		}
	}
}

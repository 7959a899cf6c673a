package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"syscall"
)

// ErrLimit means that a file is larger than its reader allows.
var ErrLimit = errors.New("file too large")

// WriteFile replaces the content of name so that a power cut at any moment
// leaves the old content or the new one, and returns when the new one is
// durable. A link at name is replaced, not followed. perm is that of the new
// file before the umask, 0600 if it is zero.
//
// The new content first stands in the same folder as "."+NAME+".new"; one that
// an earlier cut left behind is replaced. Only one WriteFile of a name may run
// at a time. When the last step fails, the folder's sync, the new content is
// in place but may not be durable.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	dir, base := path.Split(name)
	temp := dir + "." + base + ".new"
	if err := writeNew(fsys, temp, data, cmp.Or(perm, 0o600)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, fsys.Remove(temp)))
	}
	if err := fsys.SyncDir(cmp.Or(dir, ".")); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeNew makes a durable file, or none.
func writeNew(fsys FS, name string, data []byte, perm fs.FileMode) error {
	const flag = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := fsys.OpenFile(name, flag, perm)
	if errors.Is(err, fs.ErrExist) {
		if err = fsys.Remove(name); err == nil {
			f, err = fsys.OpenFile(name, flag, perm)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return nil
}

// ReadFile reads all of name. A file of more than limit bytes is [ErrLimit],
// and no more than limit+1 bytes of it are read.
func ReadFile(fsys FS, name string, limit int64) (data []byte, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size <= limit { // the size of a file in /proc is 0, so it proves nothing
		section := io.NewSectionReader(f, 0, min(limit, math.MaxInt64-1)+1)
		data, err = io.ReadAll(section)
		size = int64(len(data))
	}
	if err == nil && size > limit {
		return nil, fmt.Errorf("read %s: %w: at least %d bytes, expected at most %d", name, ErrLimit, size, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

// MkdirAll makes the folder name and those above it that are missing, and
// returns when all of them are durable. It is no error if name is a folder
// already. Several may run at a time.
func MkdirAll(fsys FS, name string, perm fs.FileMode) error {
	chain := prefixes(name)
	found := len(chain) // chain[:found] exists
	for ; found > 0; found-- {
		info, err := fsys.Lstat(chain[found-1])
		if err == nil {
			if found == len(chain) && !info.IsDir() {
				return checkFolder(fsys, name, info)
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	// A cut may have come between the making of the last one and its sync. Who
	// may not even read the folder above did not make it.
	if found > 0 {
		if err := fsys.SyncDir(above(chain, found-1)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	for i := found; i < len(chain); i++ {
		if err := fsys.Mkdir(chain[i], perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := fsys.SyncDir(above(chain, i)); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	return nil
}

// prefixes gives "a", "a/b", "a/b/c" for "a/b/c".
func prefixes(name string) []string {
	var chain []string
	for i := range len(name) {
		if name[i] != '/' && (i+1 == len(name) || name[i+1] == '/') {
			chain = append(chain, name[:i+1])
		}
	}
	return chain
}

func above(chain []string, i int) string {
	if i > 0 {
		return chain[i-1]
	}
	if strings.HasPrefix(chain[0], "/") {
		return "/"
	}
	return "."
}

// checkFolder accepts a link to a folder.
func checkFolder(fsys FS, name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink == 0 {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	}
	_, err := fsys.ReadDir(name)
	return err
}

// RemoveAll removes name and, if it is a folder, all below it. It never
// follows a link. It is no error if name is missing, so a removal that was cut
// short can be called again. Durable after SyncDir of the folder above.
func RemoveAll(fsys FS, name string) error {
	info, err := fsys.Lstat(name)
	if err != nil {
		return ignoreMissing(err)
	}
	if info.IsDir() {
		// Inside of a Sub not even a folder that somebody swaps for a link
		// while we look leads out.
		sub, err := fsys.Sub(name)
		if err != nil {
			return ignoreMissing(err)
		}
		err = removeBelow(sub, ".")
		if c, ok := sub.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return ignoreMissing(fsys.Remove(name))
}

func removeBelow(fsys FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			if err := removeBelow(fsys, name); err != nil {
				return err
			}
		}
		if err := ignoreMissing(fsys.Remove(name)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Exists says whether there is anything called name, a link that leads
// nowhere included.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

package disk

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"syscall"
)

// view is a Forgetful seen from one of its folders.
type view struct {
	disk   *Forgetful
	base   *inode
	prefix string // absolute name of base when the view was made
	jail   bool   // base cannot be left
}

func (v view) full(name string) string { return path.Join(v.prefix, name) }

// change makes a call by name that changes something: check, ask the hook, do.
// step gets do == false first.
func (v view) change(call Call, name string, step func(do bool) error) error {
	f := v.disk
	call.Name = v.full(name)
	epoch, fault, err := f.ask(call, func() error { return step(false) })
	if err == nil {
		err = fault
	}
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err = ErrCut; f.epochs == epoch {
			err = step(true)
		}
	}
	return wrap(call.Op, name, err)
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Lstat does what [FS] says.
func (v view) Lstat(name string) (fs.FileInfo, error) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	at, err := v.existing(name, false)
	if err != nil {
		return nil, wrap("lstat", name, err)
	}
	return at.node.info(path.Base(name)), nil
}

// ReadDir does what [FS] says.
func (v view) ReadDir(name string) ([]fs.DirEntry, error) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	d, err := v.folder(name)
	if err != nil {
		return nil, wrap("readdir", name, err)
	}
	entries := []fs.DirEntry{}
	for _, name := range slices.Sorted(maps.Keys(d.dir.live)) {
		entries = append(entries, fs.FileInfoToDirEntry(d.dir.live[name].info(name)))
	}
	return entries, nil
}

// Mkdir does what [FS] says.
func (v view) Mkdir(name string, perm fs.FileMode) error {
	return v.change(Call{Op: "mkdir"}, name, func(do bool) error {
		at, err := v.vacant(name)
		if err == nil && do {
			at.dir.dir.add(at.name, v.disk.newInode(fs.ModeDir|perm.Perm()))
		}
		return err
	})
}

// Symlink does what [FS] says.
func (v view) Symlink(target, name string) error {
	return v.change(Call{Op: "symlink"}, name, func(do bool) error {
		if target == "" {
			return syscall.ENOENT
		}
		at, err := v.vacant(name)
		if err == nil && do {
			n := v.disk.newInode(fs.ModeSymlink | 0o777)
			n.target = target
			at.dir.dir.add(at.name, n)
		}
		return err
	})
}

// Readlink does what [FS] says.
func (v view) Readlink(name string) (string, error) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	at, err := v.existing(name, false)
	if err == nil && !at.node.isLink() {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", wrap("readlink", name, err)
	}
	return at.node.target, nil
}

// Remove does what [FS] says.
func (v view) Remove(name string) error {
	return v.change(Call{Op: "remove"}, name, func(do bool) error {
		at, err := v.existing(name, false)
		switch {
		case err != nil:
			return err
		case at.dir == nil:
			return syscall.EINVAL
		case at.node.dir != nil && len(at.node.dir.live) > 0:
			return syscall.ENOTEMPTY
		}
		if do {
			at.dir.dir.drop(at.name)
			v.disk.free(at.node)
		}
		return nil
	})
}

// Rename does what [FS] says.
func (v view) Rename(oldName, newName string) error {
	return v.change(Call{Op: "rename", To: v.full(newName)}, oldName, func(do bool) error {
		from, err := v.find(oldName, false)
		if err != nil {
			return err
		}
		to, err := v.find(newName, false)
		if err == nil {
			err = checkRename(from, to)
		}
		if err != nil {
			return wrap("to", newName, err)
		}
		if do && from.node != to.node {
			if to.node != nil {
				to.dir.dir.drop(to.name)
				v.disk.free(to.node)
			}
			from.dir.dir.drop(from.name)
			to.dir.dir.add(to.name, from.node)
		}
		return nil
	})
}

func checkRename(from, to place) error {
	switch {
	case from.node == nil:
		return syscall.ENOENT
	case to.node != nil && to.node.dir != nil:
		return syscall.EEXIST
	case from.dir == nil || to.dir == nil:
		return syscall.EBUSY
	case to.dir.links == 0:
		return syscall.ENOENT
	case to.node == from.node:
		return nil
	case from.node.dir != nil && slices.Contains(to.way, from.node):
		return syscall.EINVAL
	case from.node.dir != nil && to.node != nil:
		return syscall.ENOTDIR
	}
	return nil
}

// SyncDir does what [FS] says.
func (v view) SyncDir(name string) error {
	return v.change(Call{Op: "syncdir"}, name, func(do bool) error {
		d, err := v.folder(name)
		if err == nil && do {
			d.dir.sync(d)
		}
		return err
	})
}

// Free gives 1 EiB for a disk without a Capacity.
func (v view) Free(name string) (int64, error) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	if _, err := v.existing(name, true); err != nil {
		return 0, wrap("statfs", name, err)
	}
	return v.disk.room(), nil
}

// room is how many bytes may still be written.
func (f *Forgetful) room() int64 {
	if f.Capacity == 0 {
		return math.MaxInt64 >> 3
	}
	return max(0, f.Capacity-f.used)
}

// Sub does what [FS] says.
func (v view) Sub(name string) (FS, error) {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	d, err := v.folder(name)
	if err != nil {
		return nil, wrap("open folder", name, err)
	}
	return view{disk: v.disk, base: d, prefix: v.full(name), jail: true}, nil
}

// OpenFile counts as a call if it makes a file or cuts one.
func (v view) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f := v.disk
	var made File
	open := func(do bool) (changes string, err error) {
		n, at, err := v.opened(name, flag)
		switch {
		case err != nil:
			return "", err
		case n == nil:
			changes = "create"
		case flag&os.O_TRUNC != 0 && n.file.live.size > 0:
			changes = "truncate"
		}
		if do {
			if n == nil {
				n = f.newInode(perm.Perm())
				at.dir.dir.add(at.name, n)
			} else if changes != "" {
				f.resize(n, 0)
			}
			n.opened++
			made = &handle{disk: f, node: n, name: v.full(name), flag: flag, epoch: f.epochs}
		}
		return changes, nil
	}
	f.mu.Lock()
	changes, err := open(false)
	if err == nil && changes == "" {
		_, err = open(true)
	}
	f.mu.Unlock()
	if err == nil && changes != "" {
		err = v.change(Call{Op: changes}, name, func(do bool) error {
			_, err := open(do)
			return err
		})
	}
	if err != nil {
		return nil, wrap("open", name, bare(err))
	}
	return made, nil
}

// opened finds the file that OpenFile is to open; nil means that it is to be
// made at the place.
func (v view) opened(name string, flag int) (*inode, place, error) {
	if flag&os.O_APPEND != 0 {
		return nil, place{}, syscall.EINVAL
	}
	create := flag&os.O_CREATE != 0
	exclusive := create && flag&os.O_EXCL != 0
	at, err := v.find(name, !exclusive)
	switch {
	case err != nil:
	case at.node == nil && !create, at.node == nil && at.dir.links == 0:
		err = syscall.ENOENT
	case at.node != nil && exclusive:
		err = syscall.EEXIST
	case at.node != nil && at.node.dir != nil:
		err = syscall.EISDIR
	}
	return at.node, at, err
}

// bare takes the operation and the name off an error.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

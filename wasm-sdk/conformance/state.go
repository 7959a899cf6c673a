package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/updraft-ota/updraft/device"
)

// State is what a target is.
type State struct {
	// Committed says that the run's content took hold.
	Committed bool `json:"committed"`
	// SHA256 is that of a committed slot's bytes or of a file, of a committed
	// directory that of its listing; "" of what is neither.
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size"` // bytes
}

// State reads a target back.
func (r *Rig) State(ctx context.Context, role string) (State, error) {
	t, err := r.resolve(ctx, role, r.names[role])
	if err != nil {
		return State{}, fmt.Errorf("find target %s: %w", role, err)
	}
	s := State{Committed: t.Stamp.Run == r.run}
	if !s.Committed && t.Type != device.File {
		return s, nil // what is half written does not count
	}
	b, err := r.Read(ctx, role, "")
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.SHA256, s.Size = b.digest, b.size
	return s, errors.Join(err, b.Close())
}

// Read opens what a target holds now, or a file of a directory. A directory
// without an entry gives its listing. A missing one is fs.ErrNotExist.
func (r *Rig) Read(ctx context.Context, role, entry string) (*Blob, error) {
	t, err := r.resolve(ctx, role, r.names[role])
	if err != nil {
		return nil, fmt.Errorf("find target %s: %w", role, err)
	}
	f, err := r.client().OpenReader(ctx, t.Ref, entry)
	if err != nil {
		return nil, fmt.Errorf("read target %s: %w", role, err)
	}
	size := f.Size()
	if t.Type == device.Slots && t.Stamp.Run == r.run {
		size = t.Stamp.Size
	}
	b, err := NewBlob(ctx, f, size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read target %s: %w", role, err), f.Close())
	}
	b.closer = f
	return b, nil
}

// Walk reads the files of the directory that a role is bound to, in the order
// of their paths. f gives each blob back.
func (r *Rig) Walk(ctx context.Context, role string, f func(entry string, perm fs.FileMode, b *Blob) error) error {
	t, err := r.resolve(ctx, role, r.names[role])
	if err != nil {
		return fmt.Errorf("find target %s: %w", role, err)
	}
	root := path.Join(r.config.Targets[r.names[role]].Directory, t.Part)
	var walk func(folder string) error
	walk = func(folder string) error {
		entries, err := r.fs.ReadDir(path.Join(root, folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(folder, e.Name())
			if e.IsDir() {
				err = walk(name)
			} else {
				err = r.visit(ctx, role, root, name, f)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return walk("")
}

func (r *Rig) visit(ctx context.Context, role, root, name string, f func(string, fs.FileMode, *Blob) error) error {
	info, err := r.fs.Lstat(path.Join(root, name))
	if err != nil {
		return err
	}
	b, err := r.Read(ctx, role, name)
	if err != nil {
		return err
	}
	return errors.Join(f(name, info.Mode().Perm(), b), b.Close())
}

// States reads all targets back, by role.
func (r *Rig) States(ctx context.Context) (map[string]State, error) {
	all := map[string]State{}
	for role := range r.names {
		s, err := r.State(ctx, role)
		if err != nil {
			return nil, err
		}
		all[role] = s
	}
	return all, nil
}

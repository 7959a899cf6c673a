package disk

import (
	"errors"
	"fmt"
	"os"
)

// LockContent takes the lock of a file or block device that exists and has a
// content of its own, at path of the host. Unlike [Lock] it writes nothing into
// it, so the error when it is held, [ErrLocked], does not name the owner.
func LockContent(path string) (*Held, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	taken, err := flock(f)
	switch {
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	case !taken:
		err = fmt.Errorf("%s is %w by another process", path, ErrLocked)
	default:
		return &Held{file: f}, nil
	}
	return nil, errors.Join(err, f.Close())
}

package disk

import (
	"errors"
	"syscall"
)

// IsNoSpace reports whether err says that a disk or a quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IsReadOnly reports whether err says that a file system cannot be written.
func IsReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

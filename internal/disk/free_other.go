//go:build !linux && !darwin

package disk

import (
	"errors"
	"io/fs"
	"os"
)

func freeBelow(_ func(string) (*os.File, error), name string) (int64, error) {
	return 0, &fs.PathError{Op: "statfs", Path: name, Err: errors.ErrUnsupported}
}

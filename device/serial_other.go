//go:build !linux

package device

import (
	"errors"
	"fmt"
)

// OpenSerial says that serial ports are for Linux.
func OpenSerial(path string, _ int) (Port, error) {
	return nil, fmt.Errorf("open %s: serial ports are for Linux: %w", path, errors.ErrUnsupported)
}

//go:build !linux

package main

import (
	"errors"
	"fmt"
	"os"
)

// terminal is the far side of a pseudo-terminal.
type terminal struct {
	*os.File
	near string
}

func openTerminal() (terminal, error) {
	return terminal{}, fmt.Errorf("pseudo-terminals: %w, this example needs Linux", errors.ErrUnsupported)
}

func isClosed(error) bool { return false }

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the far side of a pseudo-terminal.
type terminal struct {
	*os.File
	near string // the path of the side that is a serial port
}

// openTerminal makes a pseudo-terminal.
func openTerminal() (terminal, error) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return terminal{}, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return terminal{}, errors.Join(err, f.Close())
	}
	n, failed := 0, error(nil)
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			n, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return terminal{}, errors.Join(fmt.Errorf("make a pseudo-terminal: %w", err), f.Close())
	}
	return terminal{f, fmt.Sprint("/dev/pts/", n)}, nil
}

// isClosed says that nobody has the near side open any more.
func isClosed(err error) bool { return errors.Is(err, syscall.EIO) }

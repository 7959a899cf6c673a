package device

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/updraft-ota/updraft/internal/disk"
)

// forgetCache asks the kernel to drop what it has cached of a synced file or
// block device. It is a hint: where it fails, the cache is read.
func forgetCache(f disk.File) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	// A block device keeps buffers besides pages; on a file the call fails and does no harm.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetInt(int(fd), unix.BLKFLSBUF, 0)
		_ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED)
	})
}

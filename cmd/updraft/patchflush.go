package main

import (
	"syscall"

	"github.com/updraft-ota/updraft/internal/disk"
)

// flushStep is how many bytes are handed to the disk at once.
const flushStep = 2 << 20

// flushedFile is a file whose bytes are on their way to the disk while it
// grows, so that little is left for the sync in the end, behind the last byte
// of a patch that comes slowly. That sync still tells whether all went well.
type flushedFile struct {
	*outFile
	flushed int64 // bytes that the disk was told of
}

// Write adds p at the end.
func (f *flushedFile) Write(p []byte) (int, error) {
	n, err := f.outFile.Write(p)
	if more := f.size - f.flushed; more >= flushStep && err == nil {
		startWriting(f.file, f.flushed, more)
		f.flushed = f.size
	}
	return n, err
}

// startWriting asks the system to write a stretch of a file to the disk now,
// and does not wait. It is a hint: where it is not understood nothing happens.
func startWriting(file disk.File, at, length int64) {
	if f, ok := file.(syscall.Conn); ok {
		if c, err := f.SyscallConn(); err == nil {
			// What goes wrong with the bytes is told by the next sync.
			_ = c.Control(func(fd uintptr) { flushRange(fd, at, length) })
		}
	}
}

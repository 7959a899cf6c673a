//go:build linux || darwin

package journal

import (
	"io/fs"
	"syscall"
)

// used is what a file takes of the disk, in bytes.
func used(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(info.Size(), int64(st.Blocks)*512)
	}
	return info.Size()
}

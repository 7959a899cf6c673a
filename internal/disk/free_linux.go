package disk

import (
	"io/fs"
	"math"
	"os"
	"syscall"
)

// freeBelow counts in fragments: on FUSE the transfer size is another one.
func freeBelow(open func(string) (*os.File, error), name string) (int64, error) {
	f, err := open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	unit := int64(st.Frsize)
	if unit <= 0 {
		unit = int64(st.Bsize)
	}
	if unit > 0 && st.Bavail > uint64(math.MaxInt64/unit) {
		return math.MaxInt64, nil
	}
	return int64(st.Bavail) * unit, nil
}

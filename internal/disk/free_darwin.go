package disk

import (
	"io/fs"
	"os"
	"syscall"
)

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
	return int64(st.Bavail) * int64(st.Bsize), nil
}

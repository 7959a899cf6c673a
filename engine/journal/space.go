package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// slack is what a journal needs beyond the bytes that it holds. A new one of
// Badger takes 28 KiB of blocks with 4 KiB each, and its metadata on a file
// system with larger ones more.
const slack = 512 << 10 // bytes

// SpaceError says that the disk has too little room for the journal. It is
// syscall.ENOSPC.
type SpaceError struct {
	Path       string
	Need, Free int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("too little space for %s: %d bytes needed, %d free: make room and start again", e.Path, e.Need, e.Free)
}

// Unwrap gives syscall.ENOSPC.
func (e *SpaceError) Unwrap() error { return syscall.ENOSPC }

// reserve says whether n bytes and the slack are free.
func (j *Journal) reserve(n int64) error {
	dir := j.dir
	for {
		free, err := j.disk.Free(dir)
		if above := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && above != dir {
			dir = above
			continue
		}
		if err != nil {
			return fmt.Errorf("look for free space: %w", err)
		}
		if need := n + slack; free < need {
			return &SpaceError{Path: j.dir, Need: need, Free: free}
		}
		return nil
	}
}

// measure finds what the store holds, and whether there is room to copy it
// aside, to write its logs out as tables and to merge these.
func (j *Journal) measure(unclean bool) error {
	files, err := j.files()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.name != lockName && f.name != markerName {
			j.base += f.used
		}
	}
	need := 2 * j.base
	if unclean {
		need += j.base
	}
	return j.reserve(need)
}

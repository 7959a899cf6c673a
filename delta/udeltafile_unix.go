//go:build unix

package delta

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// mapped maps a section of a regular file into memory, if s is one and has all
// of its bytes. The file must not be cut while the map is in use.
func mapped(s *io.SectionReader) (b []byte, free, forget func(), ok bool) {
	outer, at, size := s.Outer()
	f, isFile := outer.(interface {
		Fd() uintptr
		Stat() (os.FileInfo, error)
	})
	if !isFile || size == 0 {
		return nil, nil, nil, false
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < at+size {
		return nil, nil, nil, false
	}
	skip := at % int64(os.Getpagesize())
	b, err = unix.Mmap(int(f.Fd()), at-skip, int(skip+size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, nil, false
	}
	whole := b
	return b[skip:], func() { unix.Munmap(whole) }, func() { unix.Madvise(whole, unix.MADV_DONTNEED) }, true
}

// scratch gives n bytes of zeros that take memory as far as they are written,
// and until they are freed.
func scratch(n int) (b []byte, free func()) {
	if b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); n > 0 && err == nil {
		return b, func() { unix.Munmap(b) }
	}
	return make([]byte, n), func() {}
}

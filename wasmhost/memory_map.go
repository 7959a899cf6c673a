//go:build linux || darwin || freebsd

package wasmhost

import "syscall"

// reserve takes address space without memory behind it.
func reserve(n int64) ([]byte, error) {
	return syscall.Mmap(-1, 0, int(n), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// unlock makes the bytes between two multiples of the page size usable; they are zero.
func unlock(space []byte, from, to int64) error {
	if to <= from {
		return nil
	}
	return syscall.Mprotect(space[from:to], syscall.PROT_READ|syscall.PROT_WRITE)
}

func release(space []byte) {
	// It fails only for what was never reserved.
	_ = syscall.Munmap(space)
}

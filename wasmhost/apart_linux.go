package wasmhost

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// apartSupported says whether a process of its own can be limited here.
const apartSupported = true

var errApart = errors.New("a process of its own for a module needs Linux")

// apartAttributes make the process the first of its group, and end it with the
// host.
func apartAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killGroup kills the process and what it may have started.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

// limitCompile limits this process to so many bytes more than it has, to
// seconds of CPU time, and to files of the size of compiled code.
func limitCompile(bytes, seconds int64) error {
	return errors.Join(limitMemory(bytes), limit(unix.RLIMIT_CPU, seconds), limit(unix.RLIMIT_FSIZE, maxCached), limit(unix.RLIMIT_CORE, 0))
}

// guestSpace is what a process may need besides the guest's memory, and twice
// that for a call that passes all of it. Go reserves address space in pieces
// of 64 MiB.
const guestSpace = 128 << 20

// limitGuest limits this process, before the guest's first instruction, to what
// it has, the guest's memory and what calls need. Nothing can be opened or
// written to a file any more.
func limitGuest(memory int64) error {
	debug.FreeOSMemory()
	return errors.Join(limitMemory(3*memory+guestSpace), limit(unix.RLIMIT_FSIZE, 0), limit(unix.RLIMIT_NOFILE, 0))
}

// limitMemory allows so many bytes more of address space, and of memory that
// can be written. The first holds Go's heap, which turns address space into
// memory in a way that the second does not see at once.
func limitMemory(bytes int64) error {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages [6]int64
	if n, err := fmt.Sscan(string(statm), &pages[0], &pages[1], &pages[2], &pages[3], &pages[4], &pages[5]); n < 6 {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	page := int64(os.Getpagesize())
	return errors.Join(limit(unix.RLIMIT_AS, pages[0]*page+bytes), limit(unix.RLIMIT_DATA, pages[5]*page+bytes))
}

// limit lowers a limit, for good unless the process is privileged.
func limit(which int, n int64) error {
	var have unix.Rlimit
	if err := unix.Getrlimit(which, &have); err != nil {
		return err
	}
	v := min(uint64(n), have.Max)
	return unix.Setrlimit(which, &unix.Rlimit{Cur: v, Max: v})
}

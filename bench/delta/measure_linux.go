package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run is measure's process in between.
func (j job) run() (usage, error) {
	// The kernel kills the command when the thread that started it ends, which
	// must be the end of this process and not of a thread in it.
	runtime.LockOSThread()
	stdout, stderr := &head{max: 64 << 10}, &head{max: 8 << 10, tail: true}
	cmd := exec.Command(j.Command.Args[0], j.Command.Args[1:]...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := j.Command.redirect(cmd); err != nil {
		return usage{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return usage{}, err
	}
	group := cmd.Process.Pid
	if err := limitMemory(group, j.Memory); err != nil {
		return usage{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	var killer *time.Timer
	if j.Time > 0 {
		killer = time.AfterFunc(j.Time, func() { _ = syscall.Kill(-group, syscall.SIGKILL) })
	}
	err := cmd.Wait()
	wall := time.Since(began)
	timedOut := killer != nil && !killer.Stop()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return usage{}, err
	}
	took := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	u := usage{Wall: wall, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		RSS: int64(took.Maxrss) << 10, Stdout: stdout.bytes}
	u.Outcome, u.Words = judge(err, timedOut, string(stderr.bytes))
	return u, nil
}

// limitMemory sets the limit on the program and not on this process, which is
// in Go and has reserved more addresses than a small limit allows. One that has
// ended already needs none.
func limitMemory(pid int, limit int64) error {
	if limit <= 0 {
		return nil
	}
	err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: uint64(limit), Max: uint64(limit)}, nil)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("limit memory to %d bytes: %w", limit, err)
	}
	return nil
}

// redirect opens the files of a command. They are closed when this process
// ends, with the command.
func (c command) redirect(cmd *exec.Cmd) error {
	if c.In != "" {
		f, err := os.Open(c.In)
		if err != nil {
			return err
		}
		cmd.Stdin = f
		if c.Feed {
			// Without the type of a file it is copied into a pipe.
			cmd.Stdin = struct{ io.Reader }{f}
		}
	}
	if c.Out != "" {
		f, err := os.Create(c.Out)
		if err != nil {
			return err
		}
		cmd.Stdout = f
	}
	return nil
}

// dropCaches makes the next reads come from the disk.
func dropCaches() error {
	syscall.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("drop caches for -cold, which takes root: %w", err)
	}
	return nil
}

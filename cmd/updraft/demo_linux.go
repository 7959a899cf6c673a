package main

import "syscall"

// tied is for a process of a group of its own that must not outlive whoever
// starts it, also if that is killed.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

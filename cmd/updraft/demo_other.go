//go:build !linux

package main

import "syscall"

// tied is for a process of a group of its own. What is tied to nothing else
// ends with its next line when nobody reads its standard error any more.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

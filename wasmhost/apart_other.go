//go:build !linux

package wasmhost

import (
	"errors"
	"os"
	"syscall"
)

const apartSupported = false

var errApart = errors.New("a process of its own for a module needs Linux")

func apartAttributes() *syscall.SysProcAttr { return nil }

func killGroup(p *os.Process) { _ = p.Kill() }

func limitCompile(_, _ int64) error { return errApart }
func limitGuest(int64) error        { return errApart }

//go:build unix

package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	maxOutput = 64 << 10 // bytes
	maxErrors = 1 << 10  // bytes of what a program says of its failure
)

// RunCommand runs a program in a folder, without a shell and without input,
// and gives what it printed; more than 64 KiB is [ErrQuota]. When ctx ends, the
// program and all that it started is killed, as far as it stayed in its process group.
// It is the real [Env].Exec and may be shared.
func RunCommand(ctx context.Context, argv []string, dir string) (stdout []byte, err error) {
	if len(argv) == 0 {
		return nil, errors.New("no program to run")
	}
	out, complaints := &bounded{most: maxOutput, strict: true}, &bounded{most: maxErrors}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Stdout, c.Stderr = dir, out, complaints
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	err = c.Run()
	if out.over { // its pipe was closed, so it may say anything of its end
		return nil, fmt.Errorf("it printed more than %d bytes: %w", maxOutput, ErrQuota)
	}
	if err != nil {
		if said := strings.TrimSpace(complaints.kept.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, quote(said))
		}
		return nil, err
	}
	return out.kept.Bytes(), nil
}

// RunTool runs a program in a folder, without a shell, without input and with
// no environment but PATH, and gives its exit status and the last 64 KiB of
// what it printed. A program that a signal ended has the status 128 and the
// signal's number. Only one that did not run, or that ctx ended, is an error; then
// it and all that it started is killed, as [RunCommand] does. One that leaves a
// program behind which holds its output is waited for 5 s more. It is the real
// [Env].Tool and may be shared.
func RunTool(ctx context.Context, argv []string, dir string) (status int, output []byte, err error) {
	if len(argv) == 0 {
		return 0, nil, errors.New("no program to run")
	}
	out := &tail{}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Dir, c.Stdout, c.Stderr = dir, out, out
	c.Env = []string{"PATH=" + os.Getenv("PATH")} // what the program itself is looked for in
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	err = c.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, out.kept(), errors.Join(err, ctx.Err())
	}
	if status = c.ProcessState.ExitCode(); status < 0 {
		status = 128 + int(c.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return status, out.kept(), nil
}

// tail keeps the last maxOutput bytes that are written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > 2*maxOutput { // not at each write
		t.text = append([]byte(nil), t.kept()...)
	}
	return len(p), nil
}

func (t *tail) kept() []byte { return t.text[max(0, len(t.text)-maxOutput):] }

// bounded keeps the first bytes that are written to it. If it is strict, more is
// an error, which closes the pipe of the program that writes. The buffer is no
// embedded one: its ReadFrom would be found and knows no bound.
type bounded struct {
	kept   bytes.Buffer
	most   int
	strict bool
	over   bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), b.most-b.kept.Len())
	b.over = b.over || room < len(p)
	b.kept.Write(p[:room])
	if b.strict && b.over {
		return room, io.ErrShortWrite
	}
	return len(p), nil
}

// KernelBootID reads Linux's boot id, which is another after each start of the
// kernel. It is the real [Env].BootID.
func KernelBootID() (string, error) {
	id, err := disk.ReadFile(disk.OS(), "/proc/sys/kernel/random/boot_id", 64)
	return strings.TrimSpace(string(id)), err
}

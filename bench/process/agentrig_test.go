package process

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binaries are the two programs, built by the first test that wants them and
// removed by TestMain.
var (
	binariesOnce sync.Once
	binariesDir  string
)

// programs gives the folder with updraft and updraft-agent.
func programs(t *testing.T) string {
	t.Helper()
	binariesOnce.Do(func() {
		dir, err := os.MkdirTemp("", "updraft-programs-")
		if err != nil {
			t.Fatal(err)
		}
		binariesDir = dir
		// The agent as the Makefile builds it for devices.
		for name, tags := range map[string]string{"updraft": "", "updraft-agent": "nethttpomithttp2"} {
			cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags=-s -w", "-o", filepath.Join(dir, name), "github.com/updraft-ota/updraft/cmd/"+name)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("build %s: %v\n%s", name, err, out)
			}
		}
	})
	if _, err := os.Stat(filepath.Join(binariesDir, "updraft-agent")); err != nil {
		t.Fatal("the programs could not be built, see the first test")
	}
	return binariesDir
}

// process is a program at work. What it prints can be waited for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended

	mu   sync.Mutex
	said bytes.Buffer
	more chan struct{} // closed and replaced with each write
}

// Write takes what the program prints.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.said.Write(text)
}

// look gives what it has printed, and what is closed when there is more.
func (p *process) look() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String(), p.more
}

func (p *process) text() string {
	text, _ := p.look()
	return text
}

// begin starts a program in a folder. The end of the test ends it.
func begin(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	p, err := spawn(programs(t), dir, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// spawn starts a program in a folder, with the programs in bin at hand. The
// caller ends it.
func spawn(bin, dir, name string, args ...string) (*process, error) {
	if strings.HasPrefix(name, "updraft") {
		name = filepath.Join(bin, name)
	}
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{}), more: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p, p
	p.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TZ=UTC")
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState says how it ended
	}()
	return p, nil
}

// kill ends it at once, with kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// stop sends a signal and gives the exit code, and how long the end took.
func (p *process) stop(t *testing.T, signal syscall.Signal) (code int, took time.Duration) {
	t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.code(t), time.Since(began)
}

// code waits for the exit code.
func (p *process) code(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not end; it said\n%s", p.cmd.Path, p.text())
		return 0
	}
}

// until waits until ok is content with what the program has printed.
func (p *process) until(t *testing.T, what string, ok func(text string) bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		have, more := p.look()
		if ok(have) {
			return
		}
		select {
		case <-more:
		case <-p.ended:
			if !ok(p.text()) {
				t.Fatalf("%s ended with %d before it said %q, but\n%s", p.cmd.Path, p.cmd.ProcessState.ExitCode(), what, p.text())
			}
			return
		case <-limit:
			t.Fatalf("%s does not say %q, but\n%s", p.cmd.Path, what, have)
		}
	}
}

// says waits until the program has printed a text so many times.
func (p *process) says(t *testing.T, text string, times int) {
	t.Helper()
	p.until(t, text, func(have string) bool { return strings.Count(have, text) >= times })
}

// freePort is a port of this machine that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// within polls what no event tells of, until it is so.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("not so after %v: %s", limit, what)
		}
	}
}

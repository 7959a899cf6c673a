package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/agent"
)

const (
	maxBinary = 20_000_000 // bytes, stripped
	maxIdle   = 24 << 10   // KiB resident
	idleTime  = 3 * time.Second
)

// TestTheAgentIsSmall builds, as the Makefile does, what goes on a device, holds its size and what it
// is made of, and measures it while it waits for commands.
func TestTheAgentIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the figures are of linux/amd64")
	}
	program := filepath.Join(t.TempDir(), "updraft-agent")
	build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -dumpdep", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out[max(0, len(out)-10_000):])
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "<ReflectMethod>") {
			t.Errorf("a look-up of methods by name has the linker keep all of them: %s", line)
		}
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("binary: %d bytes", info.Size())
	if info.Size() >= maxBinary {
		t.Errorf("the binary has %d bytes, want less than %d", info.Size(), maxBinary)
	}
	modules, err := exec.Command("go", "version", "-m", program).CombinedOutput()
	if err != nil || !strings.Contains(string(modules), "github.com/eclipse/paho.mqtt.golang") {
		t.Fatalf("go version -m: %v\n%s", err, modules)
	}
	for _, unwanted := range []string{"mochi", "cobra", "progressbar"} {
		if strings.Contains(string(modules), unwanted) {
			t.Errorf("%s is in the binary", unwanted)
		}
	}
	idle := idleMemory(t, program)
	t.Logf("idle: %d KiB resident", idle)
	if idle > maxIdle {
		t.Errorf("idle it holds %d KiB, want at most %d", idle, maxIdle)
	}
}

// idleMemory runs the program until it is connected and has idled for a while,
// and gives its resident memory in KiB.
func idleMemory(t *testing.T, program string) int64 {
	t.Helper()
	sim, _ := cloud(t)
	m := newMachine(t, sim.Endpoints().Broker)
	command := exec.Command(program, "--config", m.config)
	said, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		err := errors.Join(command.Process.Signal(syscall.SIGTERM), command.Wait())
		if err != nil {
			t.Errorf("it ended with %v, want 0", err)
		}
	}()
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), "listens to") {
	}
	socket := filepath.Join(m.dir, ".updraft", "agent.sock")
	ctx := t.Context()
	for {
		s, err := agent.Look(ctx, socket)
		if err != nil {
			t.Fatal(err)
		}
		if s.Planes["aws"].Ready {
			break
		}
	}
	time.Sleep(idleTime) // what is measured is that nothing happens
	return resident(t, command.Process.Pid)
}

func resident(t *testing.T, pid int) (kib int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("no VmRSS in\n%s", status)
	}
	return kib
}

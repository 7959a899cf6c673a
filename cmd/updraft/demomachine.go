package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	rootfs     = "rootfs" // the one target of the demo's device
	startTime  = 10 * time.Second
	stopTime   = 5 * time.Second
	lookEvery  = 20 * time.Millisecond
	healthFile = "health"
)

// machine plays the hardware around a device's slots: power, the boot loader,
// and the one program that starts from the slot that was chosen. It must not
// be shared.
type machine struct {
	config device.Config
	door   *device.Files
	dir    string // what a start empties: the program and its health
	stderr io.Writer

	slot    string // that was started
	running *running
}

// running is a program that was started.
type running struct {
	cmd   *exec.Cmd
	stdin io.Closer // the program stops when it ends, also if this process is killed
	ended chan struct{}
}

func newMachine(config device.Config, dir string, stderr io.Writer) (*machine, error) {
	door, err := device.New(config, device.Env{FS: disk.OS(), Clock: disk.Real(), BootID: device.KernelBootID})
	return &machine{config: config, door: door, dir: dir, stderr: stderr}, err
}

// cycle takes the power away and gives it back, and waits until the program
// has told how it is.
func (m *machine) cycle(ctx context.Context) error {
	if err := m.off(); err != nil {
		return err
	}
	if err := m.door.SimulateBoot(ctx); err != nil {
		return err
	}
	boot, err := m.boot(ctx)
	if err != nil {
		return err
	}
	m.slot = boot.Active
	if err := os.RemoveAll(m.dir); err != nil {
		return err
	}
	program := filepath.Join(m.dir, "gateway")
	if err := copyFile(m.config.Targets[rootfs].Slots[m.slot], program, 0o755); err != nil {
		return err
	}
	if err := m.start(program); err != nil {
		return fmt.Errorf("start slot %s: %w", m.slot, err)
	}
	return m.awaitHealth(ctx)
}

func (m *machine) start(program string) error {
	cmd := exec.Command(program, "-health", filepath.Join(m.dir, healthFile))
	cmd.Dir, cmd.Stderr = m.dir, m.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, stdin.Close())
	}
	r := &running{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		_ = cmd.Wait() // how it ended stands in ProcessState
	}()
	m.running = r
	return nil
}

func (m *machine) awaitHealth(ctx context.Context) error {
	for end := time.Now().Add(startTime); m.health() == ""; {
		select {
		case <-m.running.ended:
			return fmt.Errorf("the program in slot %s ended by itself (%v)", m.slot, m.running.cmd.ProcessState)
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("the program in slot %s says nothing within %v", m.slot, startTime)
		}
		if err := disk.Real().Sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
	return nil
}

// off stops the program, if one runs.
func (m *machine) off() error {
	r := m.running
	if r == nil {
		return nil
	}
	m.running = nil
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-r.ended:
	case <-time.After(stopTime):
		_ = r.cmd.Process.Kill()
		<-r.ended
		return fmt.Errorf("the program in slot %s did not stop within %v", m.slot, stopTime)
	}
	return nil
}

// pid is that of the program, 0 if none runs.
func (m *machine) pid() int {
	if m.running == nil {
		return 0
	}
	return m.running.cmd.Process.Pid
}

// health is what the program last said, "" if nothing.
func (m *machine) health() string {
	text, err := os.ReadFile(filepath.Join(m.dir, healthFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (m *machine) boot(ctx context.Context) (device.Boot, error) {
	a, err := m.door.Do(ctx, device.Op{Kind: device.AskBoot, Target: rootfs})
	return a.Boot, err
}

// look asks the device what it has started and what it is.
func (m *machine) look(ctx context.Context) (device.Boot, map[string]string, error) {
	boot, err := m.boot(ctx)
	if err != nil {
		return boot, nil, err
	}
	a, err := m.door.Do(ctx, device.Op{Kind: device.AskFacts})
	return boot, a.Facts, err
}

// writeFactoryBoot writes the boot state of a device that left the factory
// with an image in slot a: proven, and stamped with its version.
func writeFactoryBoot(file string, in image) error {
	type target struct {
		device.Boot
		Stamps map[string]device.Stamp `json:"stamps"`
	}
	text, err := json.MarshalIndent(map[string]any{
		"updraft": "boot/1",
		"boots":   0,
		"targets": map[string]target{rootfs: {
			Boot:   device.Boot{Active: "a", Good: []string{"a"}},
			Stamps: map[string]device.Stamp{"a": {Version: factory, SHA256: in.sha256, Size: in.size, Run: "factory", Source: in.sha256}},
		}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

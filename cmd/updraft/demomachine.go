package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	rootfs     = "rootfs" // the one target of the demo's device
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
	program *process
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
	cmd := exec.Command(program, "-health", filepath.Join(m.dir, healthFile))
	cmd.Dir, cmd.Stderr = m.dir, m.stderr
	if _, err = cmd.StdinPipe(); err != nil { // the program stops when it ends, also if this process is killed
		return err
	}
	if m.program, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start slot %s: %w", m.slot, err)
	}
	return until(ctx, startTime, "the program says how it is", func() (bool, error) {
		return m.health() != "", m.program.runs()
	})
}

// off stops the program, if one runs.
func (m *machine) off() error {
	if m.program == nil {
		return nil
	}
	stopped := m.program
	m.program = nil
	return stopped.stop()
}

// pid is that of the program, 0 if none runs.
func (m *machine) pid() int {
	if m.program == nil {
		return 0
	}
	return m.program.pid()
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

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/updraft-ota/updraft/agent"
)

// setUp starts the cloud, and the device as it left the factory.
func (d *demo) setUp(ctx context.Context) error {
	d.page.chapter("A cloud on this machine, and a device of two slots with updraft-agent")
	if err := d.startCloud(ctx); err != nil {
		return err
	}
	for from, to := range map[string]string{
		filepath.Join(d.source, "examples", "demo", "workflow.yaml"): "device/workflow.yaml",
		filepath.Join(d.source, "examples", "demo", "device.yaml"):   "device/device.yaml",
		filepath.Join(d.dir, "release.pub"):                          "device/release.pub",
		filepath.Join(d.dir, "build", "ab-slot.wasm"):                "device/ab-slot.wasm",
		filepath.Join(d.dir, "build", "model-check.wasm"):            "device/model-check.wasm",
		filepath.Join(d.dir, "build", "gateway-"+factory):            "device/slot-a.img",
		os.DevNull: "device/slot-b.img", // empty
	} {
		if err := copyFile(from, d.path(to), 0o644); err != nil {
			return err
		}
	}
	if err := d.writeAgentFile(); err != nil {
		return err
	}
	if err := writeFactoryBoot(d.path("device/boot.json"), d.images[factory]); err != nil {
		return err
	}
	config, err := agent.LoadDevice(d.path("device/device.yaml"))
	if err != nil {
		return err
	}
	if d.machine, err = newMachine(config, d.path("device/run"), d.p.stderr); err != nil {
		return err
	}
	if err := d.powerCycle(ctx, "a", factory, factory); err != nil {
		return err
	}
	if err := d.startAgent(ctx); err != nil {
		return err
	}
	return d.slots("1.0.0 is in slot a, and slot b is empty", d.images[factory], image{sha256: hexSum(sha256.New())})
}

// exampleBroker is the address in examples/demo/agent.yaml.
const exampleBroker = "tcp://127.0.0.1:1883"

// writeAgentFile writes the example with the broker of the demo.
func (d *demo) writeAgentFile() error {
	text, err := os.ReadFile(filepath.Join(d.source, "examples", "demo", "agent.yaml"))
	if err != nil {
		return err
	}
	if strings.Count(string(text), exampleBroker) != 1 {
		return fmt.Errorf("examples/demo/agent.yaml: expected the broker %s, once", exampleBroker)
	}
	return os.WriteFile(d.path("device/agent.yaml"), []byte(strings.Replace(string(text), exampleBroker, d.cloud.sim.Endpoints().Broker, 1)), 0o644)
}

// restart waits until the agent ends for a restart of the device, and makes it:
// power, boot loader, the program, and the agent again.
func (d *demo) restart(ctx context.Context, slot, version, health string) error {
	err := until(ctx, endTime, "the agent wants a restart", func() (bool, error) { return d.agent.runs() != nil, nil })
	if err != nil {
		return err
	}
	code := d.agent.cmd.ProcessState.ExitCode()
	if err := d.promise(code == exitWaiting, "updraft-agent ended with exit code %d, want %d", code, exitWaiting); err != nil {
		return err
	}
	d.page.fresh()
	d.agentEnds(fmt.Sprintf("ends with exit code %d: the device is to restart", code))
	if err := d.powerCycle(ctx, slot, version, health); err != nil {
		return err
	}
	return d.startAgent(ctx)
}

// powerCycle restarts the machine and holds it to the slot, the version and
// what the program says of its health.
func (d *demo) powerCycle(ctx context.Context, slot, version, health string) error {
	before := d.machine.pid()
	if err := d.machine.cycle(ctx); err != nil {
		return err
	}
	what := "power on"
	if before != 0 {
		what = "restart"
	}
	d.page.tell("device", "power", facts{"slot": d.machine.slot, "pid": d.machine.pid(), "says": d.machine.health()},
		"%s: the boot loader starts slot %s, whose program, pid %d, says %q", what, d.machine.slot, d.machine.pid(), d.machine.health())
	return d.standing(ctx, slot, version, health)
}

// standing checks what the device runs.
func (d *demo) standing(ctx context.Context, slot, version, health string) error {
	boot, facts, err := d.machine.look(ctx)
	return errors.Join(err,
		d.promise(err != nil || boot.Active == slot, "slot %s is active, want %s", boot.Active, slot),
		d.promise(err != nil || facts["version"] == version, "the device says that it runs %q, want %q", facts["version"], version),
		d.promise(d.machine.health() == health, "the program says %q, want %q", d.machine.health(), health))
}

// slots shows what the slots hold, and holds them to it.
func (d *demo) slots(promise string, a, b image) error {
	have := map[string]string{}
	for slot, want := range map[string]image{"a": a, "b": b} {
		got, err := readImage(d.path("device/slot-" + slot + ".img"))
		if err != nil {
			return err
		}
		if err := d.promise(got.sha256 == want.sha256, "slot %s has SHA-256 %s, want %s", slot, got.sha256, want.sha256); err != nil {
			return err
		}
		have[slot] = got.sha256
	}
	d.page.tell("checked", "checked", facts{"promise": promise, "a": have["a"], "b": have["b"]},
		"%s: sha256 a %.8s, b %.8s", promise, have["a"], have["b"])
	return nil
}

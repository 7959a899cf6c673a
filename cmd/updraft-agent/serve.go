package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/document"
)

const runHelp = `updraft-agent [run] [flags]    listen to clouds, and do the updates that they ask for
updraft-agent check [flags]    check the agent file and all that it names
updraft-agent status [flags]   ask the running agent how it is doing
updraft-agent version          print the versions of updraft and Go

Flags of run:
  --config FILE    agent file (default /etc/updraft/agent.yaml)
  --restart WORD   what to do when the device must restart (default auto):
                     auto      exec if the device file has a restart command for
                               the device, otherwise exit
                     exit      end with code 6; whoever started it restarts the device
                     exec      run the restart command of the device file
                     simulate  play the boot loader on the device's boot files
  --log WORD       plain (default): a line of text each; json: a line of JSON each

SIGTERM and SIGINT stop it at a safe point, a second one at once. An update that
was cut short goes on at the next start. Under systemd it says when it is ready,
how it is doing, and that it is alive.

` + exitHelp

// serve runs the agent.
func (p *program) serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	config := configFlag(flags)
	restart := choice(flags, "restart", "auto", "exit", "exec", "simulate")
	style := choice(flags, "log", "plain", "json")
	if err := p.parse(flags, runHelp, args); err != nil {
		return err
	}
	file, err := p.load(*config)
	if err != nil {
		return err
	}
	mode, err := restartMode(*restart, file)
	if err != nil {
		return err
	}
	out := p.newOutput(*style == "json")
	supervisor := supervised(out)
	defer supervisor.watch(ctx)()
	// The heap of an idle agent is small, and so may be what it grows by
	// before the next collection.
	debug.SetGCPercent(idleGrowth)
	res, err := agent.Serve(ctx, agent.ServeConfig{
		File: *config, Restart: mode, Env: p.env, SaveMemory: true, ModuleProcess: agent.ModuleCommand(),
		Events: func(e engine.Event) {
			out.event(e)
			supervisor.event(e)
		},
		Log: out.line,
		Ready: func() {
			debug.FreeOSMemory() // what the start took and nobody needs again
			text := "listens to " + strings.Join(planeNames(file), ", ")
			out.line(text + "; status at " + file.Socket)
			supervisor.ready(text)
		},
		Alive: supervisor.alive,
	})
	if err == nil && res.State == engine.Waiting {
		err = fmt.Errorf("run %s: %w: restart the device, then start the agent again", res.Run, errRestart)
	}
	if err == nil {
		return nil
	}
	out.line(err.Error())
	return &saidError{err}
}

// idleGrowth is in percent of the live heap.
const idleGrowth = 25

func planeNames(f agent.File) []string {
	var names []string
	for _, p := range f.Planes {
		names = append(names, p.Name)
	}
	return names
}

// load checks the agent file and all that it names.
func (p *program) load(name string) (agent.File, error) {
	file, err := agent.LoadFile(name, nil, p.env)
	var problems document.Problems
	if err != nil && !errors.As(err, &problems) {
		err = &usageError{err}
	}
	return file, err
}

// restartMode is what the device is told.
func restartMode(word string, file agent.File) (device.Mode, error) {
	config, err := agent.LoadDevice(file.Device)
	if err != nil {
		return device.RestartExit, err
	}
	_, able := config.Restart["device"]
	switch {
	case word == "simulate":
		return device.RestartSimulate, nil
	case word == "exec" && !able:
		return device.RestartExit, usagef("--restart exec: %s has no restart command for the device (restart: {device: {exec: [PROGRAM]}})", file.Device)
	case word == "exec", word == "auto" && able:
		return device.RestartExec, nil
	}
	return device.RestartExit, nil
}

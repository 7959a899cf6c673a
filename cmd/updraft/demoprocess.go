package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	startTime = 10 * time.Second
	stopTime  = 5 * time.Second
)

// process is a program that was started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has, and all that it said was read
}

// startProcess starts a program that ends with this one.
func startProcess(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = tied()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		_ = cmd.Wait() // how it ended stands in ProcessState
	}()
	return r, nil
}

// stop asks it to end.
func (r *process) stop() error {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-r.ended:
		return nil
	case <-time.After(stopTime):
		r.kill()
		return fmt.Errorf("%s did not stop within %v", filepath.Base(r.cmd.Path), stopTime)
	}
}

// kill is kill -9, and waits until it is gone.
func (r *process) kill() {
	_ = r.cmd.Process.Kill() // it may have ended already
	<-r.ended
}

// runs is an error if it has ended.
func (r *process) runs() error {
	select {
	case <-r.ended:
		return fmt.Errorf("%s ended by itself (%v)", filepath.Base(r.cmd.Path), r.cmd.ProcessState)
	default:
		return nil
	}
}

func (r *process) pid() int { return r.cmd.Process.Pid }

// gentle is a command that is asked to stop when ctx ends, with all that it
// started, and is killed if it does not.
func gentle(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = tied()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// updraft runs a command of this program as a process of its own, shows it and
// holds it to its success. What is like another is not shown.
func (d *demo) updraft(ctx context.Context, shown bool, args ...string) error {
	out := &lineWriter{line: func(string) {}}
	if shown {
		d.page.command("updraft", args)
		out.line = d.page.output
	}
	cmd := gentle(ctx, d.self, args...)
	cmd.Args[0] = "updraft"
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, out, out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run %s: %w", d.self, err)
	}
	code := cmd.ProcessState.ExitCode()
	d.page.tell("", "command", facts{"args": append([]string{"updraft"}, args...), "exit": code}, "")
	return d.promise(code == exitSucceeded, "updraft %s ended with exit code %d", args[0], code)
}

// startAgent starts the agent as the device's supervisor does, and waits until
// the cloud has it.
func (d *demo) startAgent(ctx context.Context) error {
	args := []string{"--config", "device/agent.yaml", "--restart", "exit", "--log", "json"}
	cmd := exec.Command(d.path("build/"+agentFile), args...)
	cmd.Dir = d.dir
	cmd.Stdout = d.p.stderr // it says nothing there
	cmd.Stderr = &lineWriter{line: d.page.agentLine}
	before, who := d.cloud.connects(), "the supervisor starts updraft-agent again"
	if d.agent == nil {
		who = "updraft-agent starts"
		d.page.command(agentFile, args)
	}
	var err error
	if d.agent, err = startProcess(cmd); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	d.page.tell("device", "started", facts{"pid": d.agent.pid()}, "%s, pid %d", who, d.agent.pid())
	return until(ctx, startTime, "the agent is connected", func() (bool, error) {
		return d.cloud.connects() > before, d.agent.runs()
	})
}

// agentEnds tells how the agent has ended.
func (d *demo) agentEnds(what string) {
	s := d.agent.cmd.ProcessState
	f := facts{"pid": s.Pid(), "exit": s.ExitCode()}
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		f["signal"] = int(w.Signal())
	}
	d.page.tell("device", "ended", f, "updraft-agent, pid %d, %s", s.Pid(), what)
}

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// place names a device and its state directory.
type place struct{ device, state string }

// addPlace adds --device and --state to c.
func addPlace(c *cobra.Command) *place {
	at := &place{}
	addDevice(c, &at.device)
	c.Flags().StringVar(&at.state, "state", "", "state `DIR` (default .updraft beside the device file)")
	must(c.MarkFlagDirname("state"))
	return at
}

func addDevice(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "device", "", "device `FILE` (required)")
	must(c.MarkFlagFilename("device", "yaml", "yml"))
}

// dir is the state directory, as package agent finds it.
func (a *place) dir() string {
	if a.state != "" {
		return a.state
	}
	return filepath.Join(filepath.Dir(a.device), ".updraft")
}

// there demands the device file, so that a slip in its name is not taken for a
// device without runs.
func (a *place) there() error {
	_, err := os.Stat(a.device)
	return inputError(err)
}

// flags are the flags that lead here again, for messages.
func (a *place) flags() string {
	text := "--device " + quoted(a.device)
	if a.state != "" {
		text += " --state " + quoted(a.state)
	}
	return text
}

// quoted makes a path fit for a shell, if it needs that.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t\n'\"\\$`&|;<>()*?[]{}~#!") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

// driving is what the commands have in common that drive a run.
type driving struct {
	*place
	progress, restart *choice
	only              string  // the run that may be driven, "" for any
	record            *string // file for what modules ask and are answered, "" for none
}

const driveHelp = `
Progress goes to standard error, for people, and the result to standard output,
as one line. How it looks says --progress:
  plain  lines; the default elsewhere than on a terminal
  tty    lines, and below them a bar with bytes, rate and remaining time; the
         default on a terminal; plain if TERM is dumb
  json   each event is a line of JSON on standard output
The lines of JSON have
  seq     number of the event in this process, from 1
  time    when, RFC 3339
  run     id of the run
  kind    run, step, progress, retry, restart, log or report
  step    id of the step, if the event belongs to one
  state   of kind run: accepted, resumed, failing, state_lost, waiting or the
          end; of kind step: begin, already, done, skipped or undone; of kind
          restart: armed, restarting, booted, confirmed or fell-back; of kind
          report: delivered or undelivered
  done    of kind progress: bytes so far
  total   of kind progress: bytes in all, missing if not known
  text    words for people
  code    stable code of an error or a result
The last line has the kind result and the fields run, state (succeeded, refused,
rolled_back, failed, waiting or cancelled), code, step, message and exit, the
exit code. Without that line the command ended with an error, which is on
standard error.

What happens when the update needs a restart says --restart:
  ask       asks, then runs the restart command of the device file; the default
            on a terminal
  exit      exits 6; restart, then call updraft resume; the default elsewhere
  exec      runs the restart command without asking
  simulate  plays the boot loader on the device's boot files
An interrupt stops the run at a safe point and exits 6.

With --record all that vendors' modules ask of updraft, and what they are
answered, goes to a file as well, for updraft module replay; a run that goes on
adds to it. The file holds facts, settings, the modules and the bytes that they
read. It is made for its owner alone: keep it so.

`

func addDriving(c *cobra.Command) *driving {
	d := &driving{place: addPlace(c), record: addRecord(c)}
	d.progress = addChoice(c, "progress", "how to show progress; auto is tty on a terminal, otherwise plain", "auto", "tty", "plain", "json")
	d.restart = addChoice(c, "restart", "what to do when a restart is due; auto is ask on a terminal, otherwise exit",
		"auto", "ask", "exit", "exec", "simulate")
	return d
}

func (p *program) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run WORKFLOW",
		Short: "Run an update, or go on with it",
		Long: `Run a workflow on a device until it has ended or waits. The same command with the
same --id goes on with a run that was cut short, whatever cut it.
` + driveHelp + exitHelp,
		Example: "  updraft run update.yaml --device device.yaml --input release=http://host/release.json",
		Args:    arguments("WORKFLOW"),
	}
	d := addDriving(c)
	id := c.Flags().String("id", "", "`ID` of the run (default a random one, which is printed)")
	inputs := addInputs(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		if *id == "" {
			*id = "run-" + strings.ToLower(rand.Text()[:10])
		}
		if err := engine.CheckRun(*id); err != nil {
			return usagef("--id: %w", err)
		}
		return p.drive(cmd.Context(), d, func(ctx context.Context, a *agent.Agent) (engine.Result, error) {
			graph, err := a.Read(args[0])
			if err != nil {
				return engine.Result{}, inputError(err)
			}
			values, err := typed(graph, *inputs)
			if err != nil {
				return engine.Result{}, err
			}
			return a.Run(ctx, engine.Command{CommandRef: engine.CommandRef{Plane: "local", ID: *id}, Run: *id, Graph: graph, Inputs: values})
		})
	}
	return c
}

func (p *program) resumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "resume",
		Short: "Go on with the unfinished run",
		Long: `Go on with the run that was cut short or waits for a restart. Without one, reports
that could not be delivered are tried again, and the exit code is 0: a device
calls it at every start.
` + driveHelp + exitHelp,
		Example:           "  updraft resume --device device.yaml",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	d := addDriving(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		err := p.drive(cmd.Context(), d, resume)
		if errors.Is(err, agent.ErrNothing) {
			p.say("%v", err)
			return nil
		}
		return err
	}
	return c
}

func resume(ctx context.Context, a *agent.Agent) (engine.Result, error) { return a.Resume(ctx) }

// errOther is a run that is unfinished, but not the one that was named.
var errOther = errors.New("another run is unfinished")

type beginning func(ctx context.Context, a *agent.Agent) (engine.Result, error)

// drive opens the device, lets begin do its work, goes on after a restart that
// the user agreed to, and prints the result.
func (p *program) drive(ctx context.Context, d *driving, begin beginning) error {
	config, err := agent.LoadDevice(d.device)
	if err != nil {
		return inputError(err)
	}
	mode, ask, err := p.restartMode(d.restart.value, config)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	show := p.reporter(d)
	var run, due string // the run, once it is durable, and what it wants restarted
	events := func(e engine.Event) {
		if d.only != "" && e.Run != d.only {
			stop(fmt.Errorf("%w: %s, not %s", errOther, e.Run, d.only))
			return
		}
		if run = e.Run; e.Kind == engine.EventRestart && e.State == "restarting" {
			due = e.Text
		}
		show.event(e)
	}
	c := agent.Config{Device: d.device, State: d.state, Restart: mode, Events: events, ModuleProcess: agent.ModuleCommand()}
	var written func() error
	if c.Record, written, err = openRecording(*d.record); err != nil {
		return err
	}
	res, err := opened(ctx, c, begin)
	if err == nil && res.State == engine.Waiting && ask && len(config.Restart[due].Exec) > 0 {
		var yes bool
		if yes, err = p.askYes(ctx, fmt.Sprintf("restart %s now with %s?", due, strings.Join(config.Restart[due].Exec, " "))); yes {
			c.Restart = device.RestartExec
			res, err = opened(ctx, c, resume)
		}
	}
	show.rest()
	if err := written(); err != nil {
		p.say("updraft: --record %s: %v: the recording is not complete, the run is not affected", *d.record, err)
	}
	switch cause := context.Cause(ctx); {
	case err != nil && errors.Is(cause, errOther):
		return cause
	case err != nil && run != "" && errors.Is(cause, errInterrupted):
		res, err = engine.Result{Run: run, State: engine.Waiting, Code: "interrupted", Message: cause.Error()}, nil
	case err != nil:
		return d.busy(err)
	}
	if err := show.result(res); err != nil {
		return err
	}
	return ended(exitOf(res.State))
}

// busy adds to an error of a busy state directory what to do about it.
func (a *place) busy(err error) error {
	var busy *agent.BusyError
	switch {
	case errors.As(err, &busy):
		return fmt.Errorf("%w: updraft resume %s, or updraft cancel %[2]s", err, a.flags())
	case errors.Is(err, disk.ErrLocked):
		return fmt.Errorf("another updraft is at work: %w; to look on: updraft log --follow %s", err, a.flags())
	}
	return err
}

// opened lets begin work with an open device.
func opened(ctx context.Context, c agent.Config, begin beginning) (_ engine.Result, err error) {
	c.SaveMemory = true
	a, err := agent.Open(ctx, c)
	if err != nil {
		return engine.Result{}, inputError(err)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return begin(ctx, a)
}

// restartMode is what the door is told, and whether the user is asked.
func (p *program) restartMode(word string, config device.Config) (mode device.Mode, ask bool, err error) {
	if _, person := p.terminal(); word == "auto" && person {
		word = "ask"
	}
	switch word {
	case "ask":
		return device.RestartExit, true, nil
	case "simulate":
		return device.RestartSimulate, false, nil
	case "exec":
		if len(config.Restart) == 0 {
			err = usagef("--restart exec: %s has no restart command (restart: {device: {exec: [PROGRAM]}})", strconv.Quote(config.File))
		}
		return device.RestartExec, false, err
	}
	return device.RestartExit, false, nil
}

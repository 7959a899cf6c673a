package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

const checkHelp = `updraft-agent check [--config FILE]

Check the agent file (default /etc/updraft/agent.yaml), its device file and its
workflows. All mistakes of all files are told at once, each with file, line,
column and a code; then the exit code is 2. If all is right nothing is printed.`

// check checks the agent file and all that it names.
func (p *program) check(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	config := configFlag(flags)
	if err := p.parse(flags, checkHelp, args); err != nil {
		return err
	}
	_, err := p.load(*config)
	return err
}

const statusHelp = `updraft-agent status [--config FILE] [--json | --follow]

Ask the running agent, by the socket that its agent file names (default
/etc/updraft/agent.yaml), for the present or last update and the connections.

  --json     print the status as one line of JSON
  --follow   print the status and then each event and each change of the status
             as they come, one line of JSON each, until the agent ends

The exit code is 1 if no agent answers.`

// status prints what the local socket says.
func (p *program) status(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	config := configFlag(flags)
	asJSON := flags.Bool("json", false, "")
	follow := flags.Bool("follow", false, "")
	if err := p.parse(flags, statusHelp, args); err != nil {
		return err
	}
	file, err := p.load(*config)
	if err != nil {
		return err
	}
	if *follow {
		err := agent.Follow(ctx, file.Socket, func(line []byte) error { return p.print("%s", line) })
		if errors.Is(err, errInterrupted) {
			return nil // whoever follows also ends it
		}
		return err
	}
	s, err := agent.Look(ctx, file.Socket)
	if err != nil {
		return err
	}
	if *asJSON {
		line, err := json.Marshal(s)
		return errors.Join(err, p.print("%s", line))
	}
	for _, line := range statusLines(s) {
		if err := p.print("%s", agent.Printable(strings.ReplaceAll(line, "\n", "; "))); err != nil {
			return err
		}
	}
	return nil
}

// statusLines are the status for people: the update, then a line for each plane.
func statusLines(s agent.Status) []string {
	lines := []string{"no update yet"}
	if s.Run != nil {
		lines[0] = runLine(*s.Run, s.Time)
	}
	if s.Waiting > 0 {
		lines = append(lines, fmt.Sprintf("commands that wait: %d", s.Waiting))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Planes)) {
		lines = append(lines, name+": "+planeLine(s.Planes[name], s.Time))
	}
	return lines
}

func runLine(r engine.Status, now time.Time) string {
	text := r.State + " " + r.Run
	if r.Step != "" {
		text += ", step " + r.Step
	}
	switch {
	case r.Total > 0:
		text += fmt.Sprintf(", %s of %s", agent.ByteCount(r.Done), agent.ByteCount(r.Total))
	case r.Done > 0:
		text += ", " + agent.ByteCount(r.Done)
	}
	return agent.Phrase(text, r.Code, r.Message) + fmt.Sprintf(" (%s ago)", ago(now, r.Updated))
}

func planeLine(p agent.PlaneStatus, now time.Time) string {
	text := "not connected"
	switch {
	case p.Ready:
		text = "connected"
	case p.Connected:
		text = "connected, but not ready for commands"
	}
	if !p.Since.IsZero() {
		text += fmt.Sprintf(" for %s", ago(now, p.Since))
	}
	for _, n := range []struct {
		n    int
		what string
	}{{p.Attempts, "failed attempts"}, {p.Waiting, "messages to send"}, {p.Reports, "reports to deliver"}} {
		if n.n > 0 {
			text += fmt.Sprintf(", %s: %d", n.what, n.n)
		}
	}
	if p.Error != "" {
		text += "; last error: " + p.Error
	}
	return text
}

func ago(now, then time.Time) time.Duration { return max(0, now.Sub(then)).Round(time.Second) }

const versionHelp = `updraft-agent version

Print the versions of updraft and Go.`

// version prints what this program was made from.
func (p *program) version(_ context.Context, args []string) error {
	if err := p.parse(flag.NewFlagSet("version", flag.ContinueOnError), versionHelp, args); err != nil {
		return err
	}
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return p.print("updraft-agent %s\n%s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

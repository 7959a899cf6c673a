package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far the last run came",
		Long: `Show the state of the last run. It takes no lock, so it works while the run goes
on. A run whose process was killed still stands there as running; a line on
standard error says so and how to go on.`,
		Example:           "  updraft status --device device.yaml",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	at := addPlace(c)
	asJSON := c.Flags().Bool("json", false, "print JSON; null without a run")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		if err := at.there(); err != nil {
			return err
		}
		s, err := engine.ReadStatus(disk.OS(), at.dir())
		none := errors.Is(err, fs.ErrNotExist)
		switch {
		case none && *asJSON:
			return p.printJSON(nil)
		case none:
			p.say("no run yet in %s", at.dir())
			return nil
		case err != nil:
			return fmt.Errorf("read status in %s: %w", at.dir(), err)
		case *asJSON:
			return p.printJSON(s)
		}
		if err := p.print("%s", statusText(s, time.Now())); err != nil {
			return err
		}
		if text := statusAdvice(s, at); text != "" {
			p.say("%s", text)
		}
		return nil
	}
	return c
}

func statusText(s engine.Status, now time.Time) string {
	text := fmt.Sprintf("%s %s", s.State, s.Run)
	if s.Step != "" {
		text += ", step " + s.Step
	}
	switch {
	case s.Total > 0:
		text += fmt.Sprintf(", %s of %s", agent.ByteCount(s.Done), agent.ByteCount(s.Total))
	case s.Done > 0:
		text += ", " + agent.ByteCount(s.Done)
	}
	text = agent.Phrase(text, s.Code, s.Message)
	return agent.Printable(strings.ReplaceAll(text, "\n", "; ")) + fmt.Sprintf(" (%s ago)", max(0, now.Sub(s.Updated)).Round(time.Second))
}

// statusAdvice says how to go on with a run that nobody drives.
func statusAdvice(s engine.Status, at *place) string {
	next := "updraft resume " + at.flags()
	switch {
	case isEnd(s.State):
		return ""
	case s.State == string(engine.Waiting):
		return "to go on: " + next
	case abandoned(filepath.Join(at.dir(), "lock")):
		return "no process drives it any more; to go on: " + next
	}
	return ""
}

// abandoned reports whether the process whose note stands in a lock file is
// gone. The lock itself is not touched, so that nobody is kept from taking it;
// without a note that can be read the answer is no.
func abandoned(name string) bool {
	note, err := disk.ReadFile(disk.OS(), name, maxNote)
	if err != nil {
		return false
	}
	var pid int
	var boot string
	if n, _ := fmt.Sscanf(string(note), "process %d, boot %s", &pid, &boot); n == 0 || pid <= 0 {
		return false
	}
	if now, err := disk.BootID(); err == nil && boot != now {
		return true
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// maxNote bounds the note in a lock file, in bytes.
const maxNote = 4 << 10

// isEnd reports whether a run in this state is over.
func isEnd(state string) bool {
	switch engine.EndState(state) {
	case engine.Succeeded, engine.RefusedEnd, engine.RolledBack, engine.Failed, engine.Cancelled:
		return true
	}
	return false
}

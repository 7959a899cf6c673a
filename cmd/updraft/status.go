package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far the last run came",
		Long: `Show the state of the last run. It takes no lock, so it works while the run goes
on; a run whose process was killed still stands there as running.`,
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
		return p.print("%s", statusText(s, time.Now()))
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
		text += fmt.Sprintf(", %s of %s", byteCount(s.Done), byteCount(s.Total))
	case s.Done > 0:
		text += ", " + byteCount(s.Done)
	}
	text = join(text, s.Code, s.Message)
	return printable(strings.ReplaceAll(text, "\n", "; ")) + fmt.Sprintf(" (%s ago)", max(0, now.Sub(s.Updated)).Round(time.Second))
}

// isEnd reports whether a run in this state is over.
func isEnd(state string) bool {
	switch engine.EndState(state) {
	case engine.Succeeded, engine.RefusedEnd, engine.RolledBack, engine.Failed, engine.Cancelled:
		return true
	}
	return false
}

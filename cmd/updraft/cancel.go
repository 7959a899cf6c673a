package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

func (p *program) cancelCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cancel",
		Short: "Turn back the unfinished run",
		Long: `Ask the unfinished run to turn back. If a process drives it, that one undoes the
run at its next safe point, and cancel exits 0 at once; otherwise cancel undoes
the run itself and exits as it ended, with 130 if it was undone. A run whose new
version is confirmed goes on to its end.

` + exitHelp,
		Example:           "  updraft cancel --device device.yaml",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	d := addDriving(c)
	id := c.Flags().String("id", "", "`ID` of the run (default the last one)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		if err := d.there(); err != nil {
			return err
		}
		run, err := toCancel(d.place, *id)
		if err != nil {
			return err
		}
		if err := engine.Cancel(disk.OS(), d.dir(), run); err != nil {
			return fmt.Errorf("cancel run %s: %w", run, err)
		}
		d.only = run // resume would drive another one forward
		err = p.drive(cmd.Context(), d, resume)
		switch {
		case errors.Is(err, disk.ErrLocked):
			return p.print("asked run %s to turn back at its next safe point", run)
		case errors.Is(err, agent.ErrNothing):
			return errors.Join(usagef("run %s is not unfinished, there is nothing to cancel", run), forgetCancel(d.dir()))
		case errors.Is(err, errOther):
			return errors.Join(&usageError{err: err}, forgetCancel(d.dir()))
		}
		return err
	}
	return c
}

// toCancel finds the run that is meant.
func toCancel(at *place, id string) (string, error) {
	s, err := engine.ReadStatus(disk.OS(), at.dir())
	switch {
	case errors.Is(err, fs.ErrNotExist) && id == "":
		return "", usagef("no run yet in %s, there is nothing to cancel", at.dir())
	case errors.Is(err, fs.ErrNotExist):
		return id, nil
	case err != nil && id == "":
		return "", fmt.Errorf("read status in %s: %w; name the run with --id", at.dir(), err)
	case (id == "" || id == s.Run) && isEnd(s.State):
		return "", usagef("run %s has ended as %s, there is nothing to cancel", s.Run, s.State)
	case id == "":
		return s.Run, nil
	case err == nil && id != s.Run && !isEnd(s.State):
		return "", &usageError{err: fmt.Errorf("%w: %s, not %s", errOther, s.Run, id)}
	}
	return id, nil
}

// forgetCancel takes a request back that nobody will answer.
func forgetCancel(dir string) error {
	err := disk.OS().Remove(dir + "/" + engine.CancelFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/document"
)

func (p *program) checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "Check device, workflow and agent files",
		Long: `Check files by their kind, and workflows against the device file if one is among
them. All mistakes of all files are told at once, each with file, line, column
and a code; then the exit code is 2. If all is right nothing is printed.`,
		Example: "  updraft check device.yaml update.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("expected at least one FILE")
			}
			return nil
		},
	}
	asJSON := c.Flags().Bool("json", false, "print the problems as JSON on standard output")
	c.RunE = func(_ *cobra.Command, args []string) error {
		err := checkError(agent.Check(args))
		var problems document.Problems
		if err != nil && !errors.As(err, &problems) || !*asJSON {
			return err
		}
		if problems == nil {
			problems = document.Problems{} // [], not null
		}
		if err := p.printJSON(problems); err != nil || len(problems) == 0 {
			return err
		}
		return ended(exitUsage)
	}
	return c
}

// checkError leaves problems as they are; any other error is of a file that is
// missing or of another kind.
func checkError(err error) error {
	var problems document.Problems
	if err == nil || errors.As(err, &problems) {
		return err
	}
	return &usageError{err: err}
}

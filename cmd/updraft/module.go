package main

import "github.com/spf13/cobra"

func (p *program) moduleCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "module",
		Short:   "Work with vendors' modules",
		Example: "  updraft module replay run.rec",
	}
	c.AddCommand(p.moduleReplayCommand())
	return c
}

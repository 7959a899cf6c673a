package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance"
	"github.com/updraft-ota/updraft/wasmhost"
)

// conformed is the result of module conform.
type conformed struct {
	Checks []conformance.Check `json:"checks"`
	Passed int                 `json:"passed"`
	Failed int                 `json:"failed"`
	Left   int                 `json:"leftOut"`
}

func (p *program) moduleConformCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "conform MODULE",
		Short: "Try a module against everything that an update may do to it",
		Long: `Run a fixed list of checks on a module, each on a device in memory: that it loads
and its phases end as they must, that it does the same for the same fuel each
time, compiled and interpreted, that it survives being killed at every point between module and device, input and output
errors, a full disk, short reads and cancelling at every point, too little memory,
fuel and time, and that a rollback leaves the targets as they were.

An artifact that is not given is made up, 200,000 bytes; a target is a pair of
slots, or a directory if its role has dir or tree in its name. Bind what the
module needs to come to its end, or most checks are left out.

The exit code is 0 if no check failed and 4 if one did.`,
		Example: "  updraft module conform ab-slot.wasm --artifact image=v2.img",
		Args:    arguments("MODULE"),
	}
	with := addBindings(c)
	types := c.Flags().StringArray("target-type", nil, "`NAME=TYPE` of a target: slots, directory or file, repeatable")
	must(c.RegisterFlagCompletionFunc("target-type", cobra.NoFileCompletions))
	asJSON := c.Flags().Bool("json", false, "print the checks as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return p.moduleEnd(p.conform(cmd.Context(), args[0], with, *types, *asJSON))
	}
	return c
}

func (p *program) conform(ctx context.Context, file string, with *bindings, types []string, asJSON bool) (err error) {
	l, err := moduleLoader(ctx, file, wasmhost.Auto)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx), with.close()) }()
	granted, err := with.granted()
	if err != nil {
		return err
	}
	m, err := l.Load(ctx, with.limits(), granted)
	if err != nil {
		return err
	}
	setup, err := with.setup(ctx, m.Manifest())
	if err != nil {
		return err
	}
	if setup.Targets, err = targetTypes(m.Manifest(), types); err != nil {
		return err
	}
	all := conformed{}
	var printed error
	err = conformance.Conform(ctx, l.Loader, with.limits(), granted, setup, func(check conformance.Check) {
		all.add(check)
		if !asJSON {
			printed = errors.Join(printed, p.printCheck(check))
		}
	})
	if err = errors.Join(err, printed); err != nil {
		return err
	}
	if asJSON {
		err = p.printJSON(all)
	} else {
		err = p.print("%d passed, %d failed, %d left out", all.Passed, all.Failed, all.Left)
	}
	if err == nil && all.Failed > 0 {
		return ended(exitRolledBack)
	}
	return err
}

func targetTypes(m abi.Manifest, given []string) (map[string]conformance.Target, error) {
	words, err := pairs("target-type", "TYPE", given)
	if err != nil {
		return nil, err
	}
	targets := map[string]conformance.Target{}
	for role, word := range words {
		known := []string{string(device.Slots), string(device.Directory), string(device.File)}
		switch {
		case !slices.Contains(m.Roles.Targets, role):
			return nil, usagef("--target-type %s: %s", role, document.Unknown("target role of the module", role, m.Roles.Targets))
		case !slices.Contains(known, word):
			return nil, usagef("--target-type %s: %s", role, document.Unknown("type", word, known))
		}
		targets[role] = conformance.Target{Type: device.Type(word)}
	}
	return targets, nil
}

func (c *conformed) add(check conformance.Check) {
	c.Checks = append(c.Checks, check)
	switch {
	case len(check.Failures) > 0:
		c.Failed++
	case check.Left != "":
		c.Left++
	default:
		c.Passed++
	}
}

func (p *program) printCheck(c conformance.Check) error {
	switch {
	case len(c.Failures) > 0:
		if err := p.print("FAIL  %s", c.Name); err != nil {
			return err
		}
		for _, text := range c.Failures {
			if err := p.print("      %s", text); err != nil {
				return err
			}
		}
		return nil
	case c.Left != "":
		return p.print("-     %s: left out, %s", c.Name, c.Left)
	case c.Detail != "":
		return p.print("ok    %s (%s)", c.Name, c.Detail)
	}
	return p.print("ok    %s", c.Name)
}

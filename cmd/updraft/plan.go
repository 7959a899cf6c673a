package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
)

func (p *program) planCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "plan WORKFLOW",
		Short: "List what a run would do, without doing it",
		Long: `List each effect that a run would have: its step, its target, its bytes and how
sure that figure is (exact, at most, unknown), and how it is undone. Nothing is
written and no lock is taken. Release manifests are fetched and compatibility
modules run, since they are pure; modules that install do not run. A run that
would be refused exits 3.`,
		Example: "  updraft plan update.yaml --device device.yaml --input release=release.json",
		Args:    arguments("WORKFLOW"),
	}
	var device string
	addDevice(c, &device)
	inputs := addInputs(c)
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		plan, err := makePlan(cmd.Context(), device, args[0], *inputs)
		if err != nil {
			return err
		}
		if *asJSON {
			err = p.printJSON(plan)
		} else {
			err = p.printPlan(plan)
		}
		if err == nil && plan.Refused != "" {
			return ended(exitRefused)
		}
		return err
	}
	return c
}

func makePlan(ctx context.Context, device, workflow string, given []string) (engine.Plan, error) {
	inputs, err := inputsOf(device, workflow, given)
	if err != nil {
		return engine.Plan{}, err
	}
	plan, err := agent.MakePlan(ctx, agent.Config{Device: device, ModuleProcess: agent.ModuleCommand()}, workflow, inputs)
	if err != nil {
		return plan, inputError(err)
	}
	return plan, nil
}

func (p *program) printPlan(plan engine.Plan) error {
	if plan.Refused != "" {
		p.say("would be refused, and nothing changed: %s", agent.Printable(plan.Refused))
	}
	if len(plan.Effects) == 0 {
		if plan.Refused == "" {
			p.say("workflow %s would change nothing", plan.Workflow)
		}
		return nil
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tEFFECT\tTARGET\tBYTES\tCERTAINTY\tUNDO")
	for _, e := range plan.Effects {
		effect := e.Kind
		if e.Detail != "" {
			effect += " (" + agent.Printable(e.Detail) + ")"
		}
		bytes := "-"
		if e.Bytes != 0 {
			bytes = fmt.Sprint(e.Bytes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Step, effect, cmp.Or(e.Target, "-"), bytes, e.Certainty, cmp.Or(e.Undo, "-"))
	}
	return w.Flush()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/internal/document"
)

// simFaults are the faults for people, with the flags that each one knows.
var simFaults = []struct {
	kind  cloudsim.FaultKind
	does  string
	flags []string
}{
	{cloudsim.FaultDuplicate, "messages to devices come twice", []string{"client", "every", "percent"}},
	{cloudsim.FaultDelay, "messages to devices come --delay later", []string{"client", "delay"}},
	{cloudsim.FaultReorder, "messages to devices are overtaken by the next", []string{"client", "every", "percent"}},
	{cloudsim.FaultDrop, "connections are cut once, now; with --every at each so many messages", []string{"client", "every", "percent"}},
	{cloudsim.FaultLostPuback, "acknowledgements get lost, both ways", []string{"client", "every", "percent"}},
	{cloudsim.FaultSilent, "connections are taken and nothing is answered", []string{"client"}},
	{cloudsim.FaultSlow, "files come at --rate bytes a second", []string{"client", "every", "percent", "rate"}},
	{cloudsim.FaultCut, "files end after --after bytes", []string{"client", "every", "percent", "after"}},
	{cloudsim.FaultMissing, "files are not found", []string{"client", "every", "percent"}},
	{cloudsim.FaultChanged, "files have other bytes and another ETag", []string{"client", "every", "percent"}},
	{cloudsim.FaultStatus, "files are answered with --status", []string{"client", "every", "percent", "status"}},
	{cloudsim.FaultNoRange, "files come whole, whatever part is asked for", []string{"client", "every", "percent"}},
	{cloudsim.FaultNewURL, "each time a URL is told it has another query", []string{"client", "every", "percent"}},
	{cloudsim.FaultWrongHash, "digests of orders from now on are wrong", []string{"client", "every", "percent"}},
	{cloudsim.FaultWrongSize, "sizes of orders from now on are wrong", []string{"client", "every", "percent"}},
	{cloudsim.FaultToken, "connections are cut and logins refused, as with an expired token", []string{"client", "every", "percent"}},
	{cloudsim.FaultThrottled, `requests get the vendor's word for "too many"`, []string{"client", "every", "percent"}},
	{cloudsim.FaultNone, "all is well again", nil},
}

func (p *program) simFaultCommand(plane simPlane) *cobra.Command {
	var kinds, table []string
	for _, f := range simFaults {
		kinds = append(kinds, string(f.kind))
		table = append(table, fmt.Sprintf("  %-12s %s", f.kind, f.does))
	}
	c := &cobra.Command{
		Use:   "fault [KIND]",
		Short: "Make something go wrong, or well again",
		Long: `Make the simulated world worse, and print the faults that are set then; without a
KIND only print them. A fault stays until one of its kind replaces it, --off ends
it, or the kind none ends all.

` + strings.Join(table, "\n") + `

--client limits a fault to one device, and one of files to the name of a file.
With --json the result is a list of objects with kind, client, every, percent, delay,
rate, after, status and hits, which counts how often it happened.`,
		Example: strings.ReplaceAll(`  updraft sim PLANE fault lost-puback --every 3
  updraft sim PLANE fault slow --rate 20000
  updraft sim PLANE fault none`, "PLANE", plane.name),
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("expected one KIND, have %q", args)
			case len(args) == 1 && !slices.Contains(kinds, args[0]):
				return errors.New(document.Unknown("fault", args[0], kinds))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
			for _, f := range simFaults {
				if len(args) == 0 {
					words = append(words, cobra.CompletionWithDesc(string(f.kind), f.does))
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	at := addSimPlace(c, plane)
	f := cloudsim.Fault{}
	c.Flags().StringVar(&f.Client, "client", "", "only for the device or file with this `ID` or name")
	c.Flags().IntVar(&f.Every, "every", 0, "happen each `N` times only")
	c.Flags().IntVar(&f.Percent, "percent", 0, "happen `N` times of 100, at random")
	delay := c.Flags().Duration("delay", 0, "of delay: how `long`, at most a minute")
	c.Flags().Int64Var(&f.Rate, "rate", 0, "of slow: `BYTES` a second")
	c.Flags().Int64Var(&f.After, "after", 0, "of cut: after so many `BYTES` of an answer")
	c.Flags().IntVar(&f.Status, "status", 0, "of status: `CODE` of the answer, such as 403")
	c.Flags().BoolVar(&f.Off, "off", false, "end this kind")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	for _, name := range []string{"client", "every", "percent", "delay", "rate", "after", "status"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f.Kind = cloudsim.FaultKind(strings.Join(args, ""))
		f.Delay = cloudsim.Duration(*delay)
		if err := checkFault(f, cmd.Flags().Changed); err != nil {
			return err
		}
		r, err := at.remote()
		if err != nil {
			return err
		}
		return p.simFault(cmd.Context(), r, f, plane, *asJSON)
	}
	return c
}

// checkFault refuses what a fault does not know. The numbers themselves are
// checked by the simulator too.
func checkFault(f cloudsim.Fault, given func(flag string) bool) error {
	var knows []string
	for _, known := range simFaults {
		if known.kind == f.Kind {
			knows = append(known.flags[:len(known.flags):len(known.flags)], "off")
		}
	}
	for _, flag := range []string{"client", "every", "percent", "delay", "rate", "after", "status", "off"} {
		switch {
		case !given(flag):
		case f.Kind == "":
			return usagef("--%s: KIND is missing", flag)
		case !slices.Contains(knows, flag):
			return usagef("--%s is not for fault %s", flag, f.Kind)
		case f.Off && flag != "off":
			return usagef("--%s: --off ends %s as a whole", flag, f.Kind)
		}
	}
	switch {
	case given("every") && f.Every < 1:
		return usagef("--every %d: expected at least 1", f.Every)
	case given("percent") && (f.Percent < 1 || f.Percent > 100 || given("every")):
		return usagef("--percent %d: expected 1 to 100, and no --every", f.Percent)
	case given("after") && f.After < 0:
		return usagef("--after %d: expected a number of bytes", f.After)
	case f.Kind == cloudsim.FaultDelay && !f.Off && (f.Delay <= 0 || f.Delay > cloudsim.Duration(time.Minute)):
		return usagef("--delay: expected a delay of up to a minute, such as 200ms")
	case f.Kind == cloudsim.FaultStatus && !f.Off && (f.Status < 400 || f.Status > 599):
		return usagef("--status: expected a status of 400 to 599, such as 403")
	case f.Kind == cloudsim.FaultSlow && !f.Off && f.Rate <= 0:
		return usagef("--rate: expected a number of bytes a second")
	}
	return nil
}

func (p *program) simFault(ctx context.Context, r cloudsim.Remote, f cloudsim.Fault, plane simPlane, asJSON bool) error {
	var now []cloudsim.Fault
	if f.Kind == "" {
		st, err := r.State(ctx)
		if err != nil {
			return simError(err, plane)
		}
		now = st.Faults
	} else {
		var err error
		if now, err = r.SetFault(ctx, f); err != nil {
			return simError(err, plane)
		}
	}
	if f.Kind == cloudsim.FaultDrop && f.Every == 0 && f.Percent == 0 && !f.Off {
		p.say("connections were cut")
	}
	if asJSON {
		return p.printJSON(now)
	}
	if len(now) == 0 {
		return p.print("no faults")
	}
	for _, f := range now {
		if err := p.print("%s", faultText(f)); err != nil {
			return err
		}
	}
	return nil
}

// faultText is a fault as the flags that set it, and how often it happened.
func faultText(f cloudsim.Fault) string {
	text := string(f.Kind)
	if f.Client != "" {
		text += " --client " + quoted(f.Client)
	}
	if f.Every > 0 {
		text += fmt.Sprintf(" --every %d", f.Every)
	}
	if f.Percent > 0 {
		text += fmt.Sprintf(" --percent %d", f.Percent)
	}
	if f.Delay > 0 {
		text += fmt.Sprintf(" --delay %v", time.Duration(f.Delay))
	}
	if f.Rate > 0 {
		text += fmt.Sprintf(" --rate %d", f.Rate)
	}
	if f.Kind == cloudsim.FaultCut {
		text += fmt.Sprintf(" --after %d", f.After)
	}
	if f.Status > 0 {
		text += fmt.Sprintf(" --status %d", f.Status)
	}
	if f.Hits > 0 {
		text += fmt.Sprintf(" (happened %d times)", f.Hits)
	}
	return text
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/crashtest"
)

// crashes is the result of crash-test.
type crashes struct {
	Journal    string                  `json:"journal"` // always simulated
	Points     int                     `json:"points"`
	Cut        int                     `json:"cut"` // points at which something had changed since the one before
	Runs       int                     `json:"runs"`
	Ends       map[engine.EndState]int `json:"ends"`
	Reference  engine.Result           `json:"reference"` // the run without a cut
	Violations []violation             `json:"violations"`
	Seconds    float64                 `json:"seconds"`
}

// violation is a run that did not end as it must.
type violation struct {
	Point  int    `json:"point"` // from 1
	At     string `json:"at"`
	Cut    string `json:"cut"`
	Second int    `json:"second,omitempty"` // points between the first cut and the second
	What   string `json:"what"`
	text   string
}

func (p *program) crashTestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "crash-test WORKFLOW",
		Short: "Run an update again and again, cutting the power at every point",
		Long: `Copy the device into memory and run the update once for each point and each way of
cutting the power: before and after every journal record and every effect, as a
kill, a power cut that loses what was not synced, and one that keeps names but
loses bytes, each with and without a restart of the device, and each again with
a second cut during the recovery. Every run must come to the end of the run
without a cut, or to the untouched old state. The device itself is not changed,
and no command of its file is run: restarts are played.

The exit code is 0 if every run did, and 1 if one did not.`,
		Example: "  updraft crash-test update.yaml --device device.yaml --input release=release.json",
		Args:    arguments("WORKFLOW"),
	}
	var device string
	addDevice(c, &device)
	inputs := addInputs(c)
	var o crashtest.Options
	c.Flags().IntVar(&o.Every, "every", 1, "try only each `N`-th point")
	c.Flags().BoolVar(&o.Once, "once", false, "leave out the second cut")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needs(cmd, "device"); err != nil {
			return err
		}
		if o.Every < 1 {
			return usagef("--every %d: expected at least 1", o.Every)
		}
		o.Progress = p.tenths()
		seen, err := crashTest(cmd.Context(), device, args[0], *inputs, o)
		if err != nil {
			return err
		}
		if *asJSON {
			err = p.printJSON(seen)
		} else {
			err = p.printCrashes(seen)
		}
		if err == nil && len(seen.Violations) > 0 {
			return ended(exitInternal)
		}
		return err
	}
	return c
}

// tenths says how far a sweep came, ten times in all.
func (p *program) tenths() func(done, total int) {
	told := 0
	return func(done, total int) {
		if tenth := 10 * done / max(total, 1); tenth > told {
			told = tenth
			p.say("%d of %d points", done, total)
		}
	}
}

func crashTest(ctx context.Context, device, workflow string, given []string, o crashtest.Options) (crashes, error) {
	inputs, err := inputsOf(device, workflow, given)
	if err != nil {
		return crashes{}, err
	}
	began := time.Now()
	res, err := agent.CrashTest(ctx, agent.Config{Device: device, ModuleProcess: agent.ModuleCommand()}, workflow, inputs, o)
	if err != nil {
		return crashes{}, err
	}
	seen := crashes{Journal: "simulated", Points: len(res.Points), Cut: res.Cut, Runs: res.Runs, Ends: res.Ends, Reference: res.Reference,
		Violations: []violation{}, Seconds: time.Since(began).Round(time.Millisecond).Seconds()}
	for _, v := range res.Violations {
		seen.Violations = append(seen.Violations, violation{Point: v.Point.N, At: v.Point.What, Cut: v.Cut.String(),
			Second: v.Second, What: v.What, text: v.String()})
	}
	return seen, nil
}

func (p *program) printCrashes(c crashes) error {
	var ends []string
	for _, state := range slices.Sorted(maps.Keys(c.Ends)) {
		ends = append(ends, fmt.Sprintf("%d %s", c.Ends[state], state))
	}
	if err := p.print("%d points, cut at %d of them, %d runs in %.1f s: %s", c.Points, c.Cut, c.Runs, c.Seconds, strings.Join(ends, ", ")); err != nil {
		return err
	}
	if err := p.print("the run without a cut ended as %s; the journal is simulated: it keeps each batch whole or not at all",
		agent.Phrase(string(c.Reference.State), c.Reference.Code)); err != nil {
		return err
	}
	if c.Reference.State != engine.Succeeded {
		p.say("the way to the new version was not tried, since that run did not succeed either: %s; "+
			"facts and probes that need a command fail here", agent.Printable(c.Reference.Message))
	}
	for _, v := range c.Violations {
		if err := p.print("violation at %s", v.text); err != nil {
			return err
		}
	}
	return p.print("%d violations", len(c.Violations))
}

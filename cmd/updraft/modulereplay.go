package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasmhost"
)

// replayedPhase is a phase that went the same way, as module replay prints it.
type replayedPhase struct {
	Number int64  `json:"number"`
	Module string `json:"module"` // its digest, of the one that ran
	Name   string `json:"name"`
	Phase  string `json:"phase"`
	Run    string `json:"run,omitempty"`
	Calls  int64  `json:"calls"`
	Fuel   int64  `json:"fuel"`
	// SameFuel says that the fuel was compared too.
	SameFuel bool   `json:"sameFuel"`
	End      string `json:"end,omitempty"`
}

// replayResult is the result of module replay.
type replayResult struct {
	Phases     []replayedPhase `json:"phases"`
	Difference *differing      `json:"difference,omitempty"`
}

// differing is the first difference.
type differing struct {
	Number   int64  `json:"number"`
	Name     string `json:"name"`
	Phase    string `json:"phase"`
	Call     int64  `json:"call"`
	Function string `json:"function,omitempty"`
	What     string `json:"what"`
	Want     string `json:"want"`
	Got      string `json:"got"`
}

func (p *program) moduleReplayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay RECORDING",
		Short: "Run the modules of a recorded run again",
		Long: `Run the phases of vendors' modules that updraft run --record wrote down once more,
without the device: each call of updraft is compared with the recorded one, its
numbers, bytes and fuel, and answered as it was then. One line a phase says that
it went the same way; the first difference ends the command with exit code 4.

The recording holds the modules. With --module FILE that module runs in place of
the recorded one of its name: so a changed module meets what the old one met.
Its fuel is not compared.`,
		Example: "  updraft module replay run.rec\n  updraft module replay run.rec --module ab-slot.wasm",
		Args:    arguments("RECORDING"),
	}
	module := c.Flags().String("module", "", "run `FILE` in place of the recorded module of that name")
	must(c.MarkFlagFilename("module", "wasm"))
	asJSON := c.Flags().Bool("json", false, "print the result as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return p.replay(cmd.Context(), args[0], *module, *asJSON)
	}
	return c
}

func (p *program) replay(ctx context.Context, name, module string, asJSON bool) (err error) {
	var instead []byte
	if module != "" {
		if instead, err = readSmall(disk.OS(), module, maxModule); err != nil {
			return err
		}
	}
	f, recording, err := openFile(disk.OS(), name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	host, err := wasmhost.New(ctx, wasmhost.Config{})
	if err != nil {
		return err
	}
	result := replayResult{Phases: []replayedPhase{}}
	err = wasmhost.Replay(ctx, host, recording, instead, func(r wasmhost.Replayed) {
		done := replayedPhase{Number: r.Number, Module: r.Module, Name: r.Name, Phase: r.Phase.String(), Run: r.Run,
			Calls: r.Calls, Fuel: r.Fuel, SameFuel: r.SameFuel, End: r.End}
		result.Phases = append(result.Phases, done)
		if !asJSON {
			_ = p.print("%s", done) // a reader that went away is told at the end
		}
	})
	var d *wasmhost.Difference
	var refused *wasmhost.Error
	switch {
	case errors.As(err, &d):
		result.Difference = &differing{Number: d.Number, Name: d.Name, Phase: d.Phase.String(), Call: d.Call, Function: d.Function,
			What: d.What, Want: d.Want, Got: d.Got}
		p.say("updraft: %v", d)
		err = ended(exitRolledBack)
	case errors.Is(err, wasmhost.ErrRecording), errors.As(err, &refused) && refused.Phase == 0:
		return usagef("%s: %w", name, err)
	case err != nil:
		return err
	}
	if asJSON {
		return errors.Join(p.printJSON(result), err)
	}
	if err != nil {
		return err
	}
	return p.print("%d phases, all the same", len(result.Phases))
}

// String is the line for people.
func (r replayedPhase) String() string {
	fuel := "the same"
	if !r.SameFuel {
		fuel = "not compared"
	}
	end := "ended with " + r.End
	if r.End == "" {
		end = "the recording ends before the phase"
	}
	return fmt.Sprintf("%d %s of %s: %d calls, %d fuel (%s), %s", r.Number, r.Phase, r.Name, r.Calls, r.Fuel, fuel, end)
}

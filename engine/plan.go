package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/device"
)

// Plan is what a run would do, in order.
type Plan struct {
	Workflow string   `json:"workflow"`
	Effects  []Effect `json:"effects"`
	// Refused says why the run would end before its first effect, or "".
	Refused string `json:"refused,omitempty"`
	Code    string `json:"code,omitempty"`
}

// NewPlan lists what a run of c would do. It takes no lock, opens no journal
// and writes nothing: of the configuration it uses Door (wrapped so that
// effects are not done), Verbs, Clock, FS for reading, and Guard. Compat
// steps run, since they are pure; modules that install do not.
func NewPlan(ctx context.Context, cfg Config, c Command) (Plan, error) {
	g, err := openGuard(cfg.FS, cfg.Guard)
	if err != nil {
		return Plan{}, err
	}
	cfg.Door = device.Planning(cfg.Door, func(device.Op) {})
	e := &Engine{c: cfg, guard: g}
	p := Plan{Workflow: c.Graph.Name}
	d := &drive{e: e, r: newRun("plan"), graph: c.Graph, dry: true, outputs: map[string]map[string]any{}}
	d.r.accepted = &accepted{Inputs: c.Inputs, Workflow: c.Graph.Name}
	a, err := cfg.Door.Do(ctx, device.Op{Kind: device.AskFacts})
	if err != nil {
		return p, fmt.Errorf("gather facts: %w", err)
	}
	d.facts = a.Facts
	err = e.prepare(ctx, c.Graph, c.Graph.Files)
	if err == nil {
		err = d.planCompat(ctx)
	}
	if err == nil {
		err = d.planSteps(ctx, &p)
	}
	var refused *Refused
	if errors.As(err, &refused) {
		p.Refused, p.Code = err.Error(), refused.Code
		return p, nil
	}
	return p, err
}

func (d *drive) planCompat(ctx context.Context) error {
	for _, s := range d.graph.Compat {
		t, verb, err := d.bind(ctx, s)
		if err == nil {
			err = d.guarding(ctx, s, func(ctx context.Context) error { return verb.(Doer).Do(ctx, t) })
		}
		if err != nil {
			return &StepError{s.ID, err}
		}
	}
	return nil
}

func (d *drive) planSteps(ctx context.Context, p *Plan) error {
	order, err := d.graph.order()
	if err != nil {
		return err
	}
	planned := map[string]bool{}
	for _, s := range order {
		if s.When != nil {
			wanted, err := s.When(d.scope())
			if err != nil {
				return &StepError{s.ID, err}
			}
			if !wanted {
				d.r.step(s.ID).done = &done{Skipped: true}
				continue
			}
		}
		if _, filter := s.Static.(Filter); filter && d.graph.flows(s) {
			continue
		}
		effects, err := d.planStep(ctx, s, planned)
		if err != nil {
			return inStep(s.ID, err)
		}
		p.Effects = append(p.Effects, effects...)
	}
	return nil
}

// planStep lists what the step and the filters that flow into it would do.
func (d *drive) planStep(ctx context.Context, s *Step, planned map[string]bool) ([]Effect, error) {
	if _, filter := s.Static.(Filter); filter {
		src, _, err := d.source(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		return append(d.costs([]Source{src}, planned), space(s.ID, src)), nil
	}
	in, _, err := d.sources(ctx, s)
	if err != nil {
		return nil, err
	}
	t, verb, err := d.bind(ctx, s)
	if err != nil {
		return nil, err
	}
	already, err := d.already(ctx, verb, in)
	if err != nil {
		return nil, err
	}
	if already {
		return []Effect{{Step: s.ID, Kind: "nothing", Certainty: Exact, Detail: "the target runs from this artifact already"}}, nil
	}
	effects := d.costs(in, planned)
	t.In, t.Targets = in, map[string]device.Target{}
	if toucher, ok := verb.(Toucher); ok {
		for _, ref := range toucher.Touches() {
			a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskTarget, Run: d.r.id, Target: ref})
			if err != nil {
				return nil, fmt.Errorf("target %s: %w", ref, err)
			}
			t.Targets[ref] = a.Target
		}
	}
	if len(t.Targets) > 0 {
		d.r.step(s.ID).intent, d.r.intents = &intent{Targets: t.Targets}, append(d.r.intents, s.ID)
	}
	if storer, ok := verb.(Storer); ok {
		first, err := storer.Stored(ctx, t)
		if err != nil {
			return nil, err
		}
		for i, src := range in {
			if first {
				effects = append(effects, space(s.Static.(Reader).Reads()[i], src))
			}
		}
	}
	planner, ok := verb.(Planner)
	if !ok {
		return append(effects, Effect{Step: s.ID, Kind: s.Verb, Certainty: Unknown}), nil
	}
	own, err := planner.Plan(ctx, t)
	return append(effects, own...), err
}

// costs lists each source's costs once.
func (d *drive) costs(in []Source, planned map[string]bool) []Effect {
	var out []Effect
	for _, src := range in {
		c, ok := src.(Costly)
		if !ok {
			continue
		}
		for _, e := range c.Cost() {
			if key := e.Step + e.Kind + e.Detail; !planned[key] {
				planned[key] = true
				out = append(out, e)
			}
		}
	}
	return out
}

func space(step string, src Source) Effect {
	e := Effect{Step: step, Kind: "space", Bytes: src.Size(), Certainty: Exact, Undo: "removed when the run ends", Detail: "stored before use"}
	if e.Bytes < 0 {
		e.Bytes, e.Certainty = 0, Unknown
	}
	return e
}

// Cost passes the cost of the source on.
func (s stepSource) Cost() []Effect {
	c, ok := s.Source.(Costly)
	if !ok {
		return nil
	}
	effects := c.Cost()
	for i := range effects {
		effects[i].Step = cmp.Or(effects[i].Step, s.step.ID)
	}
	return effects
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/internal/disk"
)

// The lease: one update runs at a time. The same goal of another plane joins
// it, and anything else waits for its turn or is refused, as the plane of the
// command has it.

// host is the device's side of a plane's connection.
type host struct {
	s *service
	p *plane
}

var _ mqtt.Host = (*host)(nil)

// Command hands a command to the loop, which answers when it is durable or refused.
func (h *host) Command(ctx context.Context, c control.Command, answer func(control.In)) {
	h.s.do(ctx, func() { h.s.take(ctx, &order{p: h.p, c: c, answers: []func(control.In){answer}}) })
}

// Cancel hands a wish to the loop.
func (h *host) Cancel(ctx context.Context, command string) {
	h.s.do(ctx, func() { h.s.cancel(ctx, h.p, command) })
}

// Delivered tells the loop that the cloud has a report.
func (h *host) Delivered(ctx context.Context, report string) {
	h.s.do(ctx, func() { h.s.took(ctx, h.p.Name, report) })
}

// Save makes durable what the dialect must remember.
func (h *host) Save(_ context.Context, state []byte) error {
	return disk.WriteFile(disk.OS(), h.s.planeState(h.p.Name), state, 0o600)
}

// Log passes a line on, with the name of the plane.
func (h *host) Log(text string) {
	h.s.log("plane " + h.p.Name + ": " + text)
	h.s.socket.changed()
}

// order is a command that was not answered yet.
type order struct {
	p       *plane
	c       control.Command
	answers []func(control.In) // more than one if the plane has asked again
}

func (o *order) answer(in control.In) {
	for _, f := range o.answers {
		f(in)
	}
}

func (o *order) refuse(why string) { o.answer(control.In{Refusal: why}) }

// take takes a command, which waits behind those that wait already.
func (s *service) take(ctx context.Context, o *order) {
	for _, waits := range s.queue {
		if waits.p == o.p && waits.c.ID == o.c.ID {
			waits.answers = append(waits.answers, o.answers...)
			return
		}
	}
	if !s.submit(ctx, o) {
		s.queue = append(s.queue, o)
		s.queued.Store(int64(len(s.queue)))
		s.log(fmt.Sprintf("plane %s: command %s waits for run %s", o.p.Name, shownID(o.c.ID), s.run))
	}
}

// next submits what waits until one of them runs.
func (s *service) next(ctx context.Context) {
	for len(s.queue) > 0 && s.submit(ctx, s.queue[0]) {
		s.queue = s.queue[1:]
		s.queued.Store(int64(len(s.queue)))
		if s.run != "" {
			return
		}
	}
}

// submit gives a command to the engine and answers it, or says that it has to wait.
func (s *service) submit(ctx context.Context, o *order) (answered bool) {
	command, err := s.command(o)
	if err != nil {
		s.log(fmt.Sprintf("plane %s: command %s is refused: %v", o.p.Name, shownID(o.c.ID), err))
		o.refuse(oneLine(err))
		return true
	}
	receipt, err := s.agent.engine.Submit(ctx, command)
	switch {
	case errors.Is(err, engine.ErrGoal), errors.Is(err, engine.ErrGraph):
		s.log(fmt.Sprintf("plane %s: command %s is refused: %v", o.p.Name, shownID(o.c.ID), err))
		o.refuse(oneLine(err))
		return true
	case err != nil: // nothing can be recorded: the command comes again after the next start
		s.finish(engine.Result{}, fmt.Errorf("take command %s of plane %s: %w", shownID(o.c.ID), o.p.Name, err))
		return true
	case receipt.Answer == engine.Busy && o.p.Wait:
		return false
	case receipt.Answer == engine.Busy:
		s.log(fmt.Sprintf("plane %s: command %s is refused: run %s is unfinished", o.p.Name, shownID(o.c.ID), receipt.Run))
	case receipt.Answer == engine.Accepted:
		s.run = receipt.Run
	case receipt.Answer == engine.Joined:
		s.log(fmt.Sprintf("plane %s: command %s joins run %s", o.p.Name, shownID(o.c.ID), receipt.Run))
	}
	o.answer(control.In{Receipt: receipt})
	if receipt.Answer == engine.Joined {
		s.tellAgain(ctx, o.p, receipt.Run, command.CommandRef)
	}
	return true
}

// maxCommandID bounds the identity of a command, in bytes; it stands in records.
const maxCommandID = 1024

// command makes the engine's command of a plane's. What the workflow does not
// declare of the inputs is left out: the clouds offer more than most workflows want.
func (s *service) command(o *order) (engine.Command, error) {
	if o.c.ID == "" || len(o.c.ID) > maxCommandID {
		return engine.Command{}, fmt.Errorf("its id has %d bytes, want 1 to %d", len(o.c.ID), maxCommandID)
	}
	graph, err := s.agent.Read(o.p.Workflow)
	if err != nil {
		return engine.Command{}, fmt.Errorf("workflow %s: %w", filepath.Base(o.p.Workflow), err)
	}
	given := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(o.c.Inputs)) {
		if _, declared := graph.Inputs[name]; declared {
			given[name] = o.c.Inputs[name]
		}
	}
	inputs, err := workflow.Inputs(graph, given)
	if err != nil {
		return engine.Command{}, err
	}
	return engine.Command{CommandRef: engine.CommandRef{Plane: o.p.Name, ID: o.c.ID}, Graph: graph, Inputs: inputs}, nil
}

// tellAgain hands the report of a run that has ended to a command that came again.
func (s *service) tellAgain(ctx context.Context, p *plane, run string, c engine.CommandRef) {
	rep, ok, err := s.agent.engine.ReportTo(ctx, run, c)
	if err != nil {
		s.log(fmt.Sprintf("report of run %s: %v", run, err))
	}
	if ok {
		p.link.Post(control.In{Kind: control.InReport, Report: rep})
	}
}

// cancel ends a command: one that waits at once, the run of one at its next safe
// point. A run that others want too goes on.
func (s *service) cancel(ctx context.Context, p *plane, id string) {
	at := slices.IndexFunc(s.queue, func(o *order) bool { return o.p == p && o.c.ID == id })
	if at >= 0 {
		s.queue[at].refuse("cancelled")
		s.queue = slices.Delete(s.queue, at, at+1)
		s.queued.Store(int64(len(s.queue)))
		return
	}
	if s.run == "" {
		return
	}
	commands, err := s.agent.engine.Commands(ctx, s.run)
	mine := slices.Contains(commands, engine.CommandRef{Plane: p.Name, ID: id})
	switch {
	case err == nil && mine && len(commands) == 1:
		err = engine.Cancel(disk.OS(), s.agent.config.state(), s.run)
	case mine:
		s.log(fmt.Sprintf("plane %s: command %s is not cancelled: %d commands want run %s", p.Name, shownID(id), len(commands), s.run))
	}
	if err != nil {
		s.log(fmt.Sprintf("plane %s: cancel %s: %v", p.Name, shownID(id), err))
	}
}

// oneLine gives the text of an error for a cloud: short, on one line.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + " …"
	}
	return text
}

// shownID gives the id of a command for a log: it comes from a cloud, and may be
// a URL.
func shownID(id string) string {
	id, _, _ = strings.Cut(id, "?")
	if len(id) > 80 {
		id = id[:80] + "…"
	}
	return fmt.Sprintf("%q", id)
}

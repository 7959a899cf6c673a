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
	h.s.do(ctx, func() { h.s.take(&order{p: h.p, c: c, answers: []func(control.In){answer}}) })
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

// Log passes a line on, with the name of the plane, if there are not too many.
func (h *host) Log(text string) {
	first, ok := h.p.lines.take()
	if !ok {
		return
	}
	if first != "" {
		h.s.log("plane " + h.p.Name + ": " + first)
	}
	h.s.log("plane " + h.p.Name + ": " + text)
	h.s.socket.changed()
}

// order is a command that was not answered yet.
type order struct {
	p       *plane
	c       control.Command
	ref     engine.CommandRef
	answers []func(control.In) // more than one if the plane has asked again
	waits   bool               // the engine was asked, and another run is in the way
	gone    bool               // it was cancelled while the engine was asked
}

func (o *order) answer(in control.In) {
	for _, f := range o.answers {
		f(in)
	}
	o.answers = nil
}

func (o *order) refuse(why string) { o.answer(control.In{Refusal: why}) }

func (o *order) String() string {
	return fmt.Sprintf("plane %s: command %s", o.p.Name, shownID(o.c.ID))
}

// answered is what the engine says to a command.
type answered struct {
	o       *order
	receipt engine.Receipt
	err     error // of the command if it was refused, else of the engine
	refused bool
}

// take takes a command, which comes behind those that are there already.
func (s *service) take(o *order) {
	o.ref = engine.CommandRef{Plane: o.p.Name, ID: o.c.ID}
	s.fetch.tell(o.c.Inputs)
	for _, known := range s.queue {
		if known.ref == o.ref && !known.gone {
			known.answers = append(known.answers, o.answers...)
			return
		}
	}
	s.queue = append(s.queue, o)
}

// ask has the engine asked about the next command: of those that wait once nothing runs, and
// otherwise of those that it was not asked about yet. That may take a while, since
// modules are compiled, so a goroutine does it.
func (s *service) ask(ctx context.Context) {
	at := slices.IndexFunc(s.queue, func(o *order) bool { return !o.waits || s.run == "" })
	if s.asking != nil || at < 0 || s.over {
		return
	}
	o := s.queue[at]
	s.asking = o
	s.work.Go(func() {
		a := answered{o: o}
		command, err := s.command(o)
		if err != nil {
			a.err, a.refused = err, true
		} else {
			a.receipt, a.err = s.agent.engine.Submit(ctx, command)
			a.refused = errors.Is(a.err, engine.ErrGraph)
		}
		s.answered <- a
	})
}

// settle takes what the engine says, and answers the command unless it has to wait.
func (s *service) settle(ctx context.Context, a answered) {
	o := a.o
	s.asking = nil
	if errors.Is(a.err, engine.ErrGoal) { // the same command, with a new signature in its URL perhaps: it is done once
		s.log(fmt.Sprintf("%v came again with a new address, other inputs or after a change of the workflow: run %s goes on as it was accepted, with the newest signature of its address", o, a.receipt.Run))
		a.err = nil
	}
	switch {
	case a.err != nil && ctx.Err() != nil: // the end came first; the command comes again
		return
	case a.refused:
		s.log(fmt.Sprintf("%v is refused: %v", o, a.err))
		o.refuse(oneLine(a.err))
	case a.err != nil: // nothing can be recorded: the command comes again after the next start
		s.finish(engine.Result{}, fmt.Errorf("%v: %w", o, a.err))
		return
	case a.receipt.Answer == engine.Busy && o.p.Wait && !o.gone:
		if !o.waits {
			s.log(fmt.Sprintf("%v waits for run %s", o, a.receipt.Run))
		}
		o.waits = true
		s.count()
		s.lookAgain(ctx)
		return
	case a.receipt.Answer == engine.Busy:
		s.log(fmt.Sprintf("%v is refused: run %s is unfinished", o, a.receipt.Run))
	case a.receipt.Answer == engine.Accepted:
		s.run = a.receipt.Run
	case a.receipt.Answer == engine.Joined:
		if commands, err := s.agent.engine.Commands(ctx, a.receipt.Run); err != nil || len(commands) == 0 || commands[0] != o.ref {
			s.log(fmt.Sprintf("%v joins run %s", o, a.receipt.Run))
		} // else it is the one that began the run, and comes again
	}
	s.queue = slices.DeleteFunc(s.queue, func(known *order) bool { return known == o })
	s.count()
	o.answer(control.In{Receipt: a.receipt})
	if a.receipt.Answer == engine.Joined {
		s.tellAgain(ctx, o.p, a.receipt.Run, o.ref)
	}
	if o.gone && a.receipt.Answer == engine.Accepted {
		s.cancel(ctx, o.p, o.c.ID)
	}
	s.lookAgain(ctx)
}

// lookAgain finds a run that is unfinished although nobody here knows it, as
// after a journal that was rebuilt.
func (s *service) lookAgain(ctx context.Context) {
	if s.run != "" || s.driving {
		return
	}
	run, err := s.agent.engine.Open(ctx)
	if err != nil {
		s.log("look for unfinished runs: " + err.Error())
	}
	s.run = run
}

// count counts those that wait, for the status.
func (s *service) count() {
	n := int64(0)
	for _, o := range s.queue {
		if o.waits {
			n++
		}
	}
	s.waiting.Store(n)
}

// maxCommandID bounds the identity of a command, in bytes; it stands in records.
const maxCommandID = 1024

// command makes the engine's command of a plane's. What the workflow does not
// declare of the inputs is left out: the clouds offer more than most workflows want.
func (s *service) command(o *order) (engine.Command, error) {
	if o.c.ID == "" || len(o.c.ID) > maxCommandID {
		return engine.Command{}, fmt.Errorf("its id has %d bytes, want 1 to %d", len(o.c.ID), maxCommandID)
	}
	file := o.p.Workflow
	if o.c.Name == "download" { // which comes only if something answers it
		file = o.p.Download
	}
	graph, err := s.agent.Read(file)
	if err != nil {
		// The cloud has no use for the folders of the device.
		text := strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "")
		return engine.Command{}, fmt.Errorf("workflow %s: %s", filepath.Base(file), text)
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
	return engine.Command{CommandRef: o.ref, Graph: graph, Inputs: inputs}, nil
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
	at := slices.IndexFunc(s.queue, func(o *order) bool { return o.p == p && o.c.ID == id && !o.gone })
	if at >= 0 {
		o := s.queue[at]
		if o.gone = true; o != s.asking {
			o.refuse("cancelled")
			s.queue = slices.Delete(s.queue, at, at+1)
			s.count()
		}
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

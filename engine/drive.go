package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// drive is one process's work on one run.
type drive struct {
	e       *Engine
	r       *run
	graph   *Graph
	facts   map[string]string
	outputs map[string]map[string]any // of filters whose sink has no intent yet
	release map[string]any
	retried map[string]bool // steps that were granted a fresh beginning
	boot    string          // incarnation of the device
	dry     bool            // plan: nothing is written
	held    bool            // whoever made it holds the engine's lock
}

// lock takes the engine's lock, unless it is held, and gives what ends that.
func (d *drive) lock() func() {
	if d.held {
		return func() {}
	}
	d.e.mu.Lock()
	d.held = true
	return func() {
		d.held = false
		d.e.mu.Unlock()
	}
}

// journalError is a failure of the journal or the guard: nothing more can be
// recorded, so the run stops where it is.
type journalError struct{ err error }

func (j *journalError) Error() string { return j.err.Error() }
func (j *journalError) Unwrap() error { return j.err }

// append makes one record durable, together with changes of values, and then
// tells the guard if the record is critical.
func (d *drive) append(ctx context.Context, kind RecordKind, step string, data any, put map[string][]byte, drop ...string) error {
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	defer d.lock()()
	rec := Record{Schema: schema, Run: d.r.id, Seq: d.r.seq, Prev: d.r.crc, Kind: kind, Step: step, Boot: d.boot,
		Wall: d.e.c.Clock.Now().UTC(), Mono: d.e.c.Clock.Mono(), Data: body}
	if kind == KindRetry {
		rec.Attempt = d.r.step(step).attempt + 1
	}
	line, err := rec.encode()
	if err != nil {
		return err
	}
	if err := d.apply(ctx, Batch{Append: []Entry{{rec.Seq, line}}, Put: put, Delete: drop}); err != nil {
		return err
	}
	if err := d.r.add(rec); err != nil {
		return err
	}
	if !critical[kind] {
		return nil
	}
	if err := d.e.guard.write(d.guarded(kind)); err != nil {
		return &journalError{err}
	}
	return nil
}

// apply makes a batch of this run durable.
func (d *drive) apply(ctx context.Context, b Batch) error {
	defer d.lock()()
	b.Run, b.Expect = d.r.id, d.r.seq
	if d.dry {
		maps.Copy(d.r.values, b.Put)
		return nil
	}
	// A record must not be torn from its effect by a cancelled context.
	if err := d.e.c.Store.Apply(context.WithoutCancel(ctx), b); err != nil {
		return &journalError{fmt.Errorf("write journal: %w", err)}
	}
	maps.Copy(d.r.values, b.Put)
	for _, k := range b.Delete {
		delete(d.r.values, k)
	}
	return nil
}

// guarded is what the guard must know after a critical record.
func (d *drive) guarded(kind RecordKind) guardState {
	s := d.e.guard.now
	if s.Run != d.r.id {
		s = guardState{Counter: s.Counter, Run: d.r.id, Floor: s.Floor}
	}
	s.Seq = d.r.seq
	if s.Accepted == "" && d.r.accepted != nil { // also if the power went before accepted came here
		s.Accepted = commandDigest(d.r.accepted)
	}
	switch kind {
	case KindArmed:
		s.Transitions++
		s.Trial = d.r.armed.Direction == forward && !d.r.confirmed
	case KindConfirmed:
		s.Trial, s.Confirmed = false, true
	case KindFailing:
		s.Trial = false
	case KindEnded:
		s.Ended, s.Trial = string(d.r.ended.State), false
	}
	return s
}

// Run drives a submitted run until it ends or waits. Its error is an internal
// one, a cancelled context or a journal that cannot be written: the run is
// where it was, and Run may be called again.
func (e *Engine) Run(ctx context.Context, id string) (Result, error) {
	r, err := e.begin(ctx, id)
	if err != nil {
		return Result{}, err
	}
	defer e.leave()
	d := &drive{e: e, r: r, outputs: map[string]map[string]any{}, retried: map[string]bool{}}
	if r.ended != nil {
		return d.result(), nil
	}
	d.event(Event{Kind: EventRun, State: "resumed"})
	a, err := e.c.Door.Do(ctx, device.Op{Kind: device.AskIncarnation, Target: "device"})
	if err != nil {
		return Result{}, fmt.Errorf("ask for the boot id: %w", err)
	}
	d.boot = a.Text
	graphErr := d.load(ctx)
	if r.lost != nil && r.failing == nil && !r.confirmed {
		err = d.recoverLost(ctx, graphErr)
	} else if r.failing == nil {
		if err = graphErr; err == nil {
			err = d.forward(ctx)
		}
	}
	if r.failing == nil {
		if res, stop, stopErr := d.stopped(ctx, err); stop {
			return res, stopErr
		}
		if err == nil {
			return d.end(ctx, ended{State: Succeeded, Code: d.successCode()})
		}
		if r.confirmed {
			return d.endProven(ctx, err)
		}
		if err := d.fail(ctx, "", err); err != nil {
			return Result{}, err
		}
	}
	err = d.undo(ctx)
	if res, stop, stopErr := d.stopped(ctx, err); stop {
		return res, stopErr
	}
	return d.end(ctx, d.failedEnd(ctx, err))
}

// begin makes a run the one that is driven.
func (e *Engine) begin(ctx context.Context, id string) (*run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live != nil {
		return nil, fmt.Errorf("run %s: run %s is driven already", id, e.live.id)
	}
	if err := e.mendFloor(ctx); err != nil {
		return nil, err
	}
	r, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.accepted == nil && r.lost == nil {
		return nil, fmt.Errorf("run %s is not known", id)
	}
	e.live = r
	return r, nil
}

func (e *Engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live = nil
}

// endProven ends a run that failed after it was confirmed: it is too late to go
// back. Until the version is marked good the run must not end, or the boot loader
// would turn back alone.
func (d *drive) endProven(ctx context.Context, cause error) (Result, error) {
	d.event(Event{Kind: EventLog, Code: "after_confirm", Text: cause.Error()})
	var settling *unsettled
	if errors.As(cause, &settling) {
		cause = nil
	}
	for try := 1; ; try++ {
		err := d.settle(ctx)
		if res, stop, stopErr := d.stopped(ctx, err); stop {
			return res, stopErr
		}
		if err == nil {
			d.clean(ctx)
		}
		switch {
		case err == nil && cause == nil:
			return d.end(ctx, ended{State: Succeeded, Code: d.successCode()})
		case err == nil:
			return d.end(ctx, ended{State: Succeeded, Code: "after_confirm", Message: cause.Error()})
		case try == undoTries:
			return Result{}, err
		}
		if err := d.e.c.Clock.Sleep(ctx, time.Second); err != nil {
			return Result{}, err
		}
	}
}

func (d *drive) load(ctx context.Context) error {
	a, err := d.e.c.Door.Do(ctx, device.Op{Kind: device.AskFacts})
	if err != nil && d.r.armed == nil {
		return fmt.Errorf("gather facts: %w", err)
	}
	if err != nil { // the new version may still be starting: its probes decide
		d.event(Event{Kind: EventLog, Text: "gather facts: " + err.Error()})
	}
	d.facts = a.Facts
	d.graph, err = d.e.graph(ctx, d.r)
	return err
}

// stopped says whether err means that the run goes on later.
func (d *drive) stopped(ctx context.Context, err error) (Result, bool, error) {
	var wait *Wait
	var journal *journalError
	switch {
	case errors.As(err, &wait):
		d.event(Event{Kind: EventRun, State: "waiting", Text: wait.For})
		return Result{Run: d.r.id, State: Waiting, Code: wait.For, Message: wait.Error()}, true, nil
	case errors.As(err, &journal):
		return Result{}, true, err
	case err != nil && ctx.Err() != nil:
		return Result{}, true, context.Cause(ctx)
	}
	return Result{}, false, nil
}

func (d *drive) successCode() string {
	if d.r.lost != nil {
		return "state_lost"
	}
	already := false
	for _, s := range d.r.steps {
		if s.intent != nil && len(s.intent.Targets) > 0 {
			return "" // something was written
		}
		already = already || s.done != nil && s.done.Already
	}
	if already {
		return "already_installed"
	}
	return ""
}

// forward does what is left of the graph.
func (d *drive) forward(ctx context.Context) error {
	if !d.r.changed() {
		if err := d.compat(ctx); err != nil {
			return err
		}
	}
	order, err := d.graph.order()
	if err != nil {
		return err
	}
	for _, s := range order {
		if err := d.safe(ctx); err != nil {
			return err
		}
		if err := d.step(ctx, s); err != nil {
			return err
		}
	}
	if !d.r.confirmed {
		if err := d.append(ctx, KindConfirmed, "", nil, nil); err != nil {
			return err
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	d.clean(ctx)
	return nil
}

// compat asks the pure steps. What they do not want is refused.
func (d *drive) compat(ctx context.Context) error {
	for _, s := range d.graph.Compat {
		if d.r.step(s.ID).done != nil {
			continue
		}
		d.event(Event{Kind: EventStep, Step: s.ID, State: "begin"})
		t, verb, err := d.bind(ctx, s)
		if err == nil {
			err = d.guarding(ctx, s, func(ctx context.Context) error { return verb.(Doer).Do(ctx, t) })
		}
		if err != nil {
			return &StepError{s.ID, err}
		}
		if err := d.append(ctx, KindDone, s.ID, done{}, nil); err != nil {
			return err
		}
		d.event(Event{Kind: EventStep, Step: s.ID, State: "done"})
	}
	return nil
}

// step does one step, unless it is done or flows into a later one.
func (d *drive) step(ctx context.Context, s *Step) error {
	if d.r.step(s.ID).done != nil {
		return nil
	}
	if begun := d.r.step(s.ID).intent != nil || d.r.step(s.ID).begun; s.When != nil && !begun {
		wanted := false
		err := d.guarding(ctx, s, func(context.Context) (err error) {
			wanted, err = s.When(d.scope())
			return err
		})
		if err != nil {
			return &StepError{s.ID, err}
		}
		if !wanted {
			d.event(Event{Kind: EventStep, Step: s.ID, State: "skipped"})
			return d.append(ctx, KindDone, s.ID, done{Skipped: true}, nil)
		}
	}
	if _, confirms := s.Static.(Confirmer); confirms && d.r.confirmed && d.r.step(s.ID).intent == nil {
		return &StepError{s.ID, errors.New("the run was proven before, by another step")}
	}
	if _, filter := s.Static.(Filter); filter {
		if d.graph.flows(s) {
			return nil
		}
		return d.attempts(ctx, s, d.store)
	}
	return d.attempts(ctx, s, d.do)
}

// attempts calls one until it succeeds or may not be tried again. Each failed
// try is in the journal, so that restarts do not make their number endless.
func (d *drive) attempts(ctx context.Context, s *Step, one func(context.Context, *Step) error) error {
	d.event(Event{Kind: EventStep, Step: s.ID, State: "begin"})
	for wait := time.Duration(0); ; wait *= 2 {
		before := d.came(s)
		err := d.guarding(ctx, s, func(ctx context.Context) error { return one(ctx, s) })
		if err == nil {
			d.event(Event{Kind: EventStep, Step: s.ID, State: "done"})
			return nil
		}
		err = inStep(s.ID, err)
		var retry *Retry
		var journal *journalError
		if !errors.As(err, &retry) || errors.As(err, &journal) || ctx.Err() != nil {
			return err
		}
		policy := d.policy(err, s)
		if d.came(s) != before { // it came forward: count anew
			d.r.step(s.ID).attempt, wait = 0, 0
		}
		fresh := retry.Fresh && !d.retried[s.ID]
		if n := d.r.step(s.ID).attempt; n >= policy.Max && !fresh {
			var in *StepError
			if n > 0 && errors.As(err, &in) {
				err = &StepError{in.Step, fmt.Errorf("%w (tried %d times)", in.Err, n+1)}
			}
			return err
		}
		if wait = min(max(wait, policy.Backoff), max(time.Minute, policy.Backoff)); retry.After > 0 {
			wait = retry.After
		}
		if fresh {
			d.retried[s.ID], wait = true, 0
		}
		var drop []string
		if retry.Fresh {
			drop = d.checkpoints(s)
		}
		if err := d.append(ctx, KindRetry, s.ID, short(retry.Err.Error()), nil, drop...); err != nil {
			return err
		}
		d.event(Event{Kind: EventRetry, Step: s.ID, Text: fmt.Sprintf("%v; again in %v", retry.Err, wait)})
		if err := d.pause(ctx, wait); err != nil {
			return inStep(s.ID, err)
		}
	}
}

// checkpoints are the keys of the checkpoints of a step and of the steps that it
// reads: one of those may be stored first, within the same try.
func (d *drive) checkpoints(s *Step) []string {
	keys := []string{checkpointKey(s.ID)}
	r, ok := s.Static.(Reader)
	if !ok {
		return keys
	}
	for _, id := range r.Reads() {
		if from := d.graph.step(id); from != nil && d.r.step(id).done == nil {
			keys = append(keys, d.checkpoints(from)...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// came tells how far a step came, to be compared.
func (d *drive) came(s *Step) string {
	var all []string
	for _, key := range d.checkpoints(s) {
		all = append(all, key, string(d.r.values[key]))
	}
	return strings.Join(all, "\x00")
}

// defaultRetry is for steps without a retry word.
var defaultRetry = RetryPolicy{Max: 3, Backoff: time.Second}

// policy is the retry word of the step in which err arose, which may be a
// filter that flows into s.
func (d *drive) policy(err error, s *Step) RetryPolicy {
	var in *StepError
	if errors.As(err, &in) {
		if other := d.graph.step(in.Step); other != nil && other.Retry != (RetryPolicy{}) {
			return other.Retry
		}
	}
	if s.Retry == (RetryPolicy{}) {
		return defaultRetry
	}
	return s.Retry
}

func inStep(id string, err error) error {
	var in *StepError
	if errors.As(err, &in) {
		return err
	}
	return &StepError{id, err}
}

// pause sleeps, looking for a cancellation every second.
func (d *drive) pause(ctx context.Context, wait time.Duration) error {
	for wait > 0 {
		if err := d.safe(ctx); err != nil {
			return err
		}
		slice := min(wait, time.Second)
		if err := d.e.c.Clock.Sleep(ctx, slice); err != nil {
			return err
		}
		wait -= slice
	}
	return nil
}

// guarding calls f with the step's time limit and turns a panic into an error.
func (d *drive) guarding(ctx context.Context, s *Step, f func(context.Context) error) (err error) {
	if s.Timeout > 0 {
		limit := &Failure{"timeout", fmt.Errorf("took longer than %v", s.Timeout)}
		within, cancel := disk.WithTimeout(ctx, d.e.c.Clock, s.Timeout, limit)
		defer cancel()
		outer := ctx
		ctx = within
		defer func() {
			if err != nil && within.Err() != nil && outer.Err() == nil {
				err = limit
			}
		}()
	}
	defer func() {
		if p := recover(); p != nil {
			if d.e.c.Panics != nil && d.e.c.Panics(p) {
				panic(p)
			}
			d.event(Event{Kind: EventLog, Step: s.ID, Code: "panic", Text: string(firstLines(debug.Stack(), 40))})
			err = &Failure{"internal", fmt.Errorf("bug in verb %s: %v", s.Verb, p)}
		}
	}()
	return f(ctx)
}

func firstLines(b []byte, n int) []byte {
	for i, c := range b {
		if c == '\n' {
			if n--; n == 0 {
				return b[:i]
			}
		}
	}
	return b
}

// safe is a safe point: the run may stop here, or turn back.
func (d *drive) safe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if d.r.confirmed || d.r.failing != nil {
		return nil
	}
	if d.cancelRequested() {
		return ErrCancelled
	}
	return nil
}

func (d *drive) scope() *Scope {
	s := &Scope{Inputs: map[string]any{}, Facts: d.facts, Release: d.r.release, Steps: maps.Clone(d.r.outputs), Run: map[string]any{"id": d.r.id}}
	for name, in := range d.graph.Inputs {
		s.Inputs[name] = in.Default
	}
	if d.r.accepted != nil {
		maps.Copy(s.Inputs, d.r.accepted.Inputs)
	}
	maps.Copy(s.Steps, d.outputs)
	if d.release != nil {
		s.Release = d.release
	}
	return s
}

// bind makes the verb of a step with all its fields, and its task.
func (d *drive) bind(_ context.Context, s *Step) (*Task, any, error) {
	scope := d.scope()
	verb, err := s.Bind(scope)
	if err != nil {
		return nil, nil, err
	}
	return d.task(s, scope), verb, nil
}

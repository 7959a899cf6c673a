package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// Report says how a run ended. There is one for each command, and its ID
// is the same however often it is sent.
type Report struct {
	ID       string         `json:"id"`
	Run      string         `json:"run"`
	Plane    string         `json:"plane"`
	Command  string         `json:"command"`
	Workflow string         `json:"workflow,omitempty"`
	State    EndState       `json:"state"`
	Code     string         `json:"code,omitempty"`
	Step     string         `json:"step,omitempty"`
	Message  string         `json:"message,omitempty"`
	Release  map[string]any `json:"release,omitempty"`
	Fields   map[string]any `json:"fields,omitempty"`
	Warnings []string       `json:"warnings,omitempty"`
	Began    time.Time      `json:"began"`
	Ended    time.Time      `json:"ended"`
	// Heard names who has it already, of several; see [Engine.Heard].
	Heard []string `json:"-"`
}

// The keys of reports, before and after everybody has taken them, and of who has.
const (
	outbox = "outbox/"
	taken  = "taken/"
	heard  = "heard/" // id, slash, name
)

// A run's reports go into one batch with its end.
const (
	maxReport   = 60 << 10  // bytes of one; a longer one loses its fields
	maxReports  = 400 << 10 // bytes of all
	maxCommands = 16        // commands that one run answers
)

// maxText bounds the texts of records, reports and events. What they say comes
// from modules, servers and programs too, and a record has a bound: without one
// a long complaint could keep a run from turning back.
const maxText = 2000 // bytes

// short gives the beginning of a text as valid UTF-8.
func short(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + " …"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// end writes the end and its reports in one batch.
func (d *drive) end(ctx context.Context, e ended) (Result, error) {
	e.Message = short(e.Message)
	if a, err := d.e.c.Door.Do(context.Background(), device.Op{Kind: device.AskFacts}); err == nil {
		d.facts = a.Facts
	}
	defer d.lock()() // who joins is in the reports, or finds an ended run
	e.Order = d.e.guard.now.Counter + 1
	put, err := d.reports(e)
	if err != nil {
		return Result{}, err
	}
	var drop []string
	for k := range d.r.values {
		if !strings.HasPrefix(k, outbox) {
			drop = append(drop, k)
		}
	}
	if err := d.append(ctx, KindEnded, e.Step, e, put, slices.Sorted(slices.Values(drop))...); err != nil {
		return Result{}, err
	}
	d.event(Event{Kind: EventRun, State: string(e.State), Step: e.Step, Code: e.Code, Text: e.Message})
	d.forgetCancel()
	return d.result(), nil
}

func (d *drive) reports(e ended) (map[string][]byte, error) {
	put := map[string][]byte{}
	commands := d.r.commands
	if len(commands) == 0 { // the stored command is lost too
		commands = []CommandRef{{Plane: "local", ID: d.r.id}}
	}
	for i, c := range commands {
		rep := Report{ID: fmt.Sprintf("%s.%d", d.r.id, i), Run: d.r.id, Plane: c.Plane, Command: c.ID, State: e.State, Code: e.Code,
			Step: e.Step, Message: e.Message, Release: d.r.release, Warnings: d.e.c.Warnings, Began: d.r.began, Ended: d.e.c.Clock.Now().UTC()}
		if d.r.accepted != nil {
			rep.Workflow = d.r.accepted.Workflow
		}
		if d.graph != nil && d.graph.Report != nil {
			var fields map[string]any
			err := d.guarding(context.Background(), &Step{Verb: "report"}, func(context.Context) (err error) {
				fields, err = d.graph.Report(d.scope())
				return err
			})
			if err != nil { // a report without its fields is better than none
				rep.Warnings = append(slices.Clone(rep.Warnings), "report fields: "+err.Error())
			}
			rep.Fields = fields
		}
		b, err := json.Marshal(rep)
		if most := maxReports / len(commands); err != nil || len(b) > min(most, maxReport) {
			rep.Fields, rep.Release = nil, nil // what happened is worth more than the rest
			if b, err = json.Marshal(rep); err != nil {
				return nil, fmt.Errorf("encode report: %w", err)
			}
		}
		put[outbox+rep.ID] = b
	}
	return put, nil
}

func (d *drive) result() Result {
	e := d.r.ended
	return Result{Run: d.r.id, State: e.State, Code: e.Code, Step: e.Step, Message: e.Message, Took: d.r.endedAt.Sub(d.r.began)}
}

// Deliver hands every report that nobody has acknowledged to send, oldest run first, and
// forgets it once send returns nil. A report may be handed over twice: its ID
// tells. All errors are returned after all were tried.
func (e *Engine) Deliver(ctx context.Context, send func(context.Context, Report) error) error {
	reports, failed := e.Outbox(ctx)
	for _, rep := range reports {
		if err := send(ctx, rep); err != nil { // the next may go to somebody who listens
			failed = errors.Join(failed, fmt.Errorf("deliver report %s: %w", rep.ID, err))
			continue
		}
		if err := e.Reported(ctx, rep.ID); err != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// Outbox lists the reports that nobody has acknowledged, oldest run first. With
// an error it lists those that could be read.
func (e *Engine) Outbox(ctx context.Context) ([]Report, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	runs, err := e.runs(ctx)
	if err != nil {
		return nil, err
	}
	var ended []*run
	for _, id := range runs {
		r, err := e.find(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.ended != nil {
			ended = append(ended, r)
		}
	}
	slices.SortStableFunc(ended, (*run).later)
	var reports []Report
	var failed error
	for _, r := range ended {
		for _, key := range slices.Sorted(maps.Keys(r.values)) {
			if !strings.HasPrefix(key, outbox) {
				continue
			}
			rep, err := r.report(key)
			rep.Heard = r.heard(rep.ID)
			if failed = errors.Join(failed, err); err == nil {
				reports = append(reports, rep)
			}
		}
	}
	return reports, failed
}

func (r *run) report(key string) (rep Report, err error) {
	if err := json.Unmarshal(r.values[key], &rep); err != nil {
		return rep, fmt.Errorf("%w: report %s: %v", ErrStore, key, err)
	}
	return rep, nil
}

func (r *run) heard(report string) (who []string) {
	for _, key := range slices.Sorted(maps.Keys(r.values)) {
		if name, ok := strings.CutPrefix(key, heard+report+"/"); ok {
			who = append(who, name)
		}
	}
	return who
}

// Heard says that one of several who are to have a report has it. It is durable,
// and forgotten once everybody has it.
func (e *Engine) Heard(ctx context.Context, id, who string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.reporting(ctx, id)
	if err != nil || r == nil || slices.Contains(r.heard(id), who) {
		return err
	}
	d := &drive{e: e, r: r, held: true}
	return d.apply(ctx, Batch{Put: map[string][]byte{heard + id + "/" + who: {}}})
}

// reporting finds the run of a report that is in the outbox, or nil.
func (e *Engine) reporting(ctx context.Context, id string) (*run, error) {
	at := strings.LastIndexByte(id, '.')
	if at < 0 || CheckRun(id[:at]) != nil {
		return nil, fmt.Errorf("report %q is not known", id)
	}
	r, err := e.find(ctx, id[:at])
	if err != nil {
		return nil, err
	}
	if _, ok := r.values[outbox+id]; !ok {
		return nil, nil
	}
	return r, nil
}

// Reported says that whoever was to have a report has it. It is kept beside its
// run, for [Engine.ReportTo]. Saying it again is harmless.
func (e *Engine) Reported(ctx context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.reporting(ctx, id)
	if err != nil || r == nil { // nil: it was said before, or the run is forgotten
		return err
	}
	drop := []string{outbox + id}
	for _, who := range r.heard(id) {
		drop = append(drop, heard+id+"/"+who)
	}
	d := &drive{e: e, r: r, held: true}
	if err := d.append(ctx, KindReported, "", id, map[string][]byte{taken + id: r.values[outbox+id]}, drop...); err != nil {
		return err
	}
	d.event(Event{Kind: EventReport, State: "delivered", Text: id})
	return nil
}

// ReportTo gives the report of a run to one of its commands, whether it was
// acknowledged or not. ok is false as long as the run has not ended, and if it
// does not answer that command.
func (e *Engine) ReportTo(ctx context.Context, run string, c CommandRef) (rep Report, ok bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.find(ctx, run)
	if err != nil || r.ended == nil {
		return rep, false, err
	}
	id := fmt.Sprintf("%s.%d", run, slices.Index(r.commands, c))
	for _, key := range []string{outbox + id, taken + id} {
		if _, ok := r.values[key]; ok {
			rep, err = r.report(key)
			return rep, err == nil, err
		}
	}
	return rep, false, nil
}

// clean removes what only served the update. What cannot be removed is said
// and left: it changes nothing.
func (d *drive) clean(ctx context.Context) {
	var err error
	if d.graph != nil && d.r.confirmed {
		for _, s := range d.graph.Steps {
			state := d.r.step(s.ID)
			_, ok := s.Static.(Cleaner)
			if !ok || state.done == nil || state.intent == nil {
				continue
			}
			if t, verb, bindErr := d.bind(ctx, s); bindErr == nil {
				t.Targets = state.intent.Targets
				err = errors.Join(err, d.guarding(ctx, s, func(ctx context.Context) error { return verb.(Cleaner).Clean(ctx, t) }))
			}
		}
	}
	for _, id := range d.r.intents {
		if !d.r.confirmed {
			break
		}
		for _, t := range d.r.step(id).intent.Targets {
			if t.Type == device.File {
				_, goodErr := d.e.c.Door.Do(ctx, device.Op{Kind: device.Good, Run: d.r.id, Target: t.Name})
				err = errors.Join(err, goodErr)
			}
		}
	}
	err = errors.Join(err, disk.RemoveAll(d.e.c.FS, d.workDir()))
	if err != nil {
		d.event(Event{Kind: EventLog, Code: "cleanup", Text: err.Error()})
	}
}

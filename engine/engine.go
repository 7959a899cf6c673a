// Package engine runs one update from command to proven end, and undoes it
// last-first on failure.
//
// [New] makes an engine from a [Config], [Engine.Submit] makes a command
// durable, [Engine.Run] drives its run until it ends or waits for a restart. After a
// power cut the same two calls go on where the run was: a run is the fold of
// its journal, every effect has a record before and after it, and a small guard
// file outside the journal tells when the journal has lost its end.
//
// A run ends in exactly one of two states: the new version proven, or the old
// one untouched; only [Failed] needs a person. The engine knows no cloud, no
// module and no document format: verbs come in a map, workflows as a [Graph].
package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
)

// Config is what an engine works with. Fields without a default are required.
type Config struct {
	Store Store
	// Reset sets a damaged store aside and gives an empty one. nil: damage is
	// an error of Submit and Run.
	Reset func(cause error) (Store, error)
	Door  device.Door
	// Targets are the names of the device's slot pairs and directories.
	Targets []string
	Verbs   map[string]Verb
	// Reread makes the graph of a stored document again.
	Reread func(document []byte, files map[string][]byte) (*Graph, error)
	FS     disk.FS
	Clock  disk.Clock
	// Dir is the state directory, for stored files, status and events.
	Dir string
	// Guard is the guard file. It should lie outside Dir.
	Guard string
	// Events, if set, gets each event in order. It must not block.
	Events func(Event)
	// Panics, if set, says which panics are not a verb's bug but a simulated
	// loss of power, which must go through.
	Panics func(any) bool
	// Warnings go into each report, such as a loosened trust.
	Warnings []string
}

// Engine runs updates, one at a time. It may be shared: while one goroutine is
// in Run, others may submit, look into the outbox and say what was delivered. The
// state directory must not be open twice.
type Engine struct {
	c   Config
	log eventLog

	submits sync.Mutex // held by one Submit at a time, mu only while it reads and writes

	mu     sync.Mutex // of the journal, the guard, and what follows
	guard  *guard
	blobs  blobs
	graphs map[string]*Graph // by digest of the document
	mended bool              // the floor was looked for in the journal
	live   *run              // what Run drives at the moment: the journal's newest fold
}

// New checks the configuration and reads the guard. It starts nothing.
func New(c Config) (*Engine, error) {
	for name, v := range c.Verbs {
		if err := checkVerb(v); err != nil {
			return nil, fmt.Errorf("verb %s: %w", name, err)
		}
	}
	if err := disk.MkdirAll(c.FS, c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	g, err := openGuard(c.FS, c.Guard)
	if err != nil {
		return nil, err
	}
	e := &Engine{c: c, guard: g, blobs: blobs{c.FS, path.Join(c.Dir, "files")}, graphs: map[string]*Graph{}}
	e.log.fs, e.log.dir, e.log.clock, e.log.tell = c.FS, c.Dir, c.Clock, c.Events
	return e, nil
}

func checkVerb(v Verb) error {
	if v.New == nil || v.Class == 0 {
		return errors.New("needs New and a class")
	}
	made := v.New()
	_, doer := made.(Doer)
	_, filter := made.(Filter)
	if doer == filter {
		return errors.New("must be either a Doer or a Filter")
	}
	if _, probes := made.(Prober); v.Class == Once && !probes {
		return errors.New("may be done once only, but has no probe")
	}
	return nil
}

// Command asks for an update.
type Command struct {
	CommandRef
	Run    string // id of the run to make; "" makes one from plane and id
	Graph  *Graph
	Inputs map[string]any
}

// Answer is how a command was taken.
type Answer string

// The answers.
const (
	Accepted Answer = "new"
	Joined   Answer = "joined" // the same command or the same goal runs already
	Busy     Answer = "busy"   // another run is unfinished
)

// Receipt is the durable answer to a command.
type Receipt struct {
	Answer Answer
	Run    string // of the new or joined run, or of the one that is in the way
}

// ErrGraph says that a workflow is one of which nothing can be promised. See
// [Graph.Check].
var ErrGraph = errors.New("workflow cannot be run")

// ErrGoal says that a run of that id was accepted with another workflow or
// other inputs.
var ErrGoal = errors.New("its id was used for another workflow or other inputs")

// Submit makes a command durable before it returns. The same plane and id are
// the same run, and asking for something else under them is [ErrGoal]; the same
// goal from another plane joins it, up to 16 in all. What is costly or
// can be refused at once, such as compiling modules, happens before. While
// another goroutine drives a run, Submit answers at once: joined or busy. With
// [ErrGoal] the receipt names the run.
func (e *Engine) Submit(ctx context.Context, c Command) (Receipt, error) {
	if c.Graph == nil {
		return Receipt{}, fmt.Errorf("%w: the command has none", ErrGraph)
	}
	goal, err := goalOf(c)
	if err != nil {
		return Receipt{}, err
	}
	if c.Run == "" {
		c.Run = "run-" + hexSHA256([]byte(c.Plane + "\x00" + c.ID))[:16]
	}
	if err := CheckRun(c.Run); err != nil {
		return Receipt{}, err
	}
	if wrong := c.Graph.Check(); len(wrong) > 0 {
		return Receipt{}, fmt.Errorf("%w: %w", ErrGraph, wrong[0])
	}
	e.submits.Lock()
	defer e.submits.Unlock()
	if receipt, err := e.inTheWay(ctx, c, goal); err != nil || receipt.Run != "" {
		return receipt, err
	}
	prepareErr := e.prepare(ctx, c.Graph, c.Graph.Files)
	if prepareErr != nil && ctx.Err() != nil { // not the command's fault
		return Receipt{}, context.Cause(ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accept(ctx, c, goal, prepareErr)
}

// inTheWay answers a command that needs no run of its own, or cannot have one.
func (e *Engine) inTheWay(ctx context.Context, c Command, goal string) (Receipt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.mendFloor(ctx); err != nil {
		return Receipt{}, err
	}
	found, err := e.unfinished(ctx, c)
	if err != nil || found == nil {
		return Receipt{}, err
	}
	return e.join(ctx, found, c, goal)
}

// accept makes a run for a command.
func (e *Engine) accept(ctx context.Context, c Command, goal string, prepareErr error) (Receipt, error) {
	if err := e.forgetDamaged(ctx, c.Run); err != nil {
		return Receipt{}, err
	}
	var err error
	a := accepted{Commands: []CommandRef{c.CommandRef}, Goal: goal, Workflow: c.Graph.Name, Files: map[string]string{}, Inputs: c.Inputs}
	if a.Document, err = e.blobs.put(c.Graph.Document); err != nil {
		return Receipt{}, fmt.Errorf("store workflow: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Graph.Files)) {
		if a.Files[name], err = e.blobs.put(c.Graph.Files[name]); err != nil {
			return Receipt{}, fmt.Errorf("store %s: %w", name, err)
		}
	}
	command, err := json.Marshal(a)
	if err != nil {
		return Receipt{}, fmt.Errorf("store command: %w", err)
	}
	if _, err := e.blobs.put(command); err != nil {
		return Receipt{}, fmt.Errorf("store command: %w", err)
	}
	stored := *c.Graph
	stored.Files = nil // megabytes, which Task.File reads again if need be
	e.graphs[a.Document] = &stored
	d := &drive{e: e, r: newRun(c.Run), graph: &stored, held: true}
	if err := d.append(ctx, KindAccepted, "", a, nil); err != nil {
		return Receipt{}, err
	}
	d.event(Event{Kind: EventRun, State: "accepted", Text: c.Graph.Name})
	if prepareErr != nil { // refused, but with a run and a report of its own
		if err := d.fail(ctx, "", prepareErr); err != nil {
			return Receipt{}, err
		}
	}
	return Receipt{Accepted, c.Run}, nil
}

// forgetDamaged makes room for a run whose records could not be read.
func (e *Engine) forgetDamaged(ctx context.Context, id string) error {
	log, err := e.c.Store.Load(ctx, id)
	store, able := e.c.Store.(Pruner)
	if err == nil && len(log.Entries) == 0 && len(log.Values) == 0 || !able {
		return nil
	}
	if err := store.Delete(ctx, id); err != nil {
		return fmt.Errorf("forget what is damaged of run %s: %w", id, err)
	}
	return nil
}

// unfinished finds the run of a command, ended or not, or else any other run
// that has not ended.
func (e *Engine) unfinished(ctx context.Context, c Command) (*run, error) {
	r, err := e.find(ctx, c.Run)
	if err != nil {
		return nil, err
	}
	if r.accepted != nil || r.lost != nil {
		return r, nil
	}
	if r, err = e.answering(ctx, c.CommandRef); err != nil || r != nil {
		return r, err
	}
	return e.open(ctx)
}

// answering finds the run that a command has joined, or nil.
func (e *Engine) answering(ctx context.Context, c CommandRef) (*run, error) {
	runs, err := e.runs(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range runs {
		r, err := e.find(ctx, id)
		if err != nil {
			return nil, err
		}
		if slices.Contains(r.commands, c) {
			return r, nil
		}
	}
	return nil, nil
}

// Open gives the id of the run that has not ended, or "".
func (e *Engine) Open(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.open(ctx)
	if r == nil {
		return "", err
	}
	return r.id, nil
}

// open gives the run that has not ended, or nil.
func (e *Engine) open(ctx context.Context) (*run, error) {
	if e.live != nil && e.live.ended == nil {
		return e.live, nil
	}
	runs, err := e.runs(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range runs {
		r, err := e.find(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.ended == nil && (r.accepted != nil || r.lost != nil) {
			return r, nil
		}
	}
	return nil, nil
}

// find gives a run as it is now.
func (e *Engine) find(ctx context.Context, id string) (*run, error) {
	if e.live != nil && e.live.id == id {
		return e.live, nil
	}
	return e.load(ctx, id)
}

// Commands are the commands that a run answers, the one that began it first.
func (e *Engine) Commands(ctx context.Context, run string) ([]CommandRef, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.find(ctx, run)
	if err != nil {
		return nil, err
	}
	return slices.Clone(r.commands), nil
}

// runs lists the runs of the store, and the one of the guard if the store has
// lost it.
func (e *Engine) runs(ctx context.Context) ([]string, error) {
	runs, err := e.c.Store.Runs(ctx)
	if errors.Is(err, ErrStore) && e.live == nil {
		if err = e.reset(err); err == nil {
			runs, err = e.c.Store.Runs(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	if g := e.guard.now; g.Run != "" && g.Seq > 0 && !slices.Contains(runs, g.Run) {
		runs = append(runs, g.Run)
	}
	return runs, nil
}

// mendFloor looks for the version floor in the proven runs of the journal if
// the guard is gone or both its copies are damaged, so that losing that one file
// does not open the way back to a version with known holes.
func (e *Engine) mendFloor(ctx context.Context) error {
	if e.mended || !e.guard.fresh {
		return nil
	}
	runs, err := e.runs(ctx)
	if err != nil {
		return err
	}
	for _, id := range runs {
		r, err := e.load(ctx, id)
		if err != nil {
			return err
		}
		if r.confirmed && r.tookHold() {
			e.guard.now.Floor = max(e.guard.now.Floor, securityVersion(r.release))
		}
		if r.ended != nil {
			e.guard.now.Counter = max(e.guard.now.Counter, r.ended.Order)
		}
	}
	e.mended = true
	return nil
}

func (e *Engine) join(ctx context.Context, r *run, c Command, goal string) (Receipt, error) {
	if r.accepted != nil && r.accepted.Goal != goal && (r.id == c.Run || slices.Contains(r.commands, c.CommandRef)) {
		return Receipt{Joined, r.id}, fmt.Errorf("run %s: %w: go on with it as it was accepted, or take another id", r.id, ErrGoal)
	}
	if r.id == c.Run && r.lost != nil && len(r.commands) == 0 {
		return Receipt{Joined, r.id}, e.adopt(ctx, r, c.CommandRef)
	}
	if slices.Contains(r.commands, c.CommandRef) || r.id == c.Run && r.lost != nil {
		return Receipt{Joined, r.id}, nil
	}
	if len(r.commands) >= maxCommands && r.id != c.Run {
		return Receipt{Busy, r.id}, nil
	}
	if r.ended == nil && r.accepted != nil && r.accepted.Goal == goal && r.id != c.Run && c.Plane != r.accepted.Commands[0].Plane {
		d := &drive{e: e, r: r, held: true}
		if err := d.append(ctx, KindJoined, "", c.CommandRef, nil); err != nil {
			return Receipt{}, err
		}
		return Receipt{Joined, r.id}, nil
	}
	if r.id == c.Run {
		return Receipt{Joined, r.id}, nil
	}
	return Receipt{Busy, r.id}, nil
}

// adopt gives a run whose command was lost with the journal to the command
// that asks for it again, and with it the report that was addressed to nobody.
func (e *Engine) adopt(ctx context.Context, r *run, c CommandRef) error {
	d := &drive{e: e, r: r, held: true}
	id := r.id + ".0"
	for _, key := range []string{outbox + id, taken + id} {
		if _, ok := r.values[key]; !ok {
			continue
		}
		rep, err := r.report(key)
		if err != nil {
			return err
		}
		rep.Plane, rep.Command = c.Plane, c.ID
		body, err := json.Marshal(rep)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		if key == outbox+id { // a key must not be put and deleted in one batch
			return d.append(ctx, KindJoined, "", c, map[string][]byte{key: body})
		}
		return d.append(ctx, KindJoined, "", c, map[string][]byte{outbox + id: body}, key)
	}
	return d.append(ctx, KindJoined, "", c, nil)
}

// goalOf names what a command wants: the workflow and its inputs.
func goalOf(c Command) (string, error) {
	inputs, err := json.Marshal(c.Inputs)
	if err != nil {
		return "", fmt.Errorf("inputs: %w", err)
	}
	return hexSHA256(c.Graph.Document, inputs), nil
}

// commandDigest names the stored command of a run.
func commandDigest(a *accepted) string {
	b, _ := json.Marshal(a) // it came from JSON
	return hexSHA256(b)
}

func hexSHA256(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// load folds a run. A journal that is damaged or behind its guard is rebuilt
// from the guard first.
func (e *Engine) load(ctx context.Context, id string) (*run, error) {
	r, err := e.fold(ctx, id)
	if g := e.guard.now; err == nil && id == g.Run && r.seq < g.Seq {
		err = fmt.Errorf("%w: run %s has %d records, its guard counted %d", ErrStore, id, r.seq, g.Seq)
	}
	if errors.Is(err, ErrStore) {
		return e.rebuild(ctx, id, err)
	}
	return r, err
}

func (e *Engine) fold(ctx context.Context, id string) (*run, error) {
	log, err := e.c.Store.Load(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load run %s: %w", id, err)
	}
	return fold(id, log)
}

func (e *Engine) reset(cause error) error {
	if e.c.Reset == nil {
		return cause
	}
	s, err := e.c.Reset(cause)
	if err != nil {
		return errors.Join(cause, err)
	}
	e.c.Store = s
	return nil
}

// rebuild begins the journal anew after damage. Only the guard's run can be
// unfinished, and the guard knows enough to end it.
func (e *Engine) rebuild(ctx context.Context, id string, cause error) (*run, error) {
	g := e.guard.now
	if id != g.Run { // an old run: it has ended, and nothing hangs on it
		d := &drive{e: e, r: newRun(id), held: true}
		d.event(Event{Kind: EventLog, Code: "state_lost", Text: cause.Error()})
		return d.r, nil
	}
	if err := e.reset(cause); err != nil {
		return nil, err
	}
	r, err := e.fold(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.seq > 0 { // the store has the run still, but only its beginning
		return nil, fmt.Errorf("%w (and setting it aside left run %s in it)", cause, id)
	}
	l := lost{Cause: short(cause.Error()), Trial: g.Trial, Confirmed: g.Confirmed, Ended: g.Ended}
	if b, err := e.blobs.get(g.Accepted); err == nil {
		if err := json.Unmarshal(b, &l.Accepted); err != nil {
			return nil, fmt.Errorf("read stored command: %w", err)
		}
	}
	d := &drive{e: e, r: r, held: true}
	d.event(Event{Kind: EventRun, State: "state_lost", Text: l.Cause})
	if err := d.append(ctx, KindLost, "", l, nil); err != nil {
		return nil, err
	}
	if l.Ended != "" {
		_, err = d.end(ctx, ended{State: EndState(l.Ended), Code: "state_lost", Message: l.Cause})
	}
	return r, err
}

// prepare lets every verb of the graph do what is costly or may be refused.
func (e *Engine) prepare(ctx context.Context, g *Graph, files map[string][]byte) error {
	for _, s := range slices.Concat(g.Compat, g.Steps) {
		if p, ok := s.Static.(Preparer); ok {
			err := p.Prepare(ctx, files)
			var refused *Refused
			if errors.As(err, &refused) && s.Line > 0 { // what is refused here is to be changed there
				err = &Refused{Code: refused.Code, Err: fmt.Errorf("line %d of the workflow: %w", s.Line, refused.Err)}
			}
			if err != nil {
				return &StepError{Step: s.ID, Err: err}
			}
		}
	}
	return nil
}

// graph gives the graph of a run, from memory or from the stored document.
func (e *Engine) graph(ctx context.Context, r *run) (*Graph, error) {
	if r.accepted == nil {
		return nil, errors.New("the stored command is gone")
	}
	document := r.accepted.Document
	if g := e.graphs[document]; g != nil {
		return g, nil
	}
	text, err := e.blobs.get(document)
	if err != nil {
		return nil, fmt.Errorf("read stored workflow: %w", err)
	}
	files := map[string][]byte{}
	for name, sum := range r.accepted.Files {
		if files[name], err = e.blobs.get(sum); err != nil {
			return nil, fmt.Errorf("read stored %s: %w", name, err)
		}
	}
	g, err := e.c.Reread(text, files)
	if err != nil {
		return nil, fmt.Errorf("read stored workflow: %w", err)
	}
	if err := e.prepare(ctx, g, files); err != nil {
		return nil, err
	}
	light := *g // what Reread gave may be shared
	light.Files = nil
	g = &light
	e.graphs[document] = g
	return g, nil
}

// StepError says in which step an error arose.
type StepError struct {
	Step string
	Err  error
}

func (s *StepError) Error() string { return fmt.Sprintf("step %s: %v", s.Step, s.Err) }

// Unwrap gives the cause.
func (s *StepError) Unwrap() error { return s.Err }

// Result is how far a run came.
type Result struct {
	Run     string        `json:"run"`
	State   EndState      `json:"state"`
	Code    string        `json:"code,omitempty"`
	Step    string        `json:"step,omitempty"`
	Message string        `json:"message,omitempty"`
	Took    time.Duration `json:"-"`
}

// Err is nil if the run succeeded, and otherwise says in one line where it stands.
func (r Result) Err() error {
	if r.State == Succeeded {
		return nil
	}
	return fmt.Errorf("%s: %s", r.State, cmp.Or(r.Message, r.Code))
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Type is the type of a verb's output in expressions.
type Type string

// The types of outputs.
const (
	String Type = "string"
	Int    Type = "int"
	Bool   Type = "bool"
)

// Class says what a verb promises about being called again.
type Class uint8

// The classes of verbs.
const (
	// Pure changes nothing and gives the same answer each time.
	Pure Class = iota + 1
	// Idempotent may be done again from the start with the same result.
	Idempotent
	// Resumable goes on from its checkpoint.
	Resumable
	// Once must not be done twice; it has a [Prober].
	Once
)

// Verb is an entry of the registry: how to make one, and what it promises.
type Verb struct {
	// New gives a pointer to a struct whose exported fields, with yaml tags, are the
	// verb's fields in a workflow. The value is a [Doer] or a [Filter].
	New     func() any
	Outputs map[string]Type
	Class   Class
}

// Doer is a verb with an effect. Do may be called again with the same inputs
// after a power cut. It may return a [*Retry], a [*Refused] or a [*Wait].
type Doer interface {
	Do(ctx context.Context, t *Task) error
}

// Filter is a verb that gives bytes. Filter builds the source and moves no
// artifact's bytes; it may ask the network for a description, such as a release manifest.
// It is called again after a restart and must then give a source of the same content.
type Filter interface {
	Filter(ctx context.Context, t *Task, in []Source) (Source, error)
}

// Reader is a verb that reads the bytes of other steps: their ids, in the order
// in which it gets the sources (as in of Filter, or as Task.In).
type Reader interface {
	Reads() []string
}

// Storer is a Reader that may need its inputs whole, stored and verified
// before it begins: for random access, or since its effects could not be held back.
type Storer interface {
	Stored(ctx context.Context, t *Task) (bool, error)
}

// Toucher is a verb that changes targets of the device: their refs, unresolved.
// The engine resolves and preserves each before the intent.
type Toucher interface {
	Touches() []string
}

// Undoer takes back what Do did, also if Do never ran or only half. The door's own
// undo of each touched target follows. It may return a [*Wait].
type Undoer interface {
	Undo(ctx context.Context, t *Task) error
}

// Found is a probe's answer.
type Found uint8

// What a probe finds.
const (
	NotDone Found = iota + 1
	Partial
	Done
)

// Prober finds out after a power cut how far Do came.
type Prober interface {
	Probe(ctx context.Context, t *Task) (Found, error)
}

// Skipper is a [Toucher] with outputs. Skipped sets them, as far as they are
// known, when Do is not called since the target runs from the artifact already.
type Skipper interface {
	Skipped(t *Task)
}

// Planner lists the effects that Do would have, without any.
type Planner interface {
	Plan(ctx context.Context, t *Task) ([]Effect, error)
}

// Preparer is a verb that does what is costly or may be refused before the
// command is accepted, such as compiling its module, from the fields that hold no
// expression. It is called again at each start of a resumed run.
type Preparer interface {
	Prepare(ctx context.Context, files map[string][]byte) error
}

// Confirmer is the verb that proves the new version. When the journal is
// lost during a trial, it alone is called to decide.
type Confirmer interface {
	Doer
	Confirms()
}

// Cleaner removes what only served the update, after the run is confirmed.
// Its errors are reported and change nothing.
type Cleaner interface {
	Clean(ctx context.Context, t *Task) error
}

// Certainty says how sure a planned figure is.
type Certainty string

// The certainties.
const (
	Exact   Certainty = "exact"
	AtMost  Certainty = "at most"
	Unknown Certainty = "unknown"
)

// Effect is one thing that a run would do to the device or the network.
type Effect struct {
	Step      string    `json:"step"`
	Kind      string    `json:"kind"` // download, write, space, restart, replace, report …
	Target    string    `json:"target,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`
	Certainty Certainty `json:"certainty"`
	Undo      string    `json:"undo,omitempty"`
	Detail    string    `json:"detail,omitempty"`
}

// Retry says that the step may succeed later. Without a retry word in the
// workflow it fails the step.
type Retry struct {
	After time.Duration // 0: the step's backoff
	// Fresh drops the step's checkpoint first: what came so far does not fit
	// what would come now. It is granted once even if no retry is left.
	Fresh bool
	Err   error
}

func (r *Retry) Error() string { return r.Err.Error() }

// Unwrap gives the cause.
func (r *Retry) Unwrap() error { return r.Err }

// Refused says that the device, its trust or its policy does not want the
// update. Before the first intent the run ends as refused, later it is undone.
type Refused struct {
	Code string // stable, such as "incompatible", "untrusted", "downgrade", "denied"
	Err  error
}

func (r *Refused) Error() string { return fmt.Sprintf("%s: %v", r.Code, r.Err) }

// Unwrap gives the cause.
func (r *Refused) Unwrap() error { return r.Err }

// Failure gives a failing step's error a stable code.
type Failure struct {
	Code string
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Wait says that the run goes on later: after a restart, or when something
// outside has happened. The run is durable and [Engine.Run] returns.
type Wait struct {
	For string // "restart"
}

func (w *Wait) Error() string { return "waiting for " + w.For }

// ErrCancelled is the cause of a run that was cancelled.
var ErrCancelled = errors.New("cancelled")

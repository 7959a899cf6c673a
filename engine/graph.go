package engine

import "time"

// Graph is a checked workflow: what [Engine.Submit] takes. Package
// engine/workflow makes it from a document.
type Graph struct {
	Name string
	// Document is the text that it was made from; the engine stores it and
	// hands it to Config.Reread when a run is resumed.
	Document []byte
	// Files are the modules and keys that the document names, by that name.
	// They are stored by digest before the command is accepted.
	Files map[string][]byte
	// Inputs are the declared inputs.
	Inputs map[string]Input
	// Compat are pure steps, done in order before anything is fetched.
	Compat []*Step
	// Steps in the order of the document.
	Steps []*Step
	// Report gives the fields of the terminal report.
	Report func(s *Scope) (map[string]any, error)
}

// Input declares an input of a workflow.
type Input struct {
	Type    Type
	Default any // nil: required
}

// Step is one node of the graph.
type Step struct {
	ID, Name, Verb string
	// Line and Column are where it stands in the document, from 1.
	Line, Column int
	// Needs are the ids of steps that come first, those it reads included.
	Needs []string
	// Lane names the steps that are undone together. "" is a lane too.
	Lane string
	// Keep stores the step's bytes even if one step alone reads them.
	Keep bool
	// NoUndo leaves the step's effects when the run is undone.
	NoUndo  bool
	Timeout time.Duration // 0: none
	Retry   RetryPolicy
	// When says whether the step is done at all. nil: always.
	When func(s *Scope) (bool, error)
	// Static is the verb with all fields set that hold no expression; what
	// Reads and Touches give of it is final.
	Static any
	// Bind gives a fresh verb with every field set.
	Bind func(s *Scope) (any, error)
}

// RetryPolicy is how often a step is tried and how long it waits in between,
// doubling each time up to one minute, or up to Backoff if that is longer.
type RetryPolicy struct {
	Max     int // tries after the first
	Backoff time.Duration
}

// Scope is what expressions see.
type Scope struct {
	Inputs  map[string]any
	Facts   map[string]string
	Release map[string]any            // of the last fetched release manifest: name, version, securityVersion
	Steps   map[string]map[string]any // outputs by step id
	Run     map[string]any            // id, attempt
}

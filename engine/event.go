package engine

import "time"

// EventKind is the kind of an [Event].
type EventKind string

// The kinds of events.
const (
	EventRun      EventKind = "run"      // accepted, resumed, ended: State says which
	EventStep     EventKind = "step"     // a step begins, is done, skipped or undone: State says which
	EventProgress EventKind = "progress" // Done of Total bytes; lossy, and never goes back within a step
	EventRetry    EventKind = "retry"
	EventRestart  EventKind = "restart" // armed, booted, confirmed, fell-back: State says which
	EventLog      EventKind = "log"
	EventReport   EventKind = "report" // interim reports, and delivery of terminal ones
)

// Event is one line of events.ndjson and of `--progress json`.
type Event struct {
	Seq   int64     `json:"seq"`
	Time  time.Time `json:"time"`
	Run   string    `json:"run"`
	Kind  EventKind `json:"kind"`
	Step  string    `json:"step,omitempty"`
	State string    `json:"state,omitempty"`
	Done  int64     `json:"done,omitempty"`  // bytes
	Total int64     `json:"total,omitempty"` // bytes, 0 if not known
	Text  string    `json:"text,omitempty"`
	Code  string    `json:"code,omitempty"`
}

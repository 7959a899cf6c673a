// Package control is what all clouds have in common: a [Dialect] is one
// cloud's language as a machine without sockets, threads or clock.
//
// Whatever happens goes in as an [In] (connected, a message, a response, time,
// a receipt of the engine, an event of a run), and what is to be done comes
// out as an [Out] (subscribe, publish, request, a command, a timer, a report
// that the cloud has taken). Package control/mqtt connects a dialect to a
// broker; package control/controltest plays a text conversation against any.
package control

import (
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// Dialect speaks one cloud's language for one device. It is used by one
// goroutine at a time, keeps no references to what it is given, and starts nothing.
type Dialect interface {
	// Step takes one input and emits what follows from it, in order. The same
	// state and the same inputs give the same outputs. It never panics, whatever a message holds.
	// emit must not call Step.
	Step(in In, emit func(Out))
	// Save gives what must survive a restart of the process, usually below a
	// few KiB and never above [MaxSave]. It is handed to the dialect's maker at
	// the next start. The owner looks after each Step and makes a changed
	// Save durable before it carries out what that Step emitted.
	Save() []byte
}

// MaxSave bounds what Save gives.
const MaxSave = 64 << 10 // bytes

// InKind says what happened.
type InKind string

// The inputs.
const (
	// InConnected: the connection is there anew; Session says whether the
	// broker kept the session. Subscriptions are to be made again.
	InConnected InKind = "connected"
	// InLost: the connection is gone.
	InLost InKind = "lost"
	// InMessage: Topic, Payload, QoS, Retained. Message identifies it for [OutHandled].
	InMessage InKind = "message"
	// InResponse: the answer to an [OutRequest] with Token: Status, Header, Payload, or Err.
	InResponse InKind = "response"
	// InTick: a timer with Token is due.
	InTick InKind = "tick"
	// InReceipt: the engine's answer to an [OutCommand] with Token. It may come
	// long after, in another connection, and after events of its run; not after a restart.
	InReceipt InKind = "receipt"
	// InEvent: an event of any run of the device. A dialect ignores those of
	// runs that it has neither commanded nor joined.
	InEvent InKind = "event"
	// InReport: a terminal report that is to reach the cloud. It comes again
	// after each restart and reconnect until [OutDelivered] names it, and once
	// more after a receipt that joined a run which has already ended.
	InReport InKind = "report"
	// InPublished: a publish with Token was acknowledged by the broker.
	InPublished InKind = "published"
)

// In is one input. Now is always set.
type In struct {
	Now      time.Time
	Kind     InKind
	Session  bool
	Topic    string
	Payload  []byte
	QoS      byte
	Retained bool
	Message  uint64
	Token    uint64
	Status   int
	Header   map[string]string
	Err      string // of a request that had no answer
	Receipt  engine.Receipt
	Refusal  string // why the agent took no command: "busy", "no workflow", …; "" if it took it
	Event    engine.Event
	Report   engine.Report
}

// OutKind says what is to be done.
type OutKind string

// The outputs.
const (
	OutSubscribe OutKind = "subscribe" // Topic, QoS
	OutPublish   OutKind = "publish"   // Topic, Payload, QoS; Token for InPublished, 0 for none
	OutRequest   OutKind = "request"   // Method, URL, Header, Payload; Token, Max bytes of the answer
	OutCommand   OutKind = "command"   // Command; Token for InReceipt
	OutCancel    OutKind = "cancel"    // Command.ID: cancel its run
	OutTimer     OutKind = "timer"     // After, Token. The same token again replaces the timer
	OutHandled   OutKind = "handled"   // Message: it may be acknowledged to the broker; of a lost connection: nothing to do
	OutDelivered OutKind = "delivered" // Report: the cloud has taken it, the outbox may forget it
	OutLog       OutKind = "log"       // Text for people, without secrets
)

// Out is one output.
type Out struct {
	Kind    OutKind
	Topic   string
	Payload []byte
	QoS     byte
	Token   uint64
	Message uint64
	Method  string
	URL     string
	Header  map[string]string
	Max     int64 // bytes
	After   time.Duration
	Command Command
	Report  string // id
	Text    string
}

// Command is what a cloud asks for, in words that a workflow's inputs take.
type Command struct {
	ID     string            // the cloud's own identity of the job: the same id is the same run
	Name   string            // which command of the dialect, such as "update"
	Inputs map[string]string // such as url, version, sha256, size
}

// Package hawkbit speaks the Direct Device Integration API of Eclipse hawkBit:
// the device asks an HTTP server again and again whether there is something to
// do, and tells it how that went.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last
// one saved. It is a machine without sockets or clock; package control says
// what drives it. It never subscribes: all it wants is requests, one at a time,
// below {url}/{tenant}/controller/v1/{device}:
//
//	GET  (the base)                     polling time, and links to what is to be done
//	PUT  configData                     the attributes, when the server asks for them
//	GET  deploymentBase/{action}        what to install, now or later
//	POST deploymentBase/{action}/feedback
//	GET  cancelAction/{action}          the action is not wanted any more
//	POST cancelAction/{action}/feedback
//	GET  confirmationBase/{action}      may it be installed? see Config.Confirm
//	POST confirmationBase/{action}/feedback
//
// A deployment becomes the command "update" with the inputs that
// [Config.Inputs] names. Its id is the action's with a digest of what is to be
// installed, since a server that was set up anew counts from 1 again. Size and
// digests are claims: the workflow checks what it fetches, and md5 and sha1
// prove nothing.
//
// What the server hears, in its own words:
//
//	proceeding            the update is in the journal; with Config.Progress, how far it is
//	resumed               the same after a restart of the program
//	scheduled             it waits, for a maintenance window or to be forced
//	rejected              another update runs; it is tried again with each poll
//	downloaded            a download without an installation is done
//	closed, success       the new version is proven
//	closed, failure       it is not; code is the exit code that updraft would have
//	                      (3 refused, 4 rolled back, 5 failed), details say why
//
// A cancellation is confirmed (closed, success) when the run was undone, and
// rejected when it came too late; the end of the update follows then. An
// action that the server has closed by itself answers 410, which counts as
// heard. An end is said until the server has taken it, and progress may be lost.
// Feedback holds no time of day, for a device whose clock is wrong would
// otherwise never count as updated.
//
// Links are followed as they are but for one thing: scheme and host are always
// those of Config.URL, and the path must lie below the device's own, so that no
// answer sends the token to somebody else. The links of artifacts go to the
// workflow as they are. The token itself is nothing that a dialect knows; who
// carries out its requests adds [Authorization] to those that are [Config.Ours].
//
// Not used of the API: CBOR, the installed base, the history of actions, and the
// switch of automatic confirmation.
package hawkbit

import (
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Limits on what is believed.
const (
	maxAnswer     = 64 << 10  // bytes of an answer that is not a deployment
	maxDeployment = 512 << 10 // bytes
	maxURL        = 4096      // bytes
	maxFiles      = 256       // of a deployment
	maxOpen       = 6         // jobs without an end that the server has taken
	maxTold       = 8         // ended jobs that are remembered
	maxText       = 300       // bytes of a text that the server is told
	maxOddities   = 16        // that are logged once
	maxNotes      = 200       // reports of progress for one job; the server takes 1000
)

// Times of waiting.
const (
	firstSleep = 5 * time.Minute // between polls, while the server has named no time
	minSleep   = time.Second
	maxSleep   = 24 * time.Hour
	firstWait  = 10 * time.Second // after a failure, then doubled
	lastWait   = 5 * time.Minute
	maxRetry   = time.Hour        // that a server may ask for with Retry-After
	againWait  = 30 * time.Second // between two reports of the same end
)

// The tokens of timers.
const (
	timerPoll uint64 = iota + 1
	timerProgress
	firstToken // of commands and requests
)

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c     Config
	base  string // URL, without a slash at its end
	jobs  []*job // ended ones in the order of their reports
	next  uint64 // token
	notes []string

	connected bool
	call      *call // under way
	due       bool  // the base document is to be asked for
	links     links // that are still to be followed
	armed     bool  // the timer of the next poll is set
	resting   bool  // after a failure: nothing is asked before that timer
	failures  int   // in a row
	sleep     time.Duration
	complaint string // why it rests, so that it is logged once
	oddities  map[string]bool
	confirmed string // the action whose confirmation was answered, or asked for in the log

	progress progress
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows the jobs that it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dialect{c: c, base: c.base(), next: firstToken, sleep: firstSleep}
	d.restore(save)
	return d, nil
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		logf(emit, text)
	}
	d.notes = nil
	switch in.Kind {
	case control.InConnected:
		d.lose()
		d.connected, d.due = true, true
		d.ask(emit)
	case control.InLost:
		d.lose()
	case control.InResponse:
		d.response(in, emit)
	case control.InReceipt:
		d.receipt(in, emit)
	case control.InReport:
		d.report(in, emit)
	case control.InEvent:
		d.event(in, emit)
	case control.InTick:
		d.tick(in, emit)
	case control.InMessage: // nothing was subscribed to
		emit(control.Out{Kind: control.OutHandled, Message: in.Message})
	}
}

// lose forgets what belongs to a connection.
func (d *Dialect) lose() {
	d.connected, d.call, d.links = false, nil, links{}
	d.armed, d.resting, d.failures = false, false, 0
}

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch {
	case in.Token == timerPoll && d.connected && d.armed:
		d.armed, d.resting, d.due = false, false, true
		for _, j := range d.jobs {
			j.held = false
		}
		d.ask(emit)
	case in.Token == timerProgress:
		d.progress.timer = false
		d.sayProgress(in.Now, emit)
	}
}

// token gives a number that no other output of this dialect has.
func (d *Dialect) token() uint64 {
	d.next++
	return d.next - 1
}

func logf(emit func(control.Out), text string) {
	emit(control.Out{Kind: control.OutLog, Text: text})
}

// Package awsiot speaks the shadow update pattern of AWS IoT: the cloud says in
// a device's shadow which software it desires, and the device reports how the
// update went.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last
// one saved. It is a machine without sockets or clock; package control says
// what drives it. The topics are plain, below state/{device}/update unless
// [Config.Topic] says otherwise:
//
//	…/update           device and cloud write: {"state": {"reported" or "desired": {…}}, "clientToken": "…"}
//	…/update/delta     the cloud says what differs: {"state": {"softwareURL": "…", "jobID": "…"}, "version": 5}
//	…/update/accepted  the cloud has taken an update, named by its clientToken
//	…/update/rejected  it has not: {"code": 409, "message": "…", "clientToken": "…"}
//
// A delta with a softwareURL becomes the command "update" with the inputs url
// and, where the delta has them, version, sha256 and size. These are claims: the
// workflow checks what it fetches. The command's id is the job id, or for a
// delta without one the URL without its query, since queries are secrets
// that change. The same id is the same job: it is done once, and a delta that
// names a finished job gets its report again. Who wants a failed update tried again
// gives it a new job id.
//
// A message is acknowledged to the broker only once the engine has made the
// command durable. A report is sent until the cloud accepts it, one at a time
// and in order, with the report's id as clientToken, so that the cloud can tell
// a repetition. On each connect without a report to send, the device says again
// what it reported last; the cloud answers with the delta if one was missed.
//
// The reported softwareURL repeats the desired one, query included, because the
// delta would not go away otherwise. So it stands in [Dialect.Save] too.
//
// With [Config.Shadow] the shadow is one of the service's own, classic or named, below
// $aws/things/{device}/shadow. The device asks for the whole document on each
// connect, on …/get, and finds what it missed in …/get/accepted, where nothing is
// left out. There must be no shadow yet: …/get/rejected with 404 is not an error. The
// service's documents have at most 8 KB, so that addresses should be short.
//
// What is malformed, too large, retained, meant for another device or older
// than what was seen is refused with one log line and changes nothing.
package awsiot

import (
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Limits on what is believed.
const (
	maxPayload  = 128 << 10 // bytes of a message, the cloud's own limit
	maxURL      = 4096      // bytes
	maxIdentity = 1024      // bytes of a URL without its query
	maxJobID    = 128       // bytes
	maxOpen     = 6         // jobs without an accepted report, those apart that the cloud rejects
	maxUntold   = 8         // jobs without an accepted report
	maxTold     = 8         // ended jobs that are remembered
	maxBare     = 3 << 10   // bytes of saved ends of jobs of which nothing else is known
	maxError    = 300       // bytes of the text that a report gives as the reason
)

// Times of waiting.
const (
	firstWait = 10 * time.Second // for the answer to a report, then doubled
	lastWait  = 5 * time.Minute
	againWait = 30 * time.Second // between two reports of the same end
)

// The tokens of timers.
const (
	timerAnswer uint64 = iota + 1
	timerAgain
	timerProgress
	firstToken // of commands and publishes
	timerGet   = 1 << 32
)

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c     Config
	topic string // of updates; the others are below it
	seen  int64  // version of the newest delta, 0 for none
	jobs  []*job // ended ones in the order of their reports
	last  string // id of the job whose report the shadow holds, "" for none
	taken int64  // version of the shadow that took it, 0 if not known
	ask   bool   // what the shadow holds is to be said again, when the timer is due
	next  uint64 // token
	notes []string

	connected bool
	heard     bool   // the cloud has answered anything since the connect
	queue     []*job // reports to send; the first is under way
	waiting   bool   // for the answer to the first, or for its next attempt
	gets      int    // attempts to get the document of a Shadow, 0 if it is here
	published uint64 // token of the last publish of the first, if it counts

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
	d := &Dialect{c: c, topic: c.topic(), next: firstToken}
	d.restore(save)
	return d, nil
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		emit(control.Out{Kind: control.OutLog, Text: text})
	}
	d.notes = nil
	switch in.Kind {
	case control.InConnected:
		d.connect(in, emit)
	case control.InLost:
		d.lose()
	case control.InMessage:
		d.message(in, emit)
	case control.InReceipt:
		d.receipt(in, emit)
	case control.InReport:
		d.report(in, emit)
	case control.InPublished:
		if d.c.Delivery == OnPublished && in.Token != 0 && in.Token == d.published && len(d.queue) > 0 {
			d.delivered(in.Now, d.queue[0], emit)
		}
	case control.InEvent:
		d.event(in, emit)
	case control.InTick:
		d.tick(in, emit)
	}
}

// connect subscribes anew, and sends what waits or else says what was reported last.
func (d *Dialect) connect(in control.In, emit func(control.Out)) {
	d.lose()
	d.connected = true
	for _, j := range d.jobs {
		j.attempt = 0
	}
	if !in.Session { // nothing old can be on its way
		d.seen, d.taken = 0, 0
	}
	for _, answer := range []string{"/delta", "/accepted", "/rejected"} {
		emit(control.Out{Kind: control.OutSubscribe, Topic: d.topic + answer, QoS: 1})
	}
	if d.c.Shadow != "" {
		for _, answer := range []string{"/accepted", "/rejected"} {
			emit(control.Out{Kind: control.OutSubscribe, Topic: d.getTopic() + answer, QoS: 1})
		}
		d.send(emit)
		d.get(emit)
		return
	}
	if len(d.queue) > 0 {
		d.send(emit)
	} else {
		d.announce(emit)
	}
}

// lose forgets what belongs to a connection. Messages that were not
// acknowledged come again on the next.
func (d *Dialect) lose() {
	d.connected, d.heard, d.waiting, d.published, d.gets = false, false, false, 0, 0
	for _, j := range d.jobs {
		j.message = 0
	}
}

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerAnswer:
		if d.waiting {
			if d.queue[0].attempt == 1 && !d.heard && d.c.Delivery != OnPublished { // brokers drop in silence what a client may not do
				logf(emit, fmt.Sprintf("%s: no answer to the report of job %s: may this client publish and read there?", d.topic, d.queue[0].ID))
			}
			d.send(emit)
		}
	case timerAgain:
		for _, j := range slices.Clone(d.jobs) {
			if j.again {
				d.enqueue(j)
			}
		}
		if d.ask && len(d.queue) == 0 && d.connected {
			d.announce(emit)
		}
		d.ask = false
		d.begin(emit)
	case timerGet:
		if d.gets > 0 && d.connected {
			d.get(emit)
		}
	case timerProgress:
		d.progress.timer = false
		d.sendProgress(in.Now, emit)
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

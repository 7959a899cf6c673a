// Package awsjobs speaks AWS IoT Jobs: the cloud keeps a queue of jobs for each
// thing, and the device takes the next one, says how it goes and how it ended.
//
// [New] makes the [Dialect] of one thing, from a [Config] and what the last one
// saved. It is a machine without sockets or clock; package control says what
// drives it. The topics are those of the service, below $aws/things/{device}/jobs:
//
//	…/$next/get        which job is next? Asked on each connect, and after each end
//	…/start-next       the same, and the cloud counts it as begun; instead of $next/get if [Config.Start] says so
//	…/notify-next      the cloud says that another job is next, or none
//	…/notify           the cloud says which jobs are waiting: a hint to look again
//	…/{job}/get        is this job still wanted? Asked when the cloud names another one
//	…/{job}/update     IN_PROGRESS with details, and one of SUCCEEDED, FAILED, REJECTED
//
// A request is answered on its topic with /accepted or /rejected behind it. One
// is under way at a time, each attempt with a clientToken of its own; without an answer
// within ten seconds, or when the service is busy, it is made again, later each time.
//
// A job becomes the command "update". Its id is the job id, a slash and the number of the
// execution, such as "j-17/1": the same id is the same run, and an execution that the
// cloud retries has a new number. Its inputs come from the job document, see
// [Inputs]; they are claims, and nothing in a document makes the device run
// a program or trust what its own file does not. A document that makes no sense is REJECTED.
//
// What the cloud is told:
//
//	the command is durable       IN_PROGRESS {stage: accepted}, unless the job is in progress already
//	steps, bytes, restarts       IN_PROGRESS {stage: running, rebooting or confirming, step, progress}
//	succeeded                    SUCCEEDED   {stage, version}
//	refused, before any change   REJECTED    {stage, code, step, message}; FAILED for what a signature or digest is wrong with
//	rolled back, failed          FAILED      {stage, code, step, message}
//
// Updates name the version of the execution that they build upon. A refusal by
// the cloud says what it has: a newer version is taken over and the update made
// again; an end is final. A job that the cloud has cancelled, timed out or removed
// is cancelled here too, and nothing more is said of it.
//
// One job is done at a time. After a restart the device asks for the next job, finds
// the one that it works on, and goes on. Job documents bring presigned URLs that are
// new with each delivery; documents are compared without queries.
//
// # Connection
//
// The service listens at port 8883 with a client certificate, and at 443 if [ALPN] is
// offered in the handshake. The client id is the name of the thing, there is
// neither user nor password, and messages have at most 128 KB.
//
// # Streams
//
// The service can also send files over MQTT. [Stream] asks for the blocks of one
// and puts them in order; a job document names it as "stream", and the
// command has the url aws-stream:STREAM/FILE, see [ParseStreamURL].
package awsjobs

import (
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// ALPN is the protocol that a client offers to reach the service at port 443.
const ALPN = "x-amzn-mqtt-ca"

// Limits on what is believed and remembered.
const (
	maxPayload = 128 << 10 // bytes of a message, the cloud's own limit
	maxURL     = 4096      // bytes
	maxArgs    = 32
	maxArgText = 16 << 10 // bytes of all arguments
	maxName    = 128      // bytes of an operation, version or path
	maxTold    = 8        // ended jobs that are remembered
	maxUntold  = 16       // jobs without an accepted end
	maxDetail  = 1024     // bytes of a value in statusDetails
	maxError   = 300      // bytes of the text that an end gives as the reason
)

// Times of waiting.
const (
	firstWait = 10 * time.Second // for an answer, then doubled
	lastWait  = 5 * time.Minute
	againWait = 30 * time.Second // between two reports of the same end
)

// The tokens of timers.
const (
	timerAnswer uint64 = iota + 1
	timerProgress
	firstToken // of commands
)

// Dialect is the dialect of one thing. It must not be shared.
type Dialect struct {
	c     Config
	topic string // $aws/things/{device}/jobs
	jobs  []*job // ended ones in the order of their ends
	next  uint64 // token
	count int    // of requests, for their clientToken
	notes []string

	connected bool
	ask       bool // which job is next is to be found out
	pending   *request
	progress  progress
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the cloud and the engine know the jobs. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dialect{c: c, topic: "$aws/things/" + c.Device + "/jobs", next: firstToken}
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
		d.connect(emit)
	case control.InLost:
		d.lose()
	case control.InMessage:
		d.message(in, emit)
	case control.InReceipt:
		d.receipt(in, emit)
	case control.InReport:
		d.report(in, emit)
	case control.InEvent:
		d.event(in.Event)
	case control.InTick:
		d.tick(in, emit)
	}
	d.pump(in.Now, emit)
}

// connect subscribes anew and asks for the next job. The service answers a
// request also without a subscription, but not every broker in between does.
func (d *Dialect) connect(emit func(control.Out)) {
	d.lose()
	d.connected, d.ask = true, true
	below := []string{"/notify", "/notify-next", "/+/get/accepted", "/+/get/rejected", "/+/update/accepted", "/+/update/rejected"}
	if d.c.Start == StartNext {
		below = append(below, "/start-next/accepted", "/start-next/rejected")
	}
	for _, answer := range below {
		emit(control.Out{Kind: control.OutSubscribe, Topic: d.topic + answer, QoS: 1})
	}
	for _, j := range d.jobs {
		j.stuck = false
		if j.Stage == dropped && j.restored { // the wish may not have reached the engine
			j.restored, j.free = false, true
			emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: j.command()}})
		}
	}
}

// lose forgets what belongs to a connection.
func (d *Dialect) lose() { d.connected, d.pending = false, nil }

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerAnswer:
		if r := d.pending; r != nil && d.connected {
			if r.attempt == 1 && !r.paused {
				logf(emit, fmt.Sprintf("%s: no answer: may this client publish and read there?", r.topic))
			}
			d.send(in.Now, emit)
		}
	case timerProgress:
		d.progress.timer = false
	}
}

func logf(emit func(control.Out), text string) {
	emit(control.Out{Kind: control.OutLog, Text: text})
}

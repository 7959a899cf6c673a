// Package azurehub speaks to Azure IoT Hub: the cloud calls the direct method
// firmwareUpdate, or desires firmware in the device's twin, and the device
// reports in the twin how far it is.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last
// one saved. It is a machine without sockets or clock; package control says
// what drives it. [Identity.Login] gives what the CONNECT needs: client id, user
// name, and a SAS token with the time at which to connect anew; with a client
// certificate there is no token.
//
// The vendor's samples know three shapes, and [Config.Shape] chooses one:
//
//	flat      the method's payload is {"fwPackageUri": "…"}; reported are firmwareStatus
//	          (standBy, downloading, applying, completed, and our failed) and times
//	iothubDM  the same method; reported is iothubDM.firmwareUpdate with status (waiting,
//	          downloading, downloadComplete, downloadfailed, applying, applyComplete, applyFailed)
//	firmware  no method: the desired property firmware {fwVersion, fwPackageURI,
//	          fwPackageCheckValue} asks; reported is firmware with fwUpdateStatus (current,
//	          downloading, verifying, applying, rebooting, error, rolledback)
//
// What is asked for becomes the command "update" with the input url and, where
// they are given, version, sha256 or md5, or check for a check value that is neither.
// These are claims: the workflow checks what it fetches.
//
// A method call is answered when the engine has made the command durable: 200,
// also for the same URL while it runs; 409 for another; 400 for a payload that is
// wrong; 403 for a command that the device refuses; 202 if the engine takes more
// than four seconds. Other methods are answered 501: there is none to cancel with. The hub keeps no
// calls for devices that are away; whoever calls must try again. Once an update has ended, a
// call with its URL is a new update, but for one with the request id of an old one.
//
// The hub notifies a device of desired properties while it is connected only. So
// after each connect the twin is read; notifications that are not newer are
// dropped, and a gap in their versions has it read again. What is desired is done once: it is done
// again when it is desired again in a later notification.
//
// Reports are merge patches, one at a time and in order. An end is sent until the
// hub has answered with 2xx, after 429 and 5xx with longer and longer pauses. Of the stages
// between only the newest is sent. At the start of the program, a device without an update
// says that it is ready. A URL is reported without its query, since that may be a secret.
// It stands in [Dialect.Save], with the query, as long as its update runs.
//
// The member downloadComplete of the shape flat is written when the download starts,
// as the sample does. Times are RFC 3339 in UTC; [Config.Sample] writes the sample's.
package azurehub

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Limits on what is believed.
const (
	maxCall      = 128 << 10 // bytes of a method's payload, the hub's own limit
	maxTwin      = 256 << 10 // bytes of a twin: 32 KB of values each way, and what JSON adds
	maxURL       = 4096      // bytes, the hub's own limit of a value
	maxVersion   = 128       // bytes
	maxCheck     = 256       // bytes
	maxRequest   = 256       // bytes of a request id
	maxCalls     = 16        // of one connection that are remembered
	maxUntold    = 8         // updates without a taken report that are remembered
	maxTold      = 16        // reports that the hub has taken
	maxQueue     = 64        // reports that wait; the outbox brings the others again
	maxError     = 300       // bytes of the text that a report gives as the reason
	maxSubstatus = 200       // bytes
)

// Times of waiting.
const (
	firstWait = 10 * time.Second // for the hub's answer to a request, then doubled
	lastWait  = 5 * time.Minute
	callWait  = 4 * time.Second // for the engine, before a call is answered 202: hubs wait at least five
	staleWait = time.Second     // before a twin is read again that was older than a notification
	busyWait  = time.Minute     // before desired firmware is tried again that the device was too busy for
)

// The tokens of timers.
const (
	timerPatch uint64 = iota + 1
	timerTwin
	timerCall
	timerBusy
	timerProgress
	firstToken // of commands
)

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c     Config
	shape shape
	jobs  []*job   // at most one has not ended; those that have wait for the hub to take their report
	told  []string // ids of reports that the hub has taken, newest last
	now   string   // version that the device runs, "" if not known
	done  *done    // the desired firmware that was looked at last
	next  uint64   // token
	count uint64   // of requests, for their ids
	jobNo uint64   // of the last method call that became a job
	notes []string

	connected bool
	ready     bool // said since the program began
	calls     []call
	queue     []*patch // to send; the first is under way
	waiting   bool     // for the answer to the first, or for its next attempt
	request   string   // id of the first's request
	attempt   int

	twin     twin
	progress progress
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows what it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Dialect{c: c, shape: shapes[c.shape()], now: c.Version, next: firstToken}
	d.restore(save)
	return d, nil
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		say(emit, text)
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
	case control.InEvent:
		d.event(in, emit)
	case control.InTick:
		d.tick(in, emit)
	}
}

// connect subscribes anew, says what is to be said, and reads the twin.
func (d *Dialect) connect(in control.In, emit func(control.Out)) {
	d.lose()
	d.connected, d.attempt = true, 0
	subscribe := func(topic string, qos byte) {
		emit(control.Out{Kind: control.OutSubscribe, Topic: topic, QoS: qos})
	}
	// A call that comes twice in one connection is known by its request id. With QoS 0
	// none comes again in the next, when its caller has long given up.
	subscribe(topicMethods+"#", 0)
	subscribe(topicAnswers+"#", 0)
	subscribe(topicDesired+"#", 1)
	for _, j := range d.jobs {
		if j.restored && !j.Ended { // whether the engine knows it still, the engine must say
			j.restored = false
			d.command(j, emit)
		}
	}
	if !d.ready {
		d.ready = true
		if len(d.jobs) == 0 && len(d.queue) == 0 {
			d.show(nil, d.shape.ready(d, in.Now), emit)
		}
	}
	d.begin(emit)
	d.twin.attempt = 0
	d.readTwin(emit)
}

// lose forgets what belongs to a connection.
func (d *Dialect) lose() {
	d.connected, d.waiting, d.request = false, false, ""
	d.calls = nil
	d.twin.request, d.twin.read, d.twin.ahead = "", false, 0
}

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerPatch:
		if d.waiting {
			d.send(emit)
		}
	case timerTwin:
		if d.connected && !d.twin.read {
			d.readTwin(emit)
		}
	case timerCall:
		if j := d.open(); j != nil {
			j.late = true
			d.answer(j, 202, waits, emit)
		}
	case timerBusy:
		d.consider(false, emit)
	case timerProgress:
		d.progress.timer = false
		d.sendProgress(in.Now, emit)
	}
}

// message takes what the hub delivers. Whatever it is, it is acknowledged:
// what starts an update is in Save.
func (d *Dialect) message(in control.In, emit func(control.Out)) {
	t, err := readTopic(in.Topic)
	switch {
	case err != nil:
	case in.Retained:
		err = fmt.Errorf("%w: retained, so it may be old", ErrMessage)
	case t.kind == topicMethods:
		d.called(in, t, emit)
	case t.kind == topicAnswers:
		err = d.answered(in, t, emit)
	default:
		err = d.notified(in, t, emit)
	}
	if err != nil {
		say(emit, fmt.Sprintf("%q: %v: ignored", redact(in.Topic, 120), err))
	}
	emit(control.Out{Kind: control.OutHandled, Message: in.Message})
}

// open is the update that has not ended, or nil.
func (d *Dialect) open() *job {
	i := slices.IndexFunc(d.jobs, func(j *job) bool { return !j.Ended })
	if i < 0 {
		return nil
	}
	return d.jobs[i]
}

// id gives a request id that no other request of this program has.
func (d *Dialect) id() string {
	d.count++
	return fmt.Sprint(d.count)
}

// pause is how long to wait for the answer to an attempt, from 1. The times of
// different devices differ by up to a quarter, so that they do not all come at once.
func (d *Dialect) pause(attempt int) time.Duration {
	wait := lastWait
	if attempt <= 5 {
		wait = firstWait << max(attempt-1, 0)
	}
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s %d", d.c.Device, attempt) // a hash takes everything
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	return wait.Round(100 * time.Millisecond)
}

func say(emit func(control.Out), text string) {
	emit(control.Out{Kind: control.OutLog, Text: text})
}

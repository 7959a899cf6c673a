// Package tencent speaks the firmware upgrade of Tencent Cloud IoT Hub: the
// cloud hands a device the address of a firmware, and the device says how far it is.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last
// one saved. It is a machine without sockets or clock; package control says
// what drives it, and [Connection] gives what the broker asks for. There are two topics:
//
//	$ota/update/{product}/{device}  the cloud: update_firmware, report_version_rsp
//	$ota/report/{product}/{device}  the device: report_version, report_progress
//
// On each connect the device reports the version that it runs. If the
// cloud has a task for it, the answer is an update_firmware with url, version, md5sum and
// file_size. It becomes the command "update" with the inputs url, version, md5
// and size. These are claims: the workflow checks what it fetches, and the MD5 proves
// nothing about who made the file, so that a device whose trust asks for more refuses it.
//
// The messages have no job id. A version is done once at a time, and the same
// version pushed again while it is done is a duplicate, whatever its URL. Once the
// cloud has the end, the same version is a new attempt. So the id of a command is the version
// and the number of the attempt, such as 0.2#1. A push of the version that the
// device runs already is answered with that version, and nothing else.
//
// While the update runs, the cloud hears "downloading" from 0 to 100, then
// "burning". Downloading is what the first step does that reports bytes, and burning is
// everything after it. The end is one "done" or one "fail", with -1 for a download that did not come
// about, -2 for a file that is not there, -3 for a URL that has expired, -4
// for a file that is not the promised one, and -5 for all else, a refusal too. It
// is sent again on each connect until the broker acknowledges it, before the
// version is reported: a cloud that hears the version first would push what has ended. After "done" the device
// reports the new version.
//
// A URL that has expired while a newer one was pushed is no failure: the
// update begins again with the newer one.
//
// There is no message that cancels an update, and none that tries one again.
//
// What is malformed, too large, retained or for another device gets one log
// line and changes nothing; a malformed update_firmware that names its version
// gets a "fail" besides.
package tencent

import (
	"time"

	"github.com/updraft-ota/updraft/control"
)

// Limits on what is believed.
const (
	maxPayload = 64 << 10 // bytes of a message
	maxURL     = 4096     // bytes
	maxVersion = 32       // characters, the cloud's own limit
	maxOpen    = 4        // versions without a told end, for which a new one is taken
	maxUntold  = 16       // versions without a told end
	maxTold    = 8        // ended versions that are remembered
	maxMessage = 128      // bytes of the text that goes with a failure
	maxRenewed = 3        // attempts with a newer URL, without the cloud hearing of it
)

// The tokens of timers.
const (
	timerVersion uint64 = iota + 1
	timerProgress
	firstToken // of commands and publishes
)

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c       Config
	up      string // topic of what the device says
	down    string // topic of what the cloud says
	version string // what the device runs, in the cloud's words
	jobs    []*job // ended ones in the order of their ends
	next    uint64 // token
	notes   []string

	connected bool
	sent      uint64 // token of the end that is under way, 0 for none
	sending   *job   // whose end that is
	ask       bool   // the version is to be reported after the next end: a push was not taken
	hello     hello
	progress  progress
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows the runs that it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	topic := c.Product + "/" + c.Device
	d := &Dialect{c: c, up: "$ota/report/" + topic, down: "$ota/update/" + topic, version: c.Version, next: firstToken}
	d.restore(save)
	return d, nil
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		logLine(emit, text)
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
		d.published(in, emit)
	case control.InEvent:
		d.event(in, emit)
	case control.InTick:
		d.tick(in, emit)
	}
}

// connect subscribes anew, tells the ends that wait, and reports the version.
func (d *Dialect) connect(in control.In, emit func(control.Out)) {
	d.lose()
	d.connected = true
	d.hello = hello{owed: true}
	emit(control.Out{Kind: control.OutSubscribe, Topic: d.down, QoS: 1})
	d.flush(in.Now, emit)
	d.tell(in.Now, emit)
}

// lose forgets what belongs to a connection.
func (d *Dialect) lose() {
	d.connected, d.sent, d.sending = false, 0, nil
	for _, j := range d.jobs {
		j.message = 0
	}
}

func (d *Dialect) tick(in control.In, emit func(control.Out)) {
	switch in.Token {
	case timerVersion:
		if !d.hello.heard {
			d.hello.owed = true
		}
		d.flush(in.Now, emit)
	case timerProgress:
		d.progress.timer = false
		d.tell(in.Now, emit)
	}
}

// flush sends what waits: the ends one at a time and in order, then the version.
func (d *Dialect) flush(now time.Time, emit func(control.Out)) {
	if !d.connected || d.sent != 0 {
		return
	}
	if j := d.first(); j != nil {
		d.sent, d.sending = d.token(), j
		j.late = d.hello.version != ""
		emit(control.Out{Kind: control.OutPublish, Topic: d.up, QoS: 1, Token: d.sent, Payload: j.Ending.payload(j.Version)})
	} else if d.hello.owed {
		d.sayVersion(now, emit)
	}
}

// token gives a number that no other output of this dialect has.
func (d *Dialect) token() uint64 {
	d.next++
	return d.next - 1
}

func logLine(emit func(control.Out), text string) {
	emit(control.Out{Kind: control.OutLog, Text: text})
}

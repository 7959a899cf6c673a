// Package adu speaks Azure Device Update for IoT Hub: the cloud writes into a
// device's twin which signed update is to be deployed, and the device reports its
// state there.
//
// [New] makes the [Dialect] of one device, from a [Config] and what the last one
// saved. It is a machine without sockets or clock; package control says what drives
// it. Everything is in the twin's component deviceUpdate:
//
//	desired.service   {"workflow": {"action": 3, "id": "…"}, "updateManifest": "…", "updateManifestSignature": "…", "fileUrls": {…}}
//	reported.agent    {"deviceProperties": {…}} on each connect, then {"state": 6 | 0 | 255, "workflow": {…}, "lastInstallResult": {…}}
//	reported.service  {"ac": 200, "av": …, "value": {…}}, which acknowledges the wish
//
// The connection is that of an IoT Hub device whose user name ends in
// "&model-id=" and [ModelID].
//
// A deployment (action 3) is answered by state 6. Then the root key package is
// fetched, the manifest's signature verified, and manifests that are files are
// fetched; package manifest does the judging. If all is well it becomes the
// command "update", whose inputs are [Inputs]; otherwise the device reports 255 with
// the reference agent's extended result code, and nothing else happens. An
// update that is installed already, as far as this device installed it itself and
// no other run came after, is reported as done without a command.
//
// The workflow's id with its retryTimestamp is the identity of a deployment: it
// is done once, however often the hub sends it. Another retryTimestamp or another
// id puts an end to what runs, without a report of that, and begins anew. Action 255 cancels.
// States 0 (done, cancelled or restored) and 255 (failed) are sent until the
// hub takes them, in order; an end is saved before it is sent.
//
// What is malformed or too large is refused with one log line. A wish without a
// usable workflow.id can have no report, and is not acknowledged.
package adu

import (
	"fmt"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/engine"
)

// ModelID is the Plug and Play model that a device names when it connects.
const ModelID = "dtmi:azure:iot:deviceUpdateModel;3"

// Limits on what is believed.
const (
	maxPayload = 256 << 10 // bytes of a twin, both of its sides with room
	maxID      = 128       // bytes of workflow.id and of retryTimestamp
	maxURL     = 4096      // bytes
	maxUntold  = 8         // ends that the hub has not taken
	maxTold    = 8         // reports of the engine that are remembered as taken
	maxEarly   = 8         // reports of the engine before the twin was read
	maxDetails = 300       // bytes of resultDetails
	maxFetches = 4         // attempts to fetch a document
)

// Times of waiting.
const (
	firstWait = 10 * time.Second // for an answer, then doubled
	lastWait  = 5 * time.Minute
	goneWait  = 2 * time.Minute // for the end of a run that the engine has not spoken of since the start
)

// The tokens of timers.
const (
	timerTwin uint64 = iota + 1
	timerAnswer
	timerFetch
	timerGone
	firstToken // of commands and requests
)

// Dialect is the dialect of one device. It must not be shared.
type Dialect struct {
	c     Config
	built manifest.Roots // trusted because of the configuration
	roots manifest.Roots // in force
	store string         // the root key package in force, "" if none was fetched
	notes []string
	token uint64

	twin  twin
	wish  *wish // the newest, nil before the first
	fresh bool  // no wish was looked at since the start
	early []engine.Report

	job       *job
	done      identity // of the deployment that ended last
	ran       string   // its run
	installed manifest.UpdateID
	have      []string // SHA-256 of the files of what is installed

	queue   []*note // that the hub has not taken
	shown   *note   // the newest state that it has taken
	told    []string
	last    uint64 // number of the newest note
	attempt int    // of sending the queue, since something was taken
}

var _ control.Dialect = (*Dialect)(nil)

// New makes a dialect that goes on from save, which is what [Dialect.Save]
// gave, or nil at the first start. A save that cannot be read is said in a log
// line and given up: the engine knows the runs that it has done. Errors wrap [ErrConfig].
func New(c Config, save []byte) (*Dialect, error) {
	c = c.filled()
	built, err := c.check()
	if err != nil {
		return nil, err
	}
	d := &Dialect{c: c, built: built, roots: built, token: firstToken, fresh: true}
	d.restore(save)
	return d, nil
}

// Step takes one input.
func (d *Dialect) Step(in control.In, emit func(control.Out)) {
	for _, text := range d.notes {
		logf(emit, "%s", text)
	}
	d.notes = nil
	switch in.Kind {
	case control.InConnected:
		d.connect(emit)
	case control.InLost:
		d.lose()
	case control.InMessage:
		d.message(in, emit)
		emit(control.Out{Kind: control.OutHandled, Message: in.Message}) // the twin is read again whenever it matters
	case control.InResponse:
		d.response(in, emit)
	case control.InReceipt:
		d.receipt(in, emit)
	case control.InReport:
		d.report(in.Report, emit)
	case control.InEvent:
		d.event(in.Event)
	case control.InTick:
		d.tick(in.Token, emit)
	}
}

// connect subscribes anew, says what the device is, sends what waits, and asks for the twin.
func (d *Dialect) connect(emit func(control.Out)) {
	d.lose()
	d.twin.connected, d.attempt = true, 0
	for _, filter := range []string{twinAnswers, twinPatches} {
		emit(control.Out{Kind: control.OutSubscribe, Topic: filter, QoS: 1})
	}
	d.drop(func(n *note) bool { return n.Kind == kindProperties })
	d.queue = slices.Insert(d.queue, 0, &note{Kind: kindProperties})
	d.send(emit)
	d.read(emit)
}

// lose forgets what belongs to a connection.
func (d *Dialect) lose() {
	d.twin = twin{rid: d.twin.rid, acked: d.twin.acked}
	for _, n := range d.queue {
		n.rid = 0
	}
}

func (d *Dialect) tick(token uint64, emit func(control.Out)) {
	switch token {
	case timerTwin:
		if d.twin.connected && !d.twin.known {
			d.read(emit)
		}
	case timerAnswer:
		d.send(emit)
	case timerFetch:
		if d.job != nil && d.job.stage == checking && d.job.ask == 0 {
			d.fetch(emit)
		}
	case timerGone:
		if j := d.job; j != nil && (j.Cancel || j.Leaving) && !j.sure {
			logf(emit, "deployment %s: the engine knows no run of it: it is over", j.ID)
			d.finish(cancelled(j.identity), emit)
		}
	}
}

// event confirms the run of the job, and sees runs that others have asked for.
func (d *Dialect) event(e engine.Event) {
	switch {
	case d.job != nil && d.job.Run != "" && d.job.Run == e.Run:
		d.job.sure = true
	case e.Kind == engine.EventRun && e.Run != d.ran && (d.job == nil || d.job.stage != asked):
		d.installed, d.have = manifest.UpdateID{}, nil // what it leaves behind, nobody here knows
	}
}

// newToken gives a number that no other output of this dialect has.
func (d *Dialect) newToken() uint64 {
	d.token++
	return d.token - 1
}

func logf(emit func(control.Out), format string, args ...any) {
	emit(control.Out{Kind: control.OutLog, Text: fmt.Sprintf(format, args...)})
}

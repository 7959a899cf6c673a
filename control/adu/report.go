package adu

import (
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/engine"
)

// kindOf says what a note tells the hub.
type kindOf string

const (
	kindProperties kindOf = "properties" // what the device is
	kindAck        kindOf = "ack"        // that a wish was taken in
	kindBegun      kindOf = "begun"      // state 6
	kindEnd        kindOf = "end"        // state 0 or 255
)

// note is something that the hub is to be told, until it takes it.
type note struct {
	Kind kindOf
	ending
	payload []byte // of an acknowledgement
	version int64  // of the twin that is acknowledged
	number  uint64 // in the order of making
	rid     uint64 // of the last sending in this connection, 0 for none or a refused one
	owed    bool   // the outbox waits to hear that the report is taken
}

func (n *note) state() bool { return n.Kind == kindBegun || n.Kind == kindEnd }

// put adds a note to those that the hub is to be told, and sends it.
func (d *Dialect) put(n *note, emit func(control.Out)) {
	d.last++
	n.number = d.last
	d.queue = append(d.queue, n)
	if d.twin.connected {
		d.publish(n, emit)
		d.arm(emit)
	}
}

// send tells all that the hub has not taken, in order. If an older state than
// the one it has is among them, that one comes last once more.
func (d *Dialect) send(emit func(control.Out)) {
	if !d.twin.connected || len(d.queue) == 0 {
		return
	}
	newest := true
	for _, n := range d.queue {
		newest = newest && (d.shown == nil || !n.state() || n.number > d.shown.number)
	}
	if !newest {
		again := *d.shown
		again.Report, again.owed = "", false
		d.queue = append(d.queue, &again)
		slices.SortStableFunc(d.queue, func(a, b *note) int { return int(a.number) - int(b.number) })
		d.shown = nil
	}
	for _, n := range d.queue {
		d.publish(n, emit)
	}
	d.attempt++
	d.arm(emit)
}

func (d *Dialect) publish(n *note, emit func(control.Out)) {
	n.rid = d.twin.nextRid()
	emit(control.Out{Kind: control.OutPublish, Topic: twinReport + strconv.FormatUint(n.rid, 10), Payload: d.payload(n)})
}

func (d *Dialect) arm(emit func(control.Out)) {
	emit(control.Out{Kind: control.OutTimer, Token: timerAnswer, After: d.pause("report", max(0, d.attempt-1))})
}

// pause gives the time to wait after n attempts. The times of different devices
// differ by up to a quarter, so that they do not all come at once.
func (d *Dialect) pause(what string, n int) time.Duration {
	wait := lastWait
	if n < 5 {
		wait = firstWait << max(n, 0)
	}
	h := fnv.New32a()
	_, _ = io.WriteString(h, d.c.Device+" "+what+" "+strconv.Itoa(n)) // a hash takes everything
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	return wait.Round(100 * time.Millisecond)
}

func (d *Dialect) payload(n *note) []byte {
	switch n.Kind {
	case kindProperties:
		properties := map[string]any{"manufacturer": d.c.Manufacturer, "model": d.c.Model, "contractModelId": d.c.Contract, "aduVer": d.c.Version}
		for name, value := range d.c.Properties {
			properties[name] = value
		}
		return agentPayload(map[string]any{"deviceProperties": properties, "compatPropertyNames": strings.Join(d.c.compat(), ",")})
	case kindAck:
		return n.payload
	}
	return n.ending.payload(n.Kind == kindBegun)
}

// answered takes the hub's answer to a note.
func (d *Dialect) answered(rid uint64, status int, emit func(control.Out)) {
	at := slices.IndexFunc(d.queue, func(n *note) bool { return n.rid == rid })
	if at < 0 {
		return
	}
	n := d.queue[at]
	if status/100 != 2 {
		logf(emit, "the hub does not take %s: status %d", n.describe(), status)
		n.rid = 0
		if !n.state() && status/100 == 4 && status != 408 && status != 429 { // it will not like it any better
			d.queue = slices.Delete(d.queue, at, at+1)
		}
		return // the timer sends it again
	}
	d.queue = slices.Delete(d.queue, at, at+1)
	d.attempt = 0
	switch {
	case n.Kind == kindAck:
		d.twin.acked = n.version
	case n.state() && (d.shown == nil || n.number > d.shown.number):
		d.shown = n
	}
	if n.Kind != kindEnd {
		return
	}
	full := d.untold() == maxUntold-1
	if n.Report != "" {
		d.remember(n.Report)
	}
	if n.owed {
		n.owed = false
		emit(control.Out{Kind: control.OutDelivered, Report: n.Report})
	}
	if full {
		d.consider(emit)
	}
}

func (n *note) describe() string {
	if n.state() {
		return "the state of deployment " + n.ID
	}
	return "the " + string(n.Kind)
}

// drop takes notes back.
func (d *Dialect) drop(these func(*note) bool) { d.queue = slices.DeleteFunc(d.queue, these) }

// untold counts the ends that the hub has not taken.
func (d *Dialect) untold() int {
	count := 0
	for _, n := range d.queue {
		if n.Kind == kindEnd {
			count++
		}
	}
	return count
}

// taken says that nobody has to be told of a report.
func (d *Dialect) taken(report string, emit func(control.Out)) {
	if report == "" {
		return
	}
	d.remember(report)
	emit(control.Out{Kind: control.OutDelivered, Report: report})
}

func (d *Dialect) remember(report string) {
	if !slices.Contains(d.told, report) {
		d.told = append(d.told[max(0, len(d.told)-maxTold+1):], report)
	}
}

// report takes a terminal report from the outbox.
func (d *Dialect) report(r engine.Report, emit func(control.Out)) {
	if r.ID == "" || len(r.ID) > maxReport || r.Command == "" {
		return
	}
	if slices.Contains(d.told, r.ID) {
		d.taken(r.ID, emit)
		return
	}
	if at := slices.IndexFunc(d.queue, func(n *note) bool { return n.Report == r.ID }); at >= 0 {
		d.queue[at].owed = true
		return
	}
	j := d.job
	if j == nil || j.command() != r.Command {
		d.stray(r, emit)
		return
	}
	if !j.given { // it comes again once the engine was asked, and then all is known
		return
	}
	d.settle(j, r)
	d.finish(conclude(j.identity, r, j.Update.String(), j.Steps), emit)
}

// settle remembers what is installed now.
func (d *Dialect) settle(j *job, r engine.Report) {
	switch r.State {
	case engine.Succeeded:
		d.installed, d.have = j.Update, j.Files
	case engine.Failed:
		d.installed, d.have = manifest.UpdateID{}, nil
	}
}

// stray takes the report of a run that this dialect knows no job of: its saved
// state was lost, or a newer deployment did not wait for it. As long as the twin was not
// read, the job may yet turn up.
func (d *Dialect) stray(r engine.Report, emit func(control.Out)) {
	if d.fresh {
		known := slices.ContainsFunc(d.early, func(e engine.Report) bool { return e.ID == r.ID })
		if !known && len(d.early) < maxEarly {
			d.early = append(d.early, r)
		}
		return
	}
	if d.untold() >= 2*maxUntold { // it comes again with the next connection
		return
	}
	id, retry, _ := strings.Cut(r.Command, "@")
	if !idShape.MatchString(id) || len(retry) > maxID {
		logf(emit, "report %s is of no deployment of this cloud", redact(r.ID, 64))
		return
	}
	i := identity{id, retry}
	d.put(&note{Kind: kindEnd, ending: conclude(i, r, "", 0), owed: true}, emit)
	if j := d.job; j == nil {
		d.done = i
	} else if !j.Leaving { // the newest state comes last
		d.drop(func(n *note) bool { return n.Kind == kindBegun && n.identity == j.identity })
		d.put(&note{Kind: kindBegun, ending: ending{identity: j.identity}}, emit)
	}
}

// settleEarly takes the reports that came before the twin was read.
func (d *Dialect) settleEarly(emit func(control.Out)) {
	d.fresh = false
	early := d.early
	d.early = nil
	for _, r := range early {
		d.report(r, emit)
	}
}

// maxReport bounds the id of a report, in bytes.
const maxReport = 256

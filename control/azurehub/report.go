package azurehub

import (
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// report takes a terminal report from the outbox.
func (d *Dialect) report(in control.In, emit func(control.Out)) {
	r := in.Report
	switch {
	case r.ID == "" || r.Command == "":
		return
	case slices.Contains(d.told, r.ID):
		emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
		return
	case slices.ContainsFunc(d.queue, func(p *patch) bool { return p.report == r.ID }):
		return
	case len(d.queue) >= maxQueue:
		say(emit, fmt.Sprintf("report %s waits for the next connection: %d wait already", redact(r.ID, 64), maxQueue))
		return
	}
	j := d.find(r.Command)
	if j == nil { // what was saved is lost, or too many wait: the report says enough
		j = &job{ID: r.Command, Stage: asked, Ended: true}
	}
	e := &ending{State: r.State, Code: redact(r.Code, 64), Message: redact(r.Message, maxError), At: in.Now}
	if e.Code == "" {
		e.Code = redact(string(r.State), 64)
	}
	if e.State == engine.Succeeded {
		e.version = j.Version
		if v, ok := r.Release["version"].(string); ok && isLine(v, maxVersion) {
			e.version = v
		}
	}
	d.answer(j, 200, started, emit)
	d.conclude(j, e, r.ID, emit)
}

// conclude ends an update, and looks whether another is desired by now.
func (d *Dialect) conclude(j *job, e *ending, report string, emit func(control.Out)) {
	if e.State == engine.Succeeded {
		d.now = e.version
	}
	if j.Desired != 0 && !j.Ended {
		d.done = &done{Key: j.Key, Desired: j.Desired, Failed: e.State != engine.Succeeded && e.State != engine.Cancelled}
	}
	d.progress.waits = false
	d.enqueueEnd(j, e, report)
	j.Ended, j.ask, j.URL = true, 0, ""
	d.begin(emit)
	d.consider(false, emit)
}

// enqueueEnd puts the patches of an end behind what waits. The last of them is the report.
func (d *Dialect) enqueueEnd(j *job, e *ending, report string) {
	all := d.shape.end(d, j, e)
	for i, members := range all {
		p := &patch{members: members, final: true}
		if i == 0 && members != nil && d.first(j, members) {
			p.shows = j.ID
		}
		if i == len(all)-1 {
			p.job, p.report = j.ID, report
		}
		d.queue = append(d.queue, p)
	}
}

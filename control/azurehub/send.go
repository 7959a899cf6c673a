package azurehub

import (
	"fmt"
	"maps"
	"slices"

	"github.com/updraft-ota/updraft/control"
)

// patch is a merge patch of the reported properties.
type patch struct {
	members map[string]any // of the shape's object; nil removes all of it
	final   bool           // it is the end of an update, or before one: it is not mixed with others
	job     string         // whose end it is, or ""
	shows   string         // the update that it is the first patch of, or ""
	report  string         // the engine's id of it, or ""
	// complained says that it was logged that the hub wants it later.
	complained bool
}

// show reports what is not an end, of an update or of none. What waits already
// is brought up to date instead.
func (d *Dialect) show(j *job, members map[string]any, emit func(control.Out)) {
	if members == nil {
		return
	}
	first := d.first(j, members)
	last := len(d.queue) - 1
	if last >= 0 && !d.queue[last].final && (last > 0 || !d.waiting) {
		maps.Copy(d.queue[last].members, members)
	} else {
		d.queue = append(d.queue, &patch{members: members})
	}
	if first {
		d.queue[len(d.queue)-1].shows = j.ID
	}
	d.begin(emit)
}

// begin sends the first patch, unless one is under way.
func (d *Dialect) begin(emit func(control.Out)) {
	if !d.waiting {
		d.send(emit)
	}
}

// send publishes the first patch, and sets the time of the next attempt.
func (d *Dialect) send(emit func(control.Out)) {
	if d.waiting = d.connected && len(d.queue) > 0; !d.waiting {
		return
	}
	d.request = d.id()
	d.attempt++
	emit(control.Out{Kind: control.OutPublish, Topic: topicPatch + d.request, Payload: d.shape.wrap(d.queue[0].members)})
	emit(control.Out{Kind: control.OutTimer, Token: timerPatch, After: d.pause(d.attempt)})
}

// answered takes the hub's answer to a request. Answers to requests that were
// given up, or of an older connection, are nobody's.
func (d *Dialect) answered(in control.In, t topic, emit func(control.Out)) error {
	switch {
	case t.request == d.twin.request && d.twin.request != "":
		return d.gotTwin(in, t, emit)
	case t.request != d.request || d.request == "" || len(d.queue) == 0:
		return nil
	}
	p := d.queue[0]
	d.request = ""
	if t.status/100 == 2 {
		d.queue = d.queue[1:]
		d.waiting, d.attempt = false, 0
		d.taken(p, emit)
		d.begin(emit)
		return nil
	}
	if t.status/100 == 4 && t.status != 408 && t.status != 429 {
		d.giveUp(p, t.status, emit)
		return nil
	}
	if !p.complained {
		p.complained = true
		say(emit, fmt.Sprintf("the hub answers a report with %d, it will be sent again", t.status))
	}
	// The timer of this attempt is also the pause before the next.
	if t.status == 429 { // one more step of the pauses: the hub asks for patience
		d.attempt++
		emit(control.Out{Kind: control.OutTimer, Token: timerPatch, After: d.pause(d.attempt)})
	}
	return nil
}

// giveUp drops a patch that the hub will not take, however often it comes.
// Of an end that is all that there is to say: the hub has heard it, and the
// outbox must not hold up those behind it for ever.
func (d *Dialect) giveUp(p *patch, status int, emit func(control.Out)) {
	text := fmt.Sprintf("the hub answers a report with %d, it is given up", status)
	if p.report != "" {
		text = fmt.Sprintf("the hub answers report %s, an end, with %d, it is given up: the twin does not show it", redact(p.report, 64), status)
	}
	say(emit, text)
	d.queue = d.queue[1:]
	d.waiting, d.attempt = false, 0
	if j := d.find(p.shows); j != nil { // a later one makes up for it
		j.showing = false
	}
	d.over(p, emit)
	d.begin(emit)
}

// taken notes that the hub has a patch.
func (d *Dialect) taken(p *patch, emit func(control.Out)) {
	d.twin.changed = true
	if j := d.find(p.shows); j != nil {
		j.Shown = true
	}
	d.over(p, emit)
}

// over notes that the hub hears no more of a patch.
func (d *Dialect) over(p *patch, emit func(control.Out)) {
	if j := d.find(p.job); j != nil {
		d.remove(j)
	}
	if p.report == "" {
		return
	}
	if len(d.told) == maxTold {
		d.told = slices.Delete(d.told, 0, 1)
	}
	d.told = append(d.told, p.report)
	emit(control.Out{Kind: control.OutDelivered, Report: p.report})
}

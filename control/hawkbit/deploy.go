package hawkbit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// deploy takes what the server asks for, or what is wrong with it.
func (d *Dialect) deploy(in control.In, action string, asks deployment, bad error, emit func(control.Out)) {
	kind, wait := d.when(asks)
	if i := slices.IndexFunc(d.jobs, func(j *job) bool { return j.Action == action && j.open() }); i >= 0 {
		d.askAgain(d.jobs[i], asks, kind, wait, bad, emit)
		return
	}
	j := d.known(action, asks, kind, bad, emit)
	switch {
	case j == nil || j.Stage == ended:
		return
	case j.Stage == told && kind == prefetch:
		return // now the window is waited for
	case j.Stage == told:
		d.tellAgain(in, j)
		return
	case bad != nil:
		d.refuse(j, bad, emit)
		return
	case wait != "":
		d.wait(j, wait, map[string]string{"window": "waits for the maintenance window", "soft": "waits until the server forces it"}[wait])
		return
	case kind == download && !d.c.Downloads:
		d.refuse(j, errors.New("the device cannot download without installing"), emit)
		return
	}
	inputs, err := d.c.inputs(asks)
	if err != nil {
		d.refuse(j, err, emit)
		return
	}
	d.command(j, inputs, emit)
}

// askAgain gives the command of a job that a restart has left open, so that the
// engine says whether it knows it. An update never begins that way outside its window.
func (d *Dialect) askAgain(j *job, asks deployment, kind jobKind, wait string, bad error, emit func(control.Out)) {
	if !j.restored || j.ask != 0 || bad != nil || wait != "" || kind != j.Kind && j.Kind != prefetch {
		return
	}
	if inputs, err := d.c.inputs(asks); err == nil {
		d.command(j, inputs, emit)
	}
}

// when says what is to be done, and what it has to wait for: "nothing" stands
// for what the server wants nobody to begin, and "" for nothing at all.
func (d *Dialect) when(asks deployment) (kind jobKind, wait string) {
	later := asks.update == "skip" || asks.window == "unavailable"
	switch {
	case later && asks.download == "skip":
		return update, "nothing"
	case later && asks.window == "":
		return download, ""
	case later && d.c.Downloads:
		return prefetch, ""
	case later:
		return update, "window"
	case d.c.Soft == SoftWait && asks.update == "attempt":
		return update, "soft"
	}
	return update, ""
}

// known finds the job of a deployment, or makes one that waits. It gives nil
// if there are too many.
func (d *Dialect) known(action string, asks deployment, kind jobKind, bad error, emit func(control.Out)) *job {
	id := action + "-" + asks.digest()
	if bad != nil { // its links may differ each time, so it has no digest
		id = action + "-bad"
	}
	if kind != update {
		id += "-" + string(kind)
	}
	if j := d.find(id); j != nil {
		return j
	}
	if text, full := d.full(action); full {
		d.odd(text, emit)
		return nil
	}
	d.jobs = slices.DeleteFunc(d.jobs, func(j *job) bool { return j.Stage == waits })
	j := &job{ID: id, Action: action, Kind: kind, Stage: waits}
	d.jobs = append(d.jobs, j)
	return j
}

// wait tells the server once for what a job waits.
func (d *Dialect) wait(j *job, why, text string) {
	if j.why != why && text != "" {
		j.note = &note{execution: "scheduled", text: text}
	}
	j.why = why
}

// command asks the engine for a job. The same job is the same run, however often.
func (d *Dialect) command(j *job, inputs map[string]string, emit func(control.Out)) {
	j.Stage, j.ask = asked, d.token()
	emit(control.Out{Kind: control.OutCommand, Token: j.ask, Command: control.Command{ID: j.ID, Name: j.Kind.command(), Inputs: inputs}})
}

// receipt takes the engine's answer to a command.
func (d *Dialect) receipt(in control.In, emit func(control.Out)) {
	i := slices.IndexFunc(d.jobs, func(j *job) bool { return j.ask == in.Token && in.Token != 0 })
	if i < 0 {
		return
	}
	j := d.jobs[i]
	j.ask = 0
	if !j.open() { // its report came first
		return
	}
	busy := in.Refusal == "" && in.Receipt.Answer == engine.Busy || in.Refusal == "busy"
	again := j.restored && in.Receipt.Answer == engine.Joined
	j.restored = false
	switch {
	case (busy || in.Refusal != "") && j.Cancel != "":
		d.end(j, &ending{State: engine.Cancelled, Detail: "cancelled before it began"})
	case busy:
		j.Stage = waits
		if j.why != "busy" {
			j.why, j.note = "busy", &note{execution: "rejected", text: "busy: another update runs; it is tried again"}
		}
	case in.Refusal != "":
		d.refuse(j, errors.New(in.Refusal), emit)
	default:
		j.Stage, j.Run, j.why = running, in.Receipt.Run, ""
		j.note = &note{execution: "proceeding", text: "accepted"}
		if again {
			j.note = &note{execution: "resumed", text: "goes on after a restart of the agent"}
		}
	}
	d.ask(emit)
}

// refuse ends a job that never became a run.
func (d *Dialect) refuse(j *job, cause error, emit func(control.Out)) {
	text := redact(cause.Error(), maxText)
	logf(emit, fmt.Sprintf("action %s: refused: %s", j.Action, text))
	d.end(j, &ending{State: engine.RefusedEnd, Detail: "refused: " + text})
}

// end notes how a job ended. The order of the jobs is that of their ends, also
// after a restart.
func (d *Dialect) end(j *job, e *ending) {
	j.Stage, j.Ending, j.note, j.restored, j.unsure, j.held, j.attempt = ended, e, nil, false, false, false, 0
	if d.progress.job == j {
		d.progress.job = nil
	}
	d.jobs = append(slices.DeleteFunc(d.jobs, func(k *job) bool { return k == j }), j)
}

// tellAgain tells the end of a job that the server shows still; not at once if
// it has only just been told.
func (d *Dialect) tellAgain(in control.In, j *job) {
	if since := in.Now.Sub(j.toldAt); j.toldAt.IsZero() || since >= againWait || since < 0 {
		d.end(j, j.Ending)
		j.again = true
	}
}

// cancelled takes the wish of the server that an action ends.
func (d *Dialect) cancelled(c *call, in control.In, emit func(control.Out)) {
	if in.Status/100 != 2 {
		logf(emit, fmt.Sprintf("cancellation %s is not there: %s", c.action, reason(in)))
		return
	}
	stop, err := readCancel(in.Payload)
	if err != nil {
		d.odd(fmt.Sprintf("cancellation %s: %v: ignored", c.action, err), emit)
		return
	}
	i := slices.IndexFunc(d.jobs, func(j *job) bool { return j.Action == stop && j.open() })
	if i < 0 {
		i = slices.IndexFunc(d.jobs, func(j *job) bool { return j.Action == stop && j.Stage == ended && j.Kind != prefetch })
	}
	if i < 0 {
		d.nothingToCancel(c.action, stop, in, emit)
		return
	}
	j := d.jobs[i]
	j.Cancel = c.action
	switch {
	case j.Stage == asked && j.restored: // the engine may know of it and may not
		j.unsure = true
	case j.open() && !j.stopping:
		j.stopping = true
		emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: j.ID}})
	}
}

// nothingToCancel confirms the cancellation of what does not run.
func (d *Dialect) nothingToCancel(cancel, stop string, in control.In, emit func(control.Out)) {
	j := d.find(stop)
	if j == nil {
		if text, full := d.full(stop); full {
			d.odd(text, emit)
			return
		}
		j = &job{ID: stop, Action: stop, Kind: update}
		d.jobs = append(d.jobs, j)
	} else if since := in.Now.Sub(j.toldAt); !j.toldAt.IsZero() && since >= 0 && since < againWait {
		return
	} else {
		j.again = true
	}
	j.Cancel = cancel
	d.end(j, &ending{State: engine.Cancelled, Detail: "nothing runs for this action"})
}

// actionOf gives the action of a command's id, for reports of which nothing else is known.
func actionOf(id string) (action string, kind jobKind, ok bool) {
	action, rest, _ := strings.Cut(id, "-")
	kind = update
	for _, k := range []jobKind{download, prefetch} {
		if strings.HasSuffix(rest, "-"+string(k)) {
			kind = k
		}
	}
	return action, kind, actionID.MatchString(action) && len(id) <= 128
}

package adu

import (
	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/engine"
)

// stage is how far a job is.
type stage int

const (
	checking stage = iota // its documents are fetched and verified
	asked                 // the command is given, its receipt not here
	running               // the engine has made it durable
)

// job is the deployment at work.
type job struct {
	identity
	Run     string            `json:"run,omitempty"`
	Update  manifest.UpdateID `json:"update"`
	Steps   int               `json:"steps,omitempty"`
	Files   []string          `json:"files,omitempty"`   // SHA-256 of its files
	Cancel  bool              `json:"cancel,omitempty"`  // the cloud wants it cancelled
	Leaving bool              `json:"leaving,omitempty"` // it makes room, and gets no report

	stage   stage
	given   bool // the command was given, now or before the restart: the engine may know a run
	checked bool // after a restart: it was looked at again
	sure    bool // the engine has spoken of the run since the start

	wish     *wish
	rooted   bool // the root key package is done with
	manifest *manifest.Manifest
	ask      uint64 // token of the request or command
	tries    int    // of the request
}

// consider compares what is wished with what is done, and does what is missing.
func (d *Dialect) consider(emit func(control.Out)) {
	w, j := d.wish, d.job
	if w == nil {
		return
	}
	fresh := d.fresh
	d.fresh = false
	switch {
	case w.Action == actionCancel:
		d.cancel(w, fresh, emit)
	case w.Action != actionDeploy:
		logf(emit, "deployment %s: action %d belongs to an older protocol: ignored", w.ID, w.Action)
	case j != nil && j.ID == w.ID && !j.again(w):
		d.wishedAgain(w, emit)
	case j != nil:
		if !j.Leaving && !j.Cancel {
			j.Leaving = true
			logf(emit, "deployment %s makes room for %s", j.ID, w.ID)
			d.stop(emit)
		}
	case d.done.ID == w.ID && !d.done.again(w):
	case d.untold() >= maxUntold: // it is looked at again when the hub has taken one
		logf(emit, "deployment %s waits: the hub has not taken %d reports yet", w.ID, d.untold())
	default:
		d.job = &job{identity: w.identity, wish: w}
		d.put(&note{Kind: kindBegun, ending: ending{identity: w.identity}}, emit)
		d.proceed(emit)
	}
}

// wishedAgain takes the wish for the job at work once more. After a restart
// only the engine can say whether it knows the run: it is asked again.
func (d *Dialect) wishedAgain(w *wish, emit func(control.Out)) {
	j := d.job
	j.Leaving = false
	if j.stage == checking { // the queries of its URLs may be newer
		next := *j.wish
		if next.urls = w.urls; w.rootKeys != "" && next.rootKeys != "" {
			next.rootKeys = w.rootKeys
		}
		j.wish = &next
	}
	if j.given && !j.sure && !j.checked && !j.Cancel {
		j.checked, j.stage, j.wish = true, checking, w
		d.proceed(emit)
	}
}

// cancel ends the job at work. Without one there is nothing to report, but at the start.
func (d *Dialect) cancel(w *wish, fresh bool, emit func(control.Out)) {
	switch j := d.job; {
	case j != nil && !j.Cancel:
		j.Cancel, j.Leaving = true, false
		d.stop(emit)
	case j == nil && fresh && d.done.ID != w.ID:
		d.done = w.identity
		d.put(&note{Kind: kindEnd, ending: ending{identity: w.identity, Action: actionCancel, Code: codeIdle}}, emit)
	}
}

// stop ends the job: at once if nobody but this dialect knows of it.
func (d *Dialect) stop(emit func(control.Out)) {
	j := d.job
	if !j.given {
		d.finish(cancelled(j.identity), emit)
		return
	}
	if j.stage == checking { // once more, after a restart
		j.stage, j.ask, j.manifest = running, 0, nil
	}
	emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: j.command()}})
	if !j.sure && j.stage != asked {
		emit(control.Out{Kind: control.OutTimer, Token: timerGone, After: goneWait})
	}
}

// receipt takes the engine's answer to the command.
func (d *Dialect) receipt(in control.In, emit func(control.Out)) {
	j := d.job
	if j == nil || j.stage != asked || in.Token == 0 || in.Token != j.ask {
		return
	}
	j.ask = 0
	why, code := "", ercRefused
	switch {
	case in.Refusal == "busy", in.Refusal == "" && in.Receipt.Answer == engine.Busy:
		why, code = "busy: another update runs", ercBusy
	case in.Refusal != "":
		why = redact(in.Refusal, maxDetails)
	default:
		j.stage, j.Run, j.sure = running, in.Receipt.Run, true
		return
	}
	logf(emit, "deployment %s: refused: %s", j.ID, why)
	if j.Cancel {
		d.finish(cancelled(j.identity), emit)
		return
	}
	d.finish(failed(j.identity, code, why), emit)
}

// finish ends the job, and looks at what is wished now.
func (d *Dialect) finish(e ending, emit func(control.Out)) {
	j := d.job
	d.job, d.done, d.ran = nil, j.identity, j.Run
	d.drop(func(n *note) bool { return n.Kind == kindBegun && n.identity == j.identity })
	if j.Leaving {
		d.taken(e.Report, emit)
	} else {
		d.put(&note{Kind: kindEnd, ending: e, owed: e.Report != ""}, emit)
	}
	d.consider(emit)
}

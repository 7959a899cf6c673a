package awsjobs

import (
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// progress is what is to be said of the running job, if anything.
type progress struct {
	job         *job // nil: nothing to say
	fresh       bool // there is something that was not said
	urgent      bool // it does not wait for its time
	stage, step string
	done, total int64 // bytes
	sent        time.Time
	timer       bool
}

// event keeps the newest that is to be said.
func (d *Dialect) event(e engine.Event) {
	j := d.atWork()
	if d.c.Progress < 0 || j == nil || j.Stage != running || j.Run != e.Run || e.Run == "" {
		return
	}
	p := d.progress
	if p.job != j {
		p = progress{job: j, sent: p.sent, timer: p.timer}
	}
	switch {
	case e.Kind == engine.EventProgress:
		p.stage, p.step, p.done, p.total = "running", clean(e.Step, 64), e.Done, e.Total
	case e.Kind == engine.EventStep && e.State == "begin":
		p.stage, p.step, p.done, p.total = "running", clean(e.Step, 64), 0, 0
	case e.Kind == engine.EventRestart && e.State == "armed":
		p.stage, p.urgent = "rebooting", true
	case e.Kind == engine.EventRestart && e.State == "booted":
		p.stage, p.urgent = "confirming", true
	default:
		return
	}
	p.fresh = true
	d.progress = p
}

// due says whether it is time to say how the running job goes, and sets a timer if not.
func (d *Dialect) due(now time.Time, emit func(control.Out)) bool {
	p := &d.progress
	if p.job == nil || !p.fresh || p.job.Stage != running || !p.job.begun {
		return false
	}
	since := now.Sub(p.sent)
	if p.urgent || since < 0 || since >= d.c.progress() {
		return true
	}
	if !p.timer {
		p.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: d.c.progress() - since})
	}
	return false
}

// details gives the whole map, since the cloud keeps nothing of the one before.
func (p progress) details() map[string]string {
	done := ""
	switch {
	case p.total > 0:
		done = strconv.FormatInt(min(100, max(0, p.done)/max(1, p.total/100)), 10)
		if p.done >= p.total {
			done = "100"
		}
	case p.done > 0:
		done = strconv.FormatInt(p.done, 10) + " bytes"
	}
	return details("stage", p.stage, "step", p.step, "progress", done)
}

package hawkbit

import (
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// note is what the server hears before the end. A newer one takes the place of one that
// was not said yet.
type note struct {
	execution, text string
	cnt, of         int64 // percent, if of is not 0
}

// progress is what is to be said of a running job, if anything.
type progress struct {
	job   *job // nil: nothing to say
	note  note
	sent  time.Time
	timer bool
}

// event keeps the newest progress, and says it if it is time.
func (d *Dialect) event(in control.In, emit func(control.Out)) {
	e := in.Event
	if d.c.Progress <= 0 || e.Run == "" {
		return
	}
	n := note{execution: "proceeding", text: redact(e.Step, 64)}
	switch {
	case e.Kind == engine.EventStep && e.State == "begin":
		n.text += " begins"
	case e.Kind == engine.EventProgress && e.Total > 0:
		n.text, n.cnt, n.of = fmt.Sprintf("%s: %d of %d bytes", n.text, e.Done, e.Total), percent(e.Done, e.Total), 100
	case e.Kind == engine.EventProgress:
		n.text = fmt.Sprintf("%s: %d bytes", n.text, e.Done)
	case e.Kind == engine.EventRestart && e.State == "restarting":
		n.text = "restarts"
	default:
		return
	}
	for _, j := range d.jobs {
		if j.Stage == running && j.Run == e.Run && !j.muted && j.notes < maxNotes {
			d.progress.job, d.progress.note = j, n
			d.sayProgress(in.Now, emit)
			return
		}
	}
}

// percent cannot overflow, whatever the sizes are.
func percent(done, total int64) int64 {
	if total <= 0 || done <= 0 {
		return 0
	}
	return min(int64(float64(done)/float64(total)*100), 100)
}

// sayProgress gives the newest note to be said, at most once in the time that
// was set.
func (d *Dialect) sayProgress(now time.Time, emit func(control.Out)) {
	p := &d.progress
	if p.job == nil || p.timer || !d.connected {
		return
	}
	if since := now.Sub(p.sent); !p.sent.IsZero() && since >= 0 && since < d.c.Progress {
		p.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: d.c.Progress - since})
		return
	}
	if j := p.job; j.Stage == running && (j.note == nil || j.note.execution == p.note.execution) && !j.muted {
		n := p.note
		j.note = &n
		j.notes++
	}
	p.job, p.sent = nil, now
	d.ask(emit)
}

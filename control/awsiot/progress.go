package awsiot

import (
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// progress is what is to be said of a running job, if anything.
type progress struct {
	job         *job // nil: nothing to say
	step        string
	done, total int64 // bytes
	sent        time.Time
	timer       bool
}

// event keeps the newest progress, and sends it if it is time.
func (d *Dialect) event(in control.In, emit func(control.Out)) {
	if d.c.Progress <= 0 || in.Event.Kind != engine.EventProgress {
		return
	}
	for _, j := range d.jobs {
		if j.Stage == running && j.Run == in.Event.Run {
			p := &d.progress
			p.job, p.step, p.done, p.total = j, redact(in.Event.Step, 64), in.Event.Done, in.Event.Total
			d.sendProgress(in.Now, emit)
			return
		}
	}
}

// sendProgress publishes at QoS 0: the next one makes up for a loss.
func (d *Dialect) sendProgress(now time.Time, emit func(control.Out)) {
	p := &d.progress
	if p.job == nil || p.timer || !d.connected {
		return
	}
	if since := now.Sub(p.sent); since >= 0 && since < d.c.Progress {
		p.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: d.c.Progress - since})
		return
	}
	emit(control.Out{Kind: control.OutPublish, Topic: d.topic, Payload: encode(map[string]any{
		"progress": map[string]any{"jobID": p.job.ID, "step": p.step, "done": p.done, "total": p.total},
	}, "")})
	p.job, p.sent = nil, now
}

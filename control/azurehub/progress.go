package azurehub

import (
	"fmt"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// progress is what is to be said of the bytes of an update, if anything.
type progress struct {
	waits       bool
	done, total int64 // bytes
	sent        time.Time
	timer       bool
}

// progressed keeps the newest progress, and reports it if it is time.
func (d *Dialect) progressed(in control.In, emit func(control.Out)) {
	if d.c.Progress <= 0 {
		return
	}
	p := &d.progress
	p.waits, p.done, p.total = true, in.Event.Done, in.Event.Total
	d.sendProgress(in.Now, emit)
}

func (d *Dialect) sendProgress(now time.Time, emit func(control.Out)) {
	p := &d.progress
	if !p.waits || p.timer || !d.connected {
		return
	}
	if since := now.Sub(p.sent); since >= 0 && since < d.c.Progress {
		p.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: d.c.Progress - since})
		return
	}
	text := fmt.Sprintf("%d bytes", p.done)
	if p.total > 0 {
		text = fmt.Sprintf("%d of %d bytes", p.done, p.total)
	}
	p.waits, p.sent = false, now
	d.show(nil, map[string]any{"fwUpdateSubstatus": text}, emit)
}

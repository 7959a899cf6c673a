package tencent

import (
	"cmp"
	"strconv"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// phase is what the cloud distinguishes of an update that runs.
type phase int

const (
	fetching phase = iota + 1
	fetched
	burning
)

// progress is when the cloud heard of progress last.
type progress struct {
	at    time.Time
	timer bool
}

// event follows a run of ours, and tells the cloud if it is time.
func (d *Dialect) event(in control.In, emit func(control.Out)) {
	for _, j := range d.jobs {
		if j.Stage == running && j.Run == in.Event.Run && j.Run != "" {
			j.restored = false
			j.follow(in.Event)
			d.tell(in.Now, emit)
			return
		}
	}
}

// follow finds the phase that an event belongs to. The first step that reports
// bytes is the download; what goes on after it has ended is the burning.
func (j *job) follow(e engine.Event) {
	moves := e.Kind == engine.EventProgress || e.Kind == engine.EventStep && e.State == "begin"
	switch {
	case e.Kind == engine.EventRestart && e.State == "armed":
		j.Phase = burning
	case e.Kind == engine.EventProgress && j.Phase < fetched && (j.step == "" || j.step == e.Step):
		j.step, j.percent = e.Step, max(j.percent, percent(e, j.Size))
		if j.percent == 100 {
			j.Phase = fetched
		}
	case e.Kind == engine.EventStep && (e.State == "done" || e.State == "already") && e.Step == j.step && j.step != "":
		j.Phase = max(j.Phase, fetched)
	case moves && j.Phase >= fetched && e.Step != j.step:
		j.Phase = burning
	}
}

// percent gives the whole percents of an event. The cloud's size stands in for
// one that the step does not know.
func percent(e engine.Event, size string) int {
	total := e.Total
	if total <= 0 {
		total, _ = strconv.ParseInt(size, 10, 64)
	}
	switch {
	case total <= 0 || e.Done <= 0:
		return 0
	case e.Done >= total:
		return 100
	}
	return int(float64(e.Done) / float64(total) * 100)
}

// tell says what is new of the runs: new percents at most once in a while, the ends of
// phases at once. What is lost at QoS 0 the next one makes up for.
func (d *Dialect) tell(now time.Time, emit func(control.Out)) {
	if !d.connected {
		return
	}
	for _, j := range d.jobs {
		if j.Stage != running {
			continue
		}
		if j.Said < fetching && j.Phase >= fetching {
			d.sayProgress(now, j, fetching, 0, emit)
		}
		if j.Phase == fetching && j.percent > j.heard && d.rested(now, emit) {
			d.sayProgress(now, j, fetching, j.percent, emit)
		}
		if j.Said < fetched && j.Phase >= fetched {
			d.sayProgress(now, j, fetched, 100, emit)
		}
		if j.Said < burning && j.Phase >= burning {
			j.Said = burning
			emit(control.Out{Kind: control.OutPublish, Topic: d.up, QoS: 1, Payload: encodeProgress(j.Version, state{State: "burning"})})
		}
	}
}

func (d *Dialect) sayProgress(now time.Time, j *job, said phase, percent int, emit func(control.Out)) {
	j.Said, j.heard, d.progress.at = said, percent, now
	emit(control.Out{Kind: control.OutPublish, Topic: d.up, Payload: encodeProgress(j.Version, state{State: "downloading", Percent: strconv.Itoa(percent)})})
}

// rested says whether the cloud may hear of progress again, and sets a timer if not.
func (d *Dialect) rested(now time.Time, emit func(control.Out)) bool {
	least := cmp.Or(d.c.Progress, time.Second)
	since := now.Sub(d.progress.at)
	if since < 0 || since >= least {
		return true
	}
	if !d.progress.timer {
		d.progress.timer = true
		emit(control.Out{Kind: control.OutTimer, Token: timerProgress, After: least - since})
	}
	return false
}

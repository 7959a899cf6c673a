package aliyun

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// report takes a terminal report from the outbox.
func (b *Jobs) report(in control.In, emit func(control.Out)) {
	r := in.Report
	if r.ID == "" || r.Command == "" {
		return
	}
	if len(r.Command) > maxForeign {
		Log(emit, "report %s is of no job of this cloud", Redact(r.ID, 64))
		return
	}
	i := slices.IndexFunc(b.jobs, func(j *Job) bool { return j.ID == r.Command })
	if i < 0 { // saved state was lost: the command's id says what is needed
		i = len(b.jobs)
		j := &Job{ID: r.Command, Run: r.Run}
		if parts := strings.Split(j.ID, ":"); len(parts) == 4 {
			if ask, err := url.QueryUnescape(parts[3]); err == nil && len(ask) <= maxID {
				j.noteAsk(ask) // the message may come again
			}
		}
		b.jobs = append(b.jobs, j)
	}
	j := b.jobs[i]
	if j.Ending != nil && j.Ending.Report == r.ID {
		if j.Stage == Told {
			emit(control.Out{Kind: control.OutDelivered, Report: r.ID})
			return
		}
		j.owed = true
		return
	}
	j.Ending, j.owed = conclude(r), true
	b.cloud.Ended(j)
	b.enqueue(in.Now, j, emit)
}

// TellAgain tells the end of a finished job that the cloud names again; not at
// once if it has only just been told, since a cloud that answers each end
// with the wish would be answered for ever.
func (b *Jobs) TellAgain(now time.Time, j *Job, emit func(control.Out)) {
	rest := againWait - max(0, now.Sub(j.toldAt))
	if j.toldAt.IsZero() || rest <= 0 {
		b.enqueue(now, j, emit)
	} else if !j.again {
		j.again = true
		emit(control.Out{Kind: control.OutTimer, Token: timerAgain, After: rest})
	}
}

// enqueue puts the end of a job behind those that wait already.
func (b *Jobs) enqueue(now time.Time, j *Job, emit func(control.Out)) {
	j.Stage, j.again = Ended, false
	if !slices.Contains(b.queue, j) {
		b.queue = append(b.queue, j)
	}
	// The order of the jobs is the order of their ends, also after a restart.
	b.jobs = append(slices.DeleteFunc(b.jobs, func(k *Job) bool { return k == j }), j)
	if !b.waiting {
		b.send(now, emit)
	}
}

// send publishes the first end, and sets the time of the next attempt.
func (b *Jobs) send(now time.Time, emit func(control.Out)) {
	if b.waiting = b.connected && len(b.queue) > 0; !b.waiting {
		return
	}
	j := b.queue[0]
	outs := b.cloud.Tell(j)
	if len(outs) == 0 {
		Log(emit, "job %s: %s: the cloud has no word for it", Redact(j.ID, 240), Redact(j.Ending.Reason(), maxReason))
		b.delivered(now, j, emit)
		return
	}
	b.published = b.Token()
	for i, o := range outs {
		o.Kind, o.QoS = control.OutPublish, 1
		if i == len(outs)-1 {
			o.Token = b.published
		}
		emit(o)
	}
	j.attempt++
	wait := lastWait
	if n := j.attempt - 1; n < 5 {
		wait = firstWait << n
	}
	h := fnv.New32a() // devices and ends differ by up to a quarter, so that they do not all come at once
	fmt.Fprintf(h, "%s %s %d", b.seed, j.ID, j.attempt)
	wait += wait / 1000 * time.Duration(h.Sum32()%251)
	emit(control.Out{Kind: control.OutTimer, Token: timerAnswer, After: wait.Round(100 * time.Millisecond)})
}

// delivered ends the telling of a job, and tells the next.
func (b *Jobs) delivered(now time.Time, j *Job, emit func(control.Out)) {
	first := b.queue[0] == j
	b.queue = slices.DeleteFunc(b.queue, func(k *Job) bool { return k == j })
	j.Stage, j.toldAt, j.attempt = Told, now, 0
	b.tidy()
	if j.owed {
		j.owed = false
		emit(control.Out{Kind: control.OutDelivered, Report: j.Ending.Report})
	}
	if first {
		b.waiting, b.published = false, 0
		b.send(now, emit)
	}
}

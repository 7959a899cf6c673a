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
	lost := i < 0
	if lost { // saved state was lost: the command's id says what is needed
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
	j.Sent = lost && b.once(j) // nobody knows
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

// send tells the first end, or asks whether it is still waited for, and sets
// the time of the next attempt.
func (b *Jobs) send(now time.Time, emit func(control.Out)) {
	b.asking = false
	if b.waiting = b.connected && len(b.queue) > 0; !b.waiting {
		return
	}
	j := b.queue[0]
	switch {
	case j.Sent && !j.sure && b.once(j):
		b.asking = true
		b.cloud.(Asker).Ask(now, j, emit)
	case !b.publish(j, emit):
		Log(emit, "job %s: %s: the cloud has no word for it", Redact(j.ID, 240), Redact(j.Ending.Reason(), maxReason))
		b.delivered(now, j, emit)
		return
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

// publish sends the words for an end, false if there are none. That they were
// sent is saved before they are.
func (b *Jobs) publish(j *Job, emit func(control.Out)) bool {
	outs := b.cloud.Tell(j)
	if len(outs) == 0 {
		return false
	}
	j.Sent, j.sure = b.once(j), false
	b.published = b.Token()
	for i, o := range outs {
		o.Kind, o.QoS = control.OutPublish, 1
		if i == len(outs)-1 {
			o.Token = b.published
		}
		emit(o)
	}
	return true
}

// once says that the end of a job is not to be told a second time unasked.
func (b *Jobs) once(j *Job) bool {
	a, ok := b.cloud.(Asker)
	return ok && a.Once(j)
}

// Waits takes the answer to [Asker].Ask: the [Key] of what the cloud waits for of a
// module, "" if that is nothing, or something that is no job. An end that it
// waits for is told; of any other the cloud knows, or has given up the job.
func (b *Jobs) Waits(now time.Time, module, key string, emit func(control.Out)) {
	if !b.asking || b.queue[0].Module() != module {
		return
	}
	j := b.queue[0]
	if j.sure = j.key() == key; j.sure {
		b.send(now, emit)
		return
	}
	b.drop(now, j, emit)
}

// pass gives up telling what a module's earlier jobs came to, once the cloud
// has turned to another: it waits for one at a time.
func (b *Jobs) pass(now time.Time, module string, emit func(control.Out)) {
	for _, j := range slices.Clone(b.queue) {
		if j.Sent && j.Module() == module && slices.Contains(b.queue, j) {
			b.drop(now, j, emit)
		}
	}
}

func (b *Jobs) drop(now time.Time, j *Job, emit func(control.Out)) {
	Log(emit, "job %s: %s: the cloud waits for it no more", Redact(j.ID, 240), Redact(j.Ending.Reason(), maxReason))
	b.delivered(now, j, emit)
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

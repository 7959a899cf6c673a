package poll

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control"
)

const (
	maxTimers   = 64 // of a dialect at once
	maxRequests = 4  // at once
	maxCommands = 16 // without the host's answer
)

// owner is the goroutine that holds the dialect and all state around it.
// Everybody else sends it functions to run, so there is no lock here.
type owner struct {
	*Link
	client *http.Client
	calls  chan func()
	work   sync.WaitGroup

	live     bool         // the dialect was told that it is connected
	reports  []control.In // that the cloud does not have yet, in order
	timers   map[uint64]context.CancelFunc
	requests int
	tasks    []func() // for the host, in order
	tasking  bool
	commands int             // without the host's answer
	answers  chan control.In // of the host, with room for all of them

	saved      []byte // what the host has of the dialect
	complained string // why it has nothing newer
}

// send has the owner run f, and says whether it will.
func (o *owner) send(ctx context.Context, f func()) bool {
	select {
	case o.calls <- f:
		return true
	case <-ctx.Done():
		return false
	}
}

func (o *owner) loop(ctx context.Context) {
	defer o.stopTimers()
	o.work.Go(func() {
		if o.cfg.Clock.Sleep(ctx, time.Duration(o.cfg.Rand()*float64(o.cfg.Spread))) == nil {
			o.send(ctx, func() { o.begin(ctx) })
		}
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case f := <-o.calls:
			f()
		case in := <-o.answers:
			o.commands--
			o.step(ctx, in)
		case <-o.mail.ready:
			for _, in := range o.mail.take() {
				o.posted(ctx, in)
			}
		}
		o.mu.Lock()
		o.status.Reports = len(o.reports)
		o.mu.Unlock()
	}
}

// begin lets the dialect make requests, and gives it the reports that came before.
func (o *owner) begin(ctx context.Context) {
	o.live = true
	o.step(ctx, control.In{Kind: control.InConnected})
	for _, r := range slices.Clone(o.reports) {
		o.step(ctx, r)
	}
}

// posted takes what the host's side handed in.
func (o *owner) posted(ctx context.Context, in control.In) {
	switch in.Kind {
	case control.InEvent:
		o.step(ctx, in)
		return
	case control.InReport:
	default:
		o.host.Log(fmt.Sprintf("not taken: an input of kind %q, expected %q or %q", in.Kind, control.InEvent, control.InReport))
		return
	}
	if at := slices.IndexFunc(o.reports, func(r control.In) bool { return r.Report.ID == in.Report.ID }); at >= 0 {
		o.reports[at] = in
	} else {
		o.reports = append(o.reports, in)
	}
	if o.live {
		o.step(ctx, in)
	}
}

// step lets the dialect take one input, makes its state durable, and does what it wants.
func (o *owner) step(ctx context.Context, in control.In) {
	in.Now = o.cfg.Clock.Now()
	var outs []control.Out
	o.dialect.Step(in, func(out control.Out) { outs = append(outs, out) })
	saved := o.save(ctx)
	for _, out := range outs {
		if saved || out.Kind != control.OutDelivered { // it comes again, and maybe the disk is better then
			o.play(ctx, out)
		}
	}
}

func (o *owner) save(ctx context.Context) bool {
	state := o.dialect.Save()
	if bytes.Equal(state, o.saved) {
		return true
	}
	var err error
	if len(state) > control.MaxSave {
		err = fmt.Errorf("it has %d bytes, at most %d are kept", len(state), control.MaxSave)
	} else {
		err = o.host.Save(ctx, state)
	}
	if err != nil {
		if text := err.Error(); text != o.complained {
			o.complained = text // once, not with every event
			o.host.Log("keep the state of the dialect: " + text)
		}
		return false
	}
	o.saved, o.complained = bytes.Clone(state), ""
	return true
}

func (o *owner) play(ctx context.Context, out control.Out) {
	switch out.Kind {
	case control.OutRequest:
		o.ask(ctx, out)
	case control.OutCommand:
		o.command(ctx, out)
	case control.OutCancel:
		o.task(ctx, func() { o.host.Cancel(ctx, out.Command.ID) })
	case control.OutTimer:
		o.timer(ctx, out)
	case control.OutDelivered:
		o.reports = slices.DeleteFunc(o.reports, func(r control.In) bool { return r.Report.ID == out.Report })
		o.task(ctx, func() { o.host.Delivered(ctx, out.Report) })
	case control.OutLog:
		o.host.Log(out.Text)
	case control.OutHandled: // of messages, and there are none
	default:
		o.host.Log(fmt.Sprintf("not done: %s needs a broker, and there is none", out.Kind))
	}
}

// ask does a request.
func (o *owner) ask(ctx context.Context, out control.Out) {
	full := o.requests >= maxRequests
	if !full {
		o.requests++
	}
	o.work.Go(func() {
		in := control.In{Kind: control.InResponse, Token: out.Token, Err: fmt.Sprintf("%d requests are under way already", maxRequests)}
		if !full {
			in = o.request(ctx, o.client, out)
		}
		o.send(ctx, func() {
			if !full {
				o.requests--
			}
			o.step(ctx, in)
		})
	})
}

// command hands a command to the host. Its answer may come at any time and must
// wait for nobody: the host may hold a lock that its Save needs as well.
func (o *owner) command(ctx context.Context, out control.Out) {
	if o.commands >= maxCommands {
		o.work.Go(func() {
			in := control.In{Kind: control.InReceipt, Token: out.Token, Refusal: "busy"}
			o.send(ctx, func() { o.step(ctx, in) })
		})
		return
	}
	o.commands++
	var once sync.Once
	answer := func(in control.In) {
		once.Do(func() {
			in.Kind, in.Token = control.InReceipt, out.Token
			if ctx.Err() == nil {
				o.answers <- in // has room: each command without an answer has a place
			}
		})
	}
	o.task(ctx, func() { o.host.Command(ctx, out.Command, answer) })
}

// task has one goroutine at a time call the host, in order.
func (o *owner) task(ctx context.Context, f func()) {
	o.tasks = append(o.tasks, f)
	if o.tasking {
		return
	}
	o.tasking = true
	o.work.Go(func() { o.runTasks(ctx) })
}

func (o *owner) runTasks(ctx context.Context) {
	next := make(chan func(), 1)
	for o.send(ctx, func() {
		if len(o.tasks) == 0 {
			o.tasking = false
			close(next)
			return
		}
		next <- o.tasks[0]
		o.tasks = o.tasks[1:]
	}) {
		f, more := <-next
		if !more {
			return
		}
		f()
	}
}

// timer sets the dialect's timer of that token, instead of the one before. A
// long one is made longer by up to a twentieth at random, so that a fleet that
// began as one does not stay one.
func (o *owner) timer(ctx context.Context, out control.Out) {
	if stop, ok := o.timers[out.Token]; ok {
		stop()
		delete(o.timers, out.Token)
	}
	if len(o.timers) >= maxTimers {
		o.host.Log(fmt.Sprintf("a timer was not set: there are %d", maxTimers))
		return
	}
	sleeping, stop := context.WithCancel(ctx)
	o.timers[out.Token] = stop
	after := max(out.After, 0)
	if after >= 10*time.Second {
		after += time.Duration(o.cfg.Rand() * float64(after/20))
	}
	o.work.Go(func() {
		if o.cfg.Clock.Sleep(sleeping, after) == nil {
			o.send(sleeping, func() { o.tick(ctx, sleeping, out.Token) })
		}
	})
}

// tick is too late if the timer was set again meanwhile.
func (o *owner) tick(ctx, timer context.Context, token uint64) {
	if timer.Err() != nil {
		return
	}
	o.timers[token]()
	delete(o.timers, token)
	o.step(ctx, control.In{Kind: control.InTick, Token: token})
}

func (o *owner) stopTimers() {
	for _, stop := range o.timers {
		stop()
	}
}

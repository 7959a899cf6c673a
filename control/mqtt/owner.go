package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/updraft-ota/updraft/control"
)

const (
	maxTimers   = 64 // of a dialect at once
	maxCommands = 16 // without the host's answer
)

// owner is the goroutine that holds the dialect and all state around it.
// Everybody else sends it functions to run, so there is no lock here.
type owner struct {
	*Link
	client *http.Client
	calls  chan func()
	work   sync.WaitGroup

	conn    *connection // nil while there is none
	subs    []control.Out
	live    bool // all subscriptions of this connection are acknowledged
	sending bool // a goroutine waits for the broker's acknowledgement
	out     queue
	reports []control.In // that the cloud does not have yet, in order

	broken *connection // that has failed, though its end was not seen yet: nothing more is sent there

	topics map[string]bool // of ports, see serve

	message uint64                  // number of the last
	pending map[uint64]paho.Message // by number, not acknowledged yet

	timers   map[uint64]context.CancelFunc
	requests int
	tasks    []func() // for the host, in order
	tasking  bool
	commands int             // without the host's answer
	answers  chan control.In // of the host, with room for all of them

	saved      []byte // what the host has of the dialect
	complained string // why it has nothing newer
}

func newOwner(l *Link, client *http.Client) *owner {
	return &owner{
		Link: l, client: client, calls: make(chan func()),
		out: queue{limit: l.cfg.MaxQueue}, pending: map[uint64]paho.Message{},
		topics: map[string]bool{}, timers: map[uint64]context.CancelFunc{}, saved: l.dialect.Save(),
		answers: make(chan control.In, maxCommands),
	}
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
	for ctx.Err() == nil {
		var inbox chan paho.Message
		if o.conn != nil {
			inbox = o.conn.inbox
		}
		select {
		case <-ctx.Done():
		case f := <-o.calls:
			f()
		case in := <-o.answers:
			o.commands--
			o.step(ctx, in)
		case m := <-inbox:
			o.take(ctx, m)
		case <-o.ports.changed:
		case <-o.mail.ready:
			for _, in := range o.mail.take() {
				o.posted(ctx, in)
			}
		}
		o.pump(ctx)
		o.part()
		o.setStatus(func(s *Status) {
			s.Ready, s.Waiting, s.Reports = o.live && s.Connected, len(o.out.items), len(o.reports)
		})
	}
}

// up begins a connection: the dialect subscribes anew.
func (o *owner) up(ctx context.Context, c *connection) {
	o.conn, o.live, o.subs = c, false, nil
	o.setStatus(func(s *Status) { s.Connected, s.Since, s.Err = true, o.cfg.Clock.Now(), nil })
	name, _, _ := strings.Cut(c.login.ID, "|") // what follows are the terms of a login, and no name
	o.host.Log(fmt.Sprintf("%s: connected as %s", o.at, shown(name)))
	o.step(ctx, control.In{Kind: control.InConnected, Session: c.session})
}

func (o *owner) down(ctx context.Context, c *connection) {
	if o.conn != c {
		return
	}
	o.conn, o.live, o.subs = nil, false, nil
	clear(o.pending) // what was not acknowledged comes again
	o.out.lost()
	o.leave()
	o.step(ctx, control.In{Kind: control.InLost})
}

// take gives a message to the dialect. One with the number of another that is
// not acknowledged yet is the same one, sent again because a command takes its
// time: to acknowledge it would be to acknowledge the first.
func (o *owner) take(ctx context.Context, m paho.Message) {
	if m.Qos() > 0 && o.waits(m.MessageID()) {
		o.conn.release(m)
		return
	}
	if o.divert(m) {
		return
	}
	if len(o.pending) >= maxUnhandled {
		o.conn.fail(fmt.Errorf("%w: %d are not handled yet", ErrFlood, len(o.pending)))
		return
	}
	o.message++
	if m.Qos() > 0 {
		o.pending[o.message] = m
	} else {
		o.conn.release(m)
	}
	o.step(ctx, control.In{Kind: control.InMessage, Topic: m.Topic(), Payload: m.Payload(),
		QoS: m.Qos(), Retained: m.Retained(), Message: o.message})
}

// waits says whether the message with the broker's number is not acknowledged yet.
func (o *owner) waits(number uint16) bool {
	for _, m := range o.pending {
		if m.MessageID() == number {
			return true
		}
	}
	return false
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
	at := slices.IndexFunc(o.reports, func(r control.In) bool { return r.Report.ID == in.Report.ID })
	if at >= 0 {
		o.reports[at] = in
	} else {
		o.reports = append(o.reports, in)
	}
	if o.live {
		o.step(ctx, in)
	}
}

// pump gives the broker the next thing: subscriptions first, then what waits.
// One at a time keeps everything in order.
func (o *owner) pump(ctx context.Context) {
	if o.conn == nil || o.conn == o.broken || o.sending {
		return
	}
	if len(o.subs) > 0 {
		sub := o.subs[0]
		o.start(ctx, func(c *connection) error { return c.subscribe(sub.Topic, min(sub.QoS, 1)) }, func() {
			o.subs = o.subs[1:]
		})
		return
	}
	if !o.live {
		o.live = true
		for _, r := range slices.Clone(o.reports) {
			o.step(ctx, r)
		}
		o.pump(ctx) // the dialect may want anything, subscriptions too
		return
	}
	if len(o.out.items) == 0 {
		o.serve(ctx)
		return
	}
	i := o.out.items[0]
	o.start(ctx, func(c *connection) error { return c.publish(i.out.Topic, min(i.out.QoS, 1), i.out.Payload) }, func() {
		o.out.remove(i)
		if i.out.Token != 0 {
			o.step(ctx, control.In{Kind: control.InPublished, Token: i.out.Token})
		}
	})
}

// start has the broker asked by a goroutine, and then what follows done by the
// owner. A failure ends the connection: MQTT knows no other way to ask again.
func (o *owner) start(ctx context.Context, ask func(*connection) error, then func()) {
	c := o.conn
	o.sending = true
	o.work.Go(func() {
		err := ask(c)
		if err != nil {
			c.fail(err)
		}
		o.send(ctx, func() {
			o.sending = false
			switch {
			case err != nil:
				o.broken = c
			case o.conn == c:
				then()
			}
		})
	})
}

// step lets the dialect take one input, makes its state durable, and does what it wants.
func (o *owner) step(ctx context.Context, in control.In) {
	in.Now = o.cfg.Clock.Now()
	var outs []control.Out
	o.dialect.Step(in, func(out control.Out) { outs = append(outs, out) })
	saved := o.save(ctx)
	for _, out := range outs {
		if !saved && (out.Kind == control.OutHandled || out.Kind == control.OutDelivered) {
			delete(o.pending, out.Message)
			continue // it comes again, and maybe the disk is better then
		}
		o.play(ctx, in.Kind, out)
	}
}

func (o *owner) save(ctx context.Context) bool {
	state := o.dialect.Save()
	if bytes.Equal(state, o.saved) {
		return true
	}
	err := error(nil)
	if len(state) > control.MaxSave {
		err = fmt.Errorf("it has %d bytes, at most %d are kept", len(state), control.MaxSave)
	} else {
		err = o.host.Save(ctx, state)
	}
	if err != nil {
		if text := err.Error(); text != o.complained {
			o.complained = text // once, not with every event
			o.host.Log("keep the state of the connection: " + text)
		}
		return false
	}
	o.saved, o.complained = bytes.Clone(state), ""
	return true
}

func (o *owner) play(ctx context.Context, cause control.InKind, out control.Out) {
	switch out.Kind {
	case control.OutSubscribe:
		if !validFilter(out.Topic) {
			o.host.Log("not subscribed: " + shown(out.Topic) + " is no topic filter")
		} else if o.conn != nil {
			o.subs = append(o.subs, out)
		}
	case control.OutPublish:
		o.publish(cause, out)
	case control.OutRequest:
		o.ask(ctx, out)
	case control.OutCommand:
		o.command(ctx, out)
	case control.OutCancel:
		o.task(ctx, func() { o.host.Cancel(ctx, out.Command.ID) })
	case control.OutTimer:
		o.timer(ctx, out)
	case control.OutHandled:
		if m, ok := o.pending[out.Message]; ok {
			delete(o.pending, out.Message)
			o.conn.acknowledge(m)
		}
	case control.OutDelivered:
		o.reports = slices.DeleteFunc(o.reports, func(r control.In) bool { return r.Report.ID == out.Report })
		o.task(ctx, func() { o.host.Delivered(ctx, out.Report) })
	case control.OutLog:
		o.host.Log(out.Text)
	}
}

func (o *owner) publish(cause control.InKind, out control.Out) {
	switch {
	case !validTopic(out.Topic):
		o.host.Log("not sent: " + shown(out.Topic) + " is no topic")
		return
	case int64(len(out.Payload)) > o.cfg.MaxMessage:
		o.host.Log(fmt.Sprintf("not sent: %d bytes to %s, at most %d are", len(out.Payload), shown(out.Topic), o.cfg.MaxMessage))
		return
	}
	i := &item{out, cause}
	if o.conn == nil && i.renewed() {
		return // it comes again with the next connection
	}
	if gone := o.out.push(i); gone != nil && gone.cause != control.InEvent {
		o.host.Log(fmt.Sprintf("the broker is away: dropped a message to %s", shown(gone.out.Topic)))
	}
}

// ask does an HTTP request besides.
func (o *owner) ask(ctx context.Context, out control.Out) {
	if o.requests >= maxRequests {
		o.work.Go(func() {
			in := control.In{Kind: control.InResponse, Token: out.Token, Err: fmt.Sprintf("%d requests are under way already", maxRequests)}
			o.send(ctx, func() { o.step(ctx, in) })
		})
		return
	}
	o.requests++
	o.work.Go(func() {
		in := o.request(ctx, o.client, out)
		o.send(ctx, func() {
			o.requests--
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
	for {
		next := make(chan func(), 1)
		if !o.send(ctx, func() {
			if len(o.tasks) == 0 {
				o.tasking = false
				next <- nil
				return
			}
			next <- o.tasks[0]
			o.tasks = o.tasks[1:]
		}) {
			return
		}
		f := <-next
		if f == nil {
			return
		}
		f()
	}
}

// timer sets the dialect's timer of that token, instead of the one before.
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
	o.work.Go(func() {
		if o.cfg.Clock.Sleep(sleeping, after) != nil {
			return
		}
		o.send(sleeping, func() { o.tick(ctx, sleeping, out.Token) })
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

func validFilter(filter string) bool {
	return filter != "" && len(filter) <= 65535 && utf8.ValidString(filter) && !strings.ContainsRune(filter, 0)
}

package mqtt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/updraft-ota/updraft/control"
)

// What waits in a [Port] at most.
const (
	maxPortMessages = 256       // messages that came
	maxPortHeld     = 512 << 10 // bytes of them
	maxPortOut      = 16        // publishes
)

// ErrClosed means that a [Port] was closed.
var ErrClosed = errors.New("port is closed")

// Port is a second user of a connection besides the dialect, such as the reader
// of a file that the cloud sends in pieces. [Link.Listen] makes it. It has QoS 0
// alone: what is lost is for its user to ask for again. Messages on its topics
// are its own and not the dialect's; several ports may have the same ones. It
// holds at most 512 KiB that nobody has taken, and drops what comes then. Its
// methods may be called by several goroutines.
type Port struct {
	link   *Link
	topics []string
	ready  chan struct{} // holds a token while there may be something in

	mu   sync.Mutex
	live bool // it may publish: all its topics are subscribed
	in   []control.In
	held int64 // bytes of messages in it
	out  []control.Out
	err  error // that ended it
}

// ports are those of a link. Any goroutine may open and close one.
type ports struct {
	changed chan struct{} // holds a token while the owner may have to look

	mu   sync.Mutex
	open []*Port
}

func newPorts() *ports { return &ports{changed: make(chan struct{}, 1)} }

// Listen opens a port for topics without wildcards, which must not be topics of
// the dialect. It does not wait: the port subscribes once there is a connection,
// and again with each new one. The caller closes it.
func (l *Link) Listen(topics ...string) *Port {
	p := &Port{link: l, topics: slices.Clone(topics), ready: make(chan struct{}, 1)}
	l.ports.mu.Lock()
	l.ports.open = append(l.ports.open, p)
	l.ports.mu.Unlock()
	wake(l.ports.changed)
	return p
}

// wake puts a token there, if there is none.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next waits for what comes: InConnected when the topics are subscribed, from
// which on Publish works; InMessage; and InLost when the connection has ended.
// An error is ctx's cause, or the end of the port: it wraps [ErrRefused] if the
// broker does not allow a topic, and [ErrClosed] after Close.
func (p *Port) Next(ctx context.Context) (control.In, error) {
	for {
		if ctx.Err() != nil {
			return control.In{}, context.Cause(ctx)
		}
		if in, ok, err := p.take(); ok || err != nil {
			return in, err
		}
		select {
		case <-p.ready:
		case <-ctx.Done():
		}
	}
}

func (p *Port) take() (in control.In, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || len(p.in) == 0 {
		return in, false, p.err
	}
	in, p.in[0] = p.in[0], control.In{} // its payload is not kept
	p.in = p.in[1:]
	p.held -= size(in)
	if len(p.in) > 0 {
		wake(p.ready)
	}
	return in, true, nil
}

func size(in control.In) int64 { return int64(len(in.Topic) + len(in.Payload)) }

// Publish has a message sent with QoS 0. It does not wait. Without a
// connection, or if many wait already, the message is dropped, as it may be on its way.
func (p *Port) Publish(topic string, payload []byte) {
	p.mu.Lock()
	if p.live && len(p.out) < maxPortOut {
		p.out = append(p.out, control.Out{Kind: control.OutPublish, Topic: topic, Payload: payload})
	}
	p.mu.Unlock()
	wake(p.link.ports.changed)
}

// Close ends the port and its subscriptions. It may be called twice.
func (p *Port) Close() error {
	p.end(ErrClosed)
	return nil
}

// end takes the port from those that are open. The first reason counts.
func (p *Port) end(why error) {
	o := p.link.ports
	o.mu.Lock()
	o.open = slices.DeleteFunc(o.open, func(q *Port) bool { return q == p })
	o.mu.Unlock()
	p.mu.Lock()
	if p.err == nil {
		p.err = why
	}
	p.live, p.in, p.held, p.out = false, nil, 0, nil
	p.mu.Unlock()
	wake(p.ready)
	wake(o.changed)
}

// connected says that all topics are subscribed.
func (p *Port) connected(in control.In) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live && p.err == nil {
		p.live, p.in = true, append(p.in, in)
		wake(p.ready)
	}
}

// lost drops what is of no more use without the connection.
func (p *Port) lost(in control.In) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		p.live, p.in, p.held, p.out = false, []control.In{in}, 0, nil
		wake(p.ready)
	}
}

// message takes one if there is room.
func (p *Port) message(in control.In) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.live || len(p.in) >= maxPortMessages || p.held+size(in) > maxPortHeld {
		return
	}
	p.in, p.held = append(p.in, in), p.held+size(in)
	wake(p.ready)
}

// next gives the next publish, if any.
func (p *Port) next() (out control.Out, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.out) == 0 {
		return out, false
	}
	out, p.out = p.out[0], p.out[1:]
	return out, true
}

// all gives those that are open now.
func (s *ports) all() []*Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.open)
}

// The owner's side. o.topics has the topics of ports that the broker may have a
// subscription to, and whether it acknowledged one on this connection. A topic
// that no port has any more stays there until it is unsubscribed.

// serve gives the broker the next thing that a port wants, and says whether there was one.
func (o *owner) serve(ctx context.Context) bool {
	wanted := map[string]bool{}
	for _, p := range o.ports.all() {
		for _, topic := range p.topics {
			if wanted[topic] = true; !o.topics[topic] {
				o.enter(ctx, topic)
				return true
			}
		}
		p.connected(control.In{Kind: control.InConnected, Now: o.cfg.Clock.Now()})
	}
	for topic := range maps.Keys(o.topics) {
		if !wanted[topic] {
			o.start(ctx, func(c *connection) error { return c.unsubscribe(topic) }, func() { delete(o.topics, topic) })
			return true
		}
	}
	return o.forward(ctx)
}

// enter subscribes to a topic of ports. A refusal ends them, not the connection.
func (o *owner) enter(ctx context.Context, topic string) {
	o.topics[topic] = false
	var refused error
	o.start(ctx, func(c *connection) error {
		err := c.subscribe(topic, 0)
		if errors.Is(err, ErrRefused) {
			refused, err = err, nil
		}
		return err
	}, func() {
		if refused == nil {
			o.topics[topic] = true
			return
		}
		for _, p := range o.ports.all() {
			if slices.Contains(p.topics, topic) {
				p.end(refused)
			}
		}
	})
}

// forward sends the next message of the ports.
func (o *owner) forward(ctx context.Context) bool {
	for _, p := range o.ports.all() {
		out, ok := p.next()
		switch {
		case !ok:
		case !validTopic(out.Topic) || int64(len(out.Payload)) > o.cfg.MaxMessage:
			o.host.Log(fmt.Sprintf("not sent: %d bytes to %s", len(out.Payload), shown(out.Topic)))
		default:
			o.start(ctx, func(c *connection) error { return c.publish(out.Topic, 0, out.Payload) }, func() {})
			return true
		}
	}
	return false
}

// divert gives a message to the ports of its topic, and says whether the
// topic is one of ports or was until a moment ago. Then the dialect does not see it.
func (o *owner) divert(m paho.Message) bool {
	if _, ours := o.topics[m.Topic()]; !ours {
		return false
	}
	if m.Qos() > 0 { // nobody asked for that
		o.conn.acknowledge(m)
	} else {
		o.conn.release(m)
	}
	in := control.In{Kind: control.InMessage, Now: o.cfg.Clock.Now(), Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retained: m.Retained()}
	for _, p := range o.ports.all() {
		if slices.Contains(p.topics, in.Topic) {
			p.message(in)
		}
	}
	return true
}

// leave tells the ports that the connection has ended.
func (o *owner) leave() {
	for topic := range o.topics {
		o.topics[topic] = false
	}
	for _, p := range o.ports.all() {
		p.lost(control.In{Kind: control.InLost, Now: o.cfg.Clock.Now()})
	}
}

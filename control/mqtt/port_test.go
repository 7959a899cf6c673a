package mqtt_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
)

// next wants the next of a port to be of that kind.
func next(t *testing.T, p *mqtt.Port, kind control.InKind) control.In {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	in, err := p.Next(ctx)
	if err != nil || in.Kind != kind {
		t.Fatalf("next: %q, %v; want %q", in.Kind, err, kind)
	}
	return in
}

// heard wants the broker to hear of these subscriptions next.
func (b *rawBroker) heard(t *testing.T, want ...string) {
	t.Helper()
	for _, topic := range want {
		if got := within(t, topic, b.topics); got != topic {
			t.Fatalf("the broker hears %s, want %s", got, topic)
		}
	}
}

func closed(t *testing.T, p *mqtt.Port) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

const deltaTopic = "state/gw-1/update/delta" // of the dialect

// TestPort: a second user of the connection has topics of its own, and the dialect goes on.
func TestPort(t *testing.T) {
	b := broker(t, false)
	h := &host{}
	l, err := mqtt.New(config(b.url()), newEcho("gw-1"), h)
	if err != nil {
		t.Fatal(err)
	}
	p := l.Listen("s/data", "s/no") // before there is a connection
	p.Publish("s/get", []byte("too early"))
	run(t, l)
	s := b.next(t)
	b.heard(t, "+"+deltaTopic, "+s/data", "+s/no")
	next(t, p, control.InConnected)

	p.Publish("s/get", []byte("ask"))
	if got := within(t, "a publish", s.published); got.TopicName != "s/get" || string(got.Payload) != "ask" || got.Qos != 0 {
		t.Errorf("published %v", got)
	}
	s.message(0, 7, "s/data", "block") // with QoS 1, for which nobody asked
	s.acked(t, 7)
	if in := next(t, p, control.InMessage); in.Topic != "s/data" || string(in.Payload) != "block" || in.Retained {
		t.Errorf("message %+v", in)
	}
	s.message(0, 8, deltaTopic, "command")
	s.acked(t, 8)
	if got := h.get(&h.commands); !slices.Equal(got, []string{"command"}) {
		t.Errorf("commands %q, want the one that was meant for the dialect", got)
	}

	s.message(0, 9, "s/data", "nobody takes it in time")
	s.acked(t, 9)
	_ = s.Close()
	eventually(t, "the loss shows", func() bool { return !l.Status().Connected || b.dials.Load() > 1 })
	next(t, p, control.InLost)
	s = b.next(t)
	b.heard(t, "+"+deltaTopic, "+s/data", "+s/no")
	next(t, p, control.InConnected)

	closed(t, p)
	closed(t, p)
	if _, err := p.Next(t.Context()); !errors.Is(err, mqtt.ErrClosed) {
		t.Errorf("next after close: %v, want %v", err, mqtt.ErrClosed)
	}
	left := []string{within(t, "an end", b.topics), within(t, "an end", b.topics)}
	if slices.Sort(left); !slices.Equal(left, []string{"-s/data", "-s/no"}) {
		t.Errorf("left %q", left)
	}
	p.Publish("s/get", []byte("too late"))
	s.message(0, 10, deltaTopic, "another")
	s.acked(t, 10)
	if len(s.published) != 0 {
		t.Error("something was published after the end")
	}
}

// TestPortRefused: a topic that is not allowed ends the port and not the connection.
func TestPortRefused(t *testing.T) {
	b := broker(t, false)
	b.refuse = "s/no"
	l := start(t, config(b.url()), newEcho("gw-1"), &host{})
	s := b.next(t)
	p, other := l.Listen("s/data", "s/no"), l.Listen("t/data")
	if in, err := p.Next(t.Context()); !errors.Is(err, mqtt.ErrRefused) || !strings.Contains(err.Error(), `"s/no"`) {
		t.Errorf("next: %v, %v; want %v", in.Kind, err, mqtt.ErrRefused)
	}
	next(t, other, control.InConnected)
	b.heard(t, "+"+deltaTopic, "+s/data", "+s/no", "+t/data")
	left := []string{within(t, "an end", b.topics), within(t, "an end", b.topics)}
	if slices.Sort(left); !slices.Equal(left, []string{"-s/data", "-s/no"}) {
		t.Errorf("left %q, want what only the refused one wanted", left)
	}
	closed(t, p)
	closed(t, other)
	s.message(0, 8, deltaTopic, "command")
	s.acked(t, 8)
	if n := b.dials.Load(); n != 1 || !l.Status().Ready {
		t.Errorf("%d connections, %+v; want the first one still", n, l.Status())
	}
}

// TestPortsShareTopics: both get what comes, and the last one to go unsubscribes.
func TestPortsShareTopics(t *testing.T) {
	b := broker(t, false)
	l := start(t, config(b.url()), newEcho("gw-1"), &host{})
	one, two := l.Listen("s/data"), l.Listen("s/data")
	s := b.next(t)
	next(t, one, control.InConnected)
	next(t, two, control.InConnected)
	s.message(0, 7, "s/data", "block")
	for _, p := range []*mqtt.Port{one, two} {
		if in := next(t, p, control.InMessage); string(in.Payload) != "block" {
			t.Errorf("message %+v", in)
		}
	}
	closed(t, one)
	s.message(0, 8, "s/data", "next")
	next(t, two, control.InMessage)
	closed(t, two)
	b.heard(t, "+"+deltaTopic, "+s/data", "-s/data")
}

// TestPortClosedWhileAway: the broker keeps the session, so the subscription is
// ended with the next connection.
func TestPortClosedWhileAway(t *testing.T) {
	b := broker(t, false)
	l := start(t, config(b.url()), newEcho("gw-1"), &host{})
	p := l.Listen("s/data")
	s := b.next(t)
	next(t, p, control.InConnected)
	_ = s.Close()
	next(t, p, control.InLost)
	closed(t, p)
	b.next(t)
	b.heard(t, "+"+deltaTopic, "+s/data")
	for got := ""; got != "-s/data"; { // it may have subscribed again before it was closed
		got = within(t, "the end of the subscription", b.topics)
	}
}

// TestPortOverflow: what nobody takes is bounded, and costs nobody the connection.
func TestPortOverflow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   int
		most   int
		number int
	}{
		{"many", 10, 256, 600},
		{"large", 100 << 10, 5, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := broker(t, false)
			l := start(t, config(b.url()), newEcho("gw-1"), &host{})
			p := l.Listen("s/data")
			s := b.next(t)
			next(t, p, control.InConnected)
			for i := range tt.number {
				s.message(0, uint16(i+1), "s/data", strings.Repeat("x", tt.size))
				within(t, "an acknowledgement", s.acks) // so that the connection itself is not flooded
			}
			have := 0
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			for range tt.number {
				if _, err := p.Next(ended); err == nil {
					have++
				}
			}
			if have != 0 {
				t.Errorf("%d messages were given to a context that has ended", have)
			}
			for have < tt.most {
				next(t, p, control.InMessage)
				have++
			}
			s.message(0, 1000, "s/data", "last")
			if in := next(t, p, control.InMessage); string(in.Payload) != "last" {
				t.Errorf("more than %d messages were kept", tt.most)
			}
			closed(t, p)
			if b.dials.Load() != 1 {
				t.Error("the connection was lost")
			}
		})
	}
}

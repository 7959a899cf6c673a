package mqtt_test

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// rawBroker answers what a client needs to be content, and lets a test write
// whatever it likes on top.
type rawBroker struct {
	net.Listener
	sessions chan *session // those that have subscribed
	logins   chan string   // id, user and password of each CONNECT
	mute     string        // topic of publishes of which the first is not acknowledged
	muted    atomic.Bool
	refuse   string      // topic of subscriptions that are refused
	topics   chan string // of subscriptions, +TOPIC, and of their ends, -TOPIC
	dials    atomic.Int64
	open     sync.Map // net.Conn
	work     sync.WaitGroup
}

// session is one connection of a client.
type session struct {
	net.Conn
	mu        sync.Mutex
	acks      chan uint16 // the numbers of PUBACK
	published chan *packets.PublishPacket
}

// broker starts one. If deaf it takes connections and says nothing on them.
func broker(t *testing.T, deaf bool) *rawBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &rawBroker{Listener: l, sessions: make(chan *session, 64), logins: make(chan string, 4096), topics: make(chan string, 4096)}
	t.Cleanup(b.stop)
	b.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.dials.Add(1)
			b.open.Store(c, nil)
			if !deaf {
				s := &session{Conn: c, acks: make(chan uint16, 4096), published: make(chan *packets.PublishPacket, 64)}
				b.work.Go(func() { b.serve(s) })
			}
		}
	})
	return b
}

// stop ends all that it does. It may be called twice.
func (b *rawBroker) stop() {
	_ = b.Close()
	b.open.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	b.work.Wait()
}

func (b *rawBroker) url() string { return "tcp://" + b.Addr().String() }

func (b *rawBroker) serve(s *session) {
	for known := false; ; {
		p, err := packets.ReadPacket(s)
		if err != nil {
			_ = s.Close()
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			b.logins <- p.ClientIdentifier + " " + p.Username + " " + string(p.Password)
			s.write([]byte{0x20, 2, 0, 0})
		case *packets.SubscribePacket:
			code := byte(1)
			if p.Topics[0] == b.refuse {
				code = 0x80
			}
			b.topics <- "+" + p.Topics[0]
			s.write([]byte{0x90, 3, byte(p.MessageID >> 8), byte(p.MessageID), code})
			if !known {
				known = true
				b.sessions <- s
			}
		case *packets.UnsubscribePacket:
			b.topics <- "-" + p.Topics[0]
			s.write([]byte{0xb0, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
		case *packets.PingreqPacket:
			s.write([]byte{0xd0, 0})
		case *packets.PublishPacket:
			s.published <- p
			if p.Qos > 0 && (p.TopicName != b.mute || b.muted.Swap(true)) {
				s.write([]byte{0x40, 2, byte(p.MessageID >> 8), byte(p.MessageID)})
			}
		case *packets.PubackPacket:
			s.acks <- p.MessageID
		}
	}
}

// write sends bytes whole. An error shows in what the test waits for.
func (s *session) write(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.Write(p)
}

// message sends a PUBLISH of QoS 1; first holds more bits of its first byte.
func (s *session) message(first byte, number uint16, topic, payload string) {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	body = binary.BigEndian.AppendUint16(append(body, topic...), number)
	s.write(append(publishHead(first, len(body)+len(payload)), append(body, payload...)...))
}

// publishHead is the start of a PUBLISH of QoS 1, of so many bytes after it.
func publishHead(first byte, size int) []byte {
	head := []byte{0x32 | first}
	for ; size >= 0x80; size >>= 7 {
		head = append(head, byte(size)|0x80)
	}
	return append(head, byte(size))
}

// next gives the next connection that has subscribed.
func (b *rawBroker) next(t *testing.T) *session { return within(t, "a connection", b.sessions) }

// acked wants the next acknowledgement to be of that message.
func (s *session) acked(t *testing.T, number uint16) {
	t.Helper()
	if got := within(t, "an acknowledgement", s.acks); got != number {
		t.Errorf("message %d is acknowledged, want %d", got, number)
	}
}

// within gives the next of a channel.
func within[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(8 * time.Second):
		t.Fatalf("never: %s", what)
		panic("unreachable")
	}
}

package process

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// plainBroker accepts everything and sends what the test wants. It knows no sessions.
type plainBroker struct {
	at       string
	count    atomic.Int64 // of connections
	sessions chan *session
}

func newPlainBroker(t *testing.T) *plainBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &plainBroker{at: l.Addr().String(), sessions: make(chan *session, 100)}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			b.count.Add(1)
			go func() { (&session{conn: conn, said: make(chan string, 1000)}).serve(b.sessions) }()
		}
	}()
	return b
}

// next waits for a connection that was let in.
func (b *plainBroker) next(t *testing.T) *session {
	t.Helper()
	select {
	case s := <-b.sessions:
		return s
	case <-time.After(30 * time.Second):
		t.Fatal("no connection")
		return nil
	}
}

// session is one connection to it.
type session struct {
	conn    net.Conn
	connect []byte      // the body of CONNECT
	said    chan string // what the client published, and its acknowledgements as "PUBACK 7."
	last    string      // of those that were waited for

	writing sync.Mutex
}

// serve answers until the client goes.
func (s *session) serve(in chan<- *session) {
	for r := bufio.NewReader(s.conn); ; {
		head, err := r.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(r) // the same form as MQTT's
		if err != nil || length > 1<<20 {
			return
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		switch head >> 4 {
		case 1:
			s.connect = body
			s.send("\x20\x02\x00\x00")
			in <- s
		case 3:
			topic := 2 + int(binary.BigEndian.Uint16(body))
			if head&6 != 0 {
				s.send("\x40\x02" + string(body[topic:topic+2]))
				topic += 2
			}
			s.said <- string(body[topic:])
		case 4:
			s.said <- fmt.Sprintf("PUBACK %d.", binary.BigEndian.Uint16(body))
		case 8:
			s.send("\x90\x03" + string(body[:2]) + "\x01")
		case 12:
			s.send("\xd0\x00")
		}
	}
}

func (s *session) send(packet string) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = io.WriteString(s.conn, packet) // a client that is gone shows elsewhere
}

// publish sends a message at quality of service 1.
func (s *session) publish(t *testing.T, retain byte, id uint16, topic, payload string) {
	t.Helper()
	packet := []byte{0x32 | retain}
	packet = binary.AppendUvarint(packet, uint64(2+len(topic)+2+len(payload)))
	packet = binary.BigEndian.AppendUint16(packet, uint16(len(topic)))
	packet = binary.BigEndian.AppendUint16(append(packet, topic...), id)
	s.writing.Lock()
	defer s.writing.Unlock()
	if _, err := s.conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s.conn, payload); err != nil {
		t.Fatal(err)
	}
}

// accept answers the report that was waited for, as the cloud does.
func (s *session) accept(t *testing.T, report string) {
	t.Helper()
	token := regexp.MustCompile(`"clientToken":"([^"]*)"`).FindStringSubmatch(s.last)
	if token == nil || !strings.Contains(s.last, report) {
		t.Fatalf("the last report is %s, want one with %s", s.last, report)
	}
	s.publish(t, 0, 60000, "state/gw-1/update/accepted", fmt.Sprintf(`{"clientToken": %q, "version": 10}`, token[1]))
}

// wait waits until the client says something.
func (s *session) wait(t *testing.T, text string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case s.last = <-s.said:
			if strings.Contains(s.last, text) {
				return
			}
		case <-limit:
			t.Fatalf("the agent does not send %q", text)
		}
	}
}

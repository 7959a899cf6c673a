package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// script is a connection on which a broker says what is in it, and which
// keeps what was written.
type script struct {
	net.Conn // nil: what is not below must not be called
	in       io.Reader
	out      bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

func scripted(in io.Reader, limit int64) (*wire, *script, *strings.Builder) {
	s, logged := &script{in: in}, &strings.Builder{}
	cfg := &Config{MaxMessage: limit, KeepAlive: time.Second, AnswerTimeout: time.Second}
	return newWire(s, time.Now().Add(time.Minute), cfg, func(text string) { fmt.Fprintln(logged, text) }), s, logged
}

const (
	connack  = "\x20\x02\x00\x00"
	pingresp = "\xd0\x00"
	hello    = "\x32\x07\x00\x01t\x00\x07hi" // QoS 1, number 7
)

func TestWirePassesWhatIsRight(t *testing.T) {
	all := connack + "\x90\x03\x00\x01\x01" + "\x30\x03\x00\x01t" + hello + "\x40\x02\x00\x01" + pingresp
	w, _, _ := scripted(strings.NewReader(all), 1024)
	got, err := io.ReadAll(w)
	if string(got) != all || !errors.Is(err, ErrLost) {
		t.Errorf("read %q, %v; want all of it and ErrLost at the end", got, err)
	}
}

func TestWireRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in string }{
		{"a message before CONNACK", hello},
		{"CONNACK that is too long", "\x20\x03\x00\x00\x00"},
		{"CONNACK with an unknown code", "\x20\x02\x00\x07"},
		{"CONNACK twice", connack + connack},
		{"a request of a client", connack + "\xc0\x00"},
		{"SUBACK with two codes", connack + "\x90\x04\x00\x01\x00\x00"},
		{"SUBACK with none", connack + "\x90\x02\x00\x01"},
		{"PUBACK without a number", connack + "\x40\x00"},
		{"QoS 2", connack + "\x34\x06\x00\x01t\x00\x07x"},
		{"QoS 3", connack + "\x36\x06\x00\x01t\x00\x07x"},
		{"a message of nothing", connack + "\x30\x00"},
		{"a topic beyond the end", connack + "\x30\x04\x00\x09tt"},
		{"a number beyond the end", connack + "\x32\x04\x00\x01t\x00"},
		{"number zero", connack + "\x32\x05\x00\x01t\x00\x00"},
		{"a length of five bytes", connack + "\x30\x80\x80\x80\x80\x01"},
		{"a large message with a topic beyond its end", connack + "\x30\x80\x10\xff\xff" + strings.Repeat("x", 2046)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, _ := scripted(strings.NewReader(tt.in), 1024)
			if got, err := io.ReadAll(w); !errors.Is(err, ErrProtocol) {
				t.Errorf("read %q, %v; want ErrProtocol", got, err)
			}
		})
	}
}

// A message that has a shape, but a topic that none can have, is passed over
// like one that is too large.
func TestWireSkipsImpossibleTopics(t *testing.T) {
	for _, tt := range []struct{ name, in, ack string }{
		{"none", "\x30\x02\x00\x00", ""},
		{"a wildcard", "\x30\x03\x00\x01#", ""},
		{"a wildcard, to be acknowledged", "\x32\x07\x00\x03a/+\x00\x07", "\x40\x02\x00\x07"},
		{"not text", "\x30\x03\x00\x01\xff", ""},
		{"a zero byte", "\x30\x03\x00\x01\x00", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, s, logged := scripted(strings.NewReader(connack+tt.in+hello), 1024)
			got, _ := io.ReadAll(w)
			if string(got) != connack+hello || s.out.String() != tt.ack || strings.Count(logged.String(), "\n") != 1 {
				t.Errorf("read %q, wrote %q, logged %q; want the other message, %q and one line", got, s.out.String(), logged, tt.ack)
			}
		})
	}
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The largest packet that MQTT can have is passed over in bounded memory,
// acknowledged so that it does not come again, and what follows arrives.
func TestWireSkipsWhatIsTooLarge(t *testing.T) {
	const body = 1<<28 - 1
	head := "\x32\xff\xff\xff\x7f" + "\x00\x05state" + "\x00\x2a"
	rest := io.LimitReader(zeros{}, body-7-2)
	w, s, logged := scripted(io.MultiReader(strings.NewReader(connack+head), rest, strings.NewReader(hello)), 1024)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, _ := io.ReadAll(w)
	runtime.ReadMemStats(&after)
	if string(got) != connack+hello {
		t.Errorf("read %d bytes, want CONNACK and the message after it", len(got))
	}
	if s.out.String() != "\x40\x02\x00\x2a" {
		t.Errorf("wrote %q, want the acknowledgement of message 42", s.out.String())
	}
	if text := logged.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `268435455 bytes on "state"`) {
		t.Errorf("logged %q, want one line about it", text)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated for it", used)
	}
}

// Whatever a broker sends, the library sees packets that it can read, and
// never one beyond the limit.
func FuzzWire(f *testing.F) {
	for _, seed := range []string{connack + hello + pingresp, connack + "\x32\xff\xff\xff\x7f", "\x20\x02\x00\x05", connack + "\x90\x03\x00\x01\x80"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		w, _, _ := scripted(bytes.NewReader(in), 2048)
		for {
			p, err := packets.ReadPacket(w)
			if err != nil {
				for _, known := range []error{ErrProtocol, ErrLost} {
					if errors.Is(err, known) {
						return
					}
				}
				t.Fatalf("the library says %v", err)
			}
			if m, ok := p.(*packets.PublishPacket); ok && len(m.Payload) > 2048 {
				t.Fatalf("a message of %d bytes", len(m.Payload))
			}
		}
	})
}

// slowReader gives a piece at a time, each after a pause.
type slowReader struct {
	in    io.Reader
	pause time.Duration
}

func (s *slowReader) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.in.Read(p[:min(len(p), 4<<10)])
}

// While a message that is too large comes in slowly, the library hears that the
// broker lives; it would hang up otherwise, and the message would come again.
func TestWireLivesWhileItSkips(t *testing.T) {
	const size = 600 << 10
	large := "\x32\x80\xc0\x25" + "\x00\x01t\x00\x09" + strings.Repeat("x", size-5)
	w, s, logged := scripted(&slowReader{strings.NewReader(connack + large + hello), 10 * time.Millisecond}, 1024)
	got, err := io.ReadAll(w)
	pings := strings.Count(string(got), pingresp)
	if strings.ReplaceAll(string(got), pingresp, "") != connack+hello || pings < 1 || pings > 20 || !errors.Is(err, ErrLost) {
		t.Errorf("read %d bytes with %d signs of life, %v; want the other message and some", len(got), pings, err)
	}
	if s.out.String() != "\x40\x02\x00\x09" || strings.Count(logged.String(), "\n") != 1 {
		t.Errorf("wrote %q, logged %q; want an acknowledgement and one line", s.out.String(), logged)
	}
}

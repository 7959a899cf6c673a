package mqtt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/awsiot"
	"github.com/updraft-ota/updraft/control/mqtt"
)

// A broker sends what no device should act on, over a connection of its own
// making, to a dialect of a real cloud. Each is refused with one line, nothing
// starts, the connection stays, and a right command still gets through.
func TestHostileMessages(t *testing.T) {
	good := fmt.Sprintf(`{"state": {"softwareURL": "https://files.example/v2.img?sig=%s", "jobID": "j-1"}, "version": 9}`, canary)
	for _, tt := range []struct {
		name           string
		first          byte // more bits of the PUBLISH
		topic, payload string
		want           string // in the line
	}{
		{"a topic with a wildcard", 0, "state/+/update/delta", good, "no message can have this topic"},
		{"a topic with the wildcard for all", 0, "#", good, "no message can have this topic"},
		{"a topic that is not text", 0, "state/\xff", good, "no message can have this topic"},
		{"a retained command", 1, commandTopic, good, "retained"},
		{"another device's command", 0, "state/gw-2/update/delta", good, "not a topic of device gw-1"},
		{"another topic", 0, "else/where", good, "not a topic of device gw-1"},
		{"a number for a URL", 0, commandTopic, `{"state": {"softwareURL": 5, "jobID": "j-1"}, "version": 9}`, "softwareURL"},
		{"a list for a job", 0, commandTopic, `{"state": {"softwareURL": "https://h/f", "jobID": ["j-1"]}}`, "jobID"},
		{"a text for a state", 0, commandTopic, `{"state": "` + canary + `"}`, "state"},
		{"a wildcard for a job", 0, commandTopic, `{"state": {"softwareURL": "https://h/f", "jobID": "j/#"}}`, "jobID"},
		{"no JSON", 0, commandTopic, "\x00" + canary, "JSON"},
		{"nothing", 0, commandTopic, "", "message is missing"},
		{"more than the cloud sends", 0, commandTopic, strings.Repeat("x", 200<<10), "the limit is"},
		{"more than is taken", 0, commandTopic, strings.Repeat("x", 300<<10), "at most 262144 are taken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := broker(t, false)
			d, err := awsiot.New(awsiot.Config{Device: "gw-1"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			h := &host{}
			start(t, config(b.url()), d, h)
			s := b.next(t)
			before := len(h.get(&h.logs))
			s.message(tt.first, 7, tt.topic, tt.payload)
			s.acked(t, 7)
			lines := h.get(&h.logs)[before:]
			if len(lines) != 1 || !strings.Contains(lines[0], tt.want) || strings.Contains(lines[0], canary) || len(lines[0]) > 300 {
				t.Errorf("lines = %q, want one with %q and without what came", lines, tt.want)
			}
			if got := h.get(&h.commands); len(got) != 0 {
				t.Errorf("commands = %q, want none", got)
			}
			s.message(0, 8, commandTopic, good)
			s.acked(t, 8)
			if got := h.get(&h.commands); !slices.Equal(got, []string{"j-1"}) || b.dials.Load() != 1 {
				t.Errorf("commands = %q after %d connections, want j-1 on the first", got, b.dials.Load())
			}
		})
	}
}

// The largest PUBLISH there can be passes by over a real connection without
// being held, and the connection goes on.
func TestHugeMessage(t *testing.T) {
	const size = 1<<28 - 1 // bytes after the head: MQTT has no larger ones
	b, h := broker(t, false), &host{}
	cfg := config(b.url())
	cfg.KeepAlive = time.Minute // this broker would answer a ping in the midst of the message
	start(t, cfg, newEcho("gw-1"), h)
	s := b.next(t)
	before := len(h.get(&h.logs))
	chunk := []byte(strings.Repeat(canary, 64<<10/len(canary)))
	var was, is runtime.MemStats
	runtime.ReadMemStats(&was)
	s.write(append(publishHead(0, size), "\x00\x05state\x00\x07"...))
	for left := size - 9; left > 0; left -= len(chunk) {
		s.write(chunk[:min(left, len(chunk))])
	}
	s.acked(t, 7)
	runtime.ReadMemStats(&is)
	used := is.TotalAlloc - was.TotalAlloc
	t.Logf("%d bytes passed by, %d were allocated in all meanwhile", size, used)
	if used > 4<<20 {
		t.Errorf("%d bytes were allocated for a message of %d", used, size)
	}
	if lines := h.get(&h.logs)[before:]; len(lines) != 1 || !strings.Contains(lines[0], `refused a message of 268435455 bytes on "state"`) || strings.Contains(lines[0], canary) {
		t.Errorf("lines = %q, want one about the size", lines)
	}
	s.message(0, 8, commandTopic, "j-1")
	s.acked(t, 8)
	if n := b.dials.Load(); n != 1 {
		t.Errorf("%d connections, want the first", n)
	}
}

// A flood of large messages takes no more memory than may be held, whether the
// link keeps up with it or leaves, and afterwards commands get through.
func TestFlood(t *testing.T) {
	b, h := broker(t, false), &host{}
	start(t, config(b.url()), newEcho("gw-1"), h)
	s := b.next(t)
	peak := s.flood(3000, 100<<10) // 300 MB
	after := 0
	eventually(t, "a command after the flood", func() bool {
		select {
		case s = <-b.sessions:
		default:
		}
		after++
		s.message(0, uint16(10000+after), commandTopic, fmt.Sprint("after-", after))
		return strings.Contains(strings.Join(h.get(&h.commands), ""), "after-")
	})
	t.Logf("at most %d KiB of heap more than before, %d connections", peak>>10, b.dials.Load())
	if peak > maxFlood {
		t.Errorf("%d bytes of heap more than before", peak)
	}
}

// maxFlood is how many bytes of heap a flood of 300 MB may take. With the
// settings of the tests 4 MiB may be held; what passes through while the
// collector works counts too, several times over.
const maxFlood = 64 << 20

// flood sends many messages as fast as it can, and gives how many bytes more of the heap
// were in use meanwhile.
func (s *session) flood(count uint16, size int) (peak int64) {
	body := fmt.Sprintf("\x00%c%s\x00\x00", len(commandTopic), commandTopic)
	packet := append(publishHead(0, len(body)+size), body+strings.Repeat("x", size)...)
	number := packet[len(packet)-size-2:]
	was := heap()
	for i := range count {
		binary.BigEndian.PutUint16(number, i+1)
		s.write(packet)
		if i%25 == 24 {
			peak = max(peak, heap()-was)
		}
	}
	return peak
}

// heap is what is in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// deaf is a dialect that handles no message.
type deaf struct{}

func (deaf) Step(in control.In, emit func(control.Out)) {
	if in.Kind == control.InConnected {
		emit(control.Out{Kind: control.OutSubscribe, Topic: commandTopic, QoS: 1})
	}
}
func (deaf) Save() []byte { return nil }

// More than may be unhandled ends the connection, and the next comes after a
// pause.
func TestFloodThatNobodyHandles(t *testing.T) {
	for _, tt := range []struct {
		name  string
		count uint16
		size  int // bytes
	}{{"many", 1100, 1}, {"large", 3000, 100 << 10}} {
		t.Run(tt.name, func(t *testing.T) {
			b, h := broker(t, false), &host{}
			cfg := config(b.url())
			ck := newClock()
			cfg.Clock, cfg.RetryMin, cfg.RetryMax = ck, time.Second, time.Hour
			l := start(t, cfg, deaf{}, h)
			for range 2 {
				peak := b.next(t).flood(tt.count, tt.size)
				eventually(t, "ErrFlood", func() bool { return errors.Is(l.Status().Err, mqtt.ErrFlood) })
				t.Logf("at most %d KiB of heap more than before: %v", peak>>10, l.Status().Err)
				if peak > maxFlood {
					t.Errorf("%d bytes of heap more than before", peak)
				}
				if len(b.sessions) != 0 {
					t.Error("connected anew without a pause")
				}
				eventually(t, "the end of the pause", ck.next)
			}
		})
	}
}

// A broker that takes connections and says nothing is asked as often as the
// pauses allow: here by the default ones, which together make an hour.
func TestDeafBrokerIsNotAskedInALoop(t *testing.T) {
	for _, scheme := range []string{"tcp", "tls"} {
		t.Run(scheme, func(t *testing.T) {
			b, ck, h := broker(t, true), newClock(), &host{}
			var dials atomic.Int64
			l := start(t, mqtt.Config{
				URL: scheme + "://" + b.Addr().String(), ID: "gw-1", Clock: ck, ConnectTimeout: 20 * time.Millisecond,
				Rand: func() float64 { return 0 }, // the shortest pauses
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					dials.Add(1)
					return new(net.Dialer).DialContext(ctx, network, address)
				},
			}, newEcho("gw-1"), h)
			began := ck.Now()
			for n := 1; ; n++ {
				eventually(t, "ErrSilent", func() bool { st := l.Status(); return st.Attempts == n && errors.Is(st.Err, mqtt.ErrSilent) })
				if ck.Now().Sub(began) >= time.Hour {
					break
				}
				eventually(t, "a pause", ck.next)
			}
			// 0.5, 1, 2 … 128 s between the first ten, then 150 s each.
			const want = 10 + 23
			t.Logf("%d dials in %s", dials.Load(), ck.Now().Sub(began))
			if n := dials.Load(); n != want {
				t.Errorf("%d dials in an hour, want %d", n, want)
			}
			if lines := h.get(&h.logs); len(lines) != want || !strings.Contains(lines[0], "broker does not answer") {
				t.Errorf("%d lines, the first is %q; want one for each attempt", len(lines), lines[0])
			}
		})
	}
}

// Nothing that Run started outlives it, whatever state it is ended in.
func TestNothingOutlivesRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		deaf bool
		then func(t *testing.T, b *rawBroker, w waiting)
	}{
		{"at once", false, func(*testing.T, *rawBroker, waiting) {}},
		{"while it connects", true, func(t *testing.T, b *rawBroker, _ waiting) {
			eventually(t, "dialled", func() bool { return b.dials.Load() > 0 })
		}},
		{"connected", false, func(t *testing.T, b *rawBroker, _ waiting) { b.next(t) }},
		{"connected anew, with a command that waits", false, func(t *testing.T, b *rawBroker, w waiting) {
			s := b.next(t)
			s.message(0, 7, commandTopic, "j-1")
			within(t, "the command", w.answers)
			_ = s.Close()
			b.next(t)
		}},
		{"in a pause", false, func(t *testing.T, b *rawBroker, w waiting) {
			_ = b.next(t).Close()
			eventually(t, "noticed", func() bool { return w.link.Status().Attempts > 0 })
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := broker(t, tt.deaf)
			w := keeping(t, b.url())
			known := goleak.IgnoreCurrent() // the broker
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- w.link.Run(ctx) }()
			tt.then(t, b, w)
			cancel()
			within(t, "the end", ended)
			b.stop()
			if err := goleak.Find(known); err != nil {
				t.Error(err)
			}
		})
	}
}

package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/mqtt"
)

func TestCommandAndReportGoThrough(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	h := &host{}
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), h)
	connected(t, l)
	push(t, s, "j-1")
	eventually(t, "the command", func() bool { return len(h.get(&h.commands)) > 0 })
	l.Post(report("r-1", "j-1"))
	eventually(t, "delivered", func() bool { return len(h.get(&h.delivered)) == 1 })
	if ends := s.Device("gw-1").Ends; len(ends) != 1 || ends[0].Job != "j-1" || ends[0].Report != "r-1" {
		t.Errorf("ends at the cloud = %+v, want j-1 with report r-1", ends)
	}
	if st := l.Status(); st.Reports != 0 || st.Err != nil {
		t.Errorf("status = %+v, want no report waiting and no error", st)
	}
	if got := h.get(&h.saves); len(got) == 0 || !strings.HasPrefix(got[0], "handled") {
		t.Errorf("saves = %q, want the dialect's state", got)
	}
}

func TestReconnectsAndSubscribesAgain(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	h := &host{}
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), h)
	for i := range 3 {
		connected(t, l)
		before := len(h.get(&h.commands))
		push(t, s, fmt.Sprint("j-", i))
		eventually(t, "a command after connect", func() bool { return len(h.get(&h.commands)) > before })
		fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop})
		eventually(t, "connected anew", func() bool { return s.Clients()["gw-1"].Connects > i+1 })
	}
}

// A message whose handling was cut short comes again, because it was not acknowledged.
func TestUnhandledMessageComesAgain(t *testing.T) {
	var lines lockedBuffer
	s := simulator(t, cloudsim.Config{Trace: &lines})
	answers := make(chan func(control.In), 16)
	h := &host{hold: func(_ string, answer func(control.In)) { answers <- answer }}
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), h)
	connected(t, l)
	push(t, s, "j-1")
	<-answers
	l.Post(report("r-0", "j-0")) // an acknowledgement would have gone before this
	eventually(t, "a report at the cloud", func() bool { return len(s.Device("gw-1").Ends) == 1 })
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop})
	eventually(t, "connected anew", func() bool { return s.Clients()["gw-1"].Connects > 1 })
	eventually(t, "the command again", func() bool { return len(h.get(&h.commands)) >= 2 })
	redelivered(t, &lines)
}

// redelivered wants a message that the broker marked as sent before: the
// simulator also shows a device again what is desired, which proves nothing.
func redelivered(t *testing.T, lines *lockedBuffer) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); !strings.Contains(lines.String(), `"dup":true`); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no redelivery in the trace, so the message had been acknowledged:\n%s", lines)
		}
	}
}

func TestLostAcknowledgementBringsMessageOnceMore(t *testing.T) {
	var lines lockedBuffer
	s := simulator(t, cloudsim.Config{Trace: &lines})
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultLostPuback, Every: 2})
	h := &host{}
	d := newEcho("gw-1")
	messages := make(chan control.In, 16)
	d.also = func(in control.In, _ func(control.Out)) {
		if in.Kind == control.InMessage {
			messages <- in
		}
	}
	l := start(t, config(s.Endpoints().Broker), d, h)
	connected(t, l)
	push(t, s, "j-1") // its acknowledgement is the first: it arrives
	first := <-messages
	push(t, s, "j-2") // the second: lost
	second, again := <-messages, <-messages
	if string(second.Payload) != string(again.Payload) || string(first.Payload) == string(second.Payload) {
		t.Errorf("messages = %s, %s, %s; want the second twice", first.Payload, second.Payload, again.Payload)
	}
	eventually(t, "all three handled", func() bool { return len(h.get(&h.commands)) == 3 })
	if n := strings.Count(lines.String(), `"dup":true`); n != 1 {
		t.Errorf("%d redeliveries in the trace, want 1:\n%s", n, &lines)
	}
}

// The broker's acknowledgement of a report is lost: the report comes again
// until one arrives, and is delivered once.
func TestReportSurvivesLostAcknowledgement(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	h := &host{}
	cfg := config(s.Endpoints().Broker)
	cfg.AnswerTimeout = 200 * time.Millisecond
	l := start(t, cfg, newEcho("gw-1"), h)
	connected(t, l)
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultLostPuback})
	l.Post(report("r-1", "j-1"))
	eventually(t, "the report at the cloud, twice", func() bool {
		ends := s.Device("gw-1").Ends
		return len(ends) == 1 && ends[0].Arrivals >= 2
	})
	if got := h.get(&h.delivered); len(got) != 0 {
		t.Errorf("delivered = %q before any acknowledgement", got)
	}
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	eventually(t, "delivered", func() bool { return len(h.get(&h.delivered)) == 1 })
	if ends := s.Device("gw-1").Ends; len(ends) != 1 {
		t.Errorf("ends = %+v, want one", ends)
	}
}

// reluctant is a socket that takes a while to close, and passes on what is
// written meanwhile.
type reluctant struct{ net.Conn }

func (r reluctant) Close() error {
	time.Sleep(50 * time.Millisecond)
	return r.Conn.Close()
}

// A connection on which an acknowledgement did not come is not used any more,
// also while it is being closed: a cloud may take what comes twice for two.
func TestNothingIsSentOnAFailedConnection(t *testing.T) {
	var lines lockedBuffer
	s := simulator(t, cloudsim.Config{Trace: &lines})
	h := &host{}
	cfg := config(s.Endpoints().Broker)
	cfg.AnswerTimeout = 200 * time.Millisecond
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return reluctant{c}, err
	}
	l := start(t, cfg, newEcho("gw-1"), h)
	connected(t, l)
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultLostPuback})
	l.Post(report("r-1", "j-1"))
	eventually(t, "the report in several connections", func() bool { return s.Clients()["gw-1"].Connects >= 4 })
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
	eventually(t, "delivered", func() bool { return len(h.get(&h.delivered)) == 1 })
	sent := 0
	for line := range strings.Lines(lines.String()) {
		if strings.Contains(line, `"up"`) && strings.Contains(line, "r-1") {
			sent++
		}
	}
	if connects := s.Clients()["gw-1"].Connects; sent > connects {
		t.Errorf("the report was sent %d times in %d connections, want at most once in each", sent, connects)
	}
}

func TestSilentBroker(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, scheme := range []string{"tcp", "tls"} {
		t.Run(scheme+" is never answered", func(t *testing.T) {
			h := &host{}
			cfg := config(scheme + "://" + deaf.Addr().String())
			cfg.ConnectTimeout = 100 * time.Millisecond
			l := start(t, cfg, newEcho("gw-1"), h)
			eventually(t, "ErrSilent twice", func() bool { st := l.Status(); return st.Attempts >= 2 && errors.Is(st.Err, mqtt.ErrSilent) })
		})
	}
	t.Run("falls silent", func(t *testing.T) {
		s := simulator(t, cloudsim.Config{})
		h := &host{}
		cfg := config(s.Endpoints().Broker)
		cfg.KeepAlive, cfg.AnswerTimeout = time.Second, 200*time.Millisecond
		l := start(t, cfg, newEcho("gw-1"), h)
		connected(t, l)
		fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultSilent})
		eventually(t, "ErrSilent", func() bool { return errors.Is(l.Status().Err, mqtt.ErrSilent) })
		fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultNone})
		connected(t, l)
	})
}

// A connection on which nothing happens lasts, for both sides hear pings.
func TestQuietConnectionLasts(t *testing.T) {
	t.Parallel()
	s := simulator(t, cloudsim.Config{})
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), &host{})
	connected(t, l)
	time.Sleep(3500 * time.Millisecond) // longer than the broker's patience
	if st, n := l.Status(), s.Clients()["gw-1"].Connects; !st.Ready || n != 1 {
		t.Errorf("status = %+v after %d connects, want the first still there", st, n)
	}
}

// clock stands still until a test moves it to the next moment that somebody waits for.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	sleep map[chan struct{}]time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), sleep: map[chan struct{}]time.Time{}}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	woken := make(chan struct{})
	c.mu.Lock()
	c.sleep[woken] = c.now.Add(d)
	c.mu.Unlock()
	select {
	case <-woken:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.sleep, woken)
		return ctx.Err()
	}
}

// sleepers is how many wait.
func (c *clock) sleepers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sleep)
}

// next moves to the next waking, if somebody sleeps.
func (c *clock) next() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first chan struct{}
	for woken, at := range c.sleep {
		if first == nil || at.Before(c.sleep[first]) {
			first = woken
		}
	}
	if first == nil {
		return false
	}
	c.now = c.sleep[first]
	delete(c.sleep, first)
	close(first)
	return true
}

func TestBrokerAwayForAnHour(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ck, h := newClock(), &host{}
	cfg := config("tcp://" + address)
	cfg.Clock, cfg.RetryMin, cfg.RetryMax, cfg.MaxQueue = ck, time.Second, 5*time.Minute, 8
	d := newEcho("gw-1")
	order := make(chan string, 16)
	d.also = func(in control.In, _ func(control.Out)) {
		if in.Kind == control.InReport {
			order <- in.Report.ID
		}
	}
	began := ck.Now()
	l := start(t, cfg, d, h)
	for n := int64(0); ck.Now().Sub(began) < time.Hour; n++ {
		eventually(t, "the next attempt", ck.next)
		for range 100 { // progress enough to fill memory, were there no bound
			in := control.In{Kind: control.InEvent}
			in.Event.Kind, in.Event.Done = "progress", n
			l.Post(in)
		}
		if n < 3 {
			l.Post(report(fmt.Sprint("r-", n), fmt.Sprint("j-", n)))
		}
		eventually(t, "noticed", func() bool { return int64(l.Status().Attempts) > n+1 })
	}
	st := l.Status()
	t.Logf("%d attempts in an hour, %d publishes and %d reports waiting", st.Attempts, st.Waiting, st.Reports)
	if st.Attempts > 60 || st.Waiting > 8 || st.Reports != 3 {
		t.Errorf("status = %+v, want at most 60 attempts, at most 8 publishes and 3 reports waiting", st)
	}
	s := simulator(t, cloudsim.Config{Listen: address})
	eventually(t, "delivered", func() bool { ck.next(); return len(h.get(&h.delivered)) == 3 })
	if got := strings.Join(h.get(&h.delivered), " "); got != "r-0 r-1 r-2" {
		t.Errorf("delivered = %s, want all in order", got)
	}
	close(order)
	seen := ""
	for id := range order {
		seen += id + " "
	}
	ends := s.Device("gw-1").Ends
	if seen != "r-0 r-1 r-2 " || len(ends) != 3 || ends[0].Job != "j-0" || ends[1].Job != "j-1" || ends[2].Job != "j-2" {
		t.Errorf("the dialect saw %sand the cloud %+v, want each once and in order", seen, ends)
	}
}

func TestRefusals(t *testing.T) {
	s := simulator(t, cloudsim.Config{Login: func(_, user, password string) bool { return user == "u" && password == "right" }})
	s2 := simulator(t, cloudsim.Config{})
	for _, tt := range []struct {
		name   string
		change func(*mqtt.Config, *echo)
		want   error
	}{
		{"a wrong password", func(c *mqtt.Config, _ *echo) { c.User, c.Password = "u", secret("wrong") }, mqtt.ErrRefused},
		{"a secret that is missing", func(c *mqtt.Config, _ *echo) { c.User, c.Password = "u", mqtt.SecretFile("/nonexistent") }, mqtt.ErrSecret},
		{"another device's topic", func(c *mqtt.Config, d *echo) {
			c.URL, d.extra = s2.Endpoints().Broker, []string{"state/gw-2/update/delta"}
		}, mqtt.ErrRefused},
		{"all devices' topics", func(c *mqtt.Config, d *echo) {
			c.URL, d.extra = s2.Endpoints().Broker, []string{"state/+/update/delta"}
		}, mqtt.ErrRefused},
		{"nobody there", func(c *mqtt.Config, _ *echo) { c.URL = "tcp://127.0.0.1:1" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, d, h := config(s.Endpoints().Broker), newEcho("gw-1"), &host{}
			tt.change(&cfg, d)
			l := start(t, cfg, d, h)
			eventually(t, "the error", func() bool {
				st := l.Status()
				return st.Err != nil && !st.Connected && (tt.want == nil || errors.Is(st.Err, tt.want))
			})
			eventually(t, "a line about it", func() bool { return strings.Contains(strings.Join(h.get(&h.logs), "\n"), "next attempt in") })
		})
	}
}

func TestWithoutSaveNothingIsAcknowledged(t *testing.T) {
	var lines lockedBuffer
	s := simulator(t, cloudsim.Config{Trace: &lines})
	h := &host{saveErr: errors.New("disk full")}
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), h)
	connected(t, l)
	push(t, s, "j-1")
	eventually(t, "the command", func() bool { return len(h.get(&h.commands)) == 1 })
	eventually(t, "the complaint", func() bool { return strings.Contains(strings.Join(h.get(&h.logs), "\n"), "disk full") })
	h.mu.Lock()
	h.saveErr = nil
	h.mu.Unlock()
	fault(t, s, cloudsim.Fault{Kind: cloudsim.FaultDrop})
	eventually(t, "the message again", func() bool { return len(h.get(&h.commands)) >= 2 })
	redelivered(t, &lines)
}

func TestTimersAndCancel(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	ck, h, d := newClock(), &host{}, newEcho("gw-1")
	ticks := make(chan uint64, 8)
	d.also = func(in control.In, emit func(control.Out)) {
		switch in.Kind {
		case control.InConnected:
			emit(control.Out{Kind: control.OutTimer, Token: 1, After: time.Hour})
			emit(control.Out{Kind: control.OutTimer, Token: 2, After: 2 * time.Hour})
			emit(control.Out{Kind: control.OutTimer, Token: 1, After: 3 * time.Hour}) // replaces the first
		case control.InTick:
			ticks <- in.Token
			if in.Token == 2 {
				emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: "j-1"}})
			}
		}
	}
	cfg := config(s.Endpoints().Broker)
	cfg.Clock = ck
	began := ck.Now()
	start(t, cfg, d, h)
	eventually(t, "two ticks", func() bool { ck.next(); return len(ticks) == 2 })
	if a, b := <-ticks, <-ticks; a != 2 || b != 1 || ck.Now().Sub(began) != 3*time.Hour {
		t.Errorf("ticks = %d, %d after %s; want 2, 1 after 3h", a, b, ck.Now().Sub(began))
	}
	eventually(t, "cancelled", func() bool { return len(h.get(&h.cancelled)) == 1 })
}

// A flood is answered "busy" beyond what may wait for the host, and what comes
// after it gets through.
func TestManyMessagesAtOnce(t *testing.T) {
	s := simulator(t, cloudsim.Config{})
	h := &host{}
	l := start(t, config(s.Endpoints().Broker), newEcho("gw-1"), h)
	connected(t, l)
	for i := range 500 {
		push(t, s, fmt.Sprint("j-", i))
	}
	after := 0
	eventually(t, "a command after the flood", func() bool {
		after++
		push(t, s, fmt.Sprint("after-", after))
		return strings.Contains(strings.Join(h.get(&h.commands), ""), "after-")
	})
}

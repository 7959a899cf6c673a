package mqtt_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
)

func noLogin(time.Time) (mqtt.Login, error) { return mqtt.Login{}, errors.New("there is none") }

// counted makes logins that are good for an hour, each with a number.
func counted() func(time.Time) (mqtt.Login, error) {
	var n atomic.Int64
	return func(now time.Time) (mqtt.Login, error) {
		i := n.Add(1)
		return mqtt.Login{ID: "gw-1", User: fmt.Sprint("hub/", i), Password: secret(fmt.Sprint(canary, i)), Renew: now.Add(time.Hour)}, nil
	}
}

// renewing is a link at a broker whose logins end each hour, by a clock of the test.
func renewing(t *testing.T, d control.Dialect, h mqtt.Host) (*rawBroker, *clock, *mqtt.Link) {
	t.Helper()
	b, ck := broker(t, false), newClock()
	cfg := config(b.url())
	cfg.ID, cfg.Login, cfg.Clock, cfg.Rand = "", counted(), ck, func() float64 { return 0.5 }
	return b, ck, start(t, cfg, d, h)
}

func TestLoginIsRenewedInGoodTime(t *testing.T) {
	h := &host{}
	b, ck, l := renewing(t, newEcho("gw-1"), h)
	began := ck.Now()
	for i := 1; i <= 3; i++ {
		if got, want := within(t, "a login", b.logins), fmt.Sprintf("gw-1 hub/%d %s%d", i, canary, i); got != want {
			t.Fatalf("login = %q, want %q", got, want)
		}
		connected(t, l)
		b.next(t)
		if got, want := ck.Now().Sub(began), time.Duration(i-1)*51*time.Minute; got != want {
			t.Errorf("connection %d began after %s, want %s: an hour less a tenth, and half a tenth by chance", i, got, want)
		}
		eventually(t, "the renewal", ck.next)
	}
	within(t, "a login", b.logins)
	connected(t, l)
	if st := l.Status(); st.Attempts != 0 || st.Err != nil {
		t.Errorf("status = %+v, want no failed attempt", st)
	}
	text := strings.Join(h.get(&h.logs), "\n")
	if strings.Count(text, "the login is renewed") != 3 || strings.Contains(text, "next attempt") || strings.Contains(text, canary) {
		t.Errorf("log:\n%s\nwant three renewals, no pause and no secret", text)
	}
}

// A message that is not handled yet holds the renewal up, but not for ever.
func TestRenewalWaitsForWhatIsUnderWay(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handled bool
	}{{"until it is handled", true}, {"at most a minute", false}} {
		t.Run(tt.name, func(t *testing.T) {
			answers := make(chan func(control.In), 16)
			b, ck, _ := renewing(t, newEcho("gw-1"), &host{hold: func(_ string, answer func(control.In)) { answers <- answer }})
			s := b.next(t)
			s.message(0, 7, "state/gw-1/update/delta", "j-1")
			answer := within(t, "the command", answers)
			within(t, "the first login", b.logins)
			eventually(t, "the time of the renewal", ck.next)
			eventually(t, "a limit to the wait", func() bool { return ck.sleepers() == 1 })
			if len(b.logins) != 0 {
				t.Fatal("connected anew while a message is not handled")
			}
			before := ck.Now()
			if tt.handled {
				answer(control.In{})
				s.acked(t, 7)
			} else {
				ck.next()
			}
			within(t, "the second login", b.logins)
			if waited := ck.Now().Sub(before); tt.handled && waited != 0 || !tt.handled && waited != time.Minute {
				t.Errorf("waited for %s", waited)
			}
		})
	}
}

// A publish with a token is the dialect's to send again: it does not go out twice.
func TestPublishWithATokenEndsWithItsConnection(t *testing.T) {
	d := newEcho("gw-1")
	d.also = func(in control.In, emit func(control.Out)) {
		switch in.Kind {
		case control.InMessage: // one that the dialect waits for, and one that it does not
			emit(control.Out{Kind: control.OutPublish, Topic: "end", QoS: 1, Token: 99, Payload: []byte("1")})
			emit(control.Out{Kind: control.OutPublish, Topic: "answer", QoS: 1})
		case control.InConnected:
			if d.token > 1 { // it is told again
				emit(control.Out{Kind: control.OutPublish, Topic: "end", QoS: 1, Token: 100, Payload: []byte("2")})
			}
		}
	}
	b := broker(t, false)
	b.mute = "end"
	start(t, config(b.url()), d, &host{})
	s := b.next(t)
	s.message(0, 7, "state/gw-1/update/delta", "j-1")
	if p := within(t, "the first", s.published); p.TopicName != "end" {
		t.Fatalf("first published on %s", p.TopicName)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = b.next(t)
	if p := within(t, "what is kept", s.published); p.TopicName != "answer" {
		t.Errorf("published on %s %s, want the answer, which nobody sends again", p.TopicName, p.Payload)
	}
	if p := within(t, "the end again", s.published); p.TopicName != "end" || string(p.Payload) != "2" {
		t.Errorf("published on %s %s, want the end that the dialect sent again", p.TopicName, p.Payload)
	}
}

func TestLoginThatCannotBeMade(t *testing.T) {
	for _, tt := range []struct {
		name  string
		login func(now time.Time) (mqtt.Login, error)
		want  error
		text  string
	}{
		{"an error", noLogin, nil, "make the login: there is none"},
		{"no id", func(time.Time) (mqtt.Login, error) { return mqtt.Login{User: "u"}, nil }, mqtt.ErrConfig, "client id"},
		{"an id that is too long", func(time.Time) (mqtt.Login, error) { return mqtt.Login{ID: strings.Repeat("x", 1<<16)}, nil }, mqtt.ErrConfig, "client id"},
		{"ended already", func(now time.Time) (mqtt.Login, error) { return mqtt.Login{ID: "x", Renew: now}, nil }, mqtt.ErrConfig, "already"},
		{"a secret that is missing", func(time.Time) (mqtt.Login, error) {
			return mqtt.Login{ID: "x", User: "u", Password: mqtt.SecretFile("/nonexistent")}, nil
		}, mqtt.ErrSecret, "/nonexistent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, ck, h := broker(t, false), newClock(), &host{}
			cfg := config(b.url())
			cfg.ID, cfg.Login, cfg.Clock = "", tt.login, ck
			l := start(t, cfg, newEcho("gw-1"), h)
			eventually(t, "three attempts, with pauses between", func() bool { ck.next(); return l.Status().Attempts >= 3 })
			if err := l.Status().Err; !strings.Contains(err.Error(), tt.text) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.text)
			}
			if b.dials.Load() != 0 {
				t.Error("it connected without a login")
			}
		})
	}
}

// A login that ends at once is no reason to connect ever faster.
func TestShortLoginsHavePauses(t *testing.T) {
	b, ck := broker(t, false), newClock()
	cfg := config(b.url())
	cfg.RetryMin, cfg.RetryMax = time.Minute, time.Hour
	cfg.ID, cfg.Clock = "", ck
	cfg.Login = func(now time.Time) (mqtt.Login, error) {
		return mqtt.Login{ID: "x", Renew: now.Add(time.Second)}, nil
	}
	began := ck.Now()
	start(t, cfg, newEcho("gw-1"), &host{})
	eventually(t, "five connections", func() bool { ck.next(); return len(b.logins) >= 5 })
	if took := ck.Now().Sub(began); took < 5*time.Minute {
		t.Errorf("five connections in %s", took)
	}
}

func TestLoginIsNeverPrinted(t *testing.T) {
	l, err := counted()(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %q %x", l, l, l, l, l, l); strings.Contains(text, canary) {
		t.Errorf("printed: %s", text)
	}
}

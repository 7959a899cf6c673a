// Package poll plays one [control.Dialect] that speaks plain HTTP: it asks a
// server now and then, and there is no broker.
//
// [New] checks a [Config], [Link.Run] plays the dialect until its context ends,
// and [Link.Post] hands in what the engine has to tell: events and reports.
// Whatever the dialect wants of the device goes to a [Host].
//
// Run tells the dialect once that it is connected, which means no more than that
// requests may be made, and then carries out its requests, timers and
// commands. A request has a time limit, an answer a bounded size, and no
// redirect is followed: a 3xx answer goes to the dialect as it is. Requests
// need https, or a server on this machine. The state of the dialect is made durable
// before anything is done that follows from it.
//
// The token goes to the addresses for which Config.Authorize gives one, and it
// is in no log line and in no error. A dialect that subscribes or publishes has no place here: it
// is told so in the log.
package poll

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// ErrConfig means that a Config cannot work, whatever the server does.
var ErrConfig = errors.New("bad polling settings")

// Clock is what timers go by. Sleep returns early, with an error, when ctx
// ends. It may be called by several goroutines.
type Clock interface {
	Now() time.Time
	Sleep(ctx context.Context, d time.Duration) error
}

// Host is the device's side of a link. Save is called by the goroutine of Run.
// Command, Cancel and Delivered are called one at a time, in order, by another.
// Log may be called by several at once. All of them should return soon.
type Host interface {
	// Command takes a command. Once it is durable or refused, which may be
	// long after Command has returned, the host calls answer: the Receipt says
	// so, or the Refusal. Kind, Now and Token are filled in. Any goroutine may call
	// answer, at any time; it never waits, only the first call counts, and none does
	// once ctx has ended. At most 16 commands are without an answer at once; more
	// are refused as "busy", and the host does not hear of them.
	Command(ctx context.Context, c control.Command, answer func(control.In))
	// Cancel asks for the end of the run that a command began or will begin.
	Cancel(ctx context.Context, command string)
	// Delivered says that the cloud has the report.
	Delivered(ctx context.Context, report string)
	// Save makes the dialect's state durable. If it cannot, no report counts as
	// delivered.
	Save(ctx context.Context, state []byte) error
	// Log takes one line for people. It holds no secret.
	Log(text string)
}

// Config says how requests are made. Zero fields mean the default.
type Config struct {
	// Authorize gives the value of the header Authorization for a request to
	// an address, or "" for none. It is called for each request, so that a
	// renewed token counts, by several goroutines at once. Its errors are logged and must
	// hold no secret.
	Authorize func(address string) (string, error)
	// TLS gives roots and the client's certificate for a connection to a host, so
	// that renewed ones count; those of the system and none if nil. It is called by
	// several goroutines at once. TLS 1.2 is the least. Its errors must hold no secret.
	TLS func(host string) (*tls.Config, error)

	RequestTimeout time.Duration // from name to last byte; 1 min
	// Spread is the time over which the first request of a fleet that starts
	// at once is spread; 10 s. Below zero there is none.
	Spread time.Duration

	// Clock is the machine's if nil.
	Clock Clock
	// Dial opens TCP connections, with net.Dialer if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// HTTP carries the requests instead of a transport made of TLS and Dial.
	HTTP http.RoundTripper
	// Rand gives numbers in [0, 1) for the pauses, from math/rand if nil.
	Rand func() float64
}

// Link is a dialect with the means to make requests. Post and Status may be
// called by any goroutine, at any time; Run once.
type Link struct {
	cfg     Config
	dialect control.Dialect
	host    Host
	mail    mailbox
	carrier http.RoundTripper

	mu     sync.Mutex
	status Status
}

// Status is how a link is doing.
type Status struct {
	Connected bool      // the last request had an answer
	Ready     bool      // and the server did not refuse who asked: 401, or 403 to a GET
	Since     time.Time // of that, or of the first request of those that failed; zero before the first
	Attempts  int       // requests in a row that had none
	Err       error     // of the last request, if it had no answer or was refused
	Reports   int       // that the cloud does not have yet
}

// New checks the settings. Errors wrap [ErrConfig]. It starts nothing and reads no secret.
func New(c Config, d control.Dialect, h Host) (*Link, error) {
	if c.RequestTimeout < 0 {
		return nil, fmt.Errorf("%w: a time limit of %s for requests, expected more than 0", ErrConfig, c.RequestTimeout)
	}
	if c.HTTP != nil && (c.TLS != nil || c.Dial != nil) {
		return nil, fmt.Errorf("%w: HTTP takes the place of TLS and Dial: expected one of the two", ErrConfig)
	}
	c.RequestTimeout = cmp.Or(c.RequestTimeout, time.Minute)
	c.Spread = max(cmp.Or(c.Spread, 10*time.Second), 0)
	if c.Clock == nil {
		c.Clock = machineClock{}
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	l := &Link{cfg: c, dialect: d, host: h, mail: mailbox{ready: make(chan struct{}, 1)}, carrier: c.HTTP}
	if l.carrier == nil {
		l.carrier = &http.Transport{DialContext: l.dial, DialTLSContext: l.dialTLS, DisableCompression: true,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeader}
	}
	return l, nil
}

// Transport is what carries the requests, for others who have to ask the same
// server: it trusts whom the link trusts, and shows the same certificate. It adds no
// token. Idle connections are closed when Run ends, and by who uses it after that.
func (l *Link) Transport() http.RoundTripper { return l.carrier }

// Post hands in an InEvent or an InReport and never waits. Posting a report again is
// harmless; posting all that the outbox holds at each start is right.
func (l *Link) Post(in control.In) { l.mail.post(in) }

// Status gives the state of the moment.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Run plays the dialect until ctx ends. Then it waits for all that it started,
// and returns ctx's cause.
func (l *Link) Run(ctx context.Context) error {
	client := &http.Client{Transport: l.carrier, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	o := &owner{Link: l, client: client, calls: make(chan func()), timers: map[uint64]context.CancelFunc{},
		answers: make(chan control.In, maxCommands), saved: l.dialect.Save()}
	o.loop(ctx)
	o.work.Wait()
	return fmt.Errorf("polling: %w", context.Cause(ctx))
}

// answered notes how the last request went: refused is not nil if the server
// answered that it does not let the device in.
func (l *Link) answered(err, refused error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.status
	if s.Connected != (err == nil) || s.Since.IsZero() {
		s.Since = l.cfg.Clock.Now()
	}
	s.Connected, s.Ready, s.Err = err == nil, err == nil && refused == nil, cmp.Or(err, refused)
	if s.Attempts++; err == nil {
		s.Attempts = 0
	}
}

// machineClock is the real one.
type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now() }

func (machineClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

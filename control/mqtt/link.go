package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control"
)

// stable is how long a connection must last to count as good. Two clients
// with one id throw each other out again and again, and must not do it ever faster.
const stable = time.Minute

// Link is a dialect with its connection. Post and Status may be called by any
// goroutine, at any time; Run once.
type Link struct {
	cfg     Config
	at      endpoint
	dialect control.Dialect
	host    Host
	mail    *mailbox
	ports   *ports

	mu     sync.Mutex
	status Status
}

// Status is how a connection is doing.
type Status struct {
	Connected bool
	Ready     bool      // connected, and the subscriptions are acknowledged
	Since     time.Time // of being connected, or of the first attempt that failed
	Attempts  int       // that failed since there was a good connection
	Err       error     // of the last attempt or connection; wraps the errors of this package
	Waiting   int       // publishes
	Reports   int       // that the cloud does not have yet
}

// New checks the settings. Errors wrap [ErrConfig]. It starts nothing and reads no secret.
func New(c Config, d control.Dialect, h Host) (*Link, error) {
	c, at, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Link{cfg: c, at: at, dialect: d, host: h, mail: newMailbox(), ports: newPorts()}, nil
}

// Post hands in an InEvent or an InReport and never waits. Events go to the
// dialect at once, reports whenever there is a connection, in the order in
// which they were posted first. Posting one again is harmless; posting all
// that the outbox holds at each start is right.
func (l *Link) Post(in control.In) { l.mail.post(in) }

// Status gives the state of the moment.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

func (l *Link) setStatus(change func(*Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.status)
}

// Run connects, again and again, and plays the dialect until ctx ends. Then it
// says goodbye to the broker, waits for all that it started, and returns
// ctx's cause.
func (l *Link) Run(ctx context.Context) error {
	client, done, err := l.httpClient()
	if err != nil {
		// A file may be mended; requests fail until the next start.
		l.host.Log(fmt.Sprintf("requests over HTTP: %v", err))
		client, done = &http.Client{Transport: failing{err}}, func() {}
	}
	defer done()
	o := newOwner(l, client)
	o.work.Go(func() { l.keep(ctx, o) })
	o.loop(ctx)
	o.work.Wait()
	return fmt.Errorf("connection to %s: %w", l.at, context.Cause(ctx))
}

// failing answers every request with an error.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// keep makes connections, one after the other.
func (l *Link) keep(ctx context.Context, o *owner) {
	failures := 0
	for ctx.Err() == nil {
		lasted, err := l.once(ctx, o)
		if ctx.Err() != nil {
			return
		}
		if lasted >= stable {
			failures = 0
		}
		if errors.Is(err, errRenew) && lasted >= stable { // otherwise it would be again and again at once
			l.renewed()
			continue
		}
		pause := l.pause(failures)
		failures++
		l.setStatus(func(s *Status) {
			if s.Connected || s.Since.IsZero() {
				s.Since = l.cfg.Clock.Now()
			}
			s.Connected, s.Ready, s.Err, s.Attempts = false, false, err, failures
		})
		l.host.Log(l.complaint(err, lasted, failures, pause))
		if l.cfg.Clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// renewed notes the end of a good connection that goes on at once.
func (l *Link) renewed() {
	l.setStatus(func(s *Status) {
		s.Connected, s.Ready, s.Err, s.Attempts, s.Since = false, false, nil, 0, l.cfg.Clock.Now()
	})
	l.host.Log(fmt.Sprintf("%s: %v", l.at, errRenew))
}

// complaint is the line for people.
func (l *Link) complaint(err error, lasted time.Duration, failures int, pause time.Duration) string {
	hint := ""
	switch {
	case failures >= 3 && lasted > 0 && errors.Is(err, ErrLost):
		hint = "; does another client use the same id?"
	case errors.Is(err, ErrRefused) && l.cfg.Login != nil: // what it shows is made of a key and the time
		hint = "; are the id and the key right, and this device's clock?"
	}
	return fmt.Sprintf("%s: %v%s; next attempt in %s", l.at, err, hint, pause.Round(time.Millisecond))
}

// once makes one connection and waits for its end.
func (l *Link) once(ctx context.Context, o *owner) (lasted time.Duration, err error) {
	c, err := l.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	began := l.cfg.Clock.Now()
	if !o.send(ctx, func() { o.up(ctx, c) }) {
		return 0, context.Cause(ctx)
	}
	if !c.login.Renew.IsZero() {
		within, stop := context.WithCancel(ctx)
		var work sync.WaitGroup
		work.Go(func() { l.renew(within, o, c) })
		defer work.Wait()
		defer stop()
	}
	select {
	case <-c.dead:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	o.send(ctx, func() { o.down(ctx, c) })
	return max(l.cfg.Clock.Now().Sub(began), time.Nanosecond), c.why
}

// pause doubles with each failure up to the longest, and is then cut by up to
// half at random, so that a fleet does not come back as one.
func (l *Link) pause(failures int) time.Duration {
	d := l.cfg.RetryMax
	if failures < 32 && l.cfg.RetryMin<<failures > 0 {
		d = min(d, l.cfg.RetryMin<<failures)
	}
	return d/2 + time.Duration(l.cfg.Rand()*float64(d/2))
}

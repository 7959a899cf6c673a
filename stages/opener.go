package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
)

// Opener fetches artifacts whose addresses have a scheme of its own, such as
// the files that a cloud sends over the connection that a device has to it. It may be
// called by several goroutines.
//
// As with HTTP there are 30 s until Open must have returned, the rate that
// [Config] asks for of the body, and digests that decide whether the bytes are right.
type Opener interface {
	// Open gives the bytes at an address from an offset on, and the size of the
	// whole in bytes, or -1 if it is not known. run is the run that wants them. A
	// part before "?" or "#" is shown to people and must hold no secret.
	//
	// Open and the reads of body return soon after ctx has ended; it ends after
	// Close. Their errors are an [*engine.Failure] if asking again cannot help,
	// an [*engine.Retry] that says more, or anything else for what is worth another try.
	Open(ctx context.Context, run, address string, from int64) (body io.ReadCloser, size int64, err error)
}

// scheme gives that of an address in lower case, or "" for a path.
func scheme(address string) string {
	name, _, found := strings.Cut(address, ":")
	u, err := url.Parse(name + ":")
	if !found || len(name) < 2 || err != nil {
		return ""
	}
	return u.Scheme
}

// opener gives the one that has the scheme of an address, or nil.
func (c *Config) opener(address string) Opener { return c.Openers[scheme(address)] }

// shown is an address as it may be logged.
func (c *Config) shown(address string) string {
	if c.opener(address) == nil {
		return trust.Redact(address)
	}
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		return address[:i]
	}
	return address
}

// unfetched says what is wrong with an address whose scheme nothing here
// fetches, "" if nothing is. One that an expression begins has none yet.
func (c *Config) unfetched(address string) string {
	s, known := scheme(address), append([]string{"file", "http", "https"}, slices.Sorted(maps.Keys(c.Openers))...)
	if s == "" || slices.Contains(known, s) {
		return ""
	}
	return fmt.Sprintf("nothing here fetches the scheme %.40q, want a path or a URL of %s: what a cloud sends over its own connection is fetched by an agent that has it among its planes", s, strings.Join(known, ", "))
}

// checkSchemes reports addresses that the run would fail on.
func (f *Fetch) checkSchemes(report func(field, text string)) {
	if f.c == nil || !f.c.CheckSchemes {
		return
	}
	if text := f.c.unfetched(f.URL); text != "" {
		report("url", text)
	}
	if s := scheme(f.Manifest); s != "" && !slices.Contains([]string{"file", "http", "https"}, s) {
		report("manifest", fmt.Sprintf("has the scheme %.40q, want a path or a URL of file, http, https", s))
	}
}

// openBy has an opener give the rest.
func (s *originStream) openBy(ctx context.Context, by Opener) error {
	reqCtx, cancel := context.WithCancelCause(ctx)
	clock := s.o.t.Clock()
	var body io.ReadCloser
	var size int64
	var err error
	answered := answering(reqCtx, cancel, clock)
	stopped := s.attend(ctx, cancel, func() { body, size, err = by.Open(reqCtx, s.o.t.Run, s.o.address, s.at) })
	answered()
	if stopped != nil {
		cancel(nil)
		if err == nil { // it came at the same moment
			stopped = errors.Join(stopped, body.Close())
		}
		return stopped
	}
	if err != nil {
		cause := context.Cause(reqCtx)
		cancel(nil)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return s.unopened(err, cause)
	}
	w := &watched{body: body, ctx: reqCtx, cancel: cancel, where: s.o.name()}
	w.start(clock, s.o.c.RateWindow, s.o.c.least())
	s.body = &attended{w, ctx, s}
	if size >= 0 && s.end >= 0 && size != s.end {
		s.body = nil
		return errors.Join(s.wrongSize(size), w.Close())
	}
	s.end, s.state.Joined = max(s.end, size), s.at > 0
	return nil
}

// attend waits for f, which a cancelled request ends, and looks every second
// whether the run is to stop: an opener may wait long for what never comes.
func (s *originStream) attend(ctx context.Context, cancel context.CancelCauseFunc, f func()) (stopped error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		tick, stop := disk.WithTimeout(ctx, s.o.t.Clock(), time.Second, nil)
		select {
		case <-done:
			stop()
			return nil
		case <-tick.Done():
		}
		stop()
		if stopped = s.o.t.Safe(ctx); stopped != nil {
			cancel(stopped)
			<-done
			return stopped
		}
	}
}

// attended is a body whose reads end soon after the run is to stop, however
// slowly it comes. It has the context of Open.
type attended struct {
	*watched
	ctx context.Context
	s   *originStream
}

func (a *attended) Read(p []byte) (n int, err error) {
	if stopped := a.s.attend(a.ctx, a.cancel, func() { n, err = a.watched.Read(p) }); stopped != nil {
		err = stopped
	}
	return n, err
}

// unopened says why an opener gave nothing. cause is why its context ended, nil if it did not.
func (s *originStream) unopened(err, cause error) error {
	var retry *engine.Retry
	var failure *engine.Failure
	if cause != nil && !errors.Is(err, cause) {
		err = cause
	}
	explained := fmt.Errorf("ask %s: %w", s.o.name(), err)
	switch {
	case errors.As(err, &retry):
		return &engine.Retry{After: retry.After, Fresh: retry.Fresh, Err: explained}
	case errors.As(err, &failure):
		return &engine.Failure{Code: failure.Code, Err: explained}
	}
	return &engine.Retry{Err: &engine.Failure{Code: "network", Err: explained}}
}

package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/internal/disk"
)

// least is how many bytes must come in a window.
func (c *Config) least() int64 {
	return max(int64(float64(c.MinRate)*c.RateWindow.Seconds()), 1)
}

// watched is a body that ends when its bytes come too slowly. Only the time
// spent in Read counts: a slow disk is not the server's fault. One goroutine
// watches from start until Close, which waits for it. Read is for one
// goroutine.
type watched struct {
	body   io.ReadCloser
	ctx    context.Context // of the request, so that its end ends a Read
	cancel context.CancelCauseFunc
	where  string // redacted address
	done   chan struct{}
	clock  disk.Clock

	mu      sync.Mutex
	reading bool
	since   time.Duration // when the Read began
	waited  time.Duration // in Reads of this window before that
	got     int64         // bytes of this window
}

func (w *watched) start(clock disk.Clock, window time.Duration, least int64) {
	w.clock, w.done = clock, make(chan struct{})
	go w.watch(window, least)
}

func (w *watched) watch(window time.Duration, least int64) {
	defer close(w.done)
	for pause := window; ; {
		tick, stop := disk.WithTimeout(w.ctx, w.clock, pause, nil)
		<-tick.Done()
		stop()
		if w.ctx.Err() != nil {
			return
		}
		waited, slow := w.look(window, least)
		if slow {
			w.cancel(&engine.Failure{Code: "slow", Err: fmt.Errorf("%s sends less than %d bytes in %v", w.where, least, window)})
			return
		}
		pause = max(window-waited, min(window/10, time.Second))
	}
}

// look judges a window that is over and begins the next one.
func (w *watched) look(window time.Duration, least int64) (waited time.Duration, slow bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Mono()
	if w.reading {
		w.waited += now - w.since
		w.since = now
	}
	if w.waited < window {
		return w.waited, false
	}
	slow = w.got < least
	w.waited, w.got = 0, 0
	return 0, slow
}

// Read reads the body. Errors other than io.EOF are an [*engine.Retry], an
// [*engine.Failure] of an [Opener], or the cause of a context that ended.
func (w *watched) Read(p []byte) (int, error) {
	w.mu.Lock()
	w.reading, w.since = true, w.clock.Mono()
	w.mu.Unlock()
	n, err := w.body.Read(p)
	w.mu.Lock()
	w.waited += w.clock.Mono() - w.since
	w.got += int64(n)
	w.reading = false
	w.mu.Unlock()
	if err == nil || err == io.EOF {
		return n, err
	}
	cause := context.Cause(w.ctx)
	var slow, failure *engine.Failure
	var retry *engine.Retry
	switch {
	case errors.As(cause, &slow) && slow.Code == "slow":
		return n, &engine.Retry{Err: slow}
	case cause != nil:
		return n, cause
	case errors.As(err, &retry) || errors.As(err, &failure): // of an Opener
		return n, err
	}
	return n, &engine.Retry{Err: &engine.Failure{Code: "network", Err: fmt.Errorf("read %s: %w", w.where, err)}}
}

// Close ends the request and waits for the watch.
func (w *watched) Close() error {
	w.cancel(nil)
	err := w.body.Close()
	<-w.done
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close %s: %w", w.where, err)
	}
	return nil
}

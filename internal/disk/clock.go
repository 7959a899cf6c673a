package disk

import (
	"context"
	"time"
)

// started is where Mono begins. It is one for the process, so that all that
// Real gives out can be compared.
var started = time.Now()

// Real gives the clock of the machine.
func Real() Clock { return machine{} }

type machine struct{}

func (machine) Now() time.Time { return time.Now() }

func (machine) Mono() time.Duration { return time.Since(started) }

func (machine) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// alarm is what a clock of another kind has if it can call back.
type alarm interface {
	AfterFunc(d time.Duration, f func()) (stop func())
}

// WithTimeout gives a context that ends with cause when d has passed on the
// clock. Ask [context.Cause] for the reason: Err is DeadlineExceeded with
// [Real], and Canceled with any other clock. The caller must call the function
// that it returns, which waits for what WithTimeout started, if anything.
func WithTimeout(ctx context.Context, clock Clock, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if _, ok := clock.(machine); ok {
		return context.WithTimeoutCause(ctx, d, cause)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if d <= 0 {
		cancel(cause)
	}
	if a, ok := clock.(alarm); ok {
		stop := a.AfterFunc(d, func() { cancel(cause) })
		return ctx, func() { stop(); cancel(context.Canceled) }
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if clock.Sleep(ctx, d) == nil {
			cancel(cause)
		}
	}()
	return ctx, func() { cancel(context.Canceled); <-done }
}

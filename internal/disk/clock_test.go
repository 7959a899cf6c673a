package disk

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var (
	epoch   = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	errLate = errors.New("too late")
)

// plain is a clock of a kind that WithTimeout does not know.
type plain struct{ Clock }

func clocks() map[string]Clock {
	return map[string]Clock{"real": Real(), "virtual": NewVirtual(epoch), "another real one": plain{Real()}}
}

func TestSleep(t *testing.T) {
	for name, clock := range clocks() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall, mono := clock.Now(), clock.Mono()
				for _, d := range []time.Duration{time.Hour, 0, -time.Second} {
					if err := clock.Sleep(t.Context(), d); err != nil {
						t.Errorf("Sleep(%v) = %v", d, err)
					}
				}
				if wall, mono := clock.Now().Sub(wall), clock.Mono()-mono; wall != time.Hour || mono != time.Hour {
					t.Errorf("%v by the wall and %v passed, want an hour", wall, mono)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(errLate)
				for _, d := range []time.Duration{time.Hour, 0} {
					if err := clock.Sleep(ctx, d); err != errLate {
						t.Errorf("Sleep(%v) of an ended context = %v, want its cause", d, err)
					}
				}
			})
		})
	}
}

func TestWithTimeout(t *testing.T) {
	for name, clock := range clocks() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := clock.Mono()
				ctx, cancel := WithTimeout(t.Context(), clock, time.Minute, errLate)
				if err := clock.Sleep(ctx, time.Hour); err != errLate {
					t.Errorf("a sleep beyond the limit = %v, want the cause", err)
				}
				if got := clock.Mono() - start; got != time.Minute {
					t.Errorf("it ended after %v, want a minute", got)
				}
				cancel()
				if got := context.Cause(ctx); got != errLate {
					t.Errorf("cause = %v, want that of the limit", got)
				}

				ctx, cancel = WithTimeout(t.Context(), clock, time.Minute, errLate)
				if err := clock.Sleep(ctx, time.Second); err != nil {
					t.Errorf("a sleep within the limit = %v", err)
				}
				cancel()
				if err := clock.Sleep(t.Context(), time.Hour); err != nil || context.Cause(ctx) != context.Canceled {
					t.Errorf("cause after cancel = %v, want Canceled", context.Cause(ctx))
				}

				ctx, cancel = WithTimeout(t.Context(), clock, 0, errLate)
				if got := context.Cause(ctx); got != errLate {
					t.Errorf("cause with no time = %v, want that of the limit", got)
				}
				cancel()

				above, end := context.WithCancelCause(t.Context())
				ctx, cancel = WithTimeout(above, clock, time.Minute, errLate)
				end(errShort)
				if got := context.Cause(ctx); got != errShort {
					t.Errorf("cause = %v, want that of the context above", got)
				}
				cancel()
			}) // synctest fails if a goroutine is left
		})
	}
}

// A limit on a virtual clock takes no goroutine and leaves nothing behind.
func TestWithTimeoutLeavesNothing(t *testing.T) {
	v := NewVirtual(epoch)
	before := runtime.NumGoroutine()
	var cancels []context.CancelFunc
	for range 100 {
		_, cancel := WithTimeout(t.Context(), v, time.Hour, errLate)
		cancels = append(cancels, cancel)
	}
	if got := runtime.NumGoroutine(); got > before {
		t.Errorf("%d goroutines, %d before", got, before)
	}
	for _, cancel := range cancels {
		cancel()
	}
	if len(v.queue) != 0 {
		t.Errorf("%d waiters left, want none", len(v.queue))
	}
}

func TestVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVirtual(epoch)
		v.Auto = false
		var woken []time.Duration
		for _, d := range []time.Duration{3, 1, 2, 9} {
			go func() {
				if v.Sleep(t.Context(), d*time.Second) == nil {
					woken = append(woken, v.Mono())
				}
			}()
			synctest.Wait()
		}
		for range 4 {
			v.Advance(time.Second)
			synctest.Wait()
		}
		if want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(woken, want) {
			t.Errorf("woken at %v, want %v", woken, want)
		}
		v.Jump(-time.Hour)
		v.Advance(-time.Hour)
		if v.Mono() != 4*time.Second || !v.Now().Equal(epoch.Add(4*time.Second-time.Hour)) {
			t.Errorf("after a jump: %v, %v; want 4s and an hour less by the wall", v.Mono(), v.Now())
		}
		v.Advance(time.Hour)
		synctest.Wait()
		if len(woken) != 4 || len(v.queue) != 0 {
			t.Errorf("woken %v, %d waiters left; want 4 and none", woken, len(v.queue))
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- v.Sleep(ctx, time.Second) }()
		synctest.Wait()
		cancel(errLate)
		if err := <-ended; err != errLate || len(v.queue) != 0 {
			t.Errorf("a sleep whose context ends = %v, %d waiters left; want the cause and none", err, len(v.queue))
		}
	})
}

// Calls come in order, each at its moment, and may ask for more.
func TestAfterFunc(t *testing.T) {
	v := NewVirtual(epoch)
	var at []time.Duration
	note := func() { at = append(at, v.Mono()) }
	v.AfterFunc(3, note)
	v.AfterFunc(1, func() { note(); v.AfterFunc(1, note) })
	stop := v.AfterFunc(2, func() { t.Error("a call that was taken back came") })
	stop()
	v.Advance(10)
	if want := []time.Duration{1, 2, 3}; !slices.Equal(at, want) || v.Mono() != 10 {
		t.Errorf("calls at %v, clock at %v; want %v and 10ns", at, v.Mono(), want)
	}
}

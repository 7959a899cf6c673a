package disk

import (
	"context"
	"sync"
	"time"
)

// Virtual is a clock that stands still until somebody moves it. It may be
// shared; set Auto before that.
type Virtual struct {
	// Auto makes a Sleep move the clock itself, at once, to the moment it
	// waits for. A test with one goroutine then never blocks.
	Auto bool

	mu    sync.Mutex
	wall  time.Time // at mono 0
	mono  time.Duration
	last  int64 // number of the newest waiter
	queue map[int64]waiter
}

type waiter struct {
	at   time.Duration
	wake func()
}

// NewVirtual gives a clock that shows start, with Auto set.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{Auto: true, wall: start.Round(0), queue: map[int64]waiter{}}
}

// Now is the wall clock.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wall.Add(v.mono)
}

// Mono is what Advance and Sleep added up to.
func (v *Virtual) Mono() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mono
}

// Jump moves the wall clock alone, back too, as setting a clock does.
func (v *Virtual) Jump(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wall = v.wall.Add(d)
}

// Advance lets d pass and wakes whoever waits for a moment on the way, in
// order, each while the clock shows its moment. A negative d counts as none.
func (v *Virtual) Advance(d time.Duration) {
	v.mu.Lock()
	to := v.mono + max(d, 0)
	v.mu.Unlock()
	v.run(context.Background(), to)
}

// Sleep waits until d has passed. With Auto it makes that happen, unless ctx
// ends on the way: then the clock stops at that moment.
func (v *Virtual) Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	if v.Auto {
		v.mu.Lock()
		to := v.mono + d
		v.mu.Unlock()
		return v.run(ctx, to)
	}
	woken := make(chan struct{})
	stop := v.AfterFunc(d, func() { close(woken) })
	defer stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-woken:
		return nil
	}
}

// AfterFunc calls f once d has passed, from within the Advance or Sleep that
// makes it pass. f may use the clock. stop takes the call back, if it did not
// happen yet.
func (v *Virtual) AfterFunc(d time.Duration, f func()) (stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last++
	id := v.last
	v.queue[id] = waiter{at: v.mono + max(d, 0), wake: f}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.queue, id)
	}
}

// run moves the clock to a moment, or to the one at which ctx ends.
func (v *Virtual) run(ctx context.Context, to time.Duration) error {
	for ctx.Err() == nil {
		wake := v.step(to)
		if wake == nil {
			return nil
		}
		wake()
	}
	return context.Cause(ctx)
}

// step moves to the next waiter up to a moment and gives its call, or to the
// moment itself and gives nil.
func (v *Virtual) step(to time.Duration) func() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var first int64
	for id, w := range v.queue {
		if w.at > to {
			continue
		}
		if f, ok := v.queue[first]; !ok || w.at < f.at || w.at == f.at && id < first {
			first = id
		}
	}
	w, ok := v.queue[first]
	if !ok {
		v.mono = max(v.mono, to)
		return nil
	}
	delete(v.queue, first)
	v.mono = max(v.mono, w.at)
	return w.wake
}

var _ Clock = (*Virtual)(nil)

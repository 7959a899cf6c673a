package poll_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a dialect for tests: it does what its function says, and keeps what came in.
type script struct {
	do    func(in control.In, emit func(control.Out))
	state string
	came  chan control.In
}

func newScript(do func(in control.In, emit func(control.Out))) *script {
	return &script{do: do, came: make(chan control.In, 1000)}
}

func (s *script) Step(in control.In, emit func(control.Out)) {
	if s.do != nil {
		s.do(in, emit)
	}
	s.came <- in
}

func (s *script) Save() []byte { return []byte(s.state) }

// next waits for an input of a kind, and passes over others.
func (s *script) next(t *testing.T, kind control.InKind) control.In {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case in := <-s.came:
			if in.Kind == kind {
				return in
			}
		case <-limit:
			t.Fatalf("no %s came", kind)
		}
	}
}

// host records what a dialect wants.
type host struct {
	mu      sync.Mutex
	calls   []string
	logs    []string
	saveErr error
	hold    func(answer func(control.In)) // gets the answers; without it they are given at once
	called  chan string
}

func newHost() *host { return &host{called: make(chan string, 1000)} }

func (h *host) Command(_ context.Context, c control.Command, answer func(control.In)) {
	h.add("command " + c.ID)
	if h.hold != nil {
		h.hold(answer)
		return
	}
	h.mu.Lock() // which Save needs too: an answer must not wait for it
	defer h.mu.Unlock()
	answer(control.In{})
	answer(control.In{Refusal: "a second answer"})
}

func (h *host) Cancel(_ context.Context, id string)    { h.add("cancel " + id) }
func (h *host) Delivered(_ context.Context, id string) { h.add("delivered " + id) }

func (h *host) Save(_ context.Context, state []byte) error {
	h.mu.Lock()
	err := h.saveErr
	h.mu.Unlock()
	if err == nil {
		h.add("save " + string(state))
	}
	return err
}

func (h *host) Log(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logs = append(h.logs, text)
}

func (h *host) add(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
	h.called <- call
}

// wait waits for a call.
func (h *host) wait(t *testing.T, want string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case call := <-h.called:
			if call == want {
				return
			}
		case <-limit:
			t.Fatalf("no call %q, have %q", want, h.all())
		}
	}
}

func (h *host) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *host) logged(part string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.logs, func(l string) bool { return strings.Contains(l, part) })
}

// clock gives each sleep to the test, which lets it end.
type clock struct{ sleeps chan sleep }

type sleep struct {
	d   time.Duration
	end chan struct{}
}

func newClock() clock { return clock{make(chan sleep, 1000)} }

func (c clock) Now() time.Time { return time.Unix(1e9, 0) }

func (c clock) Sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	s := sleep{d, make(chan struct{})}
	c.sleeps <- s
	select {
	case <-s.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs a link until the test ends.
func run(t *testing.T, c poll.Config, d control.Dialect, h poll.Host) *poll.Link {
	t.Helper()
	if c.Spread == 0 {
		c.Spread = -1
	}
	l, err := poll.New(c, d, h)
	if err != nil {
		t.Fatal(err)
	}
	done := errors.New("the test is over")
	ctx, stop := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop(done)
		if err := <-ended; !errors.Is(err, done) && !errors.Is(err, context.Canceled) {
			t.Errorf("Run ends with %v, want the cause", err)
		}
	})
	return l
}

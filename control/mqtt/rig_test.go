package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/cloudsim/aws"
	"github.com/updraft-ota/updraft/control/mqtt"
)

// echo is a dialect for tests: a message is a command whose id is the start of its payload,
// a report is a publish, and delivered when the broker has it.
type echo struct {
	device  string
	extra   []string // more topics to subscribe to
	token   uint64
	waiting map[uint64]uint64 // command token to message
	reports map[uint64]string // publish token to report
	state   string
	also    func(in control.In, emit func(control.Out)) // runs besides
}

func newEcho(device string) *echo {
	return &echo{device: device, waiting: map[uint64]uint64{}, reports: map[uint64]string{}}
}

func (e *echo) topic() string { return "state/" + e.device + "/update" }

func (e *echo) Step(in control.In, emit func(control.Out)) {
	e.token++
	switch in.Kind {
	case control.InConnected:
		for _, topic := range append([]string{e.topic() + "/delta"}, e.extra...) {
			emit(control.Out{Kind: control.OutSubscribe, Topic: topic, QoS: 1})
		}
	case control.InMessage:
		e.waiting[e.token] = in.Message
		emit(control.Out{Kind: control.OutCommand, Token: e.token, Command: control.Command{ID: string(in.Payload[:min(len(in.Payload), 200)])}})
	case control.InReceipt:
		e.state = fmt.Sprint("handled ", in.Token)
		emit(control.Out{Kind: control.OutHandled, Message: e.waiting[in.Token]})
	case control.InEvent:
		emit(control.Out{Kind: control.OutPublish, Topic: e.topic(), QoS: 1, Payload: fmt.Appendf(nil, `{"state":{"reported":{"done":%d}}}`, in.Event.Done)})
	case control.InReport:
		e.reports[e.token] = in.Report.ID
		emit(control.Out{Kind: control.OutPublish, Topic: e.topic(), QoS: 1, Token: e.token,
			Payload: fmt.Appendf(nil, `{"state":{"reported":{"jobID":%q,"result":"SUCCESS"}},"clientToken":%q}`, in.Report.Command, in.Report.ID)})
	case control.InPublished:
		emit(control.Out{Kind: control.OutDelivered, Report: e.reports[in.Token]})
	}
	if e.also != nil {
		e.also(in, emit)
	}
}

func (e *echo) Save() []byte { return []byte(e.state) }

// host records what a dialect wants.
type host struct {
	mu        sync.Mutex
	commands  []string
	cancelled []string
	delivered []string
	logs      []string
	saves     []string
	calls     []string                                      // commands, cancelled and delivered, as they came
	hold      func(command string, answer func(control.In)) // gets the answers; without it they are given at once
	saveErr   error
}

func (h *host) Command(_ context.Context, c control.Command, answer func(control.In)) {
	if h.called(&h.commands, "command ", c.ID); h.hold != nil {
		h.hold(c.ID, answer)
		return
	}
	h.mu.Lock() // which Save needs too: an answer must not wait for it
	defer h.mu.Unlock()
	answer(control.In{})
}

func (h *host) Cancel(_ context.Context, id string)    { h.called(&h.cancelled, "cancel ", id) }
func (h *host) Delivered(_ context.Context, id string) { h.called(&h.delivered, "delivered ", id) }
func (h *host) Log(text string)                        { h.add(&h.logs, text) }

// called adds to the list and to that of all calls.
func (h *host) called(list *[]string, what, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, id)
	h.calls = append(h.calls, what+id)
}

func (h *host) Save(_ context.Context, state []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.saveErr == nil {
		h.saves = append(h.saves, string(state))
	}
	return h.saveErr
}

func (h *host) add(list *[]string, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, text)
}

func (h *host) get(list *[]string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(*list)
}

// config is quick to notice and to come back. The simulator's broker ends
// connections that are quiet for 3 s then; with a keep-alive of 1 s it would after one.
func config(url string) mqtt.Config {
	return mqtt.Config{URL: url, ID: "gw-1", KeepAlive: 2 * time.Second, ConnectTimeout: 500 * time.Millisecond,
		AnswerTimeout: 500 * time.Millisecond, RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond}
}

// start runs a link until the test ends.
func start(t *testing.T, cfg mqtt.Config, d control.Dialect, h mqtt.Host) *mqtt.Link {
	t.Helper()
	l, err := mqtt.New(cfg, d, h)
	if err != nil {
		t.Fatal(err)
	}
	run(t, l)
	return l
}

// run keeps a link until the test ends.
func run(t *testing.T, l *mqtt.Link) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v, want the cause of its end", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not end")
		}
	})
}

// TestMain fails if a goroutine outlives the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func simulator(t *testing.T, cfg cloudsim.Config) *aws.Sim {
	t.Helper()
	s, err := aws.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	return s
}

// eventually polls, for things that happen on real sockets.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func connected(t *testing.T, l *mqtt.Link) {
	t.Helper()
	eventually(t, "connected and subscribed", func() bool { return l.Status().Ready })
}

func report(id, job string) control.In {
	in := control.In{Kind: control.InReport}
	in.Report.ID, in.Report.Command = id, job
	return in
}

func fault(t *testing.T, s *aws.Sim, f cloudsim.Fault) {
	t.Helper()
	if err := s.SetFault(f); err != nil {
		t.Fatal(err)
	}
}

func push(t *testing.T, s *aws.Sim, job string) {
	t.Helper()
	if _, err := s.Push("gw-1", map[string]any{"jobID": job}); err != nil {
		t.Fatal(err)
	}
}

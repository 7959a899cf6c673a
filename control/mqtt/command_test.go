package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/control/mqtt"
)

const commandTopic = "state/gw-1/update/delta"

// waiting is a link whose host keeps its answers, and what its dialect hears.
type waiting struct {
	link     *mqtt.Link
	host     *host
	answers  chan func(control.In)
	receipts chan control.In
	steps    *atomic.Int64
}

// keeping makes one without starting it.
func keeping(t *testing.T, url string) waiting {
	t.Helper()
	w := waiting{answers: make(chan func(control.In), 64), receipts: make(chan control.In, 64), steps: new(atomic.Int64)}
	w.host = &host{hold: func(_ string, answer func(control.In)) { w.answers <- answer }}
	d := newEcho("gw-1")
	d.also = func(in control.In, emit func(control.Out)) {
		w.steps.Add(1)
		switch {
		case in.Kind == control.InReceipt:
			w.receipts <- in
		case in.Kind == control.InMessage && strings.HasPrefix(string(in.Payload), "cancel "):
			emit(control.Out{Kind: control.OutCancel, Command: control.Command{ID: string(in.Payload)[len("cancel "):]}})
		}
	}
	l, err := mqtt.New(config(url), d, w.host)
	if err != nil {
		t.Fatal(err)
	}
	w.link = l
	return w
}

func TestAnswerAfterReconnect(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	run(t, w.link)
	s := b.next(t)
	s.message(0, 7, commandTopic, "j-1")
	first := within(t, "the command", w.answers)
	_ = s.Close()
	s = b.next(t)
	first(control.In{Refusal: "late"})
	if in := within(t, "the receipt", w.receipts); in.Refusal != "late" || in.Now.IsZero() || in.Token == 0 {
		t.Errorf("receipt = %+v, want the answer with time and token", in)
	}
	s.message(8, 7, commandTopic, "j-1") // the message comes again, since it was not acknowledged
	within(t, "the command again", w.answers)(control.In{})
	s.acked(t, 7)
}

func TestAnswerAfterTheEndDoesNothing(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.link.Run(ctx) }()
	b.next(t).message(0, 7, commandTopic, "j-1")
	answer := within(t, "the command", w.answers)
	cancel()
	if err := within(t, "the end of Run, with a command without an answer", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want the cause of its end", err)
	}
	steps := w.steps.Load()
	answer(control.In{})
	answer(control.In{})
	if got := w.host.get(&w.host.saves); len(got) != 0 || len(w.receipts) != 0 || w.steps.Load() != steps {
		t.Errorf("%d receipts, %d more steps and saves %q after the end, want none", len(w.receipts), w.steps.Load()-steps, got)
	}
}

// Only the first answer counts, also when others answer at the same moment.
func TestTwoAnswers(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	run(t, w.link)
	s := b.next(t)
	for i := range uint16(40) { // more than may wait: each answer must make room once
		s.message(0, i+1, commandTopic, "j")
		answer := within(t, "the command", w.answers)
		answer(control.In{Refusal: fmt.Sprint("first of ", i)})
		for range 4 {
			go answer(control.In{Refusal: "second"})
		}
		s.acked(t, i+1)
		if got := within(t, "the receipt", w.receipts).Refusal; got != fmt.Sprint("first of ", i) {
			t.Errorf("refusal = %q, want the first answer", got)
		}
	}
	w.link.Post(report("r-1", "j"))
	eventually(t, "delivered", func() bool { return len(w.host.get(&w.host.delivered)) == 1 })
	if n := len(w.receipts); n != 0 {
		t.Errorf("%d more receipts than commands", n)
	}
}

// While a command waits for its answer, the host hears of everything else, in
// order, and answers in any.
func TestHostHearsMoreWhileACommandWaits(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	run(t, w.link)
	s := b.next(t)
	s.message(0, 1, commandTopic, "j-1")
	one := within(t, "the first command", w.answers)
	w.link.Post(report("r-0", "j-0"))
	eventually(t, "delivered", func() bool { return len(w.host.get(&w.host.delivered)) == 1 })
	s.message(0, 2, commandTopic, "cancel j-1")
	two := within(t, "the second command", w.answers)
	s.message(0, 3, commandTopic, "j-3")
	three := within(t, "the third command", w.answers)
	want := []string{"command j-1", "delivered r-0", "command cancel j-1", "cancel j-1", "command j-3"}
	if got := w.host.get(&w.host.calls); !slices.Equal(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
	if len(s.acks) != 0 {
		t.Error("a message was acknowledged before its answer")
	}
	for i, answer := range []func(control.In){three, one, two} {
		answer(control.In{})
		s.acked(t, []uint16{3, 1, 2}[i])
	}
}

// Beyond what may be without an answer, the host is not asked, and one more is
// handed over for each answer.
func TestCommandsWithoutAnswersAreLimited(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	run(t, w.link)
	s := b.next(t)
	for i := range uint16(20) {
		s.message(0, i+1, commandTopic, fmt.Sprint("j-", i))
	}
	for range 4 {
		if got := within(t, "a refusal", w.receipts).Refusal; got != "busy" {
			t.Errorf("refusal = %q, want busy", got)
		}
	}
	var kept []func(control.In)
	for range 16 {
		kept = append(kept, within(t, "a command", w.answers))
	}
	kept[3](control.In{})
	within(t, "its receipt", w.receipts)
	s.message(0, 21, commandTopic, "j-20")
	within(t, "one more command", w.answers)
	if got := w.host.get(&w.host.commands); len(got) != 17 || got[16] != "j-20" {
		t.Errorf("commands = %q, want the first 16 and the one after the answer", got)
	}
}

// Some brokers send a message again on the same connection when its
// acknowledgement takes long. That is no second message, and acknowledging it
// would acknowledge the first.
func TestMessageSentAgainWhileItWaits(t *testing.T) {
	b := broker(t, false)
	w := keeping(t, b.url())
	run(t, w.link)
	s := b.next(t)
	s.message(0, 7, commandTopic, "j-1")
	answer := within(t, "the command", w.answers)
	s.message(8, 7, commandTopic, "j-1")
	for range 20 { // the library gives messages over side by side: the one above is there by then
		s.message(0, 8, commandTopic, "j-2")
		within(t, "the next command", w.answers)(control.In{})
		s.acked(t, 8)
	}
	if got := w.host.get(&w.host.commands); len(got) != 21 || slices.Contains(got[1:], "j-1") {
		t.Errorf("commands = %q, want j-1 once", got)
	}
	answer(control.In{})
	s.acked(t, 7)
	s.message(0, 7, commandTopic, "j-3") // the number is free again
	within(t, "a command with the number of an earlier one", w.answers)(control.In{})
	s.acked(t, 7)
}

package poll

import (
	"testing"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// TestEventsGiveWay posts more than is kept: the oldest progress goes first, and reports stay.
func TestEventsGiveWay(t *testing.T) {
	m := mailbox{ready: make(chan struct{}, 1)}
	event := func(kind engine.EventKind, n int) {
		m.post(control.In{Kind: control.InEvent, Event: engine.Event{Kind: kind, Done: int64(n)}})
	}
	event(engine.EventStep, 0)
	for n := range 300 {
		event(engine.EventProgress, n)
		m.post(control.In{Kind: control.InReport})
	}
	items := m.take()
	reports, progress, steps := 0, 0, 0
	for _, in := range items {
		switch {
		case in.Kind == control.InReport:
			reports++
		case in.Event.Kind == engine.EventStep:
			steps++
		default:
			progress++
		}
	}
	if reports != 300 || progress != 0 || steps != 0 {
		t.Errorf("%d reports, %d of progress and %d steps are left, want 300 and nothing else: there is no room", reports, progress, steps)
	}
	for n := range 300 {
		event(engine.EventProgress, n)
		event(engine.EventStep, n)
	}
	items = m.take()
	if len(items) != maxPosted || items[0].Event.Kind != engine.EventStep || len(m.take()) != 0 {
		t.Errorf("%d are left, the first %+v, want %d and steps", len(items), items[0].Event, maxPosted)
	}
}

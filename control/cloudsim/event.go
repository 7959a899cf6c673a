package cloudsim

import "time"

// EventKind says what happened.
type EventKind string

// What a person at a simulator may want to see.
const (
	EventConnected EventKind = "connected" // a client was let in
	EventGone      EventKind = "gone"      // its connection ended, and no other took over
	EventRefused   EventKind = "refused"   // a client, a subscription or a message was refused: Text
	EventOrder     EventKind = "order"     // something is wanted of a device: Done
	EventReport    EventKind = "report"    // a report of an end arrived: End
	EventNote      EventKind = "note"      // something else that the vendor's console would show: Text
)

// Event is one thing that happened.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Client string // the device; of EventRefused what it calls itself
	Text   string
	Done   Done
	// End is of EventReport; its Arrivals say how often it has come.
	End End
}

// Tell hands an event on, one after the other. Clouds tell orders and reports.
func (s *Sim) Tell(e Event) {
	if s.cfg.Events == nil {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	e.Time = s.cfg.Now()
	s.cfg.Events(e)
}

package cloudsim

import (
	"strings"
	"time"
)

// EventKind says what happened.
type EventKind string

// What a person at a simulator may want to see.
const (
	EventConnected EventKind = "connected" // a client was let in
	EventGone      EventKind = "gone"      // its connection ended, and no other took over
	EventDesired   EventKind = "desired"   // something is desired of a device
	EventReport    EventKind = "report"    // a report with a job and a result arrived
)

// Event is one thing that happened.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Client string // client id, which is the device's
	// Job and URL, without its query, are what is desired, Version is that of the shadow.
	Job, URL string
	Version  int64
	// End is of EventReport; its Arrivals say how often it has come.
	End End
}

// tell hands an event on, one after the other.
func (s *Sim) tell(e Event) {
	if s.cfg.Events == nil {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	e.Time = s.cfg.Now()
	s.cfg.Events(e)
}

// desiredEvent is that of a device after something was desired of it.
func desiredEvent(device string, d *Device) Event {
	e := Event{Kind: EventDesired, Client: device, Version: d.Version}
	e.Job, _ = d.Desired["jobID"].(string)
	e.URL, _ = d.Desired["softwareURL"].(string)
	e.URL, _, _ = strings.Cut(e.URL, "?")
	return e
}

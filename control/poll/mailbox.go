package poll

import (
	"slices"
	"sync"

	"github.com/updraft-ota/updraft/control"
	"github.com/updraft-ota/updraft/engine"
)

// maxPosted is how many events wait for the dialect, which takes them at once
// unless the disk is slow.
const maxPosted = 256

// mailbox is what Post fills and the owner empties.
type mailbox struct {
	mu    sync.Mutex
	items []control.In
	ready chan struct{} // holds a token while there may be something
}

// post never waits. Of too many events the oldest progress goes first; reports never go.
func (m *mailbox) post(in control.In) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = append(m.items, in)
	if len(m.items) > maxPosted {
		at := slices.IndexFunc(m.items, func(in control.In) bool {
			return in.Kind == control.InEvent && in.Event.Kind == engine.EventProgress
		})
		if at < 0 {
			at = slices.IndexFunc(m.items, func(in control.In) bool { return in.Kind == control.InEvent })
		}
		if at >= 0 {
			m.items = slices.Delete(m.items, at, at+1)
		}
	}
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []control.In {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.items = nil
	return items
}

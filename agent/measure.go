package agent

import (
	"fmt"
	"sync"
	"time"
)

// What the log takes from one plane: this many lines at once, and then one for
// each so much time. A broker that talks nonsense must not fill a device's disk.
const (
	logBurst = 60
	logEvery = time.Second
)

// measure lets so many lines of a log through, and counts the others. Its
// methods may be called by any goroutine.
type measure struct {
	now func() time.Time

	mu      sync.Mutex
	room    int       // lines that may come at once
	since   time.Time // when room was last made
	skipped int       // lines since the last one that came through
}

func newMeasure(now func() time.Time) *measure {
	return &measure{now: now, room: logBurst, since: now()}
}

// take says whether a line may come, and what is to be said before it, "" for nothing.
func (m *measure) take() (first string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if more := int(now.Sub(m.since) / logEvery); more > 0 || now.Before(m.since) {
		m.room, m.since = min(logBurst, m.room+max(more, 0)), now
	}
	if m.room == 0 {
		m.skipped++
		return "", false
	}
	m.room--
	if m.skipped > 0 {
		first = fmt.Sprintf("%d lines were left out", m.skipped)
		m.skipped = 0
	}
	return first, true
}

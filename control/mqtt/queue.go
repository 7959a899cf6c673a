package mqtt

import (
	"slices"
	"sync"

	"github.com/updraft-ota/updraft/control"
)

// item is a publish on its way.
type item struct {
	out   control.Out
	cause control.InKind // of the input that made the dialect want it
}

// renewed says whether the dialect will want this again after a reconnect, so
// that keeping it would only send it twice. One that waits for the broker's
// acknowledgement begins again then.
func (i *item) renewed() bool {
	return i.cause == control.InConnected || i.cause == control.InReport || i.out.Token != 0
}

// queue holds publishes in order, of limited number. What events caused is
// progress, and gives way first.
type queue struct {
	items []*item
	limit int
}

// push adds to the end and gives what had to go, or nil. What a report caused
// stays whatever the limit, and so does what the dialect waits for: there are
// no more of them than reports.
func (q *queue) push(i *item) (dropped *item) {
	q.items = append(q.items, i)
	if len(q.items) <= q.limit {
		return nil
	}
	at := slices.IndexFunc(q.items, func(i *item) bool { return i.cause == control.InEvent && i.out.Token == 0 })
	if at < 0 {
		at = slices.IndexFunc(q.items, func(i *item) bool { return i.cause != control.InReport && i.out.Token == 0 })
	}
	if at < 0 {
		return nil
	}
	dropped = q.items[at]
	q.items = slices.Delete(q.items, at, at+1)
	return dropped
}

// remove takes out one that was sent, if it is still there.
func (q *queue) remove(i *item) {
	if at := slices.Index(q.items, i); at >= 0 {
		q.items = slices.Delete(q.items, at, at+1)
	}
}

// lost forgets what comes again by itself after the next connect.
func (q *queue) lost() {
	q.items = slices.DeleteFunc(q.items, (*item).renewed)
}

// maxPosted is how many events wait for the dialect, which takes them at once
// unless the disk is slow.
const maxPosted = 256

// mailbox is what Post fills and the owner empties. Any goroutine may post.
type mailbox struct {
	mu    sync.Mutex
	items []control.In
	ready chan struct{} // holds a token while there may be something
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// post never waits. Of too many events the oldest progress goes first; reports never go.
func (m *mailbox) post(in control.In) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = append(m.items, in)
	if len(m.items) > maxPosted {
		at := slices.IndexFunc(m.items, func(in control.In) bool {
			return in.Kind == control.InEvent && in.Event.Kind == "progress"
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

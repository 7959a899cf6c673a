package wasmhost

import (
	"encoding/binary"
	"math"
)

// A subscription of poll_oneoff has 48 bytes and an event 32, as preview 1
// lays them out.
const (
	subscriptionSize = 48
	eventSize        = 32
	clockKind        = 0
)

// subscription is what the guest waits for.
type subscription struct {
	user  uint64
	kind  byte
	wait  int64 // nanoseconds from now
	errno uint16
}

// poll waits for the first of the clocks. Descriptors are never ready: each
// of them is an event at once that says so.
func (w *shim) poll(p []uint64) uint32 {
	n := uint64(uint32(p[2]))
	if n == 0 || n > maxSubscriptions {
		return wasiInval
	}
	subscribed, events := w.bytes(p[0], n*subscriptionSize), w.bytes(p[1], n*eventSize)
	list := make([]subscription, n)
	first := int64(math.MaxInt64)
	for i := range list {
		list[i] = w.subscription(subscribed[i*subscriptionSize:][:subscriptionSize])
		first = min(first, list[i].wait)
	}
	if first > 0 {
		w.ask(wasiSleep, nil, uint64(first))
	}
	count := uint32(0)
	for _, s := range list {
		if s.wait > first {
			continue
		}
		e := events[count*eventSize:][:eventSize]
		clear(e)
		binary.LittleEndian.PutUint64(e, s.user)
		binary.LittleEndian.PutUint16(e[8:], s.errno)
		e[10] = s.kind
		count++
	}
	w.put32(p[3], count)
	return wasiOK
}

func (w *shim) subscription(b []byte) subscription {
	const absolute = 1
	s := subscription{user: binary.LittleEndian.Uint64(b), kind: b[8]}
	if s.kind != clockKind {
		s.errno = wasiNotsup
		return s
	}
	clock, at := binary.LittleEndian.Uint32(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if clock > 1 {
		s.errno = wasiInval
		return s
	}
	s.wait = int64(min(at, math.MaxInt64))
	if b[40]&absolute != 0 {
		s.wait = max(0, s.wait-w.ask(wasiClock, nil, uint64(clock)))
	}
	return s
}

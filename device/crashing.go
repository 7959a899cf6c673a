package device

import (
	"context"
	"sync/atomic"
)

// Crashing wraps a door so that hit is called before and after each effect,
// with its running number from 1. hit may panic to cut the power there. It may
// be shared if hit may.
func Crashing(d Door, hit func(n int64, op Op, after bool)) Door {
	return &crashing{door: d, hit: hit}
}

type crashing struct {
	door  Door
	hit   func(n int64, op Op, after bool)
	count atomic.Int64
}

// Do implements [Door].
func (c *crashing) Do(ctx context.Context, op Op) (Answer, error) {
	if !op.Kind.Changes() {
		return c.door.Do(ctx, op)
	}
	n := c.count.Add(1)
	c.hit(n, op, false)
	a, err := c.door.Do(ctx, op)
	c.hit(n, op, true)
	return a, err
}

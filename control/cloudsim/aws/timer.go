package aws

import (
	"sync"
	"time"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// timers wake the cloud when a step timer of a thing runs out.
type timers struct {
	mu     sync.Mutex
	closed bool
	of     map[string]*time.Timer
	work   sync.WaitGroup
}

// arm sets the timer of a thing by the simulator's clock, which need not be the
// machine's; at 0 there is none.
func (c *Cloud) arm(device string, at int64) {
	c.timers.mu.Lock()
	defer c.timers.mu.Unlock()
	if t := c.timers.of[device]; t != nil {
		t.Stop()
		delete(c.timers.of, device)
	}
	if at == 0 || c.timers.closed {
		return
	}
	after := max(time.Unix(at, 0).Sub(c.sim.Now()), 0) + time.Second/10
	c.timers.of[device] = time.AfterFunc(after, func() { c.due(device) })
}

// due ends what has run out of time. If the clock has not come that far, the
// timer is set again.
func (c *Cloud) due(device string) {
	c.timers.mu.Lock()
	if c.timers.closed {
		c.timers.mu.Unlock()
		return
	}
	c.timers.work.Add(1)
	c.timers.mu.Unlock()
	defer c.timers.work.Done()
	_ = c.Expire(device) // a folder that cannot be written is found by the next request too
}

// Expire ends the executions of a thing whose step timer has run out, as each
// request about its jobs does, and tells the device. Errors wrap [cloudsim.ErrState].
func (c *Cloud) Expire(device string) error {
	told, err := c.changeJobs(device, func(*thing, *cloudsim.Record) (bool, []*job, error) { return false, nil, nil })
	c.sim.Send(told...)
	return err
}

func (t *timers) stop() {
	t.mu.Lock()
	t.closed = true
	for device, timer := range t.of {
		timer.Stop()
		delete(t.of, device)
	}
	t.mu.Unlock()
	t.work.Wait()
}

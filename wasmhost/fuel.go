package wasmhost

import (
	"context"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// The prices of a call of the host. What a service does there costs no fuel:
// it is counted in bytes and held by the clock.
const (
	callFuel  = 100
	bytesFuel = 16 // bytes of the guest's buffers for one fuel
)

// slice is the fuel that a guest gets at a time, well below a millisecond of
// compiled code and a few interpreted. After each, the host looks whether the
// phase's time is over, and every lookEvery whether the run is being
// cancelled, which may cost the caller a look at a file.
const (
	slice     = 200_000
	lookEvery = 5 * time.Millisecond
)

// tank is the fuel and the frames of one call, see package meter.
type tank struct {
	fuel, frames api.MutableGlobal // nil before there is an instance
	limit        int64             // fuel
	given, deep  int64             // of fuel and of frames
}

// used is the fuel used so far. A guest that was refused has used its limit.
func (t *tank) used() int64 {
	if t.fuel == nil {
		return t.given // there is no instance, or it is in another process and said so
	}
	return min(t.given-int64(t.fuel.Get()), t.limit)
}

// overdrawn reports whether more is used than the limit. Between two looks the
// code may take more than there is, and return before the next.
func (t *tank) overdrawn() bool { return t.given-int64(t.fuel.Get()) > t.limit }

func (t *tank) spent() string { return fmt.Sprintf("all %d of the phase are used", t.limit) }

// connect finds the instance's tanks.
func (t *tank) connect(instance api.Module) error {
	var ok [2]bool
	t.fuel, ok[0] = instance.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	t.frames, ok[1] = instance.ExportedGlobal(meter.Frames).(api.MutableGlobal)
	if ok != [2]bool{true, true} {
		return fmt.Errorf("the metered module lacks %s or %s", meter.Fuel, meter.Frames)
	}
	return nil
}

// refill fills the tanks that are below zero, or ends the instance. It is
// where a guest that computes meets clock, cancel and budget.
func (c *call) refill(ctx context.Context) {
	t := &c.tank
	if left := int64(t.frames.Get()); left < 0 {
		if t.deep -= left; t.deep > abi.MaxFrames {
			t.deep = abi.MaxFrames
			c.stop(Depth, fmt.Sprintf("more than %d calls within calls", abi.MaxFrames), nil)
		}
		t.frames.Set(0)
	}
	left := int64(t.fuel.Get())
	if left >= 0 {
		return
	}
	c.check(ctx)
	room := t.limit - t.given
	if -left > room {
		c.stop(Fuel, t.spent(), nil)
	}
	more := min(max(-left, slice), room)
	t.given += more
	t.fuel.Set(uint64(left + more))
}

// charge takes fuel for what the host does.
func (c *call) charge(ctx context.Context, fuel int64) {
	left := int64(c.tank.fuel.Get()) - fuel
	c.tank.fuel.Set(uint64(left))
	if left < 0 {
		c.refill(ctx)
	}
}

// check ends an instance whose time is over, whose caller gave up, or that
// goes on after a cancel.
func (c *call) check(ctx context.Context) {
	if c.ask != nil {
		c.ask()
		return
	}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		c.stop(stopped(cause), "", cause)
	}
	if time.Since(c.looked) < lookEvery {
		return
	}
	c.looked = time.Now()
	if !c.cancelled() || c.g.Clock == nil {
		return
	}
	now := c.g.Clock.Mono()
	if !c.warned {
		c.warned, c.warnedAt = true, now
	}
	if now-c.warnedAt >= c.m.host.grace {
		c.stop(Cancelled, fmt.Sprintf("the module did not stop within %v", c.m.host.grace), nil)
	}
}

// stop ends the instance. It does not return.
func (c *call) stop(code Code, detail string, err error) {
	c.trap = c.fault(code, detail, err)
	panic(c.trap)
}

// bindMeter puts what metered code imports into a runtime.
func bindMeter(ctx context.Context, r wazero.Runtime) error {
	_, err := r.NewHostModuleBuilder(meter.Module).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
			c, _ := ctx.Value(callKey{}).(*call)
			defer c.caught()
			c.refill(ctx)
		}), nil, nil).
		Export(meter.Refill).
		Instantiate(ctx)
	return err
}

// sleep waits on the clock: in pieces, so that a cancel is seen, and not
// beyond the phase's time. In compat a sleep moves the time and does not wait.
func (c *call) sleep(ctx context.Context, d time.Duration) error {
	if c.phase == abi.Compat {
		c.still += max(d, 0)
		return nil
	}
	for d > 0 {
		if c.cancelled() {
			return abi.ECANCELED
		}
		left := c.wall - (c.g.Clock.Mono() - c.begun)
		if left <= 0 {
			c.stop(Wall, "", errWall)
		}
		piece := min(d, sleepPiece, left)
		if err := c.g.Clock.Sleep(ctx, piece); err != nil {
			return err
		}
		d -= piece
	}
	return nil
}

const sleepPiece = 50 * time.Millisecond

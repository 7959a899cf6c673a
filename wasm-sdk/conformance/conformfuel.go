package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/updraft-ota/updraft/wasmhost"
)

func (k *kit) interpreted(ctx context.Context, c *Check) (err error) {
	if !k.needsWhole(c) {
		return nil
	}
	host, err := wasmhost.New(ctx, wasmhost.Config{Engine: wasmhost.Interpreter})
	if err != nil {
		return err
	}
	l := NewLoader(host, k.l.wasm)
	defer func() { err = errors.Join(err, l.Close(ctx)) }()
	m, err := l.Load(ctx, k.limits, k.granted)
	if err != nil {
		return err
	}
	o, err := k.run(ctx, m, k.setup)
	if err == nil {
		k.another(c, o)
	}
	return err
}

// starved runs the module with too little fuel for it all, and goes on with
// enough.
func (k *kit) starved(ctx context.Context, c *Check) error {
	if !k.needsWhole(c) {
		return nil
	}
	stopped := 0
	for quarter := int64(1); quarter <= 3; quarter++ {
		limits := k.limits
		limits.Fuel = max(k.whole.Usage.Fuel*quarter/4, 1)
		if want := k.manifest.Limits.Fuel; want > limits.Fuel {
			c.Left = fmt.Sprintf("its manifest asks for %d fuel, which it does not load without", want)
			return nil
		}
		m, err := k.l.Load(ctx, limits, k.granted)
		if err != nil {
			return err
		}
		ended, err := k.starve(ctx, c, m, limits.Fuel)
		if err != nil {
			return err
		}
		if ended {
			stopped++
		}
	}
	c.Detail = fmt.Sprintf("stopped %d times of 3", stopped)
	return nil
}

func (k *kit) starve(ctx context.Context, c *Check, poor *wasmhost.Module, fuel int64) (stopped bool, err error) {
	w, err := newSweep(ctx, k.m, k.setup, nil)
	if err != nil {
		return false, err
	}
	r, err := w.begin.clone(ctx)
	if err != nil {
		return false, err
	}
	o := r.proceed(ctx, poor)
	if o.Err == nil {
		return false, nil // no phase of it needs more
	}
	if o.Code() != wasmhost.Fuel {
		c.fail("with %d fuel it ended with %s, want the code %s", fuel, o.end(), wasmhost.Fuel)
		return true, nil
	}
	err = w.again(ctx, r, fmt.Sprintf("out of fuel at %d", fuel))
	c.Failures = append(c.Failures, w.Violations...)
	return true, err
}

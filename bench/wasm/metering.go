package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// kernels are what the guests work and workgo do, by export.
var kernels = []struct {
	export string
	what   string
	phase  abi.Phase
	most   float64 // times the plain one
}{
	{"loop", "loop", abi.Prepare, 1.25},
	{"hash", "SHA-256", abi.Health, 1.25},
	{"tree", "call tree", abi.Cleanup, 2},
}

// The sides. updraft is [wasmhost] as it is, from the call of a phase to its end.
const (
	ofUpdraft  = "updraft"
	ofPlain    = "plain wazero"
	ofDeadline = "wazero, WithCloseOnContextDone"
	ofExtism   = "Extism with a timeout"
)

// metering compares the same code under each host.
func metering(ctx context.Context, b *bench) (section, error) {
	s := section{Title: "Metering", Note: "The same bytes under each host: updraft meters them and runs a phase with all its limits; plain wazero has no limit at all. " +
		"Extism's Go SDK runs them with a timeout, in a process of its own and with the same version of wazero. The call tree has no loop."}
	for _, guest := range []struct{ name, language string }{{"work", "C"}, {"workgo", "Go"}} {
		wasm, err := b.guest(ctx, guest.name)
		if err != nil {
			return s, err
		}
		if wasm == nil {
			continue
		}
		if err := b.meter(ctx, &s, guest.language, wasm); err != nil {
			return s, fmt.Errorf("%s: %w", guest.name, err)
		}
	}
	return s, nil
}

// meter measures all kernels of one guest.
func (b *bench) meter(ctx context.Context, s *section, language string, wasm []byte) (err error) {
	c, err := b.contest(ctx, wasm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close(ctx)) }()
	for _, k := range kernels {
		want, err := c.expected(ctx, k.export)
		if err != nil {
			return err
		}
		t, err := b.race(ctx, c.sides(k.export, k.phase, want))
		if err != nil {
			return fmt.Errorf("%s: %w", k.export, err)
		}
		figures := []figure{took(ofPlain, t[ofPlain]), took(ofUpdraft, t[ofUpdraft]), ratio("updraft : plain", t[ofUpdraft], t[ofPlain]),
			took(ofDeadline, t[ofDeadline]), ratio("deadline : updraft", t[ofDeadline], t[ofUpdraft])}
		what := language + ", " + k.what
		s.atMost(what+": metered against plain wazero", figures[2].Value, times, k.most)
		s.atLeast(what+": WithCloseOnContextDone against metered", figures[4].Value, times, 2)
		if c.extism != nil {
			figures = append(figures, took(ofExtism, t[ofExtism]), ratio("Extism : updraft", t[ofExtism], t[ofUpdraft]))
		}
		s.row(what, figures...)
	}
	return nil
}

// contest is one module under each host.
type contest struct {
	host            *wasmhost.Module
	plain, deadline *plain
	extism          *extism // nil: left out
}

func (b *bench) contest(ctx context.Context, wasm []byte) (c *contest, err error) {
	c = &contest{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(ctx))
		}
	}()
	h, err := wasmhost.New(ctx, wasmhost.Config{})
	if err == nil {
		c.host, err = h.Load(ctx, wasm, wasmhost.Limits{Memory: 64 << 20, Fuel: 1 << 50})
	}
	if err == nil {
		c.plain, err = newPlain(ctx, wasm, wazero.NewRuntimeConfig())
	}
	if err == nil {
		c.deadline, err = newPlain(ctx, wasm, wazero.NewRuntimeConfig().WithCloseOnContextDone(true))
	}
	if err == nil {
		c.extism, err = b.newExtism(ctx, wasm)
	}
	return c, err
}

func (c *contest) close(ctx context.Context) error {
	var err error
	if c.host != nil {
		err = c.host.Close(ctx)
	}
	for _, p := range []*plain{c.plain, c.deadline} {
		if p != nil {
			err = errors.Join(err, p.close(ctx))
		}
	}
	if c.extism != nil {
		err = errors.Join(err, c.extism.stop())
	}
	return err
}

// expected is what an export gives, so that nobody wins by doing less.
func (c *contest) expected(ctx context.Context, export string) (int64, error) {
	_, want, err := c.plain.call(ctx, wazero.NewModuleConfig(), export)
	if err == nil && want == 0 {
		err = errors.New("it computed nothing")
	}
	return want, err
}

func (c *contest) sides(export string, phase abi.Phase, want int64) []side {
	under := func(p *plain) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (time.Duration, error) {
			ctx, stop := context.WithTimeout(ctx, time.Hour) // which only one of them looks at
			defer stop()
			d, got, err := p.call(ctx, wazero.NewModuleConfig(), export)
			return d, errors.Join(err, same(got, want))
		}
	}
	sides := []side{
		{ofPlain, under(c.plain)},
		{ofUpdraft, func(ctx context.Context) (time.Duration, error) {
			return timed(func() error {
				_, err := c.host.Call(ctx, phase, wasmhost.Grants{Clock: disk.Real()})
				return err
			})
		}},
		{ofDeadline, under(c.deadline)},
	}
	if c.extism != nil {
		sides = append(sides, side{ofExtism, func(context.Context) (time.Duration, error) {
			d, got, err := c.extism.call(export)
			return d, errors.Join(err, same(got, want))
		}})
	}
	return sides
}

func same(got, want int64) error {
	if got != want {
		return fmt.Errorf("it gave %d, want %d", got, want)
	}
	return nil
}

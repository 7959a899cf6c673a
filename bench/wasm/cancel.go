package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/delta/codec"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

const (
	cancelAfter    = 30 * time.Millisecond // that what is cancelled has been running
	cancelledPatch = 64e6                  // bytes of what a patch makes, enough for longer than that
)

// cancelling measures how long a module goes on after its context has ended.
func cancelling(ctx context.Context, b *bench) (s section, err error) {
	s = section{Title: "Cancel", Note: "How long a phase goes on after its context was cancelled in the middle of it, or after the flag was set that services and modules look at; the aim is for the longest of all rounds. " +
		"A module that computes and does not look at the flag goes on for the grace of 2 s that it is given, and is then stopped as if its context had ended. Services read and write an artifact without an end, a zstd file of 16 GiB of zeros, and a patch of 64 MB."}
	for _, guest := range []struct{ name, language string }{{"work", "C"}, {"workgo", "Go"}} {
		wasm, err := b.guest(ctx, guest.name)
		if err != nil {
			return s, err
		}
		if wasm == nil {
			continue
		}
		for _, engine := range []wasmhost.Engine{wasmhost.Auto, wasmhost.Interpreter} {
			if err := b.cancelGuest(ctx, &s, guest.language, engine, wasm); err != nil {
				return s, fmt.Errorf("%s: %w", guest.name, err)
			}
		}
	}
	wasm, err := b.guest(ctx, "mover")
	if err != nil || wasm == nil {
		return s, err
	}
	return s, b.cancelServices(ctx, &s, wasm)
}

func (b *bench) cancelGuest(ctx context.Context, s *section, language string, engine wasmhost.Engine, wasm []byte) (err error) {
	h, err := wasmhost.New(ctx, wasmhost.Config{Engine: engine})
	if err != nil {
		return err
	}
	m, err := h.Load(ctx, wasm, wasmhost.Limits{Memory: 64 << 20, Fuel: 1 << 50})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	what := language + ", loop without an end"
	if engine == wasmhost.Interpreter {
		what += ", interpreted"
	}
	return b.cancelled(ctx, s, what, 20, func(ctx context.Context) error {
		_, err := m.Call(ctx, abi.Rollback, wasmhost.Grants{Clock: disk.Real()})
		return err
	})
}

// cancelServices stops the services, and a sleep.
func (b *bench) cancelServices(ctx context.Context, s *section, wasm []byte) (err error) {
	m, err := loadMover(ctx, wasm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	old := noise(cancelledPatch, 2)
	patch, err := makePatch(ctx, old, edited(old))
	if err != nil {
		return err
	}
	bomb, err := compressedZeros(16 << 30)
	if err != nil {
		return err
	}
	images := map[string]wasmhost.Source{}
	for name, content := range map[string][]byte{"patch": patch, "inflate": bomb} {
		if images[name], err = newImage(filepath.Join(b.dir, name), content); err != nil {
			return err
		}
	}
	for _, how := range []string{"copy", "hash", "inflate", "patch", "sleep"} {
		r, err := newRig(ctx, b.dir, old)
		if err != nil {
			return err
		}
		if r.image = images[how]; r.image == nil {
			r.image = endless(1 << 40)
		}
		what := "svc_" + how
		if how == "sleep" {
			what = "sleep_ms"
		}
		settings := fmt.Sprintf(`{"how": %q}`, how)
		err = b.cancelled(ctx, s, what, 100, func(ctx context.Context) error { return r.install(ctx, m, settings) })
		if err == nil {
			err = b.cancelled(ctx, s, what+", by the flag", 100, func(ctx context.Context) error {
				r.cancelled = func() bool { return ctx.Err() != nil }
				return r.install(context.WithoutCancel(ctx), m, settings)
			})
		}
		if err = errors.Join(err, os.RemoveAll(filepath.Dir(r.out))); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// compressedZeros is a zstd file that becomes size zero bytes.
func compressedZeros(size int64) ([]byte, error) {
	format, err := codec.Lookup("zstd")
	if err != nil {
		return nil, err
	}
	var frame, whole bytes.Buffer
	const each = 256 << 20
	w, err := codec.NewWriter(&frame, format, codec.Options{Size: each})
	if err != nil {
		return nil, err
	}
	for zeros, n := make([]byte, 1<<20), 0; n < each; n += len(zeros) {
		if _, err := w.Write(zeros); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	for n := int64(0); n < size; n += each {
		whole.Write(frame.Bytes())
	}
	return whole.Bytes(), nil
}

// cancelled runs what must end with [wasmhost.Cancelled], and judges how late.
func (b *bench) cancelled(ctx context.Context, s *section, what string, most float64, run func(context.Context) error) error {
	var late []time.Duration
	for range b.rounds {
		inner, stop := context.WithCancel(ctx)
		at := make(chan time.Time, 1)
		timer := time.AfterFunc(cancelAfter, func() {
			at <- time.Now()
			stop()
		})
		err := run(inner)
		ended := time.Now()
		if timer.Stop(); !errors.Is(err, wasmhost.Cancelled) {
			stop()
			return fmt.Errorf("%s: ended with %v before it was cancelled, or in spite of it", what, err)
		}
		late = append(late, max(0, ended.Sub(<-at)))
	}
	worst := slices.Max(late)
	s.row(what, took("median", median(late)), took("longest", worst))
	s.atMost(what+": longest until it was cancelled", worst.Seconds()*1000, milliseconds, most)
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// bench is what the sections share.
type bench struct {
	*options
	dir     string            // for files; its own
	built   map[string][]byte // modules by project
	missing []string          // what is left out, and why
}

// inMemory is where Linux keeps files in memory.
const inMemory = "/dev/shm"

func newBench(o *options) (*bench, error) {
	at := o.dir
	if info, err := os.Stat(inMemory); at == "" && err == nil && info.IsDir() {
		at = inMemory
	}
	dir, err := os.MkdirTemp(at, "updraft-bench-")
	if err != nil {
		return nil, err
	}
	return &bench{options: o, dir: dir, built: map[string][]byte{}}, nil
}

func (b *bench) close() error { return os.RemoveAll(b.dir) }

// guest gives a module of bench/wasm/guest; nil if its compiler is not there.
func (b *bench) guest(ctx context.Context, name string) ([]byte, error) {
	return b.build(ctx, filepath.Join("bench", "wasm", "guest", name))
}

// build gives the module of a project below the root, nil if its compiler is
// not there.
func (b *bench) build(ctx context.Context, project string) ([]byte, error) {
	if wasm, ok := b.built[project]; ok {
		return wasm, nil
	}
	out := filepath.Join(b.dir, "module.wasm")
	err := toolchain.Build(ctx, toolchain.Options{Dir: filepath.Join(b.root, project), Out: out})
	var missing *toolchain.Missing
	if errors.As(err, &missing) {
		b.built[project] = nil
		b.leaveOut(err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wasm, err := os.ReadFile(out)
	b.built[project] = wasm
	return wasm, errors.Join(err, os.Remove(out))
}

// leaveOut names what is not measured, once.
func (b *bench) leaveOut(why string) {
	if !slices.Contains(b.missing, why) {
		b.missing = append(b.missing, why)
	}
}

// side is one of those that are compared. Its run says how long it took, so
// that what it needs before and after does not count.
type side struct {
	name string
	run  func(ctx context.Context) (time.Duration, error)
}

// race lets the sides take turns and gives their medians, by name. The first
// round does not count.
func (b *bench) race(ctx context.Context, sides []side) (map[string]time.Duration, error) {
	took := map[string][]time.Duration{}
	for round := range b.rounds + 1 {
		for _, s := range sides {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			runtime.GC() // what one side left is not collected in another's time
			d, err := s.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				took[s.name] = append(took[s.name], d)
			}
		}
	}
	middle := map[string]time.Duration{}
	for name, list := range took {
		middle[name] = median(list)
	}
	return middle, nil
}

// averaged repeats what takes less than 20 ms and gives the mean, so that
// neither the clock nor what ran before counts.
func averaged(run func(context.Context) (time.Duration, error)) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		sum, n := time.Duration(0), time.Duration(0)
		for sum < 20*time.Millisecond {
			d, err := run(ctx)
			if err != nil {
				return 0, err
			}
			sum += d
			n++
		}
		return sum / n, nil
	}
}

// median is the middle one, the mean of both if there are two.
func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// timed is how long do takes.
func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

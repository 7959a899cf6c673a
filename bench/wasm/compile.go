package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
	"github.com/updraft-ota/updraft/wasmhost"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// language is one that there is an SDK for, with what is aimed at in it.
type language struct {
	id    toolchain.Language
	name  string
	main  string        // source of an example
	size  int64         // bytes of a module
	start time.Duration // of a phase, from the cache; 0: no aim
}

var languages = []language{
	{toolchain.C, "C", "main.c", 20e3, 5 * time.Millisecond},
	{toolchain.Rust, "Rust", "main.rs", 50e3, 5 * time.Millisecond},
	{toolchain.AssemblyScript, "AssemblyScript", "main.ts", 50e3, 0},
	{toolchain.Zig, "Zig", "main.zig", 20e3, 0},
	{toolchain.Go, "Go", "main.go", 3e6, 100 * time.Millisecond},
}

// limits are what any example needs.
var limits = wasmhost.Limits{Memory: 64 << 20}

// example is the module of a folder in examples, nil if its compiler is missing.
func (b *bench) example(ctx context.Context, kind string, l language) ([]byte, error) {
	return b.build(ctx, filepath.Join("examples", kind+"-"+string(l.id)))
}

// pass compares the pass with the compilation that follows it.
func pass(ctx context.Context, b *bench) (section, error) {
	s := section{Title: "The pass before compilation", Note: "Checking and rewriting a module, against compiling the result as the host does: with two workers, without a cache. What is short is repeated for 20 ms, on both sides."}
	for _, l := range languages {
		for _, kind := range []string{"install", "compat"} {
			wasm, err := b.example(ctx, kind, l)
			if err != nil {
				return s, err
			}
			if wasm == nil {
				break
			}
			program, err := meter.Rewrite(wasm, meter.Budget{Memory: limits.Memory})
			if err != nil {
				return s, err
			}
			t, err := b.race(ctx, []side{
				{"pass", averaged(func(context.Context) (time.Duration, error) {
					return timed(func() error {
						_, err := meter.Rewrite(wasm, meter.Budget{Memory: limits.Memory})
						return err
					})
				})},
				{"compile", averaged(func(ctx context.Context) (time.Duration, error) { return cold(ctx, program.Wasm) })},
			})
			if err != nil {
				return s, fmt.Errorf("%s: %w", l.name, err)
			}
			share := 100 * t["pass"].Seconds() / t["compile"].Seconds()
			what := fmt.Sprintf("%s-%s", kind, l.id)
			s.row(what, took("pass", t["pass"]), took("cold compile", t["compile"]), figure{"pass : compile", share, percent},
				figure{"module", float64(len(wasm)), bytesUnit}, figure{"rewritten : module", float64(len(program.Wasm)) / float64(len(wasm)), times})
			s.atMost(what+": pass against cold compile", share, percent, 5)
		}
	}
	return s, nil
}

// cold is how long compiling takes.
func cold(ctx context.Context, wasm []byte) (d time.Duration, err error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig())
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	return timed(func() error {
		_, err := r.CompileModule(experimental.WithCompilationWorkers(ctx, 2), wasm)
		return err
	})
}

// start measures a phase of a module that was compiled before.
func start(ctx context.Context, b *bench) (section, error) {
	s := section{Title: "Start of a phase", Note: "The compat example of each language, whose phase compares a fact with two settings. *load* checks the module, meters it and takes its code from the cache, " +
		"after its MAC was verified; *call* makes the instance and runs the phase; *again* is a call in a host that has the module loaded already."}
	for _, l := range languages {
		wasm, err := b.example(ctx, "compat", l)
		if err != nil {
			return s, err
		}
		if wasm == nil {
			continue
		}
		if err := b.starts(ctx, &s, l, wasm); err != nil {
			return s, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return s, nil
}

func (b *bench) starts(ctx context.Context, s *section, l language, wasm []byte) error {
	config := wasmhost.Config{Cache: filepath.Join(b.dir, "cache"), CacheKey: bytes.Repeat([]byte{1}, 32)}
	var parts [3][]time.Duration
	for round := range b.rounds + 1 { // the first one fills the cache
		took, err := startOnce(ctx, config, wasm)
		if err != nil {
			return err
		}
		for i := range parts {
			if round > 0 {
				parts[i] = append(parts[i], took[i])
			}
		}
	}
	load, call, again := median(parts[0]), median(parts[1]), median(parts[2])
	whole := figure{"load and call", (load + call).Seconds() * 1000, milliseconds}
	s.row(l.name, took("load", load), took("call", call), whole, took("again", again))
	if l.start > 0 {
		s.atMost(l.name+": start of a phase from the cache", whole.Value, milliseconds, l.start.Seconds()*1000)
	}
	return nil
}

// startOnce is the load, the first call and the second one in a new host.
func startOnce(ctx context.Context, config wasmhost.Config, wasm []byte) (took [3]time.Duration, err error) {
	h, err := wasmhost.New(ctx, config)
	if err != nil {
		return took, err
	}
	var m *wasmhost.Module
	if took[0], err = timed(func() error { m, err = h.Load(ctx, wasm, limits); return err }); err != nil {
		return took, err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	g := wasmhost.Grants{Clock: disk.Real(), Facts: map[string]string{"model": "gw-200"}, Settings: []byte(`{"models": ["gw-100", "gw-200"]}`)}
	for i := range 2 {
		took[1+i], err = timed(func() error {
			r, err := m.Call(ctx, abi.Compat, g)
			if err == nil && r.Class != abi.OK {
				err = fmt.Errorf("compat gave class %d: %s", r.Class, r.Report.Details)
			}
			return err
		})
		if err != nil {
			return took, err
		}
	}
	return took, nil
}

// sdk measures the example modules themselves.
func sdk(ctx context.Context, b *bench) (section, error) {
	s := section{Title: "Size of modules", Note: "The example of an install step and that of a compatibility step: lines of source, and bytes with manifest and names of functions."}
	for _, l := range languages {
		var figures []figure
		for _, kind := range []string{"install", "compat"} {
			wasm, err := b.example(ctx, kind, l)
			if err != nil {
				return s, err
			}
			if wasm == nil {
				break
			}
			source, err := os.ReadFile(filepath.Join(b.root, "examples", kind+"-"+string(l.id), l.main))
			if err != nil {
				return s, err
			}
			count := float64(bytes.Count(source, []byte("\n")))
			figures = append(figures, figure{kind + ", source", count, lines}, figure{kind + ", module", float64(len(wasm)), bytesUnit})
			s.atMost(l.name+": lines of the "+kind+" step", count, lines, 40)
			s.atMost(l.name+": bytes of the "+kind+" module", float64(len(wasm)), bytesUnit, float64(l.size))
		}
		if figures != nil {
			s.row(l.name, figures...)
		}
	}
	return s, nil
}

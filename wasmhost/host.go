// Package wasmhost loads a vendor's WebAssembly module and calls its phases
// with exactly the capabilities that the caller grants.
//
// [New] makes a [Host], [Host.Load] checks, meters and compiles a module, which
// runs none of its code, [Module.Check] compares what it wants with what it may,
// and [Module.Call] runs one phase in an instance of its own. [Install] calls
// the phases of an install step in order. The contract is package abi.
//
// A module reaches only what is in its [Grants]: sources and targets by role,
// facts and settings as a snapshot, a journal of one checkpoint. It has no
// files, no network, no arguments and no environment; what it prints goes to
// the log. All errors are [*Error] with a [Code].
//
// What a phase may take is counted and limited: fuel and calls within calls by
// the code itself (package meter), time in the same places and in every
// function of the host, memory by one reservation of its maximum out of a
// budget that all instances share. [Usage] says what it took. Compilation
// happens in this process; the budgets of package meter bound what it takes.
package wasmhost

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Config says how a [Host] works. The zero value compiles each module anew.
type Config struct {
	// Cache is a folder for compiled modules, made with mode 0700 if it is
	// missing. It is a path of the operating system, since wazero maps code
	// from real files. "" means no cache.
	Cache string
	// CacheKey authenticates the files in Cache: what they hold is native code.
	// At least 32 secret bytes, the same each time on one device.
	CacheKey []byte
	// CacheQuota is how many bytes Cache may hold; 128 MiB. What was used
	// longest ago goes first.
	CacheQuota int64
	// Warn, if set, hears that a compiled module could not be kept.
	Warn func(error)
	// Memory is the budget of linear memory in bytes that all instances share;
	// 256 MiB. A call that does not fit ends with the code Memory before its
	// module begins.
	Memory int64
	// Engine is how modules run, Auto by default.
	Engine Engine
	// Record, if set, hears all that the phases of all modules ask and are
	// answered.
	Record *Recorder
	// Isolation is the command that starts this program again, with a first
	// argument for which it calls [Isolated] and nothing else. With it, modules
	// are compiled and run in processes of their own. Linux only.
	Isolation []string
	// Grace is how long a module may go on by the clock after its run was
	// cancelled, to stop by itself; 2 seconds.
	Grace time.Duration
}

// Engine is how modules run. The results and the fuel are the same.
type Engine string

// The engines.
const (
	Auto        Engine = "" // Compiler where there is one
	Compiler    Engine = "compiler"
	Interpreter Engine = "interpreter" // tens of times slower, starts sooner
)

// Limits hold one module. A zero field is its default.
type Limits struct {
	// Memory is the most that the module may ask for, in bytes; 16 MiB. A
	// module whose manifest asks for nothing gets at most 16 MiB of it.
	Memory int64
	// Fuel is the most that a phase may ask for; 2,000,000,000. A module whose
	// manifest asks for nothing gets at most that much of it.
	Fuel int64
	// Wall is the most time that a phase may ask for; 10 minutes. Compat gets
	// 5 seconds of it.
	Wall time.Duration
}

// Host loads modules. It may be shared.
type Host struct {
	cache     *cache // nil: none
	engine    Engine
	grace     time.Duration
	memory    budget
	record    *Recorder
	isolation []string
	tried     map[string]bool // modules that compile in processes, by digest
	compiling sync.Mutex
}

// New checks the configuration and makes the cache folder.
func New(ctx context.Context, c Config) (*Host, error) {
	if err := c.Engine.check(ctx); err != nil {
		return nil, err
	}
	h := &Host{engine: c.Engine, grace: cmp.Or(c.Grace, 2*time.Second), memory: budget{left: cmp.Or(c.Memory, 256<<20)}}
	h.record, h.isolation, h.tried = c.Record, c.Isolation, map[string]bool{}
	if len(c.Isolation) > 0 && !apartSupported {
		return nil, errApart
	}
	if c.Cache == "" {
		return h, nil
	}
	k, err := openCache(c.Cache, c.CacheKey, cmp.Or(c.CacheQuota, 128<<20), c.Warn)
	if err != nil {
		return nil, fmt.Errorf("open module cache: %w", err)
	}
	h.cache = k
	return h, nil
}

// Cached reports whether loading a module again is quick, since its compiled
// code is kept.
func (h *Host) Cached() bool { return h.cache != nil }

const (
	pageSize     = 64 << 10
	maxMemory    = 4 << 30
	installWall  = 10 * time.Minute
	compatWall   = 5 * time.Second
	copyPiece    = 256 << 10 // bytes moved at once by svc_copy and when draining
	copyEvery    = 768 << 10 // bytes between two of its checkpoints; with a piece on its way below 1 MiB
	copyInterval = time.Second
)

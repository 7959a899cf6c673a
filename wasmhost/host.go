// Package wasmhost loads a vendor's WebAssembly module and calls its phases
// with exactly the capabilities that the caller grants.
//
// [New] makes a [Host], [Host.Load] checks and compiles a module, which runs
// none of its code, [Module.Check] compares what it wants with what it may,
// and [Module.Call] runs one phase in an instance of its own. [Install] calls
// the phases of an install step in order. The contract is package abi.
//
// A module reaches only what is in its [Grants]: sources and targets by role,
// facts and settings as a snapshot, a journal of one checkpoint. It has no
// files, no network, no arguments and no environment; what it prints goes to
// the log. All errors are [*Error] with a [Code].
//
// Not stopped by this version: compilation has no limit of its own; the
// deadline is a check in loops and calls, so that a call tree without loops
// ends late; recursion is held by wazero's own stack limit alone. See
// docs/module.md.
package wasmhost

import (
	"context"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
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
	// Warn, if set, hears that a compiled module could not be kept.
	Warn func(error)
}

// Limits hold one module. A zero field is its default.
type Limits struct {
	// Memory is the most that the module may ask for, in bytes; 16 MiB. A
	// module whose manifest asks for nothing gets at most 16 MiB of it.
	Memory int64
	// Wall is the time that a phase may take; 10 minutes, compat 5 seconds.
	Wall time.Duration
}

// Host loads modules. It may be shared.
type Host struct {
	cache *cache // nil: none
}

// New checks the configuration and makes the cache folder.
func New(_ context.Context, c Config) (*Host, error) {
	if c.Cache == "" {
		return &Host{}, nil
	}
	k, err := openCache(c.Cache, c.CacheKey, c.Warn)
	if err != nil {
		return nil, fmt.Errorf("open module cache: %w", err)
	}
	return &Host{cache: k}, nil
}

// Cached reports whether loading a module again is quick, since its compiled
// code is kept.
func (h *Host) Cached() bool { return h.cache != nil }

// features are the parts of WebAssembly that the contract allows. Reference
// types stay out, and with them table.grow and more than one table.
const features = api.CoreFeaturesV1 | api.CoreFeatureMutableGlobal | api.CoreFeatureSignExtensionOps |
	api.CoreFeatureBulkMemoryOperations | api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureSIMD

func runtimeConfig(pages uint32) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(features).
		WithMemoryLimitPages(pages).
		WithCloseOnContextDone(true)
}

const (
	pageSize     = 64 << 10
	maxMemory    = 4 << 30
	installWall  = 10 * time.Minute
	compatWall   = 5 * time.Second
	copyPiece    = 256 << 10 // bytes moved at once by svc_copy and when draining
	copyEvery    = 768 << 10 // bytes between two of its checkpoints; with a piece on its way below 1 MiB
	copyInterval = time.Second
)

// pages gives the page limit that m gets out of granted bytes.
func pages(m *abi.Manifest, granted int64) (uint32, error) {
	if granted <= 0 {
		granted = abi.DefaultMemory
	}
	granted = min(granted, maxMemory)
	want := int64(m.Limits.Memory)
	if want > granted {
		return 0, fmt.Errorf("the manifest asks for %d bytes of memory, %d are granted", want, granted)
	}
	if want == 0 {
		want = min(abi.DefaultMemory, granted)
	}
	return uint32(max(want, pageSize) / pageSize), nil
}

package conformance

import (
	"context"
	"errors"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// Loader compiles one module, once for each set of limits. It may not be shared.
type Loader struct {
	host   *wasmhost.Host
	wasm   []byte
	loaded map[wasmhost.Limits]*wasmhost.Module
}

// NewLoader keeps the module's bytes and compiles nothing yet.
func NewLoader(h *wasmhost.Host, wasm []byte) *Loader {
	return &Loader{host: h, wasm: wasm, loaded: map[wasmhost.Limits]*wasmhost.Module{}}
}

// Load gives the module with limits, if it wants nothing but what is granted.
// It belongs to the loader.
func (l *Loader) Load(ctx context.Context, limits wasmhost.Limits, granted []abi.Capability) (*wasmhost.Module, error) {
	m := l.loaded[limits]
	if m == nil {
		var err error
		if m, err = l.host.Load(ctx, l.wasm, limits); err != nil {
			return nil, err
		}
		l.loaded[limits] = m
	}
	return m, m.Check(granted)
}

// Manifest is what the module says about itself.
func (l *Loader) Manifest() (abi.Manifest, error) { return abi.ReadManifest(l.wasm) }

// Close frees what was compiled.
func (l *Loader) Close(ctx context.Context) error {
	var err error
	for _, m := range l.loaded {
		err = errors.Join(err, m.Close(ctx))
	}
	clear(l.loaded)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// plain is a module under wazero without anything of updraft.
type plain struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
}

// newPlain compiles a module. It may use WASI.
func newPlain(ctx context.Context, wasm []byte, config wazero.RuntimeConfig) (*plain, error) {
	p := &plain{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	_, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime)
	if err == nil {
		p.code, err = p.runtime.CompileModule(ctx, wasm)
	}
	if err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

func (p *plain) close(ctx context.Context) error { return p.runtime.Close(ctx) }

// call makes an instance, calls an export and closes the instance.
func (p *plain) call(ctx context.Context, config wazero.ModuleConfig, export string, params ...uint64) (time.Duration, int64, error) {
	answer := int64(0)
	took, err := timed(func() error {
		m, err := p.runtime.InstantiateModule(ctx, p.code, config.WithName("").WithStartFunctions())
		if err != nil {
			return err
		}
		answer, err = invoke(ctx, m, export, params)
		return errors.Join(err, m.Close(ctx))
	})
	return took, answer, err
}

func invoke(ctx context.Context, m api.Module, export string, params []uint64) (int64, error) {
	if f := m.ExportedFunction("_initialize"); f != nil {
		if _, err := f.Call(ctx); err != nil {
			return 0, err
		}
	}
	f := m.ExportedFunction(export)
	if f == nil {
		return 0, fmt.Errorf("the module has no export %s", export)
	}
	out, err := f.Call(ctx, params...)
	if err != nil || len(out) == 0 {
		return 0, err
	}
	return int64(out[0]), nil
}

package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// features are the parts of WebAssembly that the contract allows. Reference
// types stay out, and with them table.grow and more than one table.
const features = api.CoreFeaturesV1 | api.CoreFeatureMutableGlobal | api.CoreFeatureSignExtensionOps |
	api.CoreFeatureBulkMemoryOperations | api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureSIMD

// compileWall ends a compilation on a machine that is much slower, or busier,
// than those that the budgets of package meter were measured on: they, not
// this, bound what compiling may cost. It and a cancel are looked at between
// two functions, of which each takes less than a second: one that has begun
// cannot be interrupted.
const compileWall = 2 * time.Minute

// errCompile is the cause of a compilation that took too long.
var errCompile = fmt.Errorf("compiling takes longer than %v", compileWall)

func (e Engine) config() wazero.RuntimeConfig {
	switch e {
	case Compiler:
		return wazero.NewRuntimeConfigCompiler()
	case Interpreter:
		return wazero.NewRuntimeConfigInterpreter()
	}
	return wazero.NewRuntimeConfig()
}

// check says whether the engine runs on this machine.
func (e Engine) check(ctx context.Context) (err error) {
	if e != Auto && e != Compiler && e != Interpreter {
		return fmt.Errorf("unknown engine %q, want %q, %q or nothing", e, Compiler, Interpreter)
	}
	defer func() {
		if p := recover(); p != nil { // wazero's answer to a machine that it has no compiler for
			err = fmt.Errorf("engine %q does not run on this machine: %v", e, p)
		}
	}()
	return wazero.NewRuntimeWithConfig(ctx, e.config()).Close(ctx)
}

// compile makes the runtime that holds this module alone: its limit of memory
// is the runtime's. One module is compiled at a time, so that the memory it
// takes is that of one.
func (h *Host) compile(ctx context.Context, m *Module, metered []byte) (err error) {
	return h.compileIn(ctx, m, metered, nil)
}

// compileIn takes the code from dir, or leaves it there, if that is not nil.
func (h *Host) compileIn(ctx context.Context, m *Module, metered []byte, given wazero.CompilationCache) (err error) {
	h.compiling.Lock()
	defer h.compiling.Unlock()
	config := h.engine.config().WithCoreFeatures(features).
		WithMemoryLimitPages(uint32(m.info.Memory.Granted / pageSize))
	// Only with workers does wazero look at the context between functions.
	limited, stop := context.WithTimeoutCause(experimental.WithCompilationWorkers(ctx, 2), compileWall, errCompile)
	defer stop()
	compile := func(dir wazero.CompilationCache, _ string) error {
		if dir != nil {
			config = config.WithCompilationCache(dir)
		}
		r := wazero.NewRuntimeWithConfig(ctx, config)
		code, err := r.CompileModule(limited, metered)
		if err != nil {
			err = errors.Join(err, r.Close(ctx))
			if dir != nil {
				err = errors.Join(err, dir.Close(ctx))
			}
			return err
		}
		m.runtime, m.code, m.cache = r, code, dir
		return nil
	}
	if h.cache != nil {
		err = h.cache.compile(metered, compile)
	} else {
		err = compile(given, "")
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return m.refuse(Cancelled, context.Cause(ctx))
	case limited.Err() != nil:
		return m.refuse(InvalidModule, errCompile)
	default:
		return m.refuse(InvalidModule, err)
	}
	if err := m.provide(ctx); err != nil {
		return errors.Join(m.refuse(InvalidModule, err), m.Close(ctx))
	}
	return nil
}

// provide puts the import modules into the runtime. What a call may do
// travels in its context.
func (m *Module) provide(ctx context.Context) error {
	return errors.Join(bindMeter(ctx, m.runtime), bindWASI(ctx, m.runtime), bind(ctx, m.runtime))
}

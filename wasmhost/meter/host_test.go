package meter

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// features are what a host of the contract enables.
const features = api.CoreFeaturesV1 | api.CoreFeatureMutableGlobal | api.CoreFeatureSignExtensionOps |
	api.CoreFeatureBulkMemoryOperations | api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureSIMD

// engines are both ways in which a module runs.
var engines = map[string]func() wazero.RuntimeConfig{
	"compiled":    wazero.NewRuntimeConfigCompiler,
	"interpreted": wazero.NewRuntimeConfigInterpreter,
}

var (
	errFuel  = errors.New("out of fuel")
	errDepth = errors.New("too deep")
)

// tanks is a host as the package comment describes it.
type tanks struct {
	fuel, frames  api.MutableGlobal
	slice         int64 // of fuel
	most, deepest int64 // budgets
	givenFuel     int64
	givenFrames   int64
	refills       int
}

func (t *tanks) attach(m api.Module) {
	t.fuel = m.ExportedGlobal(Fuel).(api.MutableGlobal)
	t.frames = m.ExportedGlobal(Frames).(api.MutableGlobal)
}

func (t *tanks) refill(_ context.Context, m api.Module, _ []uint64) {
	t.refills++
	if t.fuel == nil {
		t.attach(m)
	}
	if left := int64(t.fuel.Get()); left < 0 {
		give := min(max(-left, t.slice), t.most-t.givenFuel)
		if give < -left {
			panic(errFuel)
		}
		t.givenFuel += give
		t.fuel.Set(uint64(left + give))
	}
	if left := int64(t.frames.Get()); left < 0 {
		if t.givenFrames-left > t.deepest {
			panic(errDepth)
		}
		t.givenFrames -= left
		t.frames.Set(0)
	}
}

func (t *tanks) used() int64 { return t.givenFuel - int64(t.fuel.Get()) }

// instance runs a module, metered or not.
type instance struct {
	api.Module
	tanks *tanks
	ctx   context.Context
	hosts map[string]func(context.Context, api.Module) // what imports do, by module
}

// start makes an instance. Functions that it imports from elsewhere than WASI
// answer zero.
func start(t testing.TB, wasm []byte, config wazero.RuntimeConfig, tank tanks) *instance {
	t.Helper()
	i, err := try(t, wasm, config, tank)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func try(t testing.TB, wasm []byte, config wazero.RuntimeConfig, tank tanks) (*instance, error) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features))
	t.Cleanup(func() { r.Close(ctx) })
	code, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	i := &instance{tanks: &tank, ctx: ctx, hosts: map[string]func(context.Context, api.Module){}}
	if i.tanks.slice == 0 {
		i.tanks.slice = 1 << 20
	}
	if i.tanks.most == 0 {
		i.tanks.most = 1 << 62
	}
	if i.tanks.deepest == 0 {
		i.tanks.deepest = 1024
	}
	builders := map[string]wazero.HostModuleBuilder{}
	for _, f := range code.ImportedFunctions() {
		module, name, _ := f.Import()
		if strings.HasPrefix(module, "wasi_") {
			if r.Module(module) == nil {
				wasi_snapshot_preview1.MustInstantiate(ctx, r)
			}
			continue
		}
		b := builders[module]
		if b == nil {
			b = r.NewHostModuleBuilder(module)
			builders[module] = b
		}
		do := api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			if do := i.hosts[module]; do != nil {
				do(ctx, m)
			}
			if len(stack) > 0 {
				stack[0] = 0
			}
		})
		if module == Module {
			do = i.tanks.refill
		}
		b.NewFunctionBuilder().WithGoModuleFunction(do, f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	i.Module, err = r.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, err
	}
	if i.ExportedGlobal(Fuel) != nil {
		i.tanks.attach(i.Module)
	}
	if f := i.ExportedFunction("_initialize"); f != nil {
		if _, err := f.Call(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return i, nil
}

// rewrite meters a module that must be acceptable.
func rewrite(t testing.TB, wasm []byte) *Program {
	t.Helper()
	p, err := Rewrite(wasm, Budget{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

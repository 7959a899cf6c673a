package wasmhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// Module is a checked and compiled module. It may be shared, and calls of it
// may overlap if their grants do not.
type Module struct {
	digest   string
	manifest abi.Manifest
	limits   Limits
	wants    []abi.Capability // of what it imports, sorted
	runtime  wazero.Runtime
	code     wazero.CompiledModule
	cache    wazero.CompilationCache // nil: none
}

// Load checks a module against the contract and compiles it, or takes the
// compiled code from the cache. No code of the module runs. The bytes are not
// kept. The codes are InvalidModule, ABI, Memory and Denied.
func (h *Host) Load(ctx context.Context, wasm []byte, limits Limits) (*Module, error) {
	if len(wasm) > abi.MaxModule {
		return nil, &Error{Code: InvalidModule, Detail: fmt.Sprintf("%d bytes, at most %d", len(wasm), abi.MaxModule)}
	}
	sum := sha256.Sum256(wasm)
	m := &Module{digest: hex.EncodeToString(sum[:]), limits: limits}
	limit, err := m.examine(wasm)
	if err != nil {
		return nil, err
	}
	if err := h.compile(ctx, m, wasm, limit); err != nil {
		return nil, err
	}
	return m, nil
}

// examine is everything that is judged before compilation.
func (m *Module) examine(wasm []byte) (limit uint32, err error) {
	o, err := read(wasm)
	if err != nil {
		return 0, m.refuse(InvalidModule, err)
	}
	if m.manifest, err = abi.ReadManifest(wasm); err != nil {
		return 0, m.refuse(InvalidModule, err)
	}
	if err := speaks(o, &m.manifest); err != nil {
		return 0, m.refuse(ABI, err)
	}
	if err := shaped(o); err != nil {
		return 0, m.refuse(InvalidModule, err)
	}
	if m.wants, err = wants(o, &m.manifest); err != nil {
		return 0, m.refuse(Denied, err)
	}
	limit, err = pages(&m.manifest, m.limits.Memory)
	if err != nil {
		return 0, m.refuse(Memory, err)
	}
	if o.minPages > limit {
		return 0, m.refuse(Memory, fmt.Errorf("%d pages of 64 KiB at the start, at most %d", o.minPages, limit))
	}
	return limit, nil
}

func (m *Module) refuse(code Code, err error) *Error {
	return &Error{Code: code, Module: m.digest, Err: err}
}

// speaks finds the marker of a version that both sides know.
func speaks(o *outline, m *abi.Manifest) error {
	var found []string
	for name, e := range o.exports {
		if v, ok := strings.CutPrefix(name, abi.MarkerPrefix); ok && e.kind == kindFunction {
			found = append(found, strings.Replace(v, "_", ".", 1))
		}
	}
	slices.Sort(found)
	ours := fmt.Sprintf("%d.%d", abi.Major, abi.Minor)
	if len(found) == 0 {
		return fmt.Errorf("no export %s%d_%d: this is not an updraft module", abi.MarkerPrefix, abi.Major, abi.Minor)
	}
	if !slices.Contains(found, ours) {
		return fmt.Errorf("the module speaks version %s, this host %s", strings.Join(found, " and "), ours)
	}
	if major, minor, _ := abi.Version(m.ABI.Min); major != abi.Major || minor > abi.Minor {
		return fmt.Errorf("the manifest wants version %s, this host has %s", m.ABI.Min, ours)
	}
	return nil
}

// shaped checks the exports that every module has.
func shaped(o *outline) error {
	if e, ok := o.exports[abi.MemoryExport]; !ok || e.kind != kindMemory {
		return fmt.Errorf("no exported memory %q", abi.MemoryExport)
	}
	for name, want := range map[string]string{abi.PhaseExport: "i:i", abi.InitExport: ":"} {
		e, ok := o.exports[name]
		if !ok && name == abi.InitExport {
			continue
		}
		if !ok || e.kind != kindFunction || o.signature(e.index) != want {
			return fmt.Errorf("no exported function %s of type %s", name, want)
		}
	}
	return nil
}

// wants lists the capabilities of all imports, which must exist, be of the
// right type and be declared.
func wants(o *outline, m *abi.Manifest) ([]abi.Capability, error) {
	var list []abi.Capability
	known := abi.Functions()
	for _, i := range o.imports {
		if i.module == abi.WASI {
			continue // wazero checks its names and types
		}
		if i.module != abi.Module {
			return nil, fmt.Errorf("module imports %s.%s; want only %s and %s", i.module, i.name, abi.Module, abi.WASI)
		}
		at := slices.IndexFunc(known, func(f abi.Function) bool { return f.Name == i.name })
		if at < 0 {
			return nil, fmt.Errorf("module imports %s.%s, which this host does not offer", i.module, i.name)
		}
		f := known[at]
		if i.typ >= uint32(len(o.types)) || o.types[i.typ] != f.Wasm() {
			return nil, fmt.Errorf("module imports %s.%s with the wrong type, want %s", i.module, i.name, f.Wasm())
		}
		if f.Needs != "" && !m.Wants(f.Needs) {
			return nil, fmt.Errorf("module imports %s.%s without declaring the capability %q", i.module, i.name, f.Needs)
		}
		if f.Needs != "" && !slices.Contains(list, f.Needs) {
			list = append(list, f.Needs)
		}
	}
	slices.Sort(list)
	return list, nil
}

// compile makes the runtime that holds this module alone: its limit of memory
// is the runtime's.
func (h *Host) compile(ctx context.Context, m *Module, wasm []byte, limit uint32) (err error) {
	config := runtimeConfig(limit)
	compile := func(dir wazero.CompilationCache) error {
		if dir != nil {
			config = config.WithCompilationCache(dir)
		}
		r := wazero.NewRuntimeWithConfig(ctx, config)
		code, err := r.CompileModule(ctx, wasm)
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
		err = h.cache.compile(m.digest, compile)
	} else {
		err = compile(nil)
	}
	if err != nil {
		return m.refuse(InvalidModule, err)
	}
	if err := m.provide(ctx); err != nil {
		return errors.Join(m.refuse(InvalidModule, err), m.Close(ctx))
	}
	return nil
}

// provide puts the two import modules into the runtime. What a call may do
// travels in its context.
func (m *Module) provide(ctx context.Context) error {
	wasi, err := wasi_snapshot_preview1.NewBuilder(m.runtime).Compile(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", abi.WASI, err)
	}
	if err := offered(wasi, m.code); err != nil {
		return err
	}
	if _, err := m.runtime.InstantiateModule(ctx, wasi, wazero.NewModuleConfig()); err != nil {
		return fmt.Errorf("%s: %w", abi.WASI, err)
	}
	if err := bind(ctx, m.runtime); err != nil {
		return fmt.Errorf("%s: %w", abi.Module, err)
	}
	return nil
}

// offered refuses imports of WASI functions that do not exist, now and not
// when the first phase starts.
func offered(wasi, code wazero.CompiledModule) error {
	for _, f := range code.ImportedFunctions() {
		module, name, _ := f.Import()
		if module != abi.WASI {
			continue
		}
		has := wasi.ExportedFunctions()[name]
		if has == nil {
			return fmt.Errorf("module imports %s.%s, which this host does not offer", module, name)
		}
		if !slices.Equal(has.ParamTypes(), f.ParamTypes()) || !slices.Equal(has.ResultTypes(), f.ResultTypes()) {
			return fmt.Errorf("module imports %s.%s with the wrong type", module, name)
		}
	}
	return nil
}

// Digest gives the lower-case hex SHA-256 of the module.
func (m *Module) Digest() string { return m.digest }

// Manifest gives what the module says about itself.
func (m *Module) Manifest() abi.Manifest { return m.manifest }

// Check refuses, by name, capabilities that the module imports or declares
// and that are not among the granted ones. It is the caller's to call, before
// any phase; the code is Denied.
func (m *Module) Check(granted []abi.Capability) error {
	for _, c := range slices.Concat(m.wants, m.manifest.Capabilities) {
		if !slices.ContainsFunc(granted, func(g abi.Capability) bool { return g == c || g.Kind() == c }) {
			return m.refuse(Denied, fmt.Errorf("module %s wants the capability %q, which is not granted", m.manifest.Name, c))
		}
	}
	return nil
}

// Close frees the module. No call may be under way.
func (m *Module) Close(ctx context.Context) error {
	err := m.runtime.Close(ctx)
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(ctx))
	}
	return err
}

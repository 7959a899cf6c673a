package wasmhost

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost/meter"
)

// Module is a checked and compiled module. It may be shared, and calls of it
// may overlap if their grants do not.
type Module struct {
	host     *Host
	digest   string
	manifest abi.Manifest
	info     meter.Info
	limits   Limits
	fuel     int64            // of a phase
	wants    []abi.Capability // of what it imports, sorted
	runtime  wazero.Runtime
	code     wazero.CompiledModule
	cache    wazero.CompilationCache // nil: none
	wasm     []byte                  // if phases are recorded
	metered  []byte                  // if it runs in processes of its own; it then has no runtime here
}

// Load checks a module against the contract, meters and compiles it, or takes
// the compiled code from the cache. No code of the module runs. The bytes are
// not kept. The codes are InvalidModule, ABI, Memory, Fuel, Wall and Denied.
func (h *Host) Load(ctx context.Context, wasm []byte, limits Limits) (*Module, error) {
	if len(wasm) > abi.MaxModule {
		return nil, &Error{Code: InvalidModule, Detail: fmt.Sprintf("%d bytes, at most %d", len(wasm), abi.MaxModule)}
	}
	for name, magic := range map[string]string{"gzip": "\x1f\x8b", "zstd": "\x28\xb5\x2f\xfd"} {
		if strings.HasPrefix(string(wasm[:min(len(wasm), 4)]), magic) {
			return nil, &Error{Code: InvalidModule, Detail: "byte 0: compressed with " + name + "; want the module as it is"}
		}
	}
	sum := sha256.Sum256(wasm)
	m := &Module{host: h, digest: hex.EncodeToString(sum[:]), limits: limits}
	metered, err := m.examine(wasm)
	if err != nil {
		return nil, err
	}
	if h.record != nil {
		m.wasm = bytes.Clone(wasm)
	}
	if h.isolation != nil {
		m.metered = metered
		if err := h.try(ctx, m); err != nil {
			return nil, err
		}
		return m, nil
	}
	if err := h.compile(ctx, m, metered); err != nil {
		return nil, err
	}
	return m, nil
}

// examine is everything that is judged before compilation. It gives the
// metered module.
func (m *Module) examine(wasm []byte) ([]byte, error) {
	var err error
	if m.manifest, err = abi.ReadManifest(wasm); err != nil {
		return nil, m.refuse(InvalidModule, err)
	}
	memory, err := m.grant()
	if err != nil {
		return nil, err
	}
	program, err := meter.Rewrite(wasm, meter.Budget{Memory: memory})
	if err != nil {
		var refused *meter.Error
		if errors.As(err, &refused) && refused.Code == meter.TooLarge {
			return nil, m.refuse(Memory, err)
		}
		return nil, m.refuse(InvalidModule, err)
	}
	m.info = program.Info
	if err := speaks(&m.info, &m.manifest); err != nil {
		return nil, m.refuse(ABI, err)
	}
	if err := shaped(&m.info); err != nil {
		return nil, m.refuse(InvalidModule, err)
	}
	if m.wants, err = wants(&m.info, &m.manifest); err != nil {
		return nil, m.refuse(Denied, err)
	}
	return program.Wasm, nil
}

// grant compares what the manifest asks for with the limits, and gives the
// bytes of memory.
func (m *Module) grant() (int64, error) {
	memory := min(cmp.Or(m.limits.Memory, abi.DefaultMemory), maxMemory)
	fuel := cmp.Or(m.limits.Fuel, abi.DefaultFuel)
	wall := cmp.Or(m.limits.Wall, installWall)
	want := m.manifest.Limits
	switch {
	case int64(want.Memory) > memory:
		return 0, m.refuse(Memory, fmt.Errorf("the manifest asks for %d bytes of memory, %d are granted", want.Memory, memory))
	case want.Fuel > fuel:
		return 0, m.refuse(Fuel, fmt.Errorf("the manifest asks for %d fuel a phase, %d are granted", want.Fuel, fuel))
	case want.Wall > wall.Milliseconds():
		return 0, m.refuse(Wall, fmt.Errorf("the manifest asks for %d ms a phase, %d are granted", want.Wall, wall.Milliseconds()))
	}
	m.fuel = cmp.Or(want.Fuel, min(fuel, abi.DefaultFuel))
	memory = cmp.Or(int64(want.Memory), min(memory, abi.DefaultMemory))
	return max(memory, pageSize) / pageSize * pageSize, nil
}

// wall is the time that a phase may take.
func (m *Module) wall(p abi.Phase, g *Grants) time.Duration {
	if g.Wall > 0 {
		return g.Wall
	}
	asked := time.Duration(min(m.manifest.Limits.Wall, 1<<40)) * time.Millisecond
	wall := cmp.Or(asked, m.limits.Wall, installWall)
	if p == abi.Compat {
		return min(wall, compatWall)
	}
	return wall
}

func (m *Module) refuse(code Code, err error) *Error {
	return &Error{Code: code, Module: m.digest, Err: err}
}

// speaks finds the marker of a version that both sides know.
func speaks(o *meter.Info, m *abi.Manifest) error {
	var found []string
	for _, e := range o.Exports {
		if v, ok := strings.CutPrefix(e.Name, abi.MarkerPrefix); ok && e.Kind == meter.KindFunction {
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
func shaped(o *meter.Info) error {
	exports := map[string]meter.Export{}
	for _, e := range o.Exports {
		exports[e.Name] = e
	}
	if e, ok := exports[abi.MemoryExport]; !ok || e.Kind != meter.KindMemory {
		return fmt.Errorf("no exported memory %q", abi.MemoryExport)
	}
	for name, want := range map[string]string{abi.PhaseExport: "i:i", abi.InitExport: ":"} {
		e, ok := exports[name]
		if !ok && name == abi.InitExport {
			continue
		}
		if !ok || e.Kind != meter.KindFunction || e.Type != want {
			return fmt.Errorf("no exported function %s of type %s", name, want)
		}
	}
	return nil
}

// wants lists the capabilities of all imports, which must exist, be of the
// right type and be declared.
func wants(o *meter.Info, m *abi.Manifest) ([]abi.Capability, error) {
	var list []abi.Capability
	known, wasi := abi.Functions(), wasiFunctions()
	for _, i := range o.Imports {
		var f abi.Function
		switch i.Module {
		case abi.WASI:
			f = abi.Function{Name: i.Name, Type: wasi[i.Name].typ}
		case abi.Module:
			if at := slices.IndexFunc(known, func(f abi.Function) bool { return f.Name == i.Name }); at >= 0 {
				f = known[at]
			}
		default:
			return nil, fmt.Errorf("module imports %s.%s; want only %s and %s", i.Module, i.Name, abi.Module, abi.WASI)
		}
		switch {
		case f.Type == "":
			return nil, fmt.Errorf("module imports %s.%s, which this host does not offer", i.Module, i.Name)
		case i.Type != f.Wasm():
			return nil, fmt.Errorf("module imports %s.%s with the wrong type %s, want %s", i.Module, i.Name, i.Type, f.Wasm())
		case f.Needs != "" && !m.Wants(f.Needs):
			return nil, fmt.Errorf("module imports %s.%s without declaring the capability %q", i.Module, i.Name, f.Needs)
		}
		if f.Needs != "" && !slices.Contains(list, f.Needs) {
			list = append(list, f.Needs)
		}
	}
	slices.Sort(list)
	return list, nil
}

// Digest gives the lower-case hex SHA-256 of the module.
func (m *Module) Digest() string { return m.digest }

// Info gives what is in the module.
func (m *Module) Info() meter.Info { return m.info }

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
	if m.runtime == nil {
		return nil
	}
	err := m.runtime.Close(ctx)
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(ctx))
	}
	return err
}

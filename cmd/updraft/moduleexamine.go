package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	metering "github.com/updraft-ota/updraft/wasmhost/meter"
)

// examined is a module as far as it can be known without compiling it.
type examined struct {
	file     string
	wasm     []byte
	sha256   string // hex
	manifest abi.Manifest
	info     metering.Info
}

// examine reads a module. The error says on one line what it is instead, with
// the offset or the name.
func examine(name string) (*examined, error) {
	wasm, err := readModule(name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(wasm)
	e := &examined{file: name, wasm: wasm, sha256: hex.EncodeToString(sum[:])}
	if e.manifest, err = abi.ReadManifest(wasm); err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	if err := speaksOurs(e.manifest.ABI); err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	p, err := metering.Rewrite(wasm, metering.Budget{Memory: maxGuestMemory})
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	e.info = p.Info
	if err := e.marked(); err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	return e, nil
}

// maxGuestMemory is all that a module can have, so that nothing is refused for
// its memory here: what is granted is for the device to say.
const maxGuestMemory = 4 << 30

func readModule(name string) ([]byte, error) {
	wasm, err := disk.ReadFile(disk.OS(), name, maxModule)
	if errors.Is(err, disk.ErrLimit) {
		return nil, usagef("%s is too large for a module: at most %d bytes", name, maxModule)
	}
	if err != nil {
		return nil, inputError(err)
	}
	return wasm, nil
}

// speaksOurs compares the range of the manifest with the version of this program.
func speaksOurs(r abi.Range) error {
	if major, minor, ok := abi.Version(r.Min); !ok || major > abi.Major || major == abi.Major && minor > abi.Minor {
		return fmt.Errorf("the module wants version %s of the contract, this program knows %d.%d", r.Min, abi.Major, abi.Minor)
	}
	return nil
}

// marked looks for the export that says the version.
func (e *examined) marked() error {
	ours := fmt.Sprintf("%s%d_%d", abi.MarkerPrefix, abi.Major, abi.Minor)
	var found []string
	for _, x := range e.info.Exports {
		if strings.HasPrefix(x.Name, abi.MarkerPrefix) {
			found = append(found, x.Name)
		}
	}
	switch {
	case slices.Contains(found, ours):
		return nil
	case len(found) == 0:
		return fmt.Errorf("no export %s: this is not an updraft module", ours)
	}
	return fmt.Errorf("the module exports %s, this program knows %s", strings.Join(found, " and "), ours)
}

// imports lists the imported functions by the capability that they need, ""
// for those that need none, each list sorted; those of WASI and of modules
// that no host offers stand under the module's name and a dot.
func (e *examined) imports() map[abi.Capability][]string {
	needs := map[string]abi.Capability{}
	for _, f := range abi.Functions() {
		needs[f.Name] = f.Needs
	}
	by := map[abi.Capability][]string{}
	for _, i := range e.info.Imports {
		under := abi.Capability(i.Module + ".")
		if c, ok := needs[i.Name]; ok && i.Module == abi.Module {
			under = c
		}
		by[under] = append(by[under], i.Name)
	}
	for under, names := range by {
		slices.Sort(names)
		by[under] = slices.Compact(names) // some compilers import a function twice
	}
	return by
}

// imported reports whether the module imports one of the contract's functions.
func (e *examined) imported(names ...string) bool {
	return slices.ContainsFunc(e.info.Imports, func(i metering.Import) bool { return i.Module == abi.Module && slices.Contains(names, i.Name) })
}

// unused are the capabilities that the manifest declares and no import needs.
func (e *examined) unused() []abi.Capability {
	by := e.imports()
	var list []abi.Capability
	for _, c := range e.manifest.Capabilities {
		if len(by[c.Kind()]) == 0 {
			list = append(list, c)
		}
	}
	return list
}

// limits are those that the manifest asks for, or the defaults.
func (e *examined) limits() (memory, fuel int64, wall time.Duration) {
	l := e.manifest.Limits
	return cmp.Or(int64(l.Memory), abi.DefaultMemory), cmp.Or(l.Fuel, abi.DefaultFuel), cmp.Or(time.Duration(l.Wall)*time.Millisecond, defaultWall)
}

// defaultWall is the time that a phase may take, but for compat.
const defaultWall = 10 * time.Minute

// costliest are the functions with the most expensive regions, the first of
// which costs the most.
func (e *examined) costliest(n int) []metering.Function {
	list := slices.Clone(e.info.Functions)
	slices.SortStableFunc(list, func(a, b metering.Function) int { return cmp.Compare(b.Largest, a.Largest) })
	return list[:min(n, len(list))]
}

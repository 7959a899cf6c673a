package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/workflow"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/trust"
	"github.com/updraft-ota/updraft/stages"
	"github.com/updraft-ota/updraft/wasmhost"
)

const maxDocument = 1 << 20 // bytes
const maxModule = 16 << 20  // bytes

// LoadDevice reads and checks a device file.
func LoadDevice(file string) (device.Config, error) {
	data, err := disk.ReadFile(disk.OS(), file, maxDocument)
	if err != nil {
		return device.Config{}, fmt.Errorf("read device file: %w", err)
	}
	return device.Load(file, data)
}

func openDevice(c device.Config, fsys disk.FS, clock disk.Clock, bootID func() (string, error), mode device.Mode) (*device.Files, error) {
	return device.New(c, device.Env{FS: fsys, Clock: clock, Exec: device.RunCommand, Tool: device.RunTool, Serial: device.OpenSerial,
		BootID: bootID, Restart: mode})
}

// stagesConfig makes the configuration of the built-in verbs from the device file.
func stagesConfig(c device.Config, transport http.RoundTripper) (stages.Config, error) {
	require, err := trust.ParseRequirement(c.Trust.Require)
	if err != nil {
		return stages.Config{}, err
	}
	policy := trust.Policy{Require: require}
	for _, name := range c.Trust.Keys {
		text, err := disk.ReadFile(disk.OS(), name, 64<<10)
		if err != nil {
			return stages.Config{}, fmt.Errorf("read key: %w", err)
		}
		key, err := trust.ParsePublic(text)
		if err != nil {
			return stages.Config{}, fmt.Errorf("key %s: %w", name, err)
		}
		policy.Keys = append(policy.Keys, key)
	}
	return stages.Config{HTTP: transport, Disk: disk.OS(), Trust: policy, Module: c.Modules, Exec: device.RunCommand}, nil
}

// openModules opens the module host with its compile cache below the state
// directory. The cache's key is made once for each device.
func openModules(ctx context.Context, d device.Config, c *Config) (*wasmhost.Host, error) {
	modules, err := moduleHost(d, c)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(c.state(), "cache.key")
	key, err := disk.ReadFile(disk.OS(), name, 64)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(key) != 32 {
		key = make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		err = disk.WriteFile(disk.OS(), name, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the compile cache: %w", err)
	}
	modules.Cache, modules.CacheKey, modules.Record = filepath.Join(c.state(), "modules"), key, c.Record
	return wasmhost.New(ctx, modules)
}

// moduleHost is what the device file says of how modules run.
func moduleHost(d device.Config, c *Config) (wasmhost.Config, error) {
	if d.Modules.Isolation != device.IsolationProcess {
		return wasmhost.Config{}, nil
	}
	if len(c.ModuleProcess) == 0 {
		return wasmhost.Config{}, fmt.Errorf("%s: modules.isolation: process: this program does not say how to start a process (ModuleProcess of package agent)", d.File)
	}
	return wasmhost.Config{Isolation: c.ModuleProcess}, nil
}

// EngineConfig is the part of an engine's configuration that follows from the
// device file and the verbs: Verbs, Reread, Targets, Warnings.
func EngineConfig(c device.Config, v stages.Config) engine.Config {
	return engineConfig(c, stages.Builtin(v))
}

func engineConfig(c device.Config, verbs map[string]engine.Verb) engine.Config {
	out := engine.Config{Verbs: verbs, Targets: bootTargets(c)}
	out.Reread = func(document []byte, files map[string][]byte) (*engine.Graph, error) {
		return workflow.Read("workflow.yaml", document, environment(c, verbs, func(name string) ([]byte, error) {
			if data, ok := files[name]; ok {
				return data, nil
			}
			return nil, fs.ErrNotExist
		}))
	}
	if c.Trust.Require != device.RequireSignature && c.Trust.Require != "" {
		out.Warnings = []string{fmt.Sprintf("the device file loosens trust to %q", c.Trust.Require)}
	}
	return out
}

// allVerbs adds the maker's verbs to the built-in ones.
func allVerbs(builtin, own map[string]engine.Verb) (map[string]engine.Verb, error) {
	all := maps.Clone(builtin)
	for name, v := range own {
		if _, taken := builtin[name]; taken {
			return nil, fmt.Errorf("verb %s: there is a built-in one of that name: take another", name)
		}
		all[name] = v
	}
	return all, nil
}

// bootTargets are the targets that have a boot choice.
func bootTargets(c device.Config) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.Targets)) {
		if c.Targets[name].Type() != device.File {
			names = append(names, name)
		}
	}
	return names
}

// environment is what a workflow is checked against.
func environment(c device.Config, verbs map[string]engine.Verb, file func(string) ([]byte, error)) workflow.Env {
	known := &workflow.Device{Facts: slices.Sorted(maps.Keys(c.Facts)), Targets: map[string]workflow.Target{}}
	for name, place := range c.Targets {
		known.Targets[name] = workflow.Target{Type: string(place.Type()), Slots: slices.Sorted(maps.Keys(place.Slots))}
	}
	return workflow.Env{Verbs: verbs, Device: known, File: file}
}

// Read reads a workflow and checks it against the device. Its modules are read
// from beside it.
func (a *Agent) Read(file string) (*engine.Graph, error) {
	return read(file, a.device, a.verbs)
}

func read(file string, c device.Config, verbs map[string]engine.Verb) (*engine.Graph, error) {
	return readIn(file, environment(c, verbs, beside(file)))
}

// readAlone checks a workflow without a device.
func readAlone(file string, verbs map[string]engine.Verb) (*engine.Graph, error) {
	return readIn(file, workflow.Env{Verbs: verbs, File: beside(file)})
}

func readIn(file string, env workflow.Env) (*engine.Graph, error) {
	data, err := disk.ReadFile(disk.OS(), file, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("read workflow: %w", err)
	}
	return workflow.Read(file, data, env)
}

// beside reads the files that a document names, relative to it.
func beside(file string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		return disk.ReadFile(disk.OS(), name, maxModule)
	}
}

// MakePlan lists what a run would do. It writes nothing and takes no lock.
func MakePlan(ctx context.Context, c Config, file string, inputs map[string]any) (engine.Plan, error) {
	dev, err := LoadDevice(c.Device)
	if err != nil {
		return engine.Plan{}, err
	}
	door, err := openDevice(dev, disk.OS(), disk.Real(), device.KernelBootID, device.RestartExit)
	if err != nil {
		return engine.Plan{}, err
	}
	v, err := stagesConfig(dev, c.HTTP)
	if err != nil {
		return engine.Plan{}, err
	}
	modules, err := moduleHost(dev, &c)
	if err != nil {
		return engine.Plan{}, err
	}
	host, err := wasmhost.New(ctx, modules) // without a cache: nothing is written
	if err != nil {
		return engine.Plan{}, err
	}
	v.Modules, v.Openers = host, c.Openers
	all, err := allVerbs(stages.Builtin(v), c.Verbs)
	if err != nil {
		return engine.Plan{}, err
	}
	cfg := engineConfig(dev, all)
	cfg.Door, cfg.FS, cfg.Clock, cfg.Guard = door, disk.OS(), disk.Real(), dev.Guard
	graph, err := read(file, dev, cfg.Verbs)
	if err != nil {
		return engine.Plan{}, err
	}
	return engine.NewPlan(ctx, cfg, engine.Command{Graph: graph, Inputs: inputs})
}

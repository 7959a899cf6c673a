package workflow

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/engine"
)

// load gives bytes.
type load struct {
	URL  string        `yaml:"url"`
	Size int64         `yaml:"size,size"`
	Base string        `yaml:"base,target"`
	Wait time.Duration `yaml:"wait"`
	Ways []string      `yaml:"ways"`
	Name string        `yaml:"name"`
	Once bool          `yaml:"once"`
	Part float64       `yaml:"part"`
	Try  int8          `yaml:"try"`
	Mode mode          `yaml:"mode"`
}

func (*load) Filter(context.Context, *engine.Task, []engine.Source) (engine.Source, error) {
	return nil, errors.New("not in this test")
}

func (l *load) Check(report func(field, text string)) {
	if l.URL == "" && l.Name == "" {
		report("url", "expected url or name")
	}
	if l.Try > 5 {
		report("try", "at most 5 tries")
	}
	if len(l.URL) > 0 && l.URL[0] == '$' {
		report("url", "a placeholder is no URL")
	}
}

// mode has a syntax of its own.
type mode struct{ fast bool }

func (m *mode) UnmarshalText(text []byte) error {
	m.fast = string(text) == "fast"
	if !m.fast && string(text) != "slow" {
		return errors.New(`expected fast or slow, found "` + string(text) + `"`)
	}
	return nil
}

// sum passes bytes on.
type sum struct {
	Artifact string `yaml:"artifact,required"`
	SHA256   string `yaml:"sha256"`
}

func (*sum) Filter(_ context.Context, _ *engine.Task, in []engine.Source) (engine.Source, error) {
	return in[0], nil
}
func (s *sum) Reads() []string { return []string{s.Artifact} }

// put writes bytes to targets.
type put struct {
	Module    string            `yaml:"module,file"`
	Artifacts map[string]string `yaml:"artifacts,required,literal"`
	Targets   map[string]grant  `yaml:"targets,required"`
	With      map[string]any    `yaml:"with"`
}

type grant struct {
	Target string `yaml:"target,required"`
	Quota  int64  `yaml:"quota,size"`
}

func (*put) Do(context.Context, *engine.Task) error { return nil }
func (p *put) Reads() []string                      { return slices.Sorted(maps.Values(p.Artifacts)) }
func (p *put) Touches() []string {
	var refs []string
	for _, role := range slices.Sorted(maps.Keys(p.Targets)) {
		refs = append(refs, p.Targets[role].Target)
	}
	return refs
}

// prove asks facts.
type prove struct {
	Probes []probe       `yaml:"probes"`
	Within time.Duration `yaml:"within"`
}

type probe struct {
	Fact   string `yaml:"fact,fact"`
	Equals string `yaml:"equals"`
}

func (*prove) Do(context.Context, *engine.Task) error { return nil }
func (*prove) Confirms()                              {}

// accept is the compat verb.
type accept struct {
	Module string         `yaml:"module,file,required"`
	With   map[string]any `yaml:"with"`
}

func (*accept) Do(context.Context, *engine.Task) error { return nil }

// note does nothing.
type note struct {
	Text string `yaml:"text"`
}

func (*note) Do(context.Context, *engine.Task) error { return nil }

func env() Env {
	verb := func(make func() any, outputs map[string]engine.Type) engine.Verb {
		return engine.Verb{New: make, Outputs: outputs, Class: engine.Idempotent}
	}
	sized := map[string]engine.Type{"size": engine.Int, "sha256": engine.String, "delta": engine.Bool}
	return Env{
		Verbs: map[string]engine.Verb{
			"load":   verb(func() any { return new(load) }, sized),
			"sum":    verb(func() any { return new(sum) }, sized),
			"put":    verb(func() any { return new(put) }, map[string]engine.Type{"sha256": engine.String}),
			"prove":  verb(func() any { return new(prove) }, nil),
			"compat": verb(func() any { return new(accept) }, nil),
			"note":   verb(func() any { return new(note) }, nil),
		},
		Device: &Device{
			Facts: []string{"model", "version", "site"},
			Targets: map[string]Target{
				"rootfs": {Type: "slots", Slots: []string{"a", "b"}},
				"app":    {Type: "directory"},
			},
		},
		File: func(name string) ([]byte, error) {
			if name != "ab.wasm" && name != "model.wasm" {
				return nil, errors.New("open " + name + ": no such file")
			}
			return []byte(name), nil
		},
	}
}

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	metering "github.com/updraft-ota/updraft/wasmhost/meter"
)

// importing makes an examined module that imports functions of the contract.
func importing(m abi.Manifest, names ...string) *examined {
	e := &examined{manifest: m, info: metering.Info{Memory: metering.Memory{Max: -1}}}
	for _, name := range names {
		e.info.Imports = append(e.info.Imports, metering.Import{Module: abi.Module, Name: name})
	}
	return e
}

func TestLintRules(t *testing.T) {
	install := abi.Manifest{Kind: abi.KindInstall, Phases: []string{"install", "commit", "rollback"}}
	with := func(change func(*abi.Manifest)) abi.Manifest {
		m := install
		change(&m)
		return m
	}
	debug, big, small := importing(install), importing(install), importing(with(func(m *abi.Manifest) { m.Limits.Memory = 2 << 20 }))
	debug.info.Custom = []metering.Custom{{Name: "name"}, {Name: ".debug_info", Size: 100}, {Name: "sourceMappingURL"}}
	big.info.Size = usualSize + 1
	small.info.Memory.Max = 1 << 20
	for _, tt := range []struct {
		name   string
		module *examined
		want   []string
	}{
		{"nothing", importing(install, "log"), nil},
		{"a capability that is used", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{"http:example.com"} }), "http_do"), nil},
		{"a capability that is not", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Time} })), []string{"unused-capability"}},
		{"an effect without a name", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Serial, abi.Reboot} }), "serial_xfer", "reboot_request"),
			[]string{"unnamed-capability"}},
		{"a check that wants more than facts", importing(abi.Manifest{Kind: abi.KindCompat, Phases: []string{"compat"}, Capabilities: []abi.Capability{abi.Facts, abi.Time}}, "prop_get", "now_ms"),
			[]string{"compat-capability"}},
		{"no rollback", importing(with(func(m *abi.Manifest) { m.Phases = []string{"install", "commit"} })), []string{"no-rollback"}},
		{"a check without rollback", importing(abi.Manifest{Kind: abi.KindCompat, Phases: []string{"compat"}}), nil},
		{"writes without a checkpoint", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Target} }), "tgt_write"), []string{"no-checkpoint"}},
		{"writes with marks", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Target, abi.Resume} }), "tgt_write", "mark"), nil},
		{"settings without a schema", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Facts} }), "config_get"), []string{"no-settings-schema"}},
		{"settings with one", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Facts}; m.Settings = []byte(`{}`) }), "config_get"), nil},
		{"a schema that is a list", importing(with(func(m *abi.Manifest) { m.Settings = []byte(`[]`) })), []string{"bad-settings-schema"}},
		{"handles without roles", importing(with(func(m *abi.Manifest) { m.Capabilities = []abi.Capability{abi.Artifact, abi.Target} }), "art_open", "tgt_open"), []string{"no-role", "no-role"}},
		{"roles without handles", importing(with(func(m *abi.Manifest) { m.Roles = abi.Roles{Artifacts: []string{"a"}, Targets: []string{"b"}} })), []string{"unused-role", "unused-role"}},
		{"more memory than it can use", small, []string{"unused-memory"}},
		{"debug information", debug, []string{"debug-sections", "debug-sections"}},
		{"a large one", big, []string{"large"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, w := range tt.module.lint() {
				got = append(got, w.Name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("warnings %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCompareCapabilities(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old, new []abi.Capability
		want     []string
	}{
		{"the same", []abi.Capability{"facts", "http:a"}, []abi.Capability{"http:a", "facts"}, nil},
		{"a new one", []abi.Capability{"facts"}, []abi.Capability{"facts", "reboot"}, []string{"! + capability reboot"}},
		{"another name", []abi.Capability{"http:a"}, []abi.Capability{"http:b"}, []string{"! + capability http:b", "  - capability http:a"}},
		{"a name for one that had all", []abi.Capability{"serial"}, []abi.Capability{"serial:mcu1"}, []string{"  + capability serial:mcu1", "  - capability serial"}},
		{"all for one that had a name", []abi.Capability{"serial:mcu1"}, []abi.Capability{"serial"}, []string{"! + capability serial", "  - capability serial:mcu1"}},
		{"one less", []abi.Capability{"facts", "time"}, []abi.Capability{"facts"}, []string{"  - capability time"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d moduleDiff
			d.capabilities(&abi.Manifest{Capabilities: tt.old}, &abi.Manifest{Capabilities: tt.new})
			var got []string
			for _, c := range d.Changes {
				got = append(got, c.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("changes %q, want %q", got, tt.want)
			}
		})
	}
}

// The page names each warning.
func TestLintIsOnThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/modules.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lintRules {
		if !strings.Contains(string(page), "`"+r.name+"`") {
			t.Errorf("docs/modules.md does not explain %s", r.name)
		}
	}
}

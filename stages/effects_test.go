package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// bare is a module whose phase returns 0, with a manifest that wants capabilities.
func bare(t *testing.T, wants ...abi.Capability) []byte {
	t.Helper()
	section := func(id byte, body ...byte) []byte { return append([]byte{id, byte(len(body))}, body...) }
	name := func(s string, rest ...byte) []byte { return append(append([]byte{byte(len(s))}, s...), rest...) }
	wasm := slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f), section(3, 2, 0, 1), section(5, 1, 0, 1),
		section(7, slices.Concat([]byte{3}, name(abi.MemoryExport, 2, 0), name("updraft_abi_1_0", 0, 0), name(abi.PhaseExport, 0, 1))...),
		section(10, 2, 2, 0, 0x0b, 4, 0, 0x41, 0, 0x0b))
	wasm, err := abi.WithManifest(wasm, abi.Manifest{
		Name: "bare", Version: "1.0.0", Kind: abi.KindInstall, ABI: abi.Range{Min: "1.0"}, Phases: []string{"install", "commit"},
		Capabilities: wants, Roles: abi.Roles{Artifacts: []string{"image"}, Targets: []string{"out"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func step(t *testing.T, grants, device []string) *Install {
	t.Helper()
	host, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{Modules: host, modules: &modules{compiled: map[string]*kept{}}}
	c.Module.Grants = append([]string{"rootfs"}, device...)
	t.Cleanup(func() { c.modules.drop(context.Background(), "m.wasm") })
	return &Install{c: c, Module: "m.wasm", Grants: grants,
		Artifacts: map[string]string{"image": "f"}, Targets: map[string]Grant{"out": {Target: "rootfs@inactive"}}}
}

// What a module wants, the step and the device file must both grant.
func TestEffectsAreGrantedTwice(t *testing.T) {
	for _, tt := range []struct {
		name           string
		wants          []abi.Capability
		grants, device []string
		refused        string
	}{
		{"nothing wanted", []abi.Capability{abi.Artifact, abi.Target}, nil, nil, ""},
		{"by both", []abi.Capability{"serial:mcu1", abi.Reboot}, []string{"serial:mcu1", "reboot"}, []string{"reboot", "serial:mcu1"}, ""},
		{"one of a kind", []abi.Capability{abi.Serial}, []string{"serial:mcu1"}, []string{"serial:mcu1"}, ""},
		{"not by the step", []abi.Capability{"serial:mcu1"}, nil, []string{"serial:mcu1"}, `(bare) wants the capability "serial:mcu1"; this install step would have to grant it, with grants: ["serial:mcu1"]`},
		{"another one by the step", []abi.Capability{"serial:mcu1"}, []string{"serial:mcu2"}, []string{"serial:mcu1"}, `wants the capability "serial:mcu1"; this install step`},
		{"none of a kind by the step", []abi.Capability{abi.Exec}, []string{"serial:mcu1"}, []string{"exec:flash"}, `with grants: ["exec:COMMAND"]`},
		{"not by the device", []abi.Capability{"http:example.com"}, []string{"http:example.com"}, nil, `which this step grants and the device file does not (modules.grants: ["rootfs"])`},
		{"another one by the device", []abi.Capability{abi.Exec}, []string{"exec:flash"}, []string{"exec:other"}, "the device file does not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step(t, tt.grants, tt.device)
			err := s.Prepare(t.Context(), map[string][]byte{"m.wasm": bare(t, tt.wants...)})
			var refused *engine.Refused
			if tt.refused == "" && err != nil || tt.refused != "" && (!errors.As(err, &refused) || refused.Code != "denied" || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("error = %v, want %q", err, tt.refused)
			}
		})
	}
	compat := &Compat{c: step(t, nil, nil).c, Module: "m.wasm"}
	if err := compat.Prepare(t.Context(), map[string][]byte{"m.wasm": bare(t, abi.Reboot)}); err == nil || !strings.Contains(err.Error(), `"reboot"`) {
		t.Errorf("a compat module that wants reboot: %v, want denied", err)
	}
}

func TestGrantsAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		grants []string
		device []string
		module string
		want   string
	}{
		{"good", []string{"serial:mcu1", "exec:flash", "http:example.com:8443", "reboot"}, nil, "m.wasm", ""},
		{"granted by the device", []string{"serial:mcu1"}, []string{"serial:mcu1"}, "m.wasm", ""},
		{"not granted by the device", []string{"serial:mcu1"}, []string{"serial:mcu2"}, "m.wasm", `grants[0]: the device file does not grant "serial:mcu1"`},
		{"a target", []string{"reboot", "rootfs"}, nil, "m.wasm", `grants[1]: unknown grant "rootfs"`},
		{"a capability that needs none", []string{"facts"}, nil, "m.wasm", `grants[0]: unknown grant "facts"`},
		{"a kind", []string{"serial"}, nil, "m.wasm", `grants[0]: unknown grant "serial"`},
		{"a named restart", []string{"reboot:now"}, nil, "m.wasm", `grants[0]: unknown grant "reboot:now"`},
		{"a URL", []string{"http:https://example.com/x"}, nil, "m.wasm", "grants[0]: grant \"http:https://example.com/x\": want http:HOST"},
		{"twice", []string{"reboot", "reboot"}, nil, "m.wasm", `grants[1]: grant "reboot" stands there twice`},
		{"without a module", []string{"reboot"}, nil, "", "grants: without a module"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := step(t, tt.grants, tt.device)
			s.Module, s.c.CheckGrants = tt.module, tt.device != nil
			var got []string
			s.Check(func(field, text string) { got = append(got, field+": "+text) })
			if all := strings.Join(got, "\n"); (all == "") != (tt.want == "") || !strings.Contains(all, tt.want) {
				t.Errorf("reported %q, want %q", all, tt.want)
			}
		})
	}
}

// A step that may act beside its targets does so on verified bytes alone.
func TestEffectsAreForVerifiedBytes(t *testing.T) {
	for grant, want := range map[string]bool{"serial:mcu1": true, "exec:flash": true, "http:example.com": true} {
		if got, err := step(t, []string{grant}, nil).Stored(t.Context(), &engine.Task{}); err != nil || got != want {
			t.Errorf("%s: stored %v, %v", grant, got, err)
		}
	}
	if step(t, []string{"reboot"}, nil).acts() {
		t.Error("to ask for a restart is taken for an act")
	}
}

func TestEffectsArePlanned(t *testing.T) {
	s := step(t, []string{"serial:mcu1", "reboot", "exec:flash"}, []string{"serial:mcu1", "reboot"})
	list, err := s.Plan(t.Context(), &engine.Task{Step: "write", Targets: map[string]device.Target{}})
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Target, " ", e.Certainty))
	}
	if want := []string{"serial mcu1 unknown", "reboot  unknown"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("effects %q, %v, want %q", got, err, want)
	}
}

func TestTheDeviceCapsTheWall(t *testing.T) {
	s := step(t, nil, nil)
	s.c.MinRate = 1 << 10
	if got := s.wall(nil); got != 10*time.Minute {
		t.Errorf("wall = %v", got)
	}
	s.c.Module.Wall = time.Minute
	if got := s.wall(nil); got != time.Minute {
		t.Errorf("wall = %v, want that of the device file", got)
	}
}

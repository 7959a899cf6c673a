package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasm-sdk/conformance/internal/asm"
	"github.com/updraft-ota/updraft/wasmhost"
)

func conform(t *testing.T, wasm []byte, s Setup) map[string]Check {
	t.Helper()
	h, err := wasmhost.New(t.Context(), wasmhost.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLoader(h, wasm)
	t.Cleanup(func() { l.Close(t.Context()) })
	all := map[string]Check{}
	err = Conform(t.Context(), l, wasmhost.Limits{}, Allowed(), s, func(c Check) { all[c.Name] = c })
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 14 {
		t.Errorf("%d checks, want 14", len(all))
	}
	return all
}

func TestConform(t *testing.T) {
	trap := installer()
	traps := trap.installs()
	traps[abi.Rollback] = asm.Op(asm.Unreachable)
	keeps := installer()
	kept := keeps.installs()
	kept[abi.Rollback] = keeps.fail("not I")
	compat := newGuest("compat", abi.KindCompat, abi.Compat)
	verdict := map[abi.Phase]asm.Code{abi.Compat: asm.Seq(asm.I32(int32(abi.Incompatible)), asm.Op(asm.Return))}
	good := installer()
	whole := good.bytes(1, good.installs())
	for _, tt := range []struct {
		name string
		wasm []byte
		bad  []string // in the names of the checks that fail
	}{
		{"a good module", whole, nil},
		{"the reference guest without its device", ReferenceGuest(), []string{"phases end"}},
		{"a compat module that says no", compat.bytes(1, verdict), nil},
		{"no module", []byte("text"), []string{"loads"}},
		{"a rollback that traps", trap.bytes(1, traps), []string{"phases end", "nothing bound", "input or output", "full disk", "cancelled", "rolled back"}},
		{"a rollback that fails", keeps.bytes(1, kept), []string{"phases end", "input or output", "full disk", "cancelled", "rolled back"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, c := range conform(t, tt.wasm, Setup{}) {
				want := false
				for _, bad := range tt.bad {
					want = want || strings.Contains(name, bad)
				}
				if (len(c.Failures) > 0) != want {
					t.Errorf("%s: failures %q, want some: %v", name, c.Failures, want)
				}
			}
		})
	}
}

func TestConformOnTheDeviceThatAModuleNeeds(t *testing.T) {
	for name, c := range conform(t, ReferenceGuest(), ReferenceSetup()) {
		if len(c.Failures) > 0 || c.Left != "" {
			t.Errorf("%s: %q %s", name, c.Failures, c.Left)
		}
	}
}

// Whatever the names of roles, the device has a place for them.
func TestRolesOfAnyName(t *testing.T) {
	g := newGuest("names", abi.KindInstall, abi.Install, abi.Commit)
	s := Setup{Targets: map[string]Target{}}
	for i, role := range []string{"device", "out", "Out", "target-1", "ä", strings.Repeat("x", 100), "a b", "a@b"} {
		g.manifest.Roles.Targets = append(g.manifest.Roles.Targets, role)
		s.Targets[role] = Target{Type: []device.Type{device.Slots, device.Directory, device.File}[i%3], Content: Bytes(nil)}
	}
	o := run(t, load(t, g.bytes(1, nil)), s)
	if !o.Well() || len(o.Targets) != len(s.Targets) {
		t.Errorf("%s, %s", o.end(), fmt.Sprint(o.Targets))
	}
}

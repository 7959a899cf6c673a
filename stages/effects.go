package stages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// What an install step grants beside targets: effects that updraft cannot take back.

// checkGrants reports grants that no device could give, and, where the device
// file is at hand, those that it does not give.
func (s *Install) checkGrants(report func(field, text string)) {
	if s.Module == "" && len(s.Grants) > 0 {
		report("grants", "without a module there is nobody to grant anything to")
		return
	}
	for i, g := range s.Grants {
		c, at := abi.Capability(g), fmt.Sprintf("grants[%d]", i)
		switch {
		case !c.Valid() || !c.Effect() || (c.Name() == "") != (c == abi.Reboot):
			report(at, fmt.Sprintf("unknown grant %q, want serial:PORT, exec:COMMAND, http:HOST or reboot; targets are granted by targets", g))
		case c.Kind() == abi.HTTP && strings.ContainsAny(c.Name(), "/?#@"):
			report(at, fmt.Sprintf("grant %q: want http:HOST or http:HOST:PORT, without a scheme or a path", g))
		case slices.Contains(s.Grants[:i], g):
			report(at, fmt.Sprintf("grant %q stands there twice", g))
		case s.c.CheckGrants && !slices.Contains(s.c.Module.Grants, g):
			report(at, fmt.Sprintf("the device file does not grant %q to modules (modules.grants: %q)", g, s.c.Module.Grants))
		}
	}
}

// acts says whether the module may do what cannot be held back until all is
// verified. To ask for a restart does nothing yet.
func (s *Install) acts() bool {
	return slices.ContainsFunc(s.Grants, func(g string) bool { return g != string(abi.Reboot) })
}

// effects are those that both the step and the device file grant.
func (s *Install) effects() []abi.Capability {
	var list []abi.Capability
	for _, g := range s.Grants {
		if slices.Contains(s.c.Module.Grants, g) {
			list = append(list, abi.Capability(g))
		}
	}
	return list
}

// judge refuses a module that wants more than the step and the device grant.
func (s *Install) judge(m *wasmhost.Module) error {
	manifest := m.Manifest()
	granted := slices.Clone(installCapabilities)
	for _, want := range manifest.Capabilities {
		if !want.Effect() {
			continue
		}
		granted = append(granted, want)
		given := func(list []abi.Capability) bool {
			return slices.ContainsFunc(list, func(g abi.Capability) bool { return g == want || g.Kind() == want })
		}
		step := make([]abi.Capability, len(s.Grants))
		for i, g := range s.Grants {
			step[i] = abi.Capability(g)
		}
		var err error
		switch {
		case !given(step):
			err = fmt.Errorf("module %s (%s) wants the capability %q; this install step would have to grant it, with grants: [%s]", s.Module, manifest.Name, want, example(want))
		case !given(s.effects()):
			err = fmt.Errorf("module %s (%s) wants the capability %q, which this step grants and the device file does not (modules.grants: %q)", s.Module, manifest.Name, want, s.c.Module.Grants)
		}
		if err != nil {
			return &engine.Refused{Code: string(wasmhost.Denied), Err: err}
		}
	}
	if err := checkGrants(m, s.Module, granted); err != nil {
		return err
	}
	return s.checkRoles(m)
}

// example is how a grant of what a module wants is written.
func example(want abi.Capability) string {
	switch {
	case want.Name() != "" || want == abi.Reboot:
		return fmt.Sprintf("%q", want)
	case want == abi.HTTP:
		return `"http:HOST"`
	case want == abi.Serial:
		return `"serial:PORT"`
	}
	return `"exec:COMMAND"`
}

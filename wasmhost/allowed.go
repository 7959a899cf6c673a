package wasmhost

import (
	"fmt"
	"slices"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// allowed gives the effects that the module may reach in this call: granted
// by the caller and declared in the manifest, by name or as a kind.
func (c *call) allowed() []abi.Capability {
	var list []abi.Capability
	for _, g := range c.g.Allowed {
		declared := slices.ContainsFunc(c.m.manifest.Capabilities, func(d abi.Capability) bool { return d == g || d == g.Kind() })
		if g.Effect() && declared {
			list = append(list, g)
		}
	}
	return list
}

// may reports whether the effect of a kind and name is allowed.
func (c *call) may(kind abi.Capability, name string) bool {
	return slices.Contains(c.allowed(), kind+":"+abi.Capability(name))
}

// rebootRequest notes in the result that a restart of the device is wanted.
// Whether and when it comes is for the workflow to say.
func rebootRequest(c *call, reason string) abi.Errno {
	if !slices.Contains(c.allowed(), abi.Reboot) {
		return abi.EDENIED
	}
	if c.result.Report.Reboot != "immediate" {
		c.result.Report.Reboot = "required"
	}
	c.line(abi.LevelInfo, []byte(fmt.Sprintf("wants a restart of the device: %s", reason)))
	if c.result.Report.Details == "" {
		c.result.Report.Details = reason
	}
	return 0
}

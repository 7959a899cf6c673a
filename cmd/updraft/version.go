package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// versions is the result of version.
type versions struct {
	Version  string `json:"version"` // of the module, or "(devel)"
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	ABI      string `json:"abi"` // that modules are written against
}

func (p *program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:               "version",
		Short:             "Print the versions of updraft, Go and the module interface",
		Example:           "  updraft version --json",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(*cobra.Command, []string) error {
		v := versions{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
			ABI: fmt.Sprintf("updraft/%d", abi.Major)}
		if info, ok := debug.ReadBuildInfo(); ok {
			v.Version = info.Main.Version
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v.Revision = s.Value
				}
			}
		}
		if *asJSON {
			return p.printJSON(v)
		}
		if v.Revision != "" {
			v.Version += " (" + v.Revision + ")"
		}
		return p.print("updraft %s\n%s %s\nmodule interface %s", v.Version, v.Go, v.Platform, v.ABI)
	}
	return c
}

package main

import (
	"fmt"
	"runtime/debug"

	"github.com/gabstv/go-bsdiff/pkg/bsdiff"
	"github.com/gabstv/go-bsdiff/pkg/bspatch"
)

const gabstvModule = "github.com/gabstv/go-bsdiff"

// gabstv does one thing with go-bsdiff, so that it is measured as a process
// like all others. It reports false for another word than its own.
func gabstv(args []string) (bool, error) {
	switch {
	case len(args) == 1 && args[0] == "gabstv-version":
		info, _ := debug.ReadBuildInfo()
		if info == nil {
			return true, fmt.Errorf("this program does not know the modules in it")
		}
		for _, m := range info.Deps {
			if m.Path == gabstvModule {
				fmt.Println("go-bsdiff", m.Version)
			}
		}
		return true, nil
	case len(args) == 4 && args[0] == "gabstv-make":
		return true, bsdiff.File(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "gabstv-apply":
		return true, bspatch.File(args[1], args[2], args[3])
	}
	return false, nil
}

package agent

import (
	"fmt"
	"os"

	"github.com/updraft-ota/updraft/wasmhost"
)

// ModuleProcess does the work of a module's process, if args, the program's
// arguments without its name, say that this is one; the program then only has
// to end with the code. A program that sets [Config.ModuleProcess] calls it
// first of all.
func ModuleProcess(args []string) (code int, is bool) {
	if len(args) != 1 || args[0] != wasmhost.ProcessArgument {
		return 0, false
	}
	if err := wasmhost.Isolated(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// ModuleCommand is [Config.ModuleProcess] of a program that calls
// [ModuleProcess] first of all. It is nil if the system does not tell which
// program this is.
func ModuleCommand() []string { return wasmhost.ProcessCommand() }

// Extism runs exports of a module under Extism's Go SDK with a timeout and
// says how long each call took, for package bench/wasm, which starts it:
//
//	go run . MODULE
//
// Each line of standard input names an export without parameters; each line of
// standard output answers with the nanoseconds that making an instance and the
// call took, and what the export returned. The first line is the version of
// Extism's kernel. The module is compiled once.
//
// It is a Go module of its own, so that nobody else needs Extism. The version
// of wazero is that of updraft.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"
)

// timeout turns on what Extism limits a plugin with; no call takes as long.
const timeout = 5 * time.Minute

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/extism:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("expected the file of a module, have %q", args)
	}
	plugin, err := extism.NewCompiledPlugin(ctx, extism.Manifest{
		Wasm: []extism.Wasm{extism.WasmFile{Path: args[0]}}, Timeout: uint64(timeout.Milliseconds()),
	}, extism.PluginConfig{EnableWasi: true}, nil)
	if err != nil {
		return fmt.Errorf("compile %s: %w", args[0], err)
	}
	defer func() { err = errors.Join(err, plugin.Close(ctx)) }()
	fmt.Fprintln(out, strings.TrimSpace(extism.RuntimeVersion()))
	for lines := bufio.NewScanner(in); lines.Scan(); {
		took, answer, err := call(ctx, plugin, lines.Text())
		if err != nil {
			return fmt.Errorf("call %s: %w", lines.Text(), err)
		}
		fmt.Fprintln(out, took.Nanoseconds(), answer)
	}
	return nil
}

// call makes an instance, calls the export and closes the instance.
func call(ctx context.Context, plugin *extism.CompiledPlugin, export string) (time.Duration, uint32, error) {
	began := time.Now()
	instance, err := plugin.Instance(ctx, extism.PluginInstanceConfig{ModuleConfig: wazero.NewModuleConfig()})
	if err != nil {
		return 0, 0, err
	}
	answer, _, err := instance.CallWithContext(ctx, export, nil)
	err = errors.Join(err, instance.Close(ctx))
	return time.Since(began), answer, err
}

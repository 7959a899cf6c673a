// Attach writes a module's manifest into it, as the custom section that a
// host reads before it runs anything:
//
//	attach -manifest updraft.json in.wasm out.wasm
//
// In and out may be the same file. A manifest that the module had is replaced.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

func main() {
	manifest := flag.String("manifest", "updraft.json", "the manifest as JSON")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: attach -manifest updraft.json in.wasm out.wasm")
		os.Exit(2)
	}
	if err := attach(*manifest, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "attach:", err)
		os.Exit(1)
	}
}

func attach(manifest, in, out string) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	wasm, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	wasm, err = abi.WithManifest(wasm, m)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return os.WriteFile(out, wasm, 0o644)
}

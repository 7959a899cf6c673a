package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

const modulePath = "github.com/updraft-ota/updraft"

// findSource walks up from the working directory to the source of updraft, and
// looks for Go.
func findSource() (string, error) {
	why := usagef("the demo builds its program: run it inside a clone of %s, with go in PATH", modulePath)
	at, err := os.Getwd()
	if err != nil {
		return "", why
	}
	for !isSource(at) {
		up := filepath.Dir(at)
		if up == at {
			return "", why
		}
		at = up
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", why
	}
	return at, nil
}

func isSource(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	first, _, _ := strings.Cut(string(text), "\n")
	return err == nil && strings.TrimSpace(first) == "module "+modulePath
}

// unhealthy is what the broken version says.
const unhealthy = "unhealthy"

// product is one thing that the demo builds.
type product struct {
	file, from string
	flags      string // of the linker
	wasm       bool
	stamped    bool   // with the state of the source, as make build does it
	what       string // for people
}

// build makes the versions of the program, the modules and the agent.
func (d *demo) build(ctx context.Context) error {
	d.page.chapter("Build: a small program in four versions, two WebAssembly modules, the agent")
	if err := os.MkdirAll(d.path("build"), 0o755); err != nil {
		return err
	}
	if err := d.takeAgent(); err != nil {
		return err
	}
	lanes := d.products()
	errs := make([]error, len(lanes))
	var all sync.WaitGroup
	for i, lane := range lanes {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for _, product := range lane {
				if errs[i] == nil {
					errs[i] = d.make(ctx, product)
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.images = map[string]image{}
	for _, lane := range lanes {
		for _, product := range lane {
			built, err := readImage(d.path("build/" + product.file))
			if err != nil {
				return err
			}
			d.images[strings.TrimPrefix(product.file, "gateway-")] = built
			d.page.tell("build", "built", facts{"file": "build/" + product.file, "size": built.size, "sha256": built.sha256},
				"%-17s %8s  sha256 %.12s  %s", product.file, agent.ByteCount(built.size), built.sha256, product.what)
		}
	}
	return nil
}

// products are built in lanes, each of which shares what it compiles.
func (d *demo) products() [][]product {
	set := func(version string) string { return "-s -w -X main.version=" + version }
	const gateway = "examples/program"
	return [][]product{{
		{file: "gateway-" + factory, from: gateway, flags: set(factory), what: "in the device from the factory"},
		{file: "gateway-" + better, from: gateway, flags: set(better)},
		{file: "gateway-" + broken, from: gateway, flags: set(broken) + " -X main.fault=" + unhealthy, what: "never healthy"},
		{file: "gateway-" + patched, from: gateway, flags: set(patched)},
	}, {
		{file: "ab-slot.wasm", from: "examples/install-go", flags: "-s -w", wasm: true, what: "installs, sandboxed: it is the vendor's"},
		{file: "model-check.wasm", from: "examples/compat-go", flags: "-s -w", wasm: true, what: "says which models may have it"},
	}, {
		{file: agentFile, from: "cmd/updraft-agent", flags: "-s -w", stamped: true, what: "what runs on the device"},
	}}
}

const agentFile = "updraft-agent"

// takeAgent takes the agent beside this program, if there is one. To build it
// then costs little, if it was made in the same way from the same source.
func (d *demo) takeAgent() error {
	beside := filepath.Join(filepath.Dir(d.self), agentFile)
	if info, err := buildinfo.ReadFile(beside); err != nil || info.Path != modulePath+"/cmd/"+agentFile {
		return nil
	}
	return copyFile(beside, d.path("build/"+agentFile), 0o755)
}

// make builds one product. What it needs is in the source or the module cache:
// nothing is asked of the network.
func (d *demo) make(ctx context.Context, product product) error {
	out := d.path("build/" + product.file)
	args := []string{"build", "-trimpath", "-ldflags", product.flags, "-o", out}
	if !product.stamped {
		args = append(args, "-buildvcs=false")
	}
	env := append(os.Environ(), "CGO_ENABLED=0", "GOPROXY=off", "GOFLAGS=")
	if product.wasm {
		args = append(args, "-buildmode=c-shared")
		env = append(env, "GOOS=wasip1", "GOARCH=wasm")
	} else {
		env = append(env, "GOOS=", "GOARCH=")
	}
	cmd := gentle(ctx, "go", append(args, "./"+product.from)...)
	cmd.Dir, cmd.Env = d.source, env
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", product.from, err, bytes.TrimSpace(text))
	}
	if !product.wasm {
		return nil
	}
	return attachManifest(out, filepath.Join(d.source, filepath.FromSlash(product.from), "updraft.json"))
}

// attachManifest puts a module's manifest into it.
func attachManifest(file, manifest string) error {
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	m, err := abi.DecodeManifest(text)
	if err != nil {
		return fmt.Errorf("%s: %w", manifest, err)
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if wasm, err = abi.WithManifest(wasm, m); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, wasm, 0o644)
}

func readImage(name string) (image, error) {
	f, err := os.Open(name)
	if err != nil {
		return image{}, err
	}
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	return image{hexSum(sum), size}, errors.Join(err, f.Close())
}

// copyFile copies a file and makes the folder that it goes to.
func copyFile(from, to string, perm os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, perm)
}

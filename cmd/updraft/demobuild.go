package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

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
}

// build makes the versions of the program and the modules.
func (d *demo) build(ctx context.Context) error {
	d.page.chapter("Build: a small program in three versions, and two WebAssembly modules")
	set := func(version string) string { return "-s -w -X main.version=" + version }
	lanes := [][]product{{ // each shares what it compiles
		{file: "ab-slot.wasm", from: "examples/install-go", flags: "-s -w", wasm: true},
		{file: "model-check.wasm", from: "examples/compat-go", flags: "-s -w", wasm: true},
	}, {
		{file: "gateway-" + factory, from: "examples/program", flags: set(factory)},
		{file: "gateway-" + better, from: "examples/program", flags: set(better)},
		{file: "gateway-" + broken, from: "examples/program", flags: set(broken) + " -X main.fault=" + unhealthy},
	}}
	began := time.Now()
	if err := os.MkdirAll(d.path("build"), 0o755); err != nil {
		return err
	}
	errs := make([]error, len(lanes))
	var all sync.WaitGroup
	for i, lane := range lanes {
		all.Go(func() {
			for _, product := range lane {
				if errs[i] == nil {
					errs[i] = d.make(ctx, product)
				}
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.images = map[string]image{}
	for _, version := range []string{factory, better, broken} {
		built, err := readImage(d.path("build/gateway-" + version))
		if err != nil {
			return err
		}
		d.images[version] = built
		d.page.note("gateway %s  %s  sha256 %.12s", version, agent.ByteCount(built.size), built.sha256)
	}
	d.page.note("ab-slot.wasm, which installs, and model-check.wasm: from examples/, in %.1f s", time.Since(began).Seconds())
	return nil
}

// make builds one product. What it needs is in the source or the module cache:
// nothing is asked of the network.
func (d *demo) make(ctx context.Context, product product) error {
	out := d.path("build/" + product.file)
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", product.flags, "-o", out}
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

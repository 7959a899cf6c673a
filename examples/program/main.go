// A small program that a device runs: it tells by a file how it is, and stops
// when it is asked to. `updraft demo` updates it from one version to another.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Set when it is built, with -ldflags "-X main.version=2.0.0".
var (
	version = "0.0.0"
	fault   = "" // what it says of its health instead of its version
)

const beat = 100 * time.Millisecond

func main() {
	health := flag.String("health", "health", "file that gets the version while all is well")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *health); err != nil {
		fmt.Fprintln(os.Stderr, "gateway "+version+":", err)
		os.Exit(1)
	}
}

// run beats until it is told to stop, or until its standard input ends: it
// must not outlive whoever started it.
func run(ctx context.Context, health string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	state := cmp.Or(fault, version)
	for {
		// By rename, so that nobody reads half a version.
		err := errors.Join(os.WriteFile(health+".new", []byte(state+"\n"), 0o644), os.Rename(health+".new", health))
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(beat):
		}
	}
}

// Command updraft makes, checks, runs and watches over-the-air updates from a
// desk or on a device.
//
//	updraft run update.yaml --device device.yaml --input release=http://host/release.json
//
// drives one update to its proven end or back to the old state; the same line
// with --id, or `updraft resume`, goes on after a power cut. The other commands
// look ahead (check, plan, crash-test), look on (status, log), and make what a
// device is given (diff, release, keys, sign).
//
// Results go to standard output, everything else to standard error. The exit
// code says how it ended; see [exitCode].
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/updraft-ota/updraft/agent"
)

func main() {
	if code, is := agent.ModuleProcess(os.Args[1:]); is {
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// run is the whole program. getenv is for commands that depend on the
// environment; it is never read elsewhere.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !p.entered {
		err = &usageError{cmd: cmd.CommandPath(), err: err}
	}
	return p.finish(err)
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// untilSignal gives a context that SIGINT and SIGTERM end. A second signal
// ends the program at once, which loses nothing: a run survives that too.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(fmt.Errorf("%w by signal %q", errInterrupted, s))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		<-ended
	}
}

// Command updraft-agent runs on a device, listens to the clouds that its agent
// file names, and carries out the updates that they ask for.
//
//	updraft-agent --config /etc/updraft/agent.yaml
//
// runs until a signal stops it at a safe point, or until a restart is due that
// it does not make itself; the next start goes on. The commands check, status
// and version look without touching anything.
//
// Results go to standard output, everything else to standard error. The exit
// code says how it ended; see [exitCode].
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/document"
)

func main() {
	if code, is := agent.ModuleProcess(os.Args[1:]); is {
		os.Exit(code)
	}
	signal.Ignore(syscall.SIGPIPE) // a reader of the log that goes away stops no update
	ctx, stop := untilSignal(context.Background())
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv)
	stop()
	os.Exit(code)
}

// program is one call: its surroundings.
type program struct {
	stdout, stderr io.Writer
	env            func(string) (string, bool)
}

// run is the whole program but for its signals, which end ctx with [errInterrupted].
func run(ctx context.Context, args []string, stdout, stderr io.Writer, env func(string) (string, bool)) int {
	p := &program{stdout: stdout, stderr: stderr, env: env}
	word := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		word, args = args[0], args[1:]
	}
	commands := map[string]func(context.Context, []string) error{
		"": p.serve, "run": p.serve, "check": p.check, "status": p.status, "version": p.version,
		"help": func(context.Context, []string) error { return p.print("%s", runHelp) },
	}
	command, ok := commands[word]
	if !ok {
		return p.finish(usagef("%s", document.Unknown("command", word, []string{"run", "check", "status", "version", "help"})))
	}
	return p.finish(command(ctx, args))
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("stopped")

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

// print writes a line of the result.
func (p *program) print(format string, args ...any) error {
	_, err := fmt.Fprintf(p.stdout, format+"\n", args...)
	return err
}

// errHelped says that the help was asked for, and given.
var errHelped = errors.New("helped")

// parse reads the flags of a command, which takes no other arguments.
func (p *program) parse(flags *flag.FlagSet, help string, args []string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return errors.Join(errHelped, p.print("%s", help))
	case err != nil:
		return usagef("%s", flagText(flags, err))
	case flags.NArg() > 0:
		return usagef("unexpected argument %q: expected flags only", flags.Arg(0))
	}
	return nil
}

// flagText says what is wrong with a flag, and which one may be meant.
func flagText(flags *flag.FlagSet, err error) string {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return strings.Replace(err.Error(), " for flag -", " for flag --", 1)
	}
	var names []string
	flags.VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	return document.Unknown("flag", "--"+name, names)
}

// choice adds a flag with few possible words, of which the first is the default.
func choice(flags *flag.FlagSet, name string, words ...string) *string {
	value := words[0]
	flags.Func(name, "", func(word string) error {
		if !slices.Contains(words, word) {
			return errors.New(document.Unknown("value", word, words))
		}
		value = word
		return nil
	})
	return &value
}

// configFlag adds --config.
func configFlag(flags *flag.FlagSet) *string {
	return flags.String("config", "/etc/updraft/agent.yaml", "")
}

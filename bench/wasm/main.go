package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	root, dir    string
	only         []string
	rounds       int
	size, large  int64 // bytes that are streamed, and of the artifact that memory is measured with
	quick        bool
	json, report bool
}

// sections are all that is measured, in the order of the page.
var sections = []struct {
	name    string
	measure func(ctx context.Context, b *bench) (section, error)
}{
	{"metering", metering},
	{"pass", pass},
	{"streaming", streaming},
	{"services", services},
	{"start", start},
	{"memory", memory},
	{"cancel", cancelling},
	{"sdk", sdk},
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench/wasm:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) > 0 && args[0] == memoryWord {
		return memoryChild(args[1:], out)
	}
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := o.measure(ctx)
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", " ")
		err = e.Encode(r)
	} else {
		r.write(out)
	}
	if o.report {
		err = errors.Join(err, r.save(filepath.Join(o.root, "docs", "module-figures.md")))
	}
	return err
}

func parseOptions(args []string) (options, error) {
	var o options
	only := ""
	f := flag.NewFlagSet("bench/wasm", flag.ContinueOnError)
	f.StringVar(&o.root, "root", ".", "the project's folder")
	f.StringVar(&o.dir, "dir", "", "folder for files, emptied afterwards (default: one in memory, if there is one)")
	f.StringVar(&only, "only", "", "sections to measure, parted by commas (default: all of "+strings.Join(names(), ", ")+")")
	f.IntVar(&o.rounds, "n", 7, "rounds; figures are medians")
	f.Int64Var(&o.size, "size", 100e6, "bytes to stream")
	f.Int64Var(&o.large, "large", 1<<30, "bytes of the artifact for the figures of memory")
	f.BoolVar(&o.quick, "quick", false, "3 rounds, 8 MB and 64 MiB, where no flag says otherwise: tells little")
	f.BoolVar(&o.json, "json", false, "print the results as JSON")
	f.BoolVar(&o.report, "report", false, "write docs/module-figures.md too; takes all sections and no -quick")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if o.quick {
		for name, do := range map[string]func(){
			"n": func() { o.rounds = 3 }, "size": func() { o.size = 8e6 }, "large": func() { o.large = 64 << 20 },
		} {
			if !set[name] {
				do()
			}
		}
	}
	return o, o.check(f, only)
}

func (o *options) check(f *flag.FlagSet, only string) error {
	o.only = names()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("-only: unknown section %q (have %q)", name, names())
		}
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("expected flags only, have %q", f.Arg(0))
	case o.rounds < 1 || o.size < 1<<20 || o.large < 1<<20:
		return fmt.Errorf("expected -n of at least 1 and -size and -large of at least %d, have %d, %d and %d", 1<<20, o.rounds, o.size, o.large)
	case o.report && (o.quick || only != ""):
		return errors.New("-report takes all sections at their full length: leave -quick and -only out")
	}
	if _, err := os.Stat(filepath.Join(o.root, "bench", "wasm", "guest")); err != nil {
		return fmt.Errorf("look for the guests: %w; run it in the project's folder, or name that with -root", err)
	}
	return nil
}

func names() []string {
	var list []string
	for _, s := range sections {
		list = append(list, s.name)
	}
	return list
}

// measure runs the chosen sections.
func (o *options) measure(ctx context.Context) (r *results, err error) {
	b, err := newBench(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r = &results{Date: time.Now().UTC().Format(time.DateOnly), Machine: thisMachine(b.dir), Rounds: o.rounds, Quick: o.quick}
	for _, s := range sections {
		if !slices.Contains(o.only, s.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", s.name)
		done, err := s.measure(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		done.Name = s.name
		r.Sections = append(r.Sections, done)
	}
	r.Missing = b.missing
	return r, nil
}

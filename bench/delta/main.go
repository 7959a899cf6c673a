package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	corpus, work, results, docs string
	pairs, peers                string
	rounds                      int
	cold, interop, pipes, solid bool
	report                      bool
	time                        time.Duration
	memory                      int64 // GiB
	programs                    programs
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench/delta:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if done, err := helperMode(args); done {
		return err
	}
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	pairs, err := allPairs()
	if err != nil {
		return err
	}
	known, err := loadResults(o.results)
	if err != nil {
		return err
	}
	if o.report {
		return known.report(pairs, o.docs)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.pipes {
		if pairs, err = choose(pairs, o.pairs, func(p pair) string { return p.Name }); err != nil {
			return err
		}
		return o.pipe(ctx, pairs, os.Stdout)
	}
	return o.measure(ctx, pairs, known, os.Stdout)
}

// helperMode is what this program does when it starts itself.
func helperMode(args []string) (bool, error) {
	if len(args) == 1 && args[0] == measureWord {
		return true, measureJob()
	}
	if len(args) == 1 && args[0] == speedsWord {
		return true, printSpeeds()
	}
	return gabstv(args)
}

func parseOptions(args []string) (options, error) {
	o := options{programs: programs{}}
	f := flag.NewFlagSet("bench/delta", flag.ContinueOnError)
	f.StringVar(&o.corpus, "corpus", "corpus", "folder with the pairs; missing ones are fetched into it")
	f.StringVar(&o.work, "work", "", "folder for patches and results, on a disk (default: in the corpus)")
	f.StringVar(&o.results, "results", filepath.Join("bench", "delta", "results.json"), "file that figures are merged into")
	f.StringVar(&o.docs, "docs", "docs", "folder for benchmarks.md and benchmarks.svg")
	f.StringVar(&o.pairs, "pairs", "", "pairs to measure, parted by commas (default: all)")
	f.StringVar(&o.peers, "peers", "", "peers to measure, or with -interop crossings such as \"updraft → zstd\", parted by commas (default: all)")
	f.IntVar(&o.rounds, "n", 1, "rounds; figures are medians")
	f.BoolVar(&o.cold, "cold", false, "apply once more with the page cache dropped (takes root)")
	f.BoolVar(&o.interop, "interop", false, "instead, let programs apply each other's formats")
	f.BoolVar(&o.solid, "solid", false, "instead, measure what frames cost updraft-default")
	f.BoolVar(&o.pipes, "pipe", false, "instead, apply patches that come over slow lines")
	f.BoolVar(&o.report, "report", false, "instead, write the page and the picture from the results")
	f.DurationVar(&o.time, "time", 30*time.Minute, "limit for one command")
	f.Int64Var(&o.memory, "memory", 20, "limit for one command, GiB of address space")
	for _, name := range []string{"updraft", "hdiffz", "hpatchz", "zucchini"} {
		f.Func(name, "path of "+name, func(path string) error {
			at, err := filepath.Abs(path)
			if err == nil {
				_, err = exec.LookPath(at)
			}
			o.programs[name] = at
			return err
		})
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("expected flags only, have %q", f.Arg(0))
	}
	if o.rounds < 1 || o.memory < 1 || o.time < time.Second {
		return o, fmt.Errorf("expected -n and -memory of at least 1 and -time of at least 1s, have %d, %d and %v", o.rounds, o.memory, o.time)
	}
	if o.work == "" {
		o.work = o.corpus
	}
	return o, nil
}

// measure runs what the options say and merges it into known, pair by pair.
func (o options) measure(ctx context.Context, pairs []pair, known *results, out io.Writer) (err error) {
	chosen, err := choose(pairs, o.pairs, func(p pair) string { return p.Name })
	if err != nil {
		return err
	}
	some, crossed, err := o.sides()
	if err != nil {
		return err
	}
	dir, done, err := workDir(o.work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := o.programs.own(ctx, dir); err != nil {
		return err
	}
	found, missing := o.programs.find(some)
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(out, "%s is left out: %s\n", name, missing[name])
	}
	s, err := o.begin(ctx, dir, found, missing)
	if err != nil {
		return err
	}
	s.print(out)
	if chosen, err = corpus(o.corpus).fetch(ctx, chosen, out); err != nil {
		return err
	}
	r := &race{corpus: corpus(o.corpus), programs: o.programs, dir: dir, rounds: o.rounds, cold: o.cold,
		time: o.time, memory: o.memory << 30, session: s.ID, crossings: crossed, say: out}
	for _, p := range chosen {
		if err := o.one(ctx, r, p, found, pairs, known, s); err != nil {
			return err
		}
	}
	return o.show(known, chosen, out)
}

// sides gives the peers to measure and the crossings to try.
func (o options) sides() (some []peer, crossed []crossing, err error) {
	if o.interop {
		crossed, err = choose(crossings, o.peers, crossing.String)
		return peers, crossed, err
	}
	some, err = choose(peers, o.peers, func(p peer) string { return p.Name })
	return some, nil, err
}

// one measures one pair and saves its figures.
func (o options) one(ctx context.Context, r *race, p pair, found []peer, pairs []pair, known *results, s session) error {
	if o.solid {
		return o.frames(ctx, r, p, known)
	}
	if o.interop {
		return r.cross(ctx, p, func(c cross) error {
			known.merge(pairs, s, nil, []cross{c})
			return known.save(o.results)
		})
	}
	records, err := r.pair(ctx, p, found)
	if err != nil {
		return err
	}
	known.merge(pairs, s, records, nil)
	return known.save(o.results)
}

// show prints what is known of the chosen pairs. It fails if a result of
// updraft was wrong.
func (o options) show(known *results, chosen []pair, out io.Writer) error {
	fmt.Fprintln(out)
	if o.interop {
		known.crossTable(chosen).print(out)
	} else {
		aims := known.judge(chosen)
		for _, p := range chosen {
			known.writePair(out, p, ofPair(aims, p.Name))
		}
		fmt.Fprintln(out)
		known.sizesTable(chosen, peers).print(out)
		writeAims(out, aims)
	}
	var bad []string
	for _, p := range chosen {
		for _, q := range peers {
			if r := known.find(p.Name, q.Name); q.ours() && r != nil && !r.complete() {
				bad = append(bad, fmt.Sprintf("%s of %s: %s", q.Name, p.Name, r.worst().Outcome))
			}
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("updraft did not do it: %s", strings.Join(bad, ", "))
	}
	return nil
}

// own adds this program and updraft, which is built if no path was given.
func (have programs) own(ctx context.Context, dir string) (err error) {
	if have["bench"], err = os.Executable(); err != nil || have["updraft"] != "" {
		return err
	}
	have["updraft"] = filepath.Join(dir, "updraft")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", have["updraft"], "github.com/updraft-ota/updraft/cmd/updraft")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build updraft: %w; -updraft takes a path", err)
	}
	return nil
}

// begin describes this session.
func (o options) begin(ctx context.Context, dir string, found []peer, missing map[string]string) (session, error) {
	s := session{ID: time.Now().UTC().Format("2006-01-02 15:04:05"), Time: o.time.Seconds(), Memory: o.memory << 30,
		Load: load(), Versions: map[string]string{}, Missing: missing}
	var err error
	if s.Machine, err = thisMachine(dir); err != nil {
		return s, err
	}
	if s.Speeds, err = measureSpeeds(ctx); err != nil {
		return s, err
	}
	floor, err := measure(ctx, job{Command: o.programs.parse("true", nil)})
	if err != nil {
		return s, err
	}
	s.Floor = floor.RSS
	for _, q := range found {
		s.Versions[q.Name] = o.programs.version(ctx, q)
	}
	return s, nil
}

// version is the first line of what a peer says of its version, up to its
// author. Some print it as an error.
func (have programs) version(ctx context.Context, q peer) string {
	c := have.parse(q.Version, nil)
	text, _ := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...).CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" {
			line, _, _ = strings.Cut(strings.Trim(line, "* "), ",")
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "unknown"
}

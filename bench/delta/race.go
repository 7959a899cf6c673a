package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// race measures peers on pairs. Not to be shared.
type race struct {
	corpus    corpus
	programs  programs
	dir       string // for patches and results
	rounds    int
	cold      bool
	time      time.Duration // for one command
	memory    int64         // bytes of address space for one command
	session   string
	crossings []crossing // to try
	say       io.Writer
}

// pair lets the peers make and apply a patch of one pair in turn, round by
// round.
func (r *race) pair(ctx context.Context, p pair, peers []peer) ([]record, error) {
	rounds := make([][]record, len(peers))
	for n := range r.rounds {
		for i, q := range peers {
			if n > 0 && !rounds[i][0].complete() {
				continue // it would fail again
			}
			one, err := r.once(ctx, p, q)
			if err != nil {
				return nil, fmt.Errorf("%s with %s: %w", p.Name, q.Name, err)
			}
			rounds[i] = append(rounds[i], one)
			fmt.Fprintf(r.say, "%s %d/%d %s\n", p.Name, n+1, r.rounds, one.line())
		}
	}
	var records []record
	for _, one := range rounds {
		records = append(records, median(one))
	}
	return records, nil
}

// once is one round of one peer.
func (r *race) once(ctx context.Context, p pair, q peer) (_ record, err error) {
	files := workFiles(r.corpus, p, r.dir)
	defer func() { err = errors.Join(err, remove(files, "patch", "out", "temp", "temp2")) }()
	one := record{Pair: p.Name, Peer: q.Name, Session: r.session, Rounds: 1}
	var said []byte
	if one.Make, said, err = r.chain(ctx, q.Make, files); err != nil || one.Make.Outcome != ok {
		return one, err
	}
	info, err := os.Stat(files["patch"])
	if err != nil {
		return one, err
	}
	one.Size = info.Size()
	if q.ours() {
		one.told(said)
	}
	if err := remove(files, "temp", "temp2"); err != nil {
		return one, err
	}
	if one.Apply, err = r.apply(ctx, p, q, q.Apply, files); err != nil {
		return one, err
	}
	if r.cold {
		if err := dropCaches(); err != nil {
			return one, err
		}
		if one.Cold, err = r.apply(ctx, p, q, q.Apply, files); err != nil {
			return one, err
		}
	}
	if len(q.Pipe) == 0 {
		return one, nil
	}
	if one.Pipe, err = r.apply(ctx, p, q, q.Pipe, files); err != nil {
		return one, err
	}
	one.Low, err = r.apply(ctx, p, q, q.Low, files)
	return one, err
}

// apply measures applying up to a file that is checked and durable, and then
// looks at the file itself.
func (r *race) apply(ctx context.Context, p pair, q peer, lines []string, files map[string]string) (*phase, error) {
	if err := remove(files, "out", "temp", "temp2"); err != nil {
		return nil, err
	}
	done, _, err := r.chain(ctx, lines, files)
	if err != nil || done.Outcome != ok {
		return &done, err
	}
	var after []string
	if !q.Checks {
		after = append(after, "sha256sum $out")
	}
	if !q.Syncs {
		after = append(after, "sync $out")
	}
	rest, _, err := r.chain(ctx, after, files)
	if err != nil {
		return nil, err
	}
	if rest.Outcome != ok {
		return nil, fmt.Errorf("%s: %s %s", strings.Join(after, ", "), rest.Outcome, rest.Words)
	}
	// The memory of sha256sum is no memory of the peer.
	done.Wall, done.CPU, done.After = done.Wall+rest.Wall, done.CPU+rest.CPU, rest.Wall
	if err := checkFile(files["out"], p.NewSize, p.NewSum); err != nil {
		done.Outcome, done.Words = wrong, r.short(err.Error(), files)
	}
	return &done, nil
}

// chain measures commands that follow each other as one phase.
func (r *race) chain(ctx context.Context, lines []string, files map[string]string) (phase, []byte, error) {
	sum := phase{Outcome: ok}
	var said []byte
	for _, line := range lines {
		u, err := measure(ctx, job{Command: r.programs.parse(line, files), Time: r.time, Memory: r.memory})
		if err != nil {
			return sum, nil, err
		}
		sum.Wall += u.Wall.Seconds()
		sum.CPU += u.CPU.Seconds()
		sum.RSS = max(sum.RSS, u.RSS)
		said = u.Stdout
		if u.Outcome != ok {
			sum.Outcome, sum.Words = u.Outcome, r.short(u.Words, files)
			break
		}
	}
	return sum, said, nil
}

// short takes this machine's folders out of a message.
func (r *race) short(words string, files map[string]string) string {
	for name, file := range files {
		words = strings.ReplaceAll(words, file, name)
	}
	return words
}

// told takes in what updraft diff --json says of its patch. A version that
// says less leaves fields empty.
func (r *record) told(said []byte) {
	var made struct {
		SolidSize   int64 `json:"solidSize"`
		Executables int64 `json:"executables"`
	}
	if json.Unmarshal(said, &made) == nil {
		r.Solid, r.Executables = made.SolidSize, made.Executables
	}
}

// complete reports whether everything that was tried went well.
func (r record) complete() bool {
	good := r.Make.Outcome == ok
	for _, p := range []*phase{r.Apply, r.Cold, r.Pipe, r.Low} {
		good = good && (p == nil || p.Outcome == ok)
	}
	return good
}

// line is the record in a line, for who waits.
func (r record) line() string {
	text := fmt.Sprintf("%s: make %s", r.Peer, r.Make.line())
	if r.Size > 0 {
		text += ", " + group(r.Size) + " bytes"
	}
	for _, p := range []struct {
		name string
		*phase
	}{{"apply", r.Apply}, {"cold", r.Cold}, {"pipe", r.Pipe}, {"low-memory", r.Low}} {
		if p.phase != nil {
			text += "; " + p.name + " " + p.line()
		}
	}
	return text
}

func (p *phase) line() string {
	if p.Outcome != ok {
		return strings.TrimSpace(fmt.Sprintf("%s after %.1f s: %s", p.Outcome, p.Wall, p.Words))
	}
	return fmt.Sprintf("%.3f s, CPU %.3f s, %s MiB", p.Wall, p.CPU, mebibytes(p.RSS))
}

// median makes one record of the rounds of a pair and a peer. A round that
// failed stands for all.
func median(rounds []record) record {
	for _, r := range rounds {
		if !r.complete() {
			return r
		}
	}
	m := rounds[0]
	m.Rounds = len(rounds)
	m.Make = *medianPhase(rounds, func(r record) *phase { return &r.Make })
	m.Apply = medianPhase(rounds, func(r record) *phase { return r.Apply })
	m.Cold = medianPhase(rounds, func(r record) *phase { return r.Cold })
	m.Pipe = medianPhase(rounds, func(r record) *phase { return r.Pipe })
	m.Low = medianPhase(rounds, func(r record) *phase { return r.Low })
	return m
}

func medianPhase(rounds []record, of func(record) *phase) *phase {
	var all []phase
	for _, r := range rounds {
		if p := of(r); p != nil {
			all = append(all, *p)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &phase{Outcome: ok,
		Wall:  middle(all, func(p phase) float64 { return p.Wall }),
		CPU:   middle(all, func(p phase) float64 { return p.CPU }),
		RSS:   middle(all, func(p phase) int64 { return p.RSS }),
		After: middle(all, func(p phase) float64 { return p.After }),
	}
}

// middle is the median, of an even number the mean of the middle two.
func middle[T int64 | float64](all []phase, of func(phase) T) T {
	values := make([]T, len(all))
	for i, p := range all {
		values[i] = of(p)
	}
	slices.SortFunc(values, cmp.Compare[T])
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// remove deletes files that are there.
func remove(files map[string]string, names ...string) error {
	for _, name := range names {
		if err := os.Remove(files[name]); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// workDir makes the folder for patches and results, and gives what removes it.
func workDir(parent string) (dir string, done func() error, err error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(parent, ".bench"); err != nil {
		return "", nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pipeRates are the speeds of the lines that a patch comes over, in Mbit/s.
var pipeRates = []float64{20, 200}

// pipe applies patches that come over a line of a given speed, and sets the
// time beside that of the line alone and that of applying alone.
func (o options) pipe(ctx context.Context, pairs []pair, say io.Writer) (err error) {
	dir, done, err := workDir(o.work)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := o.programs.own(ctx, dir); err != nil {
		return err
	}
	if pairs, err = corpus(o.corpus).fetch(ctx, pairs, say); err != nil {
		return err
	}
	fmt.Fprintf(say, "%-20s %10s %8s %11s %9s %9s %7s\n", "pair", "patch", "Mbit/s", "transfer s", "alone s", "piped s", "ratio")
	for _, p := range pairs {
		if err := o.pipePair(ctx, dir, p, say); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func (o options) pipePair(ctx context.Context, dir string, p pair, say io.Writer) error {
	file := filepath.Join(dir, "piped.patch")
	old := corpus(o.corpus).file(p, "old")
	make := exec.CommandContext(ctx, o.programs["updraft"], "diff", "--always-patch", old, corpus(o.corpus).file(p, "new"), file)
	if out, err := make.CombinedOutput(); err != nil {
		return fmt.Errorf("diff: %w: %s", err, out)
	}
	patch, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	alone, err := o.applyPiped(ctx, dir, p, old, patch, 0)
	if err != nil {
		return err
	}
	for _, rate := range pipeRates {
		took, err := o.applyPiped(ctx, dir, p, old, patch, rate)
		if err != nil {
			return err
		}
		transfer := float64(len(patch)) * 8 / 1e6 / rate
		fmt.Fprintf(say, "%-20s %10d %8.0f %11.3f %9.3f %9.3f %7.3f\n", p.Name, len(patch), rate, transfer, alone, took, took/max(transfer, alone))
	}
	return nil
}

// applyPiped applies a patch that comes at that many Mbit/s, 0 being at once,
// and gives the seconds that it took.
func (o options) applyPiped(ctx context.Context, dir string, p pair, old string, patch []byte, rate float64) (float64, error) {
	to := filepath.Join(dir, "piped.new")
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, o.programs["updraft"], "patch", old, "-", to)
	cmd.Stdin, cmd.Stderr = &line{patch: patch, rate: rate}, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("patch: %w: %s", err, said.String())
	}
	took := time.Since(began).Seconds()
	files, err := os.ReadDir(dir)
	for _, f := range files {
		if n := f.Name(); n != filepath.Base(to) && n != "updraft" {
			err = errors.Join(err, fmt.Errorf("%s was left on the disk", n))
		}
	}
	err = errors.Join(err, checkFile(to, p.NewSize, p.NewSum))
	return took, errors.Join(err, os.Remove(to))
}

// line gives a patch no faster than its speed allows, from its first read on.
type line struct {
	patch []byte
	rate  float64 // Mbit/s; 0 is any
	began time.Time
	gave  int
}

func (l *line) Read(p []byte) (int, error) {
	if l.gave == len(l.patch) {
		return 0, io.EOF
	}
	if l.began.IsZero() {
		l.began = time.Now()
	}
	p = p[:min(len(p), 16<<10, len(l.patch)-l.gave)]
	if l.rate > 0 {
		time.Sleep(time.Until(l.began.Add(time.Duration(float64(l.gave+len(p)) * 8e3 / l.rate))))
	}
	n := copy(p, l.patch[l.gave:])
	l.gave += n
	return n, nil
}

// frames asks how long the patch of a pair would be without frames, and notes
// it beside what was measured before.
func (o options) frames(ctx context.Context, r *race, p pair, known *results) error {
	own := known.find(p.Name, "updraft-default")
	if own == nil {
		return fmt.Errorf("%s: measure updraft-default first", p.Name)
	}
	file := filepath.Join(r.dir, "solid.patch")
	make := exec.CommandContext(ctx, o.programs["updraft"], "diff", "--solid", "--json", r.corpus.file(p, "old"), r.corpus.file(p, "new"), file)
	out, err := make.Output()
	if err != nil {
		return fmt.Errorf("%s: diff: %w", p.Name, err)
	}
	var of record
	of.told(out)
	own.Solid = of.Solid
	return errors.Join(os.Remove(file), known.save(o.results))
}

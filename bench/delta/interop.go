package main

import (
	"context"
	"errors"
	"fmt"
)

// crossing is a format that one program writes and another reads.
type crossing struct {
	Maker, Applier string
	Make, Apply    string
}

// String names a crossing.
func (x crossing) String() string { return x.Maker + " → " + x.Applier }

// crossings is every format that updraft shares with another program, whose
// lines are those of [peers]. xdelta3 compresses its patch with lzma unless it
// is told otherwise.
var crossings = []crossing{
	{"bsdiff", "updraft", bsdiffMake, applyForeign("bsdiff")},
	{"go-bsdiff", "updraft", goBsdiffMake, applyForeign("bsdiff")},
	{"xdelta3", "updraft", xdelta3Make("lzma"), applyForeign("vcdiff")},
	{"xdelta3 -S none", "updraft", xdelta3Make("none"), applyForeign("vcdiff")},
	{"zstd-3", "updraft", zstdMake("-3"), applyForeign("zstd")},
	{"zstd-19", "updraft", zstdMake("-19 --ultra"), applyForeign("zstd")},
	{"updraft", "bspatch", "updraft diff --format bsdiff $old $new $patch", bspatchApply},
	{"updraft", "zstd", "updraft diff --format zstd $old $new $patch", zstdApply},
}

func applyForeign(format string) string {
	return "updraft patch --format " + format + " --memory 16GiB $old $patch $out"
}

// cross lets each crossing make and apply a patch of one pair. One whose
// programs are not there is left out; main has named them.
func (r *race) cross(ctx context.Context, p pair, done func(cross) error) error {
	for _, x := range r.crossings {
		if r.programs.lacks(peer{Make: []string{x.Make}, Apply: []string{x.Apply}}) != "" {
			continue
		}
		c, err := r.crossOnce(ctx, p, x)
		if err != nil {
			return fmt.Errorf("%s from %s to %s: %w", p.Name, x.Maker, x.Applier, err)
		}
		fmt.Fprintf(r.say, "%s %s: %s %s\n", p.Name, x, c.cell(), c.Words)
		if err := done(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *race) crossOnce(ctx context.Context, p pair, x crossing) (c cross, err error) {
	files := workFiles(r.corpus, p, r.dir)
	defer func() { err = errors.Join(err, remove(files, "patch", "out", "temp", "temp2")) }()
	c = cross{Pair: p.Name, Maker: x.Maker, Applier: x.Applier, Session: r.session}
	for _, line := range []string{x.Make, x.Apply} {
		took, _, err := r.chain(ctx, []string{line}, files)
		if err != nil {
			return c, err
		}
		c.Outcome, c.Words = took.Outcome, took.Words
		if took.Outcome != ok {
			return c, nil
		}
		c.Made = true
	}
	if err := checkFile(files["out"], p.NewSize, p.NewSum); err != nil {
		c.Outcome, c.Words = wrong, r.short(err.Error(), files)
	}
	return c, nil
}

// cell says in a word or two how it went.
func (c cross) cell() string {
	if !c.Made {
		return "not made: " + string(c.Outcome)
	}
	return string(c.Outcome)
}

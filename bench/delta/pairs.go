package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

//go:embed pairs.tsv
var pairsTable string

//go:embed fetch.sh
var fetchScript string

// pair is an old and a new version of a file, and where to get them.
type pair struct {
	Name, Kind       string
	OldFrom, NewFrom string // what fetch.sh makes of them
	OldSize, NewSize int64  // bytes
	OldSum, NewSum   string // SHA-256, hexadecimal
}

// executable reports whether the whole file is a program, library or kernel.
func (p pair) executable() bool { return strings.HasPrefix(p.Kind, "elf-") || p.Kind == "kernel-image" }

// holdsExecutables reports whether there are programs or modules in the file.
func (p pair) holdsExecutables() bool {
	return p.executable() || p.Kind == "kernel-modules-tar" || p.Kind == "filesystem-image-ext4"
}

// allPairs is the table of pairs, in its order.
func allPairs() ([]pair, error) { return parsePairs(pairsTable) }

// parsePairs reads a table with a heading, in columns parted by tabs.
func parsePairs(table string) ([]pair, error) {
	var pairs []pair
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if i == 0 {
			continue // the heading
		}
		f := strings.Split(line, "\t")
		if len(f) != 8 {
			return nil, fmt.Errorf("pairs.tsv:%d: expected 8 columns, have %d", i+1, len(f))
		}
		p := pair{Name: f[0], Kind: f[1], OldFrom: f[2], NewFrom: f[3], OldSum: f[6], NewSum: f[7]}
		var errOld, errNew error
		p.OldSize, errOld = strconv.ParseInt(f[4], 10, 64)
		p.NewSize, errNew = strconv.ParseInt(f[5], 10, 64)
		if err := errors.Join(errOld, errNew); err != nil {
			return nil, fmt.Errorf("pairs.tsv:%d: %w", i+1, err)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// choose gives those of all whose name is in the comma-separated list, or all
// for an empty one.
func choose[T any](all []T, list string, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	want := strings.Split(list, ",")
	var chosen []T
	var names []string
	for _, one := range all {
		names = append(names, name(one))
		if slices.Contains(want, name(one)) {
			chosen = append(chosen, one)
		}
	}
	for _, w := range want {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("unknown name %q (have %s)", w, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}

// corpus is the folder with the pairs as DIR/NAME/{old,new}.
type corpus string

func (c corpus) file(p pair, side string) string { return filepath.Join(string(c), p.Name, side) }

// fetch sees to it that the pairs are there, and gives those that are, each
// file with its SHA-256 checked. What is missing is fetched by name, and what
// cannot be had is told to say.
func (c corpus) fetch(ctx context.Context, pairs []pair, say io.Writer) ([]pair, error) {
	var missing []string
	for _, p := range pairs {
		if c.check(p) != nil {
			missing = append(missing, p.Name)
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(say, "fetching %s into %s\n", strings.Join(missing, ", "), c)
		if err := c.runFetch(ctx, missing, say); err != nil {
			fmt.Fprintf(say, "fetch: %v\n", err)
		}
	}
	var have []pair
	for _, p := range pairs {
		if err := c.check(p); err != nil {
			fmt.Fprintf(say, "%s is left out: %v\n", p.Name, err)
			continue
		}
		have = append(have, p)
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("none of the pairs is in %s or could be fetched", c)
	}
	return have, ctx.Err()
}

func (c corpus) runFetch(ctx context.Context, names []string, say io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "pairs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	script := filepath.Join(dir, "fetch.sh")
	if err := errors.Join(os.WriteFile(script, []byte(fetchScript), 0o644),
		os.WriteFile(filepath.Join(dir, "pairs.tsv"), []byte(pairsTable), 0o644)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", append([]string{script, string(c)}, names...)...)
	cmd.Stdout, cmd.Stderr = say, say
	return cmd.Run()
}

// check tells what is wrong with the files of a pair.
func (c corpus) check(p pair) error {
	return errors.Join(checkFile(c.file(p, "old"), p.OldSize, p.OldSum), checkFile(c.file(p, "new"), p.NewSize, p.NewSum))
}

// checkFile compares a file with its size in bytes and its SHA-256. It holds
// little memory, so that a child does not inherit a high mark of it.
func checkFile(name string, size int64, sum string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%s has %d bytes, expected %d", name, n, size)
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != sum {
		return fmt.Errorf("%s has SHA-256 %s, expected %s", name, have, sum)
	}
	return nil
}

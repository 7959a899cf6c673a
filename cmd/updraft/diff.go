package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/gabstv/go-bsdiff/pkg/bsdiff"
	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
)

// madePatch is the result of diff. Sizes and memory are bytes.
type madePatch struct {
	Format    string  `json:"format"`
	Level     string  `json:"level"`
	OldSize   int64   `json:"oldSize"`
	NewSize   int64   `json:"newSize"`
	PatchSize int64   `json:"patchSize"`
	Ratio     float64 `json:"ratio"` // of patch to new, 0 for an empty new file
	Seconds   float64 `json:"seconds"`
	Memory    int64   `json:"memory"` // that applying the patch needs
}

func (p *program) diffCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "diff OLD NEW PATCH",
		Short: "Make a patch that turns one file into another",
		Long: `Make PATCH, which turns the file OLD into the file NEW. With - as PATCH it goes
to standard output and the figures to standard error.`,
		Example: "  updraft diff app-1.0 app-1.1 app.patch --level max",
		Args:    arguments("OLD", "NEW", "PATCH"),
	}
	level, format := addLevel(c, "level"), addFormat(c, "format", "vcdiff")
	asJSON := c.Flags().Bool("json", false, "print the figures as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		made, err := p.diff(cmd.Context(), args[0], args[1], args[2], format.value, delta.Level(level.value))
		if err != nil {
			return err
		}
		to := *p
		if args[2] == "-" {
			to.stdout = p.stderr
		}
		if *asJSON {
			return to.printJSON(made)
		}
		return to.print("%s: %s, %.2f %% of %s, made in %.1f s; applying it needs %s of memory", args[2],
			agent.ByteCount(made.PatchSize), 100*made.Ratio, agent.ByteCount(made.NewSize), made.Seconds, agent.ByteCount(made.Memory))
	}
	return c
}

func addLevel(c *cobra.Command, name string) *choice {
	return addChoice(c, name, "how hard to look for a small patch", string(delta.Default), string(delta.Fast), string(delta.Max))
}

// usualFormat is what every device of this version and the zstd program read.
const usualFormat = "zstd"

// addFormat adds a choice of delta formats without the one that cannot be made, if named.
func addFormat(c *cobra.Command, name, without string) *choice {
	words := slices.DeleteFunc(delta.Names(), func(name string) bool { return name == usualFormat || name == without })
	return addChoice(c, name, "format of the patch", append([]string{usualFormat}, words...)...)
}

func (p *program) diff(ctx context.Context, oldName, newName, patchName, formatName string, level delta.Level) (_ madePatch, err error) {
	format, err := delta.Lookup(formatName)
	if err != nil {
		return madePatch{}, &usageError{err: err}
	}
	oldFile, older, err := openFile(disk.OS(), oldName)
	if err != nil {
		return madePatch{}, err
	}
	defer func() { err = errors.Join(err, oldFile.Close()) }()
	newFile, newer, err := openFile(disk.OS(), newName)
	if err != nil {
		return madePatch{}, err
	}
	defer func() { err = errors.Join(err, newFile.Close()) }()
	var stats delta.Stats
	began := time.Now()
	err = p.output(patchName, func(w io.Writer) error {
		var err error
		stats, err = delta.Make(ctx, format, w, older, newer, delta.Options{Level: level, Bsdiff: bsdiff.Bytes})
		return err
	})
	if err != nil {
		return madePatch{}, err
	}
	made := madePatch{Format: format.Name(), Level: string(level), OldSize: stats.OldSize, NewSize: stats.NewSize,
		PatchSize: stats.PatchSize, Seconds: time.Since(began).Seconds(), Memory: stats.Memory}
	if made.NewSize > 0 {
		made.Ratio = float64(made.PatchSize) / float64(made.NewSize)
	}
	return made, nil
}

// output lets write fill the file called name, which appears only if all goes
// well, or standard output if name is "-".
func (p *program) output(name string, write func(io.Writer) error) error {
	if name == "-" {
		return write(p.stdout)
	}
	out, err := create(disk.OS(), name, 0o644)
	if err != nil {
		return err
	}
	return out.finish(write(out))
}

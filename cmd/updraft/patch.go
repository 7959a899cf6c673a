package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

func (p *program) patchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "patch OLD PATCH NEW",
		Short: "Apply a patch",
		Long: `Turn the file OLD into the file NEW with a patch that updraft diff made. PATCH
may be - for standard input, NEW may be - for standard output. NEW appears only
when it is whole; standard output may have got bytes of a patch that then turns
out to be damaged, so look at the exit code.`,
		Example: "  updraft patch app-1.0 app.patch app-1.1",
		Args:    arguments("OLD", "PATCH", "NEW"),
	}
	format := addFormat(c, "format", "")
	memory := &sizeFlag{bytes: 1 << 30}
	c.Flags().Var(memory, "memory", "refuse a patch that needs more to apply")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "-" {
			return usagef("OLD is read at any place, so it cannot be standard input")
		}
		return p.patch(cmd.Context(), args[0], args[1], args[2], format.value, delta.Limits{Memory: memory.bytes, Size: delta.AnySize})
	}
	return c
}

func (p *program) patch(ctx context.Context, oldName, patchName, newName, formatName string, limits delta.Limits) (err error) {
	format, err := delta.Lookup(formatName)
	if err != nil {
		return &usageError{err: err}
	}
	oldFile, older, err := openFile(disk.OS(), oldName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, oldFile.Close()) }()
	patch := p.stdin
	if patchName != "-" {
		patchFile, section, err := openFile(disk.OS(), patchName)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, patchFile.Close()) }()
		patch = section
	}
	err = p.output(newName, func(w io.Writer) error {
		r, err := format.NewReader(ctx, older, older.Size(), patch, limits)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return errors.Join(err, r.Close())
	})
	switch {
	case errors.Is(err, delta.ErrCorrupt):
		return fmt.Errorf("%s does not fit %s: it was made from another old file, or is damaged: %w", patchName, oldName, err)
	case errors.Is(err, delta.ErrTooLarge):
		return fmt.Errorf("%s: %w; more is allowed with --memory", patchName, err)
	}
	return err
}

// sizeFlag is a number of bytes with or without a unit.
type sizeFlag struct{ bytes int64 }

func (s *sizeFlag) String() string { return agent.ByteCount(s.bytes) }

// Type stands in the help for the value.
func (s *sizeFlag) Type() string { return "SIZE" }

// Set reads a size such as 64MiB.
func (s *sizeFlag) Set(text string) error {
	n, err := document.ParseSize(text)
	if err != nil {
		return err
	}
	if n <= 0 {
		return fmt.Errorf("expected more than 0 bytes, have %q", text)
	}
	s.bytes = int64(n)
	return nil
}

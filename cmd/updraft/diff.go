package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	Format    string  `json:"format"` // of PATCH; "image" if it is the new file, compressed
	Level     string  `json:"level"`
	OldSize   int64   `json:"oldSize"`
	NewSize   int64   `json:"newSize"`
	PatchSize int64   `json:"patchSize"`
	Ratio     float64 `json:"ratio"` // of patch to new, 0 for an empty new file
	Seconds   float64 `json:"seconds"`
	Memory    int64   `json:"memory"` // that applying the patch needs
	// Frames, Copies and what follows them are of formats that have them.
	Frames  int64         `json:"frames,omitempty"`
	Copies  int64         `json:"copies,omitempty"`
	Streams []patchStream `json:"streams,omitempty"`
	// Executables is how many were found in NEW whose addresses the patch
	// foretells, ExecutableBytes how large they are.
	Executables     int64 `json:"executables,omitempty"`
	ExecutableBytes int64 `json:"executableBytes,omitempty"`
	// SolidSize is how long the patch would be without frames, with --solid.
	SolidSize int64 `json:"solidSize,omitempty"`
	// InPlace is there if the patch is for use in place.
	InPlace *inPlaceFigures `json:"inPlace,omitempty"`
	// Smaller is what is smaller, the "patch" or the "full" file compressed
	// with FullCodec. FullSize is the size of that if it is the smaller one,
	// and DeltaSize that of the patch.
	Smaller   string `json:"smaller"`
	DeltaSize int64  `json:"deltaSize"`
	FullCodec string `json:"fullCodec,omitempty"`
	FullSize  int64  `json:"fullSize,omitempty"`
}

// patchStream is one kind of bytes in a patch.
type patchStream struct {
	Name string `json:"name"`
	Raw  int64  `json:"raw"` // bytes before they are coded
	// Coded is how many they take, 0 if they are coded together with those
	// after them.
	Coded int64 `json:"coded,omitempty"`
}

// worthTrying is the part of the new file that a patch must have before it is
// worth the time to see whether the whole file, compressed, is smaller.
const worthTrying = 0.5

// making is what diff is to make.
type making struct {
	old, new, patch string
	format          delta.Format
	level           delta.Level
	always          bool // a patch, also where the full image is smaller
	inPlace         bool // for use in place
	journal         int64
	solid           bool // measure what frames cost
}

// leastJournal is the least that --journal may say, in bytes.
const leastJournal = 64<<10 + journalHead

// check finds what is wrong with the arguments alone.
func (m *making) check() error {
	switch {
	case m.inPlace && m.format.Name() != usualFormat:
		return usagef("--in-place: patches for that are of format %s", usualFormat)
	case m.journal != 0 && !m.inPlace:
		return usagef("--journal is for --in-place")
	case m.journal != 0 && m.journal < leastJournal:
		return usagef("--journal %d: it takes %s at least", m.journal, agent.ByteCount(leastJournal))
	case m.patch != "-":
		return apart("PATCH", m.patch, "OLD", m.old, "NEW", m.new)
	}
	return nil
}

func (p *program) diffCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "diff OLD NEW PATCH",
		Short: "Make a patch that turns one file into another",
		Long: `Make PATCH, which turns the file OLD into the file NEW. With - as PATCH it goes
to standard output and the figures to standard error.

The formats: udelta is the smallest, and is applied as a stream in some
megabytes; zstd is read by zstd -d --patch-from and holds both files in memory;
bsdiff is read by bspatch, and takes long to make.

Where little of NEW is in OLD, NEW itself, compressed with zstd, may be smaller
than a udelta patch. Then PATCH becomes that, which diff says; updraft patch and
zstd -d read it. With --always-patch, and in the other formats, it stays a patch.

With --in-place the patch is one with which updraft patch --in-place overwrites
OLD with NEW, where there is no room for both. It is larger, above all for
programs, whose addresses are not foretold then, and larger still the less the
device has for --journal: by default a sixteenth of NEW, from 4 to 16 MiB.`,
		Example: "  updraft diff app-1.0 app-1.1 app.patch --level max",
		Args:    arguments("OLD", "NEW", "PATCH"),
	}
	level, format := addLevel(c, "level"), addFormat(c, "format", "vcdiff")
	always := c.Flags().Bool("always-patch", false, "write a patch also where the whole file, compressed, is smaller")
	inPlace := c.Flags().Bool("in-place", false, "make a patch that overwrites the old file with the new one")
	journal := &sizeFlag{}
	c.Flags().Var(journal, "journal", "with --in-place: what the device has for the journal, the more the smaller the patch")
	solid := c.Flags().Bool("solid", false, "say also how long the patch would be without frames, which takes as long again")
	asJSON := c.Flags().Bool("json", false, "print the figures as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		m := making{solid: *solid, old: args[0], new: args[1], patch: args[2], level: delta.Level(level.value), always: *always, inPlace: *inPlace, journal: journal.bytes}
		var err error
		if m.format, err = delta.Lookup(format.value); err != nil {
			return &usageError{err: err}
		}
		if err := m.check(); err != nil {
			return err
		}
		made, err := p.diff(cmd.Context(), m)
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
		return to.printMade(args[2], made)
	}
	return c
}

// printMade says what was made in a few lines.
func (p *program) printMade(name string, made madePatch) error {
	what := made.Format + " patch"
	if made.InPlace != nil {
		what += " for use in place"
	}
	if made.Format == imageFormat {
		what = "the whole new file, compressed"
	}
	err := p.print("%s: %s, %s, %.2f %% of %s, made in %.1f s", name, what,
		agent.ByteCount(made.PatchSize), 100*made.Ratio, agent.ByteCount(made.NewSize), made.Seconds)
	if err != nil {
		return err
	}
	has := ""
	if made.Frames > 0 {
		has = fmt.Sprintf("%s with %s", count(made.Frames, "frame", "frames"), count(made.Copies, "copy", "copies"))
		if made.Executables > 0 {
			has += ", addresses foretold in " + count(made.Executables, "executable", "executables")
		}
		has += "; "
	}
	needs := agent.ByteCount(made.Memory) + " of memory"
	if made.InPlace != nil {
		needs += " and a journal of " + agent.ByteCount(made.InPlace.Journal)
	}
	if made.SolidSize > 0 {
		if err := p.print("  without frames it would be %s, %.2f %% less", agent.ByteCount(made.SolidSize), 100*(1-float64(made.SolidSize)/float64(made.PatchSize))); err != nil {
			return err
		}
	}
	if err := p.print("  %sapplying it needs %s", has, needs); err != nil {
		return err
	}
	switch {
	case made.Format == imageFormat:
		return p.print("  OLD does not help: a patch would have %s; updraft patch and zstd -d read this", agent.ByteCount(made.DeltaSize))
	case made.Smaller == "full":
		return p.print("  OLD does not help: the whole new file, compressed with %s, would have %s", made.FullCodec, agent.ByteCount(made.FullSize))
	}
	return nil
}

// count is a number with the word for what is counted.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func addLevel(c *cobra.Command, name string) *choice {
	return addChoice(c, name, "how hard to look for a small patch", string(delta.Default), string(delta.Fast), string(delta.Max))
}

// usualFormat is the smallest, and the one that devices apply as a stream.
const usualFormat = "udelta"

// addFormat adds a choice of delta formats without the one that cannot be made, if named.
func addFormat(c *cobra.Command, name, without string) *choice {
	words := slices.DeleteFunc(delta.Names(), func(name string) bool { return name == usualFormat || name == without })
	return addChoice(c, name, "format of the patch", append([]string{usualFormat}, words...)...)
}

// apart refuses to write to a file that is read. roles are pairs of a role and a name.
func apart(role, name string, roles ...string) error {
	info, err := os.Stat(name)
	for i := 0; i+1 < len(roles); i += 2 {
		other, otherErr := os.Stat(roles[i+1])
		if filepath.Clean(name) == filepath.Clean(roles[i+1]) || err == nil && otherErr == nil && os.SameFile(info, other) {
			return usagef("%s and %s are the same file, %s: give %s a name of its own", roles[i], role, name, role)
		}
	}
	return nil
}

func (p *program) diff(ctx context.Context, m making) (made madePatch, err error) {
	oldFile, older, err := openFile(disk.OS(), m.old)
	if err != nil {
		return madePatch{}, err
	}
	defer func() { err = errors.Join(err, oldFile.Close()) }()
	newFile, newer, err := openFile(disk.OS(), m.new)
	if err != nil {
		return madePatch{}, err
	}
	defer func() { err = errors.Join(err, newFile.Close()) }()
	name := m.patch
	if name == "-" { // a patch that turns out to be too large must not have gone out
		dir, err := os.MkdirTemp("", "updraft-diff-")
		if err != nil {
			return madePatch{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		name = filepath.Join(dir, "patch")
	}
	began := time.Now()
	done := p.busy("making " + m.patch)
	out, made, err := m.smallest(ctx, name, older, newer)
	done()
	if err != nil {
		return madePatch{}, err
	}
	made.OldSize, made.NewSize, made.PatchSize = older.Size(), newer.Size(), out.size
	if made.NewSize > 0 {
		made.Ratio = float64(made.PatchSize) / float64(made.NewSize)
	}
	if m.patch == "-" {
		_, err = io.Copy(p.stdout, io.NewSectionReader(out.file, 0, out.size))
		err = out.abort(err)
	} else {
		err = out.commit()
	}
	made.Seconds = time.Since(began).Seconds()
	return made, err
}

// busy says on a terminal that something takes its time, until it is done.
func (p *program) busy(what string) (done func()) {
	if !p.draws() || p.getenv("TERM") == "dumb" {
		return func() {}
	}
	fmt.Fprint(p.stderr, cut(agent.Printable(what)+"…", p.columns()))
	return func() { fmt.Fprint(p.stderr, erase) }
}

// smallest makes the file called name: a patch, or a full image if that is
// allowed and smaller. It is not committed yet.
func (m making) smallest(ctx context.Context, name string, older, newer *io.SectionReader) (*outFile, madePatch, error) {
	out, err := create(disk.OS(), name, 0o644)
	if err != nil {
		return nil, madePatch{}, err
	}
	stats, figures, err := m.make(ctx, out, older, newer)
	if err != nil {
		return nil, madePatch{}, out.abort(err)
	}
	made := madePatch{Format: m.format.Name(), Level: string(m.level), Memory: stats.Memory,
		Frames: stats.Frames, Copies: stats.Ops, Executables: stats.Elements, ExecutableBytes: stats.ElementBytes, InPlace: figures, Smaller: "patch", DeltaSize: stats.PatchSize, SolidSize: stats.SolidSize}
	for _, s := range stats.Streams {
		made.Streams = append(made.Streams, patchStream{s.Name, s.Raw, s.Coded})
	}
	if newer.Size() == 0 || float64(out.size) <= worthTrying*float64(newer.Size()) {
		return out, made, nil
	}
	full, err := m.full(ctx, name, newer, out.size)
	if errors.Is(err, errNotSmaller) {
		return out, made, nil
	}
	if err != nil {
		return nil, made, out.abort(err)
	}
	made.Smaller, made.FullCodec, made.FullSize = "full", "zstd", full.size
	if m.always || m.inPlace || m.format.Name() != usualFormat {
		return out, made, full.abort(nil)
	}
	head := make([]byte, min(full.size, patchHead))
	if _, err := full.file.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, made, errors.Join(full.abort(err), out.abort(nil))
	}
	made.Format, made.Memory = imageFormat, imageMemory(head)
	made.Frames, made.Copies, made.Streams, made.Executables, made.ExecutableBytes = 0, 0, nil, 0, 0
	made.SolidSize = 0
	return full, made, out.abort(nil)
}

// make makes the patch.
func (m making) make(ctx context.Context, out *outFile, older, newer *io.SectionReader) (delta.Stats, *inPlaceFigures, error) {
	if !m.inPlace {
		stats, err := delta.Make(ctx, m.format, out, older, newer, delta.Options{Level: m.level, Bsdiff: bsdiff.Bytes, Solid: m.solid})
		return stats, nil, err
	}
	stats, err := delta.MakeInPlace(ctx, out, older, newer, delta.InPlaceOptions{Level: m.level, Journal: max(0, m.journal-journalHead)})
	if err != nil {
		return stats, nil, err
	}
	info, err := delta.InspectInPlace(io.NewSectionReader(out.file, 0, out.size))
	return stats, figuresOf(info), err
}

// full makes a full image below limit bytes that takes the given name when it
// is committed. A patch may stand beside it meanwhile.
func (m making) full(ctx context.Context, name string, newer *io.SectionReader, limit int64) (*outFile, error) {
	digest := sha256.New()
	if _, err := io.Copy(digest, cancelReader{ctx, io.NewSectionReader(newer, 0, newer.Size())}); err != nil {
		return nil, err
	}
	full, err := create(disk.OS(), name+".full", 0o644)
	if err != nil {
		return nil, err
	}
	full.name = name
	if err := writeImage(ctx, full, newer, [sha256.Size]byte(digest.Sum(nil)), limit); err != nil {
		return nil, full.abort(err)
	}
	return full, nil
}

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
)

// recognise is the word for a format that the patch itself tells.
const recognise = "auto"

// applying is what patch is to do.
type applying struct {
	old, patch, new string
	format          string // or recognise
	memory          int64  // bytes, 0 for what suits the format
	low             bool   // take as little memory as can be
	digest          bool   // of the new file is wanted
	resume          string // file of positions, or empty
	inPlace         bool   // old becomes new
	journal         string // file of the journal of that
}

// appliedPatch is the result of patch.
type appliedPatch struct {
	Format  string  `json:"format"`
	InPlace bool    `json:"inPlace,omitempty"`
	Bytes   int64   `json:"bytes"` // of the new file
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"`
	// ResumedAt is how many bytes were there already.
	ResumedAt int64 `json:"resumedAt,omitempty"`
}

func (p *program) patchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "patch OLD PATCH NEW",
		Short: "Apply a patch",
		Long: `Turn the file OLD into the file NEW with a patch. What made it is seen from its
first bytes: updraft diff, bsdiff, xdelta3, open-vcdiff or zstd --patch-from.
PATCH may be - for standard input, NEW may be - for standard output. NEW appears
only when it is whole and durable; standard output may have got bytes of a patch
that then turns out to be damaged, so look at the exit code.

With --resume FILE a udelta patch can be applied in several goes: FILE notes how
far NEW is, which grows as .NEW.part beside it. After a power cut or a kill the
same command goes on there; exit code 6 says that it was interrupted. When NEW is
whole, both are gone. Standard input must give the patch from its start again.

With --in-place FILE PATCH --journal JOURNAL the file or block device FILE, which
holds the old image, is overwritten with the new one, by a patch that diff
--in-place made. There is no way back: from the first write to the end FILE is
neither the old nor the new image, and it must not be mounted or booted. What
survives a power cut is the way forward: JOURNAL, a file or device, has what is
under way, and the same command goes on. PATCH must be on the device until then.

A patch that needs more than --memory is refused: by default more than 64 MiB,
and more than 1 GiB in format zstd, which holds OLD and NEW in memory.`,
		Example: "  updraft patch app-1.0 app.patch app-1.1",
	}
	inPlace := c.Flags().Bool("in-place", false, "overwrite the old image with the new one; the arguments are FILE and PATCH")
	c.Args = func(cmd *cobra.Command, args []string) error {
		if *inPlace {
			return arguments("FILE", "PATCH")(cmd, args)
		}
		return arguments("OLD", "PATCH", "NEW")(cmd, args)
	}
	format := addChoice(c, "format", "format of the patch", append([]string{recognise}, delta.Names()...)...)
	memory := &sizeFlag{}
	f := c.Flags()
	f.Var(memory, "memory", "refuse a patch that needs more to apply (default 64MiB, in format zstd 1GiB)")
	low := f.Bool("low-memory", false, "take as little memory as the patch can be applied with, and more time")
	resume := f.String("resume", "", "note in `FILE` how far NEW is, and go on there after a break")
	journal := f.String("journal", "", "with --in-place: `FILE` or device for what is under way")
	asJSON := f.Bool("json", false, "print size, digest and time as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a := applying{old: args[0], patch: args[1], format: format.value,
			memory: memory.bytes, low: *low, digest: *asJSON, resume: *resume, inPlace: *inPlace, journal: *journal}
		if !a.inPlace {
			a.new = args[2]
		}
		if err := a.check(); err != nil {
			return err
		}
		apply := p.patch
		if a.inPlace {
			apply = p.patchInPlace
		}
		applied, err := apply(cmd.Context(), a)
		if err != nil || !*asJSON {
			return err
		}
		to := *p
		if a.new == "-" {
			to.stdout = p.stderr
		}
		return to.printJSON(applied)
	}
	return c
}

// check finds what is wrong with the arguments alone.
func (a *applying) check() error {
	switch {
	case a.inPlace:
		return a.checkInPlace()
	case a.journal != "":
		return usagef("--journal is for --in-place; a new file beside the old one goes on with --resume")
	case a.old == "-":
		return usagef("OLD is read at any place, so it cannot be standard input")
	case a.resume != "" && a.new == "-":
		return usagef("--resume goes on in a file, so NEW cannot be standard output")
	case a.resume != "" && a.format != recognise && a.format != usualFormat:
		return noResume(a.format)
	}
	if a.new != "-" && a.patch != "-" {
		if err := apart("NEW", a.new, "PATCH", a.patch); err != nil {
			return err
		}
	}
	if a.resume == "" {
		return nil
	}
	if err := replaceable(a.new); err != nil {
		return err
	}
	return apart("--resume", a.resume, "OLD", a.old, "PATCH", a.patch, "NEW", a.new)
}

func noResume(format string) error {
	return usagef("--resume: format %s is applied in one go; patches of format %s can be resumed", format, usualFormat)
}

func (p *program) patch(ctx context.Context, a applying) (applied appliedPatch, err error) {
	began := time.Now()
	oldFile, older, err := openFile(disk.OS(), a.old)
	if err != nil {
		return applied, err
	}
	defer func() { err = errors.Join(err, oldFile.Close()) }()
	in, err := p.openPatch(a.patch)
	if err != nil {
		return applied, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if applied.Format = a.format; a.format == recognise {
		if applied.Format, err = in.format(); err != nil {
			return applied, err
		}
	}
	limits := delta.Limits{Memory: a.memory, Least: a.low, Size: delta.AnySize}
	if limits.Memory == 0 {
		limits.Memory = usualMemory(applied.Format)
	}
	a.collectGarbage()
	w := &applyWriter{}
	if a.digest {
		w.sum = sha256.New()
	}
	source := &patchSource{format: applied.Format, old: older, in: in, limits: limits}
	if a.resume != "" {
		applied.ResumedAt, err = p.resumePatch(ctx, a, source, w)
	} else {
		if applied.Format == imageFormat {
			p.say("%s is the whole new file, compressed: %s is not used", in.name, a.old)
		}
		err = p.output(a.new, func(out io.Writer) error {
			w.to = out
			if file, ok := out.(*outFile); ok {
				w.to = &flushedFile{outFile: file}
			}
			return source.all(ctx, w)
		})
	}
	if err != nil {
		return applied, a.explain(in, applied.Format, err)
	}
	applied.Bytes, applied.Seconds = w.size, time.Since(began).Seconds()
	if a.digest {
		applied.SHA256 = hexSum(w.sum)
	}
	return applied, nil
}

// explain says what the error of a patch means to its user.
func (a *applying) explain(in *patchInput, format string, err error) error {
	name := in.name
	switch {
	case errors.Is(err, delta.ErrTooLarge):
		return fmt.Errorf("%s: %w; %s", name, err, memoryAdvice(format, in.section != nil))
	case !errors.Is(err, delta.ErrCorrupt):
		return err
	case format == usualFormat || format == imageFormat: // they say whether OLD or the patch is wrong
		return fmt.Errorf("%s does not fit %s: %w", name, a.old, err)
	}
	return fmt.Errorf("%s does not fit %s: it was made from another old file, or is damaged: %w", name, a.old, err)
}

// usualMemory is what a patch of a format may need, in bytes, unless the user
// says more or less.
func usualMemory(format string) int64 {
	if format == "zstd" {
		return 1 << 30
	}
	return delta.DefaultMemory
}

// memoryAdvice says what to do about a patch that needs too much.
func memoryAdvice(format string, file bool) string {
	const more = "allow more with --memory"
	switch {
	case format == "zstd":
		return more + ", or make the patch with --format udelta, which takes some megabytes whatever the sizes"
	case format == "bsdiff" && !file:
		return more + ", or give PATCH as a file, of which nothing is held in memory"
	case format == "vcdiff":
		return more + ", or make the patch with smaller windows (xdelta3 -W)"
	case format == usualFormat:
		return more + ", or make the patch with --level fast, which takes least"
	}
	return more
}

// applyWriter counts and digests the new file on its way.
type applyWriter struct {
	to   io.Writer
	sum  hash.Hash // nil if it is not wanted
	size int64     // bytes
}

// Write implements io.Writer.
func (w *applyWriter) Write(b []byte) (int, error) {
	n, err := w.to.Write(b)
	w.add(b[:n])
	return n, err
}

// add takes bytes that are written already.
func (w *applyWriter) add(b []byte) {
	if w.sum != nil {
		w.sum.Write(b)
	}
	w.size += int64(len(b))
}

// patchSource gives the new file out of a patch.
type patchSource struct {
	format string
	old    *io.SectionReader
	in     *patchInput
	limits delta.Limits
}

// collectGarbage lets less garbage be in memory than is usual. It takes next to
// no time, because a reader leaves little over and holds on to most.
func (a *applying) collectGarbage() {
	percent := 25
	if a.low {
		percent = 10
	}
	debug.SetGCPercent(percent)
}

// applyStep is how much of the new file is written at once, in bytes.
const applyStep = 128 << 10

// all writes the new file from its first byte to its last.
func (s *patchSource) all(ctx context.Context, w io.Writer) error {
	if s.format == imageFormat {
		r, err := openImage(ctx, s.in.whole(), s.in.head, s.limits)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(w, r, make([]byte, applyStep))
		return errors.Join(err, r.Close())
	}
	format, err := delta.Lookup(s.format)
	if err != nil {
		return &usageError{err: err}
	}
	r, err := format.NewReader(ctx, s.old, s.old.Size(), s.in.whole(), s.limits)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, r, make([]byte, applyStep))
	return errors.Join(err, r.Close())
}

// sizeFlag is a number of bytes with or without a unit; 0 until it is set.
type sizeFlag struct{ bytes int64 }

func (s *sizeFlag) String() string {
	if s.bytes == 0 {
		return ""
	}
	return agent.ByteCount(s.bytes)
}

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

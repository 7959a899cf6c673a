package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/delta"
)

// inspected is the result of inspect. Sizes and memory are bytes; what a
// format does not say is left out.
type inspected struct {
	Format    string `json:"format"`
	Version   string `json:"version,omitempty"`
	PatchSize int64  `json:"patchSize,omitempty"`
	OldSize   *int64 `json:"oldSize,omitempty"`
	OldSHA256 string `json:"oldSha256,omitempty"`
	NewSize   *int64 `json:"newSize,omitempty"`
	NewSHA256 string `json:"newSha256,omitempty"`
	Memory    int64  `json:"memory,omitempty"`    // to apply it
	LowMemory int64  `json:"lowMemory,omitempty"` // at the least
	// Features are the names of the feature bits that are set.
	Features     []string      `json:"features,omitempty"`
	Frames       int64         `json:"frames,omitempty"`
	Copies       int64         `json:"copies,omitempty"`
	LargestFrame int64         `json:"largestFrame,omitempty"` // in the patch
	LargestStep  int64         `json:"largestStep,omitempty"`  // of the new file, made by one frame
	Coded        int64         `json:"coded,omitempty"`        // bytes of all frames, coded
	Streams      []patchStream `json:"streams,omitempty"`
	// Regions are stretches of the new file in which there are executables
	// with addresses foretold, Executables those.
	Regions         int64            `json:"regions,omitempty"`
	Executables     int64            `json:"executables,omitempty"`
	ExecutableBytes int64            `json:"executableBytes,omitempty"`
	Parts           map[string]int64 `json:"parts,omitempty"` // of a bsdiff patch: compressed bytes
	// InPlace is there if the patch is for use in place.
	InPlace *inPlaceFigures `json:"inPlace,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
}

func (p *program) inspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect PATCH",
		Short: "Show what a patch is and has",
		Long: `Show what a patch says about itself, without applying it: format, sizes, digests
and the memory that applying it needs. A udelta patch is read whole, its checksums
are checked, and what its bytes are for is counted; of the other formats only the
start is read. PATCH may be - for standard input.`,
		Example: "  updraft inspect app.patch",
		Args:    arguments("PATCH"),
	}
	asJSON := c.Flags().Bool("json", false, "print it as JSON")
	c.RunE = func(_ *cobra.Command, args []string) (err error) {
		in, err := p.openPatch(args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		got, err := in.inspect()
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		if *asJSON {
			return p.printJSON(got)
		}
		_, err = io.WriteString(p.stdout, got.text(args[0]))
		return err
	}
	return c
}

// inspect reads the patch as far as its format asks for.
func (in *patchInput) inspect() (inspected, error) {
	format, err := in.format()
	if err != nil {
		return inspected{}, err
	}
	if format == usualFormat && in.forInPlace() {
		info, err := delta.InspectInPlace(in.whole())
		return inspectedInPlace(info), err
	}
	if format == usualFormat {
		info, err := delta.Inspect(in.whole())
		return inspectedInfo(info), err
	}
	got := inspected{Format: format}
	if in.section != nil {
		got.PatchSize = in.section.Size()
	}
	return got, got.foreign(in.head)
}

// inspectedInfo is what a patch of our own format says.
func inspectedInfo(info delta.Info) inspected {
	got := inspected{Format: info.Format, Version: info.Version, PatchSize: info.PatchSize,
		OldSize: &info.OldSize, OldSHA256: hexOf(info.OldSHA256), NewSize: &info.NewSize, NewSHA256: hexOf(info.NewSHA256),
		Memory: info.Memory, LowMemory: info.LowMemory, Frames: info.Frames, Copies: info.Ops,
		LargestFrame: info.LargestFrame, LargestStep: info.LargestStep, Coded: info.Coded,
		Regions: info.Regions, Executables: info.Elements, ExecutableBytes: info.ElementBytes}
	if info.Identical {
		got.Features = append(got.Features, "identical")
	}
	if info.Regions > 0 {
		got.Features = append(got.Features, "executables")
	}
	for _, s := range info.Streams {
		got.Streams = append(got.Streams, patchStream{s.Name, s.Raw, s.Coded})
	}
	return got
}

// inPlaceFigures are those of a patch for use in place, in bytes.
type inPlaceFigures struct {
	Region  int64 `json:"region"`  // that the device must have
	Journal int64 `json:"journal"` // how large it gets
	Written int64 `json:"written"` // of the new image; the rest stays as it is
	Batches int64 `json:"batches"` // each is synced twice
}

func figuresOf(info delta.InPlace) *inPlaceFigures {
	return &inPlaceFigures{Region: info.Region, Journal: journalNeed(info), Written: info.Written, Batches: info.Batches}
}

// inspectedInPlace is what a patch for use in place says.
func inspectedInPlace(info delta.InPlace) inspected {
	return inspected{Format: usualFormat, Version: info.Version, PatchSize: info.PatchSize,
		OldSize: &info.OldSize, OldSHA256: hexOf(info.OldSHA256), NewSize: &info.NewSize, NewSHA256: hexOf(info.NewSHA256),
		Memory: info.Memory, Frames: info.Frames, Features: []string{"in place"}, InPlace: figuresOf(info)}
}

// text says it in lines for people.
func (i inspected) text(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", agent.Printable(name), strings.TrimSpace(i.Format+" "+i.Version))
	if i.PatchSize > 0 {
		fmt.Fprintf(&b, ", %s", agent.ByteCount(i.PatchSize))
	}
	if len(i.Features) > 0 {
		fmt.Fprintf(&b, ", %s", strings.Join(i.Features, ", "))
	}
	b.WriteByte('\n')
	file := func(name string, size *int64, sum string) {
		if size == nil {
			return
		}
		fmt.Fprintf(&b, "  %-8s %s", name, count(*size, "byte", "bytes"))
		if sum != "" {
			fmt.Fprintf(&b, ", sha256 %s", sum)
		}
		b.WriteByte('\n')
	}
	file("old", i.OldSize, i.OldSHA256)
	file("new", i.NewSize, i.NewSHA256)
	if i.Memory > 0 {
		fmt.Fprintf(&b, "  %-8s %s to apply it", "memory", agent.ByteCount(i.Memory))
		if i.LowMemory > 0 && i.LowMemory < i.Memory {
			fmt.Fprintf(&b, ", %s with --low-memory", agent.ByteCount(i.LowMemory))
		}
		b.WriteByte('\n')
	}
	if f := i.InPlace; f != nil {
		fmt.Fprintf(&b, "  %-8s %s\n", "journal", agent.ByteCount(f.Journal))
		fmt.Fprintf(&b, "  %-8s %s of the new image in %s with %s\n", "writes", agent.ByteCount(f.Written), count(f.Batches, "batch", "batches"), count(i.Frames, "frame", "frames"))
	}
	if i.Frames > 0 && i.InPlace == nil {
		fmt.Fprintf(&b, "  %-8s %s with %s; the largest has %s and makes %s\n", "frames", count(i.Frames, "frame", "frames"),
			count(i.Copies, "copy", "copies"), agent.ByteCount(i.LargestFrame), agent.ByteCount(i.LargestStep))
		if i.Executables > 0 {
			fmt.Fprintf(&b, "  %-8s %s with addresses foretold, %s in %s\n", "has", count(i.Executables, "executable", "executables"),
				agent.ByteCount(i.ExecutableBytes), count(i.Regions, "region", "regions"))
		}
		i.kinds(&b)
	}
	for _, name := range bsdiffParts {
		if n, ok := i.Parts[name]; ok {
			fmt.Fprintf(&b, "  %-10s %12d bytes\n", name, n)
		}
	}
	for _, note := range i.Notes {
		fmt.Fprintf(&b, "  %s\n", note)
	}
	return b.String()
}

// kinds is the table of what the frames hold.
func (i inspected) kinds(b *strings.Builder) {
	fmt.Fprintf(b, "  %-20s %12s %12s\n", "bytes of", "decoded", "in the patch")
	for _, s := range i.Streams {
		raw, coded := strconv.FormatInt(s.Raw, 10), ""
		if s.Coded > 0 {
			coded = strconv.FormatInt(s.Coded, 10)
			if s.Raw == 0 {
				raw = ""
			}
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-20s %12s %12s", s.Name, raw, coded), " ") + "\n")
	}
	fmt.Fprintf(b, "  %-20s %12s %12d\n", "all frames and maps", "", i.Coded)
}

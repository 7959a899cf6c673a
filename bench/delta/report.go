package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const introduction = `# Benchmarks

What a patch costs: its size, and the time and memory to make and to apply it, for updraft and for other programs, on pairs of real versions that anyone can fetch. This page and its picture are written by

    go run ./bench/delta -report

from [results.json](../bench/delta/results.json), which ` + "`go run ./bench/delta`" + ` fills: it fetches the pairs by name and version, checks their SHA-256, and runs each program in a fresh process, one after the other.

How to read the figures:

- A patch counts only if applying it gave the new file, by SHA-256.
- *make* and *apply* are wall time; *CPU* is user and system time of all threads; *memory* is the peak resident memory of the largest process, in which pages of mapped files count. A figure of several rounds is their median.
- To apply means: up to a file that is checked and durable. Behind programs that do not check the result with at least a checksum of their own runs ` + "`sha256sum`" + `, behind those that do not sync it runs ` + "`sync`" + `, and the time of both counts. updraft does both itself. *apply* reads files that are in the page cache, *cold* is after it was dropped.
- *pipe* is the memory to apply a patch that comes through a pipe, *low* the same with ` + "`--low-memory`" + `.
- A program that was stopped by a limit says which: *time* or *memory*. *failed* and *wrong* are named below the table.
- Behind a ratio stands in brackets what is aimed at; a ratio that misses it is in bold. A ratio marked † compares figures of different sessions; time can differ between them by what else the machine did.
- Two threads are allowed to programs that can use them.

![Size and time beside hdiffz](benchmarks.svg)
`

// report writes the page and its picture from the results.
func (r *results) report(pairs []pair, dir string) error {
	var page, picture bytes.Buffer
	r.writePage(&page, pairs)
	r.writePicture(&picture, pairs)
	if err := os.WriteFile(filepath.Join(dir, "benchmarks.svg"), picture.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), page.Bytes(), 0o644)
}

func (r *results) writePage(w io.Writer, pairs []pair) {
	fmt.Fprint(w, introduction)
	fmt.Fprint(w, "\n## Size of the patch in bytes\n\nThe smallest is in bold. `xz` is the new file sent whole, `xz -9e`.\n\n")
	r.sizesTable(pairs, peers).print(w)
	aims := r.judge(pairs)
	writeAims(w, aims)
	if len(r.Crosses) > 0 {
		fmt.Fprint(w, "\n## Formats of other programs\n\nOne program applies what another made; *ok* is the new file by SHA-256.\n\n")
		r.crossTable(pairs).print(w)
		gap := "\n"
		for _, c := range r.Crosses {
			if c.Outcome != ok && c.Words != "" {
				fmt.Fprintf(w, "%s- %s, %s → %s: %s\n", gap, c.Pair, c.Maker, c.Applier, code(c.Words))
				gap = ""
			}
		}
	}
	fmt.Fprint(w, "\n## Each pair\n")
	for _, p := range pairs {
		r.writePair(w, p, ofPair(aims, p.Name))
	}
	r.writeCommands(w)
	r.writeSessions(w)
}

// writeAims sums up the aims; those of a pair stand with it.
func writeAims(w io.Writer, aims []aim) {
	set := 0
	for _, a := range aims {
		if a.Limit > 0 {
			set++
		}
	}
	if set == 0 {
		return
	}
	missed := missedTable(aims)
	fmt.Fprintf(w, "\n## Aims\n\nOf %d ratios with an aim %d are met. The time allowed for applying is that of a machine with SHA-256 at %.0f MB/s and copying at %.0f MB/s, scaled by the mean of the two speeds measured in the same session.\n",
		set, set-len(missed.rows)+1, setSHA256, setCopy)
	if over := ofPair(aims, ""); len(over) > 0 {
		fmt.Fprintln(w)
		aimsTable(over).print(w)
	}
	if len(missed.rows) > 1 {
		fmt.Fprint(w, "\nNot met; [what was tried](delta-attempts.md) has a page of its own:\n\n")
		missed.print(w)
	}
}

func (r *results) writePair(w io.Writer, p pair, aims []aim) {
	t := r.pairTable(p, peers)
	if len(t.rows) == 1 {
		fmt.Fprintf(w, "\n### %s\n\nNot measured.\n", p.Name)
		return
	}
	fmt.Fprintf(w, "\n### %s\n\n%s, %s → %s bytes. From %s to %s.\n\n", p.Name, p.Kind, group(p.OldSize), group(p.NewSize), code(p.OldFrom), code(p.NewFrom))
	t.print(w)
	gap := "\n"
	for _, q := range peers {
		if o := r.find(p.Name, q.Name); o != nil && o.worst() != nil {
			fmt.Fprintf(w, "%s- %s: %s\n", gap, q.Name, o.worst().why(r.session(o.Session)))
			gap = ""
		}
	}
	if len(aims) > 0 {
		fmt.Fprintln(w)
		aimsTable(aims).print(w)
	}
}

// why tells how a phase failed.
func (p *phase) why(s session) string {
	switch p.Outcome {
	case noTime:
		return fmt.Sprintf("stopped at the limit of %s s", seconds(s.Time))
	case noMemory:
		return fmt.Sprintf("no memory within the limit of %s MiB: %s", mebibytes(s.Memory), code(p.Words))
	}
	return fmt.Sprintf("%s: %s", p.Outcome, code(p.Words))
}

func code(text string) string { return "`" + strings.ReplaceAll(text, "`", "'") + "`" }

func (r *results) writeCommands(w io.Writer) {
	fmt.Fprint(w, "\n## Command lines\n\n`<|` feeds a file through a pipe.\n\n")
	for _, q := range peers {
		fmt.Fprintf(w, "- **%s**: make %s; apply %s", q.Name, codes(q.Make), codes(q.Apply))
		if len(q.Pipe) > 0 {
			fmt.Fprintf(w, "; from a pipe %s, %s", codes(q.Pipe), codes(q.Low))
		}
		fmt.Fprintln(w)
	}
}

func codes(lines []string) string {
	var out []string
	for _, line := range lines {
		out = append(out, code(line))
	}
	return strings.Join(out, ", ")
}

func (r *results) writeSessions(w io.Writer) {
	fmt.Fprint(w, "\n## Sessions\n")
	for _, s := range r.Sessions {
		fmt.Fprintf(w, "\n### %s\n\n", s.ID)
		s.print(w)
	}
}

// print describes a session in a few lines.
func (s session) print(w io.Writer) {
	m := s.Machine
	fmt.Fprintf(w, "- Machine: %s, %d cores, %s MiB; %s, %s, %s; %s.\n", m.CPU, m.Cores, mebibytes(m.Memory), m.System, m.Kernel, m.FileSystem, m.Go)
	fmt.Fprintf(w, "- One thread: SHA-256 %.0f MB/s, copying memory %.0f MB/s. Peak memory is not seen below %s MiB. Load when it began: %s.\n",
		s.Speeds.SHA256, s.Speeds.Copy, mebibytes(s.Floor), cmp.Or(s.Load, "not known"))
	fmt.Fprintf(w, "- Limits for each command: %s s, %s MiB of address space.\n", seconds(s.Time), mebibytes(s.Memory))
	for _, name := range slices.Sorted(maps.Keys(s.Versions)) {
		fmt.Fprintf(w, "- %s: %s\n", name, s.Versions[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Missing)) {
		fmt.Fprintf(w, "- %s was not measured: %s\n", name, s.Missing[name])
	}
}

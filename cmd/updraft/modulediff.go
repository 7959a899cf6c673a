package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// moduleChange is one difference between two modules.
type moduleChange struct {
	What string `json:"what"`          // such as capability, import or memory
	Old  string `json:"old,omitempty"` // "" if it is new
	New  string `json:"new,omitempty"` // "" if it is gone
	// Grants says that the new module wants more than the old one was granted.
	Grants bool `json:"wantsMore"`
}

// moduleDiff is the result of module diff.
type moduleDiff struct {
	Old       string         `json:"old"` // files
	New       string         `json:"new"`
	OldSHA256 string         `json:"oldSha256"`
	NewSHA256 string         `json:"newSha256"`
	Changes   []moduleChange `json:"changes"`
	WantsMore bool           `json:"wantsMore"`
}

func (p *program) moduleDiffCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Compare what two modules want",
		Long: `Compare what two versions of a module say about themselves and import. A new
capability or a raised limit is marked with an exclamation mark and exits 3, so
that nobody grants it unseen. No code runs.`,
		Example: "  updraft module diff ab-slot-1.0.0.wasm ab-slot-1.1.0.wasm",
		Args:    arguments("OLD", "NEW"),
	}
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	asJSON := c.Flags().Bool("json", false, "print the changes as JSON")
	c.RunE = func(_ *cobra.Command, args []string) error {
		older, err := examine(args[0])
		if err != nil {
			return err
		}
		newer, err := examine(args[1])
		if err != nil {
			return err
		}
		d := compareModules(older, newer)
		if *asJSON {
			err = p.printJSON(d)
		} else {
			err = p.printDiff(d)
		}
		if err == nil && d.WantsMore {
			return ended(exitRefused)
		}
		return err
	}
	return c
}

// compareModules lists all changes, those of what the modules want first.
func compareModules(older, newer *examined) moduleDiff {
	d := moduleDiff{Old: older.file, New: newer.file, OldSHA256: older.sha256, NewSHA256: newer.sha256, Changes: []moduleChange{}}
	a, b := &older.manifest, &newer.manifest
	d.capabilities(a, b)
	d.limits(older, newer)
	d.text("name", a.Name, b.Name)
	d.text("version", a.Version, b.Version)
	d.text("kind", a.Kind, b.Kind)
	d.text("contract", contractRange(a.ABI), contractRange(b.ABI))
	d.sets("phase", a.Phases, b.Phases)
	d.sets("artifact role", a.Roles.Artifacts, b.Roles.Artifacts)
	d.sets("target role", a.Roles.Targets, b.Roles.Targets)
	d.text("access", access(a), access(b))
	d.text("idempotent", fmt.Sprint(a.Idempotent), fmt.Sprint(b.Idempotent))
	d.text("settings", string(a.Settings), string(b.Settings))
	d.sets("import", older.allImports(), newer.allImports())
	d.text("size", agent.ByteCount(older.info.Size), agent.ByteCount(newer.info.Size))
	d.WantsMore = slices.ContainsFunc(d.Changes, func(c moduleChange) bool { return c.Grants })
	return d
}

func (d *moduleDiff) add(c moduleChange) { d.Changes = append(d.Changes, c) }

func (d *moduleDiff) text(what, a, b string) {
	if a != b {
		d.add(moduleChange{What: what, Old: a, New: b})
	}
}

// sets compares lists without regard to their order.
func (d *moduleDiff) sets(what string, a, b []string) {
	for _, s := range b {
		if !slices.Contains(a, s) {
			d.add(moduleChange{What: what, New: s})
		}
	}
	for _, s := range a {
		if !slices.Contains(b, s) {
			d.add(moduleChange{What: what, Old: s})
		}
	}
}

// capabilities are new if the old module could not have had them: one without
// a name had them all.
func (d *moduleDiff) capabilities(a, b *abi.Manifest) {
	for _, c := range b.Capabilities {
		if !slices.Contains(a.Capabilities, c) {
			d.add(moduleChange{What: "capability", New: string(c), Grants: !slices.Contains(a.Capabilities, c.Kind())})
		}
	}
	for _, c := range a.Capabilities {
		if !slices.Contains(b.Capabilities, c) {
			d.add(moduleChange{What: "capability", Old: string(c)})
		}
	}
}

// limits compares what the modules get, be it asked for or the default.
func (d *moduleDiff) limits(older, newer *examined) {
	m1, f1, w1 := older.limits()
	m2, f2, w2 := newer.limits()
	if m1 != m2 {
		d.add(moduleChange{"memory", agent.ByteCount(m1), agent.ByteCount(m2), m2 > m1})
	}
	if f1 != f2 {
		d.add(moduleChange{"fuel", fmt.Sprint(f1), fmt.Sprint(f2), f2 > f1})
	}
	if w1 != w2 {
		d.add(moduleChange{"wall", w1.Round(time.Millisecond).String(), w2.Round(time.Millisecond).String(), w2 > w1})
	}
}

func contractRange(r abi.Range) string {
	if r.Max == "" || r.Max == r.Min {
		return r.Min
	}
	return r.Min + " to " + r.Max
}

func access(m *abi.Manifest) string {
	if m.Access == "" {
		return abi.Sequential
	}
	return m.Access
}

// allImports are the imported functions with their modules, sorted.
func (e *examined) allImports() []string {
	var all []string
	for _, i := range e.info.Imports {
		all = append(all, i.Module+"."+i.Name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (p *program) printDiff(d moduleDiff) error {
	switch {
	case d.OldSHA256 == d.NewSHA256:
		return p.print("the same bytes")
	case len(d.Changes) == 0:
		return p.print("other code, but nothing else")
	}
	for _, c := range d.Changes {
		if err := p.print("%s", agent.Printable(c.String())); err != nil {
			return err
		}
	}
	return nil
}

// String gives the change as a line.
func (c moduleChange) String() string {
	mark := " "
	if c.Grants {
		mark = "!"
	}
	switch {
	case c.Old == "":
		return fmt.Sprintf("%s + %s %s", mark, c.What, c.New)
	case c.New == "":
		return fmt.Sprintf("%s - %s %s", mark, c.What, c.Old)
	}
	return strings.TrimRight(fmt.Sprintf("%s   %s %s -> %s", mark, c.What, c.Old, c.New), " ")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// lintWarning is what lint found. The names are a promise: scripts depend on them.
type lintWarning struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// linted is the result of module lint.
type linted struct {
	File     string        `json:"file"`
	Warnings []lintWarning `json:"warnings"`
}

// lintRule is a name and what finds it: each text is a warning.
type lintRule struct {
	name string
	find func(*examined) []string
}

// lintRules are all of them, in the order of their warnings.
var lintRules = []lintRule{
	{"unused-capability", unusedCapability},
	{"unnamed-capability", unnamedCapability},
	{"compat-capability", compatCapability},
	{"no-rollback", noRollback},
	{"no-checkpoint", noCheckpoint},
	{"no-settings-schema", noSettingsSchema},
	{"bad-settings-schema", badSettingsSchema},
	{"no-role", noRole},
	{"unused-role", unusedRole},
	{"unused-memory", unusedMemory},
	{"debug-sections", debugSections},
	{"large", large},
}

func (p *program) moduleLintCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lint MODULE",
		Short: "Find what is wrong or unwise in a module",
		Long: `Load a module as a device would, without running it, and print what is unwise: a
line for each warning, with its name. A module that does not load, such as one
that imports what it does not declare, exits 2; warnings exit 0, and with
--strict 4.

` + lintHelp(),
		Example: "  updraft module lint ab-slot.wasm --strict",
		Args:    arguments("MODULE"),
	}
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	strict := c.Flags().Bool("strict", false, "exit 4 if there is a warning")
	asJSON := c.Flags().Bool("json", false, "print the warnings as JSON")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := examine(args[0])
		if err != nil {
			return err
		}
		if err := e.loads(cmd.Context()); err != nil {
			return err
		}
		got := linted{File: e.file, Warnings: e.lint()}
		if *asJSON {
			err = p.printJSON(got)
		} else {
			err = p.printLint(got)
		}
		if err == nil && *strict && len(got.Warnings) > 0 {
			return ended(exitRolledBack)
		}
		return err
	}
	return c
}

func lintHelp() string {
	var names []string
	for _, r := range lintRules {
		names = append(names, r.name)
	}
	return "Warnings: " + strings.Join(names[:6], ", ") + ",\n" + strings.Join(names[6:], ", ") + "."
}

// loads compiles the module as a device does that grants it whatever it asks
// for.
func (e *examined) loads(ctx context.Context) (err error) {
	host, err := wasmhost.New(ctx, wasmhost.Config{})
	if err != nil {
		return err
	}
	m, err := host.Load(ctx, e.wasm, wasmhost.Limits{Memory: maxGuestMemory, Fuel: math.MaxInt64, Wall: math.MaxInt64})
	var refused *wasmhost.Error
	if errors.As(err, &refused) {
		return usagef("%s: %w", e.file, err)
	}
	if err != nil {
		return err
	}
	return m.Close(context.WithoutCancel(ctx))
}

func (e *examined) lint() []lintWarning {
	list := []lintWarning{}
	for _, r := range lintRules {
		for _, text := range r.find(e) {
			list = append(list, lintWarning{r.name, text})
		}
	}
	return list
}

func (p *program) printLint(l linted) error {
	for _, w := range l.Warnings {
		if err := p.print("%s: %s: %s", agent.Printable(l.File), w.Name, agent.Printable(w.Text)); err != nil {
			return err
		}
	}
	if len(l.Warnings) == 0 {
		return p.print("%s: nothing to complain about", agent.Printable(l.File))
	}
	return p.print("%s", count(int64(len(l.Warnings)), "warning", "warnings"))
}

func unusedCapability(e *examined) (all []string) {
	for _, c := range e.unused() {
		all = append(all, fmt.Sprintf("the manifest declares %q, but no import needs it: whoever installs the module must grant it for nothing", c))
	}
	return all
}

// An effect without a name wants whichever the step grants.
func unnamedCapability(e *examined) (all []string) {
	for _, c := range e.manifest.Capabilities {
		if c.Effect() && c != abi.Reboot && c.Name() == "" {
			all = append(all, fmt.Sprintf("the manifest declares %q without saying which: %s:NAME tells whoever grants it", c, c))
		}
	}
	return all
}

func compatCapability(e *examined) (all []string) {
	for _, c := range e.manifest.Capabilities {
		if e.manifest.Kind == abi.KindCompat && c != abi.Facts {
			all = append(all, fmt.Sprintf("a compatibility check is granted facts and nothing else: with %q it is refused", c))
		}
	}
	return all
}

func noRollback(e *examined) []string {
	if e.manifest.Kind != abi.KindInstall || e.manifest.Serves(abi.Rollback) {
		return nil
	}
	return []string{"the module serves no rollback: what it changed beside its targets stays when the update fails"}
}

// A service makes checkpoints by itself; a loop of writes does not.
func noCheckpoint(e *examined) []string {
	if !e.imported("tgt_write") || e.imported("mark", "kv_flush", "svc_copy", "svc_unpack", "svc_inflate", "svc_patch") {
		return nil
	}
	return []string{"the module writes with tgt_write and never makes a checkpoint with mark or kv_flush: after a power cut it begins from its first byte"}
}

func noSettingsSchema(e *examined) []string {
	if !e.imported("config_get") || len(e.manifest.Settings) > 0 {
		return nil
	}
	return []string{"the module reads settings, but its manifest has no schema of them"}
}

func badSettingsSchema(e *examined) []string {
	s := bytes.TrimSpace(e.manifest.Settings)
	if len(s) == 0 || s[0] == '{' || string(s) == "true" || string(s) == "false" {
		return nil
	}
	return []string{"settings is no JSON Schema: expected an object, true or false"}
}

func noRole(e *examined) (all []string) {
	if e.imported("art_open") && len(e.manifest.Roles.Artifacts) == 0 {
		all = append(all, "the module opens artifacts, but its manifest names no artifact role: no workflow can bind one")
	}
	if e.imported("tgt_open") && len(e.manifest.Roles.Targets) == 0 {
		all = append(all, "the module opens targets, but its manifest names no target role: no workflow can bind one")
	}
	return all
}

func unusedRole(e *examined) (all []string) {
	if !e.imported("art_open") && len(e.manifest.Roles.Artifacts) > 0 {
		all = append(all, fmt.Sprintf("the manifest names artifact roles %q, but the module opens no artifact", e.manifest.Roles.Artifacts))
	}
	if !e.imported("tgt_open") && len(e.manifest.Roles.Targets) > 0 {
		all = append(all, fmt.Sprintf("the manifest names target roles %q, but the module opens no target", e.manifest.Roles.Targets))
	}
	return all
}

func unusedMemory(e *examined) []string {
	asked, _, _ := e.limits()
	if own := e.info.Memory.Max; e.manifest.Limits.Memory > 0 && own >= 0 && own < asked {
		return []string{fmt.Sprintf("the manifest asks for %s of memory, but the module cannot use more than %s", agent.ByteCount(asked), agent.ByteCount(own))}
	}
	return nil
}

func debugSections(e *examined) (all []string) {
	for _, s := range e.info.Custom {
		if strings.HasPrefix(s.Name, ".debug_") || slices.Contains([]string{"sourceMappingURL", "external_debug_info"}, s.Name) {
			all = append(all, fmt.Sprintf("section %s takes %s and is never used; link without debug information", s.Name, agent.ByteCount(s.Size)))
		}
	}
	return all
}

// usualSize is more than what each of the SDKs makes of an install step.
const usualSize = 4 << 20

func large(e *examined) []string {
	if e.info.Size <= usualSize {
		return nil
	}
	return []string{fmt.Sprintf("the module has %s; more than %s takes seconds and tens of megabytes to compile on a device", agent.ByteCount(e.info.Size), agent.ByteCount(usualSize))}
}

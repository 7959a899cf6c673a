package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
)

// inspectedModule is the result of module inspect. Sizes are bytes.
type inspectedModule struct {
	File      string       `json:"file"`
	SHA256    string       `json:"sha256"` // hex
	Size      int64        `json:"size"`
	Signature string       `json:"signature,omitempty"` // the file beside it; it is not checked
	Manifest  abi.Manifest `json:"manifest"`
	// Imports are functions by the capability that they need, "core" for none.
	Imports  map[string][]string      `json:"imports"`
	Unused   []abi.Capability         `json:"unusedCapabilities,omitempty"`
	Exports  []string                 `json:"exports"`
	Sections []inspectedModuleSection `json:"customSections"`
	Memory   inspectedMemory          `json:"memory"`
	Totals   inspectedTotals          `json:"totals"`
	// Functions are those whose largest region costs the most fuel.
	Functions []inspectedFunction `json:"costliestFunctions"`
}

type inspectedModuleSection struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

type inspectedMemory struct {
	Start int64 `json:"start"` // with which it begins
	Asked int64 `json:"asked"` // by the manifest, or the default
	Max   int64 `json:"max"`   // that it declares itself, -1 if it does not
}

type inspectedTotals struct {
	Functions int64 `json:"functions"`
	Code      int64 `json:"code"`
	Data      int64 `json:"data"`
	Table     int64 `json:"table"` // entries
	Globals   int64 `json:"globals"`
}

type inspectedFunction struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Entry   int64  `json:"entryFuel"`         // for entering it
	Largest int64  `json:"largestRegionFuel"` // of its most expensive region
	Frames  int64  `json:"frames"`            // that a call of it takes
}

// shownFunctions are how many functions inspect lists.
const shownFunctions = 5

func (p *program) moduleInspectCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "inspect MODULE",
		Short: "Show what a module is and wants",
		Long: `Show what a module says about itself and what is in it: manifest, imports by the
capability that they need, exports, sizes, and what its code costs at the least.
Nothing is compiled and no code runs. A signature beside it is named, not checked:
see module verify.`,
		Example: "  updraft module inspect ab-slot.wasm",
		Args:    arguments("MODULE"),
	}
	asJSON := c.Flags().Bool("json", false, "print it as JSON")
	c.ValidArgsFunction = cobra.FixedCompletions([]cobra.Completion{"wasm"}, cobra.ShellCompDirectiveFilterFileExt)
	c.RunE = func(_ *cobra.Command, args []string) error {
		e, err := examine(args[0])
		if err != nil {
			return err
		}
		got, err := e.inspect()
		if err != nil {
			return err
		}
		if *asJSON {
			return p.printJSON(got)
		}
		return p.printModule(got)
	}
	return c
}

func (e *examined) inspect() (inspectedModule, error) {
	memory, _, _ := e.limits()
	got := inspectedModule{File: e.file, SHA256: e.sha256, Size: e.info.Size, Manifest: e.manifest, Imports: map[string][]string{}, Unused: e.unused(),
		Exports: []string{}, Sections: []inspectedModuleSection{}, Functions: []inspectedFunction{},
		Memory: inspectedMemory{Start: e.info.Memory.Min, Asked: memory, Max: e.info.Memory.Max},
		Totals: inspectedTotals{Functions: int64(len(e.info.Functions)), Code: e.info.Code, Data: e.info.Data, Table: e.info.Table, Globals: e.info.Globals}}
	for c, names := range e.imports() {
		under := strings.TrimSuffix(string(c), ".")
		if c == "" {
			under = "core"
		}
		got.Imports[under] = names
	}
	for _, x := range e.info.Exports {
		got.Exports = append(got.Exports, x.Name)
	}
	for _, s := range e.info.Custom {
		got.Sections = append(got.Sections, inspectedModuleSection{s.Name, s.Size})
	}
	for _, f := range e.costliest(shownFunctions) {
		got.Functions = append(got.Functions, inspectedFunction{f.Name, f.Size, f.Entry, f.Largest, f.Weight})
	}
	var err error
	got.Signature, err = signatureBeside(e.file)
	return got, err
}

// signatureBeside names the signature of a file, "" if there is none.
func signatureBeside(name string) (string, error) {
	_, err := os.Stat(name + ".minisig")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", inputError(err)
	}
	return name + ".minisig", nil
}

// printModule says it in lines for people.
func (p *program) printModule(m inspectedModule) error {
	head := fmt.Sprintf("%s: %s %s, kind %s, contract %s", agent.Printable(m.File), agent.Printable(m.Manifest.Name), m.Manifest.Version, m.Manifest.Kind, m.Manifest.ABI.Min)
	if err := p.print("%s", head); err != nil {
		return err
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, agent.Printable(fmt.Sprintf(format, args...)))
	}
	line("sha256", "%s", m.SHA256)
	if m.Signature != "" {
		line("signature", "%s, not checked", m.Signature)
	} else {
		line("signature", "none beside it")
	}
	line("size", "%s: code %s in %d functions, data %s", agent.ByteCount(m.Size), agent.ByteCount(m.Totals.Code), m.Totals.Functions, agent.ByteCount(m.Totals.Data))
	line("phases", "%s", strings.Join(m.Manifest.Phases, " "))
	m.describe(line)
	for _, c := range slices.Sorted(maps.Keys(m.Imports)) {
		line("imports", "%s: %s", c, strings.Join(m.Imports[c], " "))
	}
	if len(m.Unused) > 0 {
		line("unused", "declared, but no import needs it: %s", words(m.Unused))
	}
	line("exports", "%s", strings.Join(m.Exports, " "))
	for _, s := range m.Sections {
		line("section", "%s, %s", s.Name, agent.ByteCount(s.Size))
	}
	for _, f := range m.Functions {
		line("costly", "%s: at least %d fuel to enter, %d in one go", functionName(f.Name), f.Entry, f.Largest)
	}
	return w.Flush()
}

// describe says what the manifest asks for.
func (m inspectedModule) describe(line func(name, format string, args ...any)) {
	if r := m.Manifest.Roles; len(r.Artifacts)+len(r.Targets) > 0 {
		line("roles", "artifacts %s, targets %s", orNone(r.Artifacts), orNone(r.Targets))
	}
	line("capabilities", "%s", orNone(m.Manifest.Capabilities))
	own := ""
	if m.Memory.Max >= 0 {
		own = fmt.Sprintf(", cannot use more than %s", agent.ByteCount(m.Memory.Max))
	}
	line("memory", "begins with %s, asks for %s%s", agent.ByteCount(m.Memory.Start), agent.ByteCount(m.Memory.Asked), own)
	if l := m.Manifest.Limits; l.Fuel > 0 || l.Wall > 0 {
		line("limits", "fuel %d, %d ms a phase (0: the default)", l.Fuel, l.Wall)
	}
	if m.Manifest.Access == abi.Random {
		line("access", "random: artifacts are stored before it begins")
	}
	if len(m.Manifest.Settings) > 0 {
		line("settings", "%s", m.Manifest.Settings)
	}
}

func functionName(name string) string {
	if name == "" {
		return "(no name)"
	}
	return name
}

func words[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, " ")
}

func orNone[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	return words(list)
}

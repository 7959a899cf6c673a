package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/adu/manifest"
	"github.com/updraft-ota/updraft/internal/disk"
)

// maxTwin bounds the file of an action. Its reader has a narrower limit of its
// own; this one keeps a wrong file out of memory.
const maxTwin = 1 << 20 // bytes

func (p *program) aduCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "adu",
		Short: "Check what Azure Device Update sends to devices",
		Long: `Decide on a desk what a device decides: whether an action of Azure Device Update
and a root key package are to be believed. It is the code of the agent, and the
reasons have the names that the reference agent has for them.`,
		Example: "  updraft adu verify action.json",
	}
	rootKeys := &cobra.Command{
		Use:     "rootkeys",
		Short:   "Check root key packages",
		Example: "  updraft adu rootkeys verify rootkeys.json",
	}
	rootKeys.AddCommand(p.aduRootKeysVerifyCommand())
	c.AddCommand(p.aduVerifyCommand(), rootKeys)
	return c
}

// aduVerdict is what both commands find.
type aduVerdict struct {
	File    string          `json:"file"`
	Verdict string          `json:"verdict"` // accept or reject
	Reason  manifest.Reason `json:"reason"`
	Detail  string          `json:"detail,omitempty"`
	// Extended is the extended result code as a device reports it.
	Extended string      `json:"extendedResultCode,omitempty"`
	Update   *aduUpdate  `json:"update,omitempty"`
	Package  *aduPackage `json:"rootKeyPackage,omitempty"`
}

// aduUpdate is what an action that is accepted asks for.
type aduUpdate struct {
	manifest.UpdateID
	Manifest int       `json:"manifestVersion"`
	Steps    []aduStep `json:"steps"`
	Files    []aduFile `json:"files"`
	// Next is the file with the next manifest, which this one only names.
	Next string `json:"nextManifest,omitempty"`
}

// aduStep has a handler, or the file with the manifest that stands for it.
type aduStep struct {
	Handler  string `json:"handler,omitempty"`
	Manifest string `json:"manifest,omitempty"`
}

type aduFile struct {
	Name   string `json:"fileName"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

// aduPackage is what a root key package that is accepted says.
type aduPackage struct {
	Version int64    `json:"version"`
	Test    bool     `json:"isTest"`
	Keys    []string `json:"rootKeys"` // ids
}

func (p *program) aduVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify ACTION",
		Short: "Check the signature and the manifest of an action",
		Long: `Check an action as the hub sends it: the desired properties of a twin,
{"deviceUpdate": {"service": {...}}} or the service object alone. It is accepted if
a key that a root key has signed vouches for the manifest byte for byte, and the
manifest has the form of version 4 or 5. Nothing is fetched: a manifest that is a
file of its own is named.

The root keys are those of the service, or of --root-keys, which are trusted as
they are. A rejected action exits 3, one that cannot be read 2.`,
		Example: "  updraft adu verify --root-keys rootkeys.json action.json",
		Args:    arguments("ACTION"),
	}
	rootKeys, asJSON := addRootKeys(c), addVerdictJSON(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		roots, err := trustedRoots(*rootKeys)
		if err != nil {
			return err
		}
		action, err := readDocument(args[0], maxTwin)
		if err != nil {
			return err
		}
		m, err := manifest.Verify(action, roots)
		if manifest.Why(err) == manifest.InvalidActionJSON {
			return usagef("%s: %w", agent.Printable(args[0]), err)
		}
		v := verdictOf(args[0], err)
		if err == nil {
			v.Update = updateOf(&m)
		}
		return p.giveVerdict(v, *asJSON)
	}
	return c
}

func (p *program) aduRootKeysVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check whether a device would take a root key package",
		Long: `Check a root key package as a device does that fetched it: every root key that the
device has from the beginning must have signed it, it must be for tests if and only if
those are, and it must not be older than the package in use.

The keys from the beginning are those of the service, or of --root-keys, and they
are also what is in use, unless --in-use names a package that came later. A
rejected package exits 3, one that cannot be read 2.`,
		Example: "  updraft adu rootkeys verify rootkeys-2.json --in-use rootkeys.json",
		Args:    arguments("FILE"),
	}
	rootKeys, asJSON := addRootKeys(c), addVerdictJSON(c)
	used := c.Flags().String("in-use", "", "root key package `FILE` that the device uses (default: that of --root-keys)")
	must(c.MarkFlagFilename("in-use", "json"))
	c.RunE = func(_ *cobra.Command, args []string) error {
		built, err := trustedRoots(*rootKeys)
		if err != nil {
			return err
		}
		inUse := built
		if *used != "" {
			if inUse, err = readRoots(*used); err != nil {
				return err
			}
			if inUse, err = built.Accept(inUse, manifest.Roots{}, built.Test); err != nil {
				return usagef("--in-use %s: no device with these root keys uses it: %w", agent.Printable(*used), err)
			}
		}
		next, err := readRoots(args[0])
		if err != nil {
			return err
		}
		_, err = built.Accept(next, inUse, built.Test)
		v := verdictOf(args[0], err)
		if err == nil {
			v.Package = &aduPackage{next.Version, next.Test, next.Kids()}
		}
		return p.giveVerdict(v, *asJSON)
	}
	return c
}

func addRootKeys(c *cobra.Command) *string {
	file := c.Flags().String("root-keys", "", "root key package `FILE` to trust (default: the root keys of the service)")
	must(c.MarkFlagFilename("root-keys", "json"))
	return file
}

func addVerdictJSON(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print the verdict as JSON")
}

// trustedRoots gives the keys of a file, or those of the service for no file.
func trustedRoots(file string) (manifest.Roots, error) {
	if file == "" {
		return manifest.Production(), nil
	}
	return readRoots(file)
}

func readRoots(file string) (manifest.Roots, error) {
	text, err := readDocument(file, manifest.MaxPackage)
	if err != nil {
		return manifest.Roots{}, err
	}
	roots, err := manifest.ParseRoots(text)
	if err != nil {
		return manifest.Roots{}, usagef("%s: %w", agent.Printable(file), err)
	}
	return roots, nil
}

// readDocument makes every error exit 2, also that of a folder: 1 would not say
// whether there is a verdict.
func readDocument(file string, limit int64) ([]byte, error) {
	text, err := readSmall(disk.OS(), file, limit)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return text, nil
}

func verdictOf(file string, err error) aduVerdict {
	v := aduVerdict{File: file, Verdict: "accept", Reason: manifest.Why(err)}
	var refusal *manifest.Refusal
	if errors.As(err, &refusal) {
		v.Verdict, v.Detail, v.Extended = "reject", refusal.Detail, fmt.Sprintf("%08X", v.Reason.Extended())
	}
	return v
}

func updateOf(m *manifest.Manifest) *aduUpdate {
	name := func(id string) string {
		f, _ := m.File(id) // a manifest that is accepted has every file that it names
		return f.Name
	}
	u := &aduUpdate{UpdateID: m.ID, Manifest: m.Version, Steps: []aduStep{}, Files: []aduFile{}}
	for _, s := range m.Steps {
		if id := s.Reference(); id != "" {
			u.Steps = append(u.Steps, aduStep{Manifest: name(id)})
		} else {
			u.Steps = append(u.Steps, aduStep{Handler: s.Handler})
		}
	}
	for _, f := range m.Files {
		u.Files = append(u.Files, aduFile{f.Name, f.Size, f.SHA256})
	}
	if next, more := m.Next(); more {
		u.Next = next.Name
	}
	return u
}

// giveVerdict prints the verdict, which is also the exit code.
func (p *program) giveVerdict(v aduVerdict, asJSON bool) error {
	err := error(nil)
	if asJSON {
		err = p.printJSON(v)
	} else {
		err = p.printVerdict(v)
	}
	if err == nil && v.Verdict != "accept" {
		err = ended(exitRefused)
	}
	return err
}

func (p *program) printVerdict(v aduVerdict) error {
	lines := []string{fmt.Sprintf("%s: %s: %s", v.File, v.Verdict, v.Reason)}
	if v.Detail != "" {
		lines[0] += fmt.Sprintf(": %s (a device reports %s)", v.Detail, v.Extended)
	}
	if u := v.Update; u != nil {
		if u.UpdateID != (manifest.UpdateID{}) {
			lines = append(lines, fmt.Sprintf("  update %s %s %s", u.Provider, u.Name, u.Version))
		}
		for i, s := range u.Steps {
			if s.Manifest != "" {
				s.Handler = "what the manifest " + s.Manifest + " says"
			}
			lines = append(lines, fmt.Sprintf("  step %d: %s", i+1, s.Handler))
		}
		for _, f := range u.Files {
			lines = append(lines, fmt.Sprintf("  file %s: %d bytes, sha256 %s", f.Name, f.Size, f.SHA256))
		}
		if len(u.Steps) == 0 {
			lines = append(lines, fmt.Sprintf("  the steps are in the manifest %s", u.Next))
		}
	}
	if r := v.Package; r != nil {
		kind := ""
		if r.Test {
			kind = ", for tests"
		}
		lines = append(lines, fmt.Sprintf("  version %d%s", r.Version, kind))
		for _, kid := range r.Keys {
			lines = append(lines, "  root key "+kid)
		}
	}
	for _, line := range lines {
		if err := p.print("%s", agent.Printable(line)); err != nil {
			return err
		}
	}
	return nil
}

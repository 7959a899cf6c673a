package conformance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

const (
	apiVersion = "updraft/v1"
	fileKind   = "ModuleTest"
	maxNoise   = 64 << 20 // bytes of generated content, which is held in memory
	maxContent = 64 << 20 // bytes of content from a file, likewise
)

// File is a test file: runs of one module, with what is expected of them.
// [Load] reads it.
type File struct {
	// Name is where it was read from.
	Name string
	// Module is the module's file, a path beside the test file.
	Module string `yaml:"module,required"`
	// Cases are the runs, in the order of the file.
	Cases []Case `yaml:"cases,required"`

	doc *document.Document
}

// Case is one run of the module.
type Case struct {
	// Name says what the case shows. No two of a file are equal.
	Name string `yaml:"name,required"`
	// Phases are called in this order. Without them it is what an update
	// calls: enumerate, compat, then prepare, install and commit, health and
	// cleanup, as far as the module serves them.
	Phases []string `yaml:"phases"`
	// Facts are those of the device.
	Facts map[string]string `yaml:"facts"`
	// With are the settings of the step.
	With map[string]any `yaml:"with"`
	// Artifacts are what the module reads, by role.
	Artifacts map[string]Content `yaml:"artifacts"`
	// Targets are what the module may change or read, by role.
	Targets map[string]Place `yaml:"targets"`
	// KV are key-values that an earlier call left.
	KV map[string]string `yaml:"kv"`
	// Mark is the mark that an earlier call left.
	Mark *string `yaml:"mark"`
	// Grants are the capabilities that the step grants one by one, such as
	// http:example.com or reboot. All others are granted anyway.
	Grants []string `yaml:"grants"`
	// Memory is the most that the module may ask for. The default is 64MiB.
	Memory int64 `yaml:"memory,size"`
	// Fuel is the most that a phase may use up. The default is the host's.
	Fuel int64 `yaml:"fuel"`
	// Wall is the real time that a phase may take. The default is the host's.
	Wall time.Duration `yaml:"wall"`
	// Now is where the clock stands, such as 2030-01-01T00:00:00Z. Only
	// sleeping moves it.
	Now string `yaml:"now"`
	// Expect is how the run ends.
	Expect Expect `yaml:"expect"`

	line int // of the case in the file
}

// Content is bytes, written as text or as a map with either a file or a size.
type Content struct {
	Text string
	// File is read whole, at most 64 MiB; a path beside the test file.
	File string `yaml:"file"`
	// Size is how many bytes to make up, at most 64MiB.
	Size int64 `yaml:"size,size"`
	// Seed makes other bytes of the same size.
	Seed uint64 `yaml:"seed"`
}

// UnmarshalText takes content that is written as text.
func (c *Content) UnmarshalText(text []byte) error {
	c.Text = string(text)
	return nil
}

// Check reports what is wrong across the fields.
func (c *Content) Check(report func(path, text string)) {
	switch {
	case c.File != "" && (c.Size != 0 || c.Seed != 0):
		report("file", "expected a file, or a size with a seed, not both")
	case c.Size < 0 || c.Size > maxNoise:
		report("size", fmt.Sprintf("expected 0 to %d bytes, found %d", maxNoise, c.Size))
	}
}

// Place is a target of a case.
type Place struct {
	// Type is slots, directory or file. The default is file.
	Type string `yaml:"type"`
	// Mode is write or read. The default is write.
	Mode string `yaml:"mode"`
	// Quota is how many bytes may be staged. The default is no limit.
	Quota int64 `yaml:"quota,size"`
	// Content is what the slot or file holds before.
	Content *Content `yaml:"content"`
	// Entries are the files of the directory's current version, by path.
	Entries map[string]Content `yaml:"entries"`
}

// Check reports what is wrong across the fields.
func (p *Place) Check(report func(path, text string)) {
	if p.Type != "" && !slices.Contains(placeTypes, p.Type) {
		report("type", document.Unknown("type", p.Type, placeTypes))
	}
	if p.Mode != "" && !slices.Contains(placeModes, p.Mode) {
		report("mode", document.Unknown("mode", p.Mode, placeModes))
	}
	if p.Content != nil && p.Type == string(device.Directory) {
		report("content", "a directory has entries, not content")
	}
	if p.Entries != nil && p.Type != string(device.Directory) {
		report("entries", "only a directory has entries; a slot or a file has content")
	}
	for path := range p.Entries {
		if !filepath.IsLocal(path) || strings.ContainsAny(path, "\\\x00") {
			report("entries", fmt.Sprintf("path %q: expected one below the directory, with slashes", path))
		}
	}
}

var (
	placeTypes = []string{string(device.Slots), string(device.Directory), string(device.File)}
	placeModes = []string{string(wasmhost.Read), string(wasmhost.Write)}
)

// Expect is how a run ends. What is left out is not looked at, but for the
// class, which is ok then.
type Expect struct {
	// Class is what the last phase returned: ok, restart, already-done,
	// incompatible or retry-later.
	Class string `yaml:"class"`
	// Error is the code with which the run ended instead, such as guest-failed.
	Error string `yaml:"error"`
	// Reason is part of what the module said about the result, or of the error.
	Reason string `yaml:"reason"`
	// Targets are what the targets hold then, by role.
	Targets map[string]Want `yaml:"targets"`
	// Log are parts of lines that the module wrote, in this order.
	Log []string `yaml:"log"`
	// KV are key-values that are left. Others may be there too.
	KV map[string]string `yaml:"kv"`
	// Mark is the mark that is left.
	Mark *string `yaml:"mark"`
	// FuelAtMost is what all phases together may use up.
	FuelAtMost int64 `yaml:"fuelAtMost"`
}

// Check reports what is wrong across the fields.
func (e *Expect) Check(report func(path, text string)) {
	if e.Class != "" && !slices.Contains(classNames[:abi.Failed], e.Class) {
		report("class", document.Unknown("class", e.Class, classNames[:abi.Failed]))
	}
	if e.Error != "" && !slices.Contains(codes, e.Error) {
		report("error", document.Unknown("code", e.Error, codes))
	}
	if e.Class != "" && e.Error != "" {
		report("error", "expected a class or an error, not both")
	}
}

var codes = []string{string(wasmhost.GuestFailed), string(wasmhost.GuestTrap), string(wasmhost.Fuel), string(wasmhost.Wall), string(wasmhost.Memory), string(wasmhost.Depth),
	string(wasmhost.Denied), string(wasmhost.ABI), string(wasmhost.InvalidModule), string(wasmhost.HostIO), string(wasmhost.Cancelled)}

// Want is what a target holds after the run.
type Want struct {
	// Committed says whether the run's content took hold.
	Committed *bool `yaml:"committed"`
	// Artifact is the role of an artifact whose bytes it holds.
	Artifact string `yaml:"artifact"`
	// SHA256 is the digest of what it holds; of a directory that of its listing.
	SHA256 string `yaml:"sha256"`
	// Text is what it holds.
	Text *string `yaml:"text"`
	// Entries are files of a directory, by path. Others may be there too.
	Entries map[string]Want `yaml:"entries"`
}

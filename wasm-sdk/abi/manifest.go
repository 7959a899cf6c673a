package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ErrManifest says that a manifest cannot be read or does not hold together.
var ErrManifest = errors.New("bad updraft.manifest")

// Kinds of modules.
const (
	KindInstall = "install" // serves install and commit
	KindCompat  = "compat"  // serves compat alone
	KindStep    = "step"    // any other phases
)

// Ways in which a module reads its artifacts.
const (
	Sequential = "sequential" // forwards only, while the bytes arrive
	Random     = "random"     // at any offset, after they were stored
)

// Manifest is what a module says about itself. The host reads it without
// running code.
type Manifest struct {
	Name    string `json:"name"`
	Version string `json:"version"` // semantic version
	Kind    string `json:"kind"`
	// ABI is the range of contract versions that the module works with.
	ABI    Range    `json:"abi"`
	Phases []string `json:"phases"`
	// Capabilities are all that the module may import; core needs none.
	Capabilities []Capability `json:"capabilities,omitempty"`
	Limits       Limits       `json:"limits,omitzero"`
	// Settings is the JSON Schema of the step's settings.
	Settings json.RawMessage `json:"settings,omitempty"`
	// Idempotent says that the module need not know what an earlier call did.
	Idempotent bool   `json:"idempotent,omitempty"`
	Roles      Roles  `json:"roles,omitzero"`
	Access     string `json:"access,omitempty"` // Sequential, the default, or Random
}

// Range is a range of versions such as "1.0", both ends included.
type Range struct {
	Min string `json:"min"`
	Max string `json:"max,omitempty"` // "" means Min
}

// Limits are what the module wants at the most; 0 is the host's default.
type Limits struct {
	Memory Bytes `json:"memory,omitempty"`
	// Fuel is for one phase.
	Fuel int64 `json:"fuel,omitempty"`
	// Wall is for one phase, in milliseconds.
	Wall int64 `json:"wallMs,omitempty"`
}

// Roles are the names that a workflow binds artifacts and targets to.
type Roles struct {
	Artifacts []string `json:"artifacts,omitempty"`
	Targets   []string `json:"targets,omitempty"`
}

// Bytes is a size that JSON writes as a number or as text such as "64MiB".
type Bytes int64

// UnmarshalJSON reads a number of bytes, or text with KiB, MiB or GiB.
func (b *Bytes) UnmarshalJSON(text []byte) error {
	s := strings.Trim(string(text), `"`)
	shift := 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(rest), bits
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<42>>shift {
		return fmt.Errorf("size %s: want bytes, or text such as \"64MiB\"", text)
	}
	*b = Bytes(n << shift)
	return nil
}

// Serves reports whether the module handles p.
func (m *Manifest) Serves(p Phase) bool { return slices.Contains(m.Phases, p.String()) }

// Wants reports whether the module declares c, or for a kind without a name
// any capability of that kind.
func (m *Manifest) Wants(c Capability) bool {
	return slices.ContainsFunc(m.Capabilities, func(d Capability) bool { return d == c || d.Kind() == c })
}

// DecodeManifest reads a manifest strictly: unknown and repeated fields are
// errors. Every error is [ErrManifest].
func DecodeManifest(text []byte) (Manifest, error) {
	var m Manifest
	if len(text) > MaxManifest {
		return m, fmt.Errorf("%w: %d bytes, at most %d", ErrManifest, len(text), MaxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: byte %d: %w", ErrManifest, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return m, fmt.Errorf("%w: byte %d: text after the end", ErrManifest, d.InputOffset())
	}
	if err := repeatedKey(json.NewDecoder(bytes.NewReader(text))); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.Validate(); err != nil {
		return m, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

// repeatedKey walks one JSON value that is known to be well-formed. The
// decoder above would take the last of two equal keys in silence.
func repeatedKey(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return err
			}
			// Field names match without regard to case.
			name := strings.ToLower(fmt.Sprint(key))
			if seen[name] {
				return fmt.Errorf("byte %d: field %q stands there twice", d.InputOffset(), key)
			}
			seen[name] = true
		}
		if err := repeatedKey(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// Validate says what is wrong with m, or nil.
func (m *Manifest) Validate() error {
	switch {
	case m.Name == "" || len(m.Name) > MaxKey:
		return fmt.Errorf("name: want 1 to %d bytes", MaxKey)
	case !semver(m.Version):
		return fmt.Errorf("version %q: want a semantic version such as 1.0.0", m.Version)
	case !slices.Contains([]string{KindInstall, KindCompat, KindStep}, m.Kind):
		return fmt.Errorf("kind %q: want install, compat or step", m.Kind)
	case !slices.Contains([]string{"", Sequential, Random}, m.Access):
		return fmt.Errorf("access %q: want sequential or random", m.Access)
	case len(m.Phases) == 0:
		return errors.New("phases: want at least one")
	}
	if err := m.validatePhases(); err != nil {
		return err
	}
	for _, c := range m.Capabilities {
		if !c.Valid() {
			return fmt.Errorf("capability %q: want some of %q; http, serial and exec may carry a name after a colon", c, Capabilities())
		}
	}
	if m.Limits.Fuel < 0 || m.Limits.Wall < 0 {
		return errors.New("limits: want numbers of at least 0")
	}
	for _, r := range slices.Concat(m.Roles.Artifacts, m.Roles.Targets) {
		if r == "" || len(r) > MaxKey || strings.ContainsAny(r, "/\x00") {
			return fmt.Errorf("role %q: want 1 to %d bytes without a slash", r, MaxKey)
		}
	}
	return m.ABI.validate()
}

func (m *Manifest) validatePhases() error {
	for i, name := range m.Phases {
		if PhaseNamed(name) == 0 {
			return fmt.Errorf("phase %q: want some of %q", name, phaseNames[:])
		}
		if slices.Contains(m.Phases[:i], name) {
			return fmt.Errorf("phase %q stands there twice", name)
		}
	}
	if m.Kind == KindInstall && (!m.Serves(Install) || !m.Serves(Commit)) {
		return errors.New("kind install: want the phases install and commit")
	}
	if m.Kind == KindCompat && (len(m.Phases) != 1 || !m.Serves(Compat)) {
		return errors.New("kind compat: want the phase compat alone")
	}
	return nil
}

func (r Range) validate() error {
	lowMajor, low, ok := Version(r.Min)
	if !ok {
		return fmt.Errorf("abi.min %q: want a version such as 1.0", r.Min)
	}
	if r.Max == "" {
		return nil
	}
	highMajor, high, ok := Version(r.Max)
	if !ok || highMajor < lowMajor || highMajor == lowMajor && high < low {
		return fmt.Errorf("abi.max %q: want a version such as 1.0, not below abi.min", r.Max)
	}
	return nil
}

// Version reads a contract version such as "1.0".
func Version(s string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(s, ".")
	if !found || !number(a) || !number(b) || len(s) > 9 {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(a)
	minor, _ = strconv.Atoi(b)
	return major, minor, true
}

// semver follows semver.org 2.0.0: three numbers, then identifiers.
func semver(s string) bool {
	s, build, hasBuild := strings.Cut(s, "+")
	s, pre, hasPre := strings.Cut(s, "-")
	parts := strings.Split(s, ".")
	if len(parts) != 3 || !number(parts[0]) || !number(parts[1]) || !number(parts[2]) {
		return false
	}
	return (!hasBuild || identifiers(build, false)) && (!hasPre || identifiers(pre, true))
}

func identifiers(s string, strict bool) bool {
	for id := range strings.SplitSeq(s, ".") {
		if id == "" || strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			return false
		}
		if strict && strings.Trim(id, "0123456789") == "" && !number(id) {
			return false
		}
	}
	return true
}

// number says whether s is a decimal without leading zeros.
func number(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}

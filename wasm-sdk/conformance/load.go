package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/updraft-ota/updraft/device"
	"github.com/updraft-ota/updraft/internal/disk"
	"github.com/updraft-ota/updraft/internal/document"
	"github.com/updraft-ota/updraft/wasm-sdk/abi"
	"github.com/updraft-ota/updraft/wasmhost"
)

// testFile is a test file as it stands in YAML.
type testFile struct {
	APIVersion string `yaml:"apiVersion,required"`
	Kind       string `yaml:"kind,required"`
	File       `yaml:",inline"`
}

// Load reads the text of a test file. All mistakes come at once, as
// [document.Problems] with file, line and column.
func Load(name string, data []byte) (*File, error) {
	doc, err := document.Load(name, data)
	if err != nil {
		return nil, err
	}
	var f testFile
	var problems document.Problems
	if err := doc.Decode(&f); err != nil && !errors.As(err, &problems) {
		return nil, err
	}
	if f.APIVersion != "" && f.APIVersion != apiVersion {
		problems = append(problems, doc.Problem("apiVersion", document.WrongKind, fmt.Sprintf("expected apiVersion %s, found %q", apiVersion, f.APIVersion)))
	}
	if f.Kind != "" && f.Kind != fileKind {
		problems = append(problems, doc.Problem("kind", document.WrongKind, fmt.Sprintf("expected kind %s, found %q", fileKind, f.Kind)))
	}
	f.Name, f.doc = name, doc
	seen := map[string]bool{}
	for i := range f.Cases {
		c := &f.Cases[i]
		at := fmt.Sprintf("cases[%d]", i)
		if n, whole := doc.Root.At(at); whole {
			c.line = n.Line
		}
		if c.Name != "" && seen[c.Name] {
			problems = append(problems, doc.Problem(at+".name", document.Conflict, fmt.Sprintf("a case with the name %q stands above", c.Name)))
		}
		seen[c.Name] = true
		for _, m := range c.mistakes() {
			put := doc.Problem
			if m.key {
				put = doc.KeyProblem
			}
			problems = append(problems, put(at+"."+m.path, m.code, m.text))
		}
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &f.File, nil
}

// mistake is what is wrong at a path below a case, or with the key there.
type mistake struct {
	path, code, text string
	key              bool
}

func (c *Case) mistakes() []mistake {
	var all []mistake
	add := func(path, code, text string) { all = append(all, mistake{path: path, code: code, text: text}) }
	for i, name := range c.Phases {
		if abi.PhaseNamed(name) == 0 {
			add(fmt.Sprintf("phases[%d]", i), document.BadValue, document.Unknown("phase", name, phaseNames()))
		}
	}
	for i, name := range c.Grants {
		if err := GrantError(name); err != nil {
			add(fmt.Sprintf("grants[%d]", i), document.BadValue, err.Error())
		}
	}
	for _, n := range []struct {
		path string
		fuel int64
	}{{"fuel", c.Fuel}, {"expect.fuelAtMost", c.Expect.FuelAtMost}} {
		if n.fuel < 0 {
			add(n.path, document.BadValue, fmt.Sprintf("expected at least 1, found %d", n.fuel))
		}
	}
	if c.Now != "" {
		if _, err := time.Parse(time.RFC3339, c.Now); err != nil {
			add("now", document.BadValue, fmt.Sprintf("expected a moment such as 2030-01-01T00:00:00Z, found %q", c.Now))
		}
	}
	for _, role := range slices.Sorted(maps.Keys(c.Expect.Targets)) {
		at := document.Join("expect.targets", role)
		place, ok := c.Targets[role]
		if !ok {
			text := document.Unknown("target", role, slices.Sorted(maps.Keys(c.Targets)))
			all = append(all, mistake{at, document.UnknownTarget, text, true})
			continue
		}
		w := c.Expect.Targets[role]
		if _, ok := c.Artifacts[w.Artifact]; w.Artifact != "" && !ok {
			add(at+".artifact", document.UnknownTarget, document.Unknown("artifact", w.Artifact, slices.Sorted(maps.Keys(c.Artifacts))))
		}
		if w.Entries != nil && place.Type != string(device.Directory) {
			add(at+".entries", document.Conflict, "only a directory has entries")
		}
	}
	return all
}

func phaseNames() []string {
	var names []string
	for p := abi.Compat; p <= abi.Enumerate; p++ {
		names = append(names, p.String())
	}
	return names
}

// GrantError says why name cannot be granted, nil if it can.
func GrantError(name string) error {
	c := abi.Capability(name)
	switch named := c.Kind() != abi.Reboot; {
	case c.Valid() && !c.Effect():
		return fmt.Errorf("%s is granted to every module: only http:HOST, serial:PORT, exec:NAME and reboot are named", name)
	case !c.Valid():
		var have []string
		for _, c := range abi.Capabilities() {
			have = append(have, string(c))
		}
		return errors.New(document.Unknown("capability", name, have))
	case named && c.Name() == "":
		return fmt.Errorf("%s needs a name, such as %s:%s", name, name, map[abi.Capability]string{abi.HTTP: "example.com", abi.Serial: "mcu1", abi.Exec: "reload"}[c])
	}
	return nil
}

// Path is where the module lies.
func (f *File) Path() string { return f.beside(f.Module) }

func (f *File) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(f.Name), name)
}

// Fits compares the roles and phases of the cases with those of the module.
// All mistakes come at once, as [document.Problems].
func (f *File) Fits(m abi.Manifest) error {
	var problems document.Problems
	add := func(path, text string) {
		problems = append(problems, f.doc.KeyProblem(path, document.UnknownTarget, text))
	}
	for i, c := range f.Cases {
		at := fmt.Sprintf("cases[%d].", i)
		for _, role := range slices.Sorted(maps.Keys(c.Artifacts)) {
			if !slices.Contains(m.Roles.Artifacts, role) {
				add(document.Join(at+"artifacts", role), document.Unknown("artifact role of the module", role, m.Roles.Artifacts))
			}
		}
		for _, role := range slices.Sorted(maps.Keys(c.Targets)) {
			if !slices.Contains(m.Roles.Targets, role) {
				add(document.Join(at+"targets", role), document.Unknown("target role of the module", role, m.Roles.Targets))
			}
		}
		for k, name := range c.Phases {
			if p := abi.PhaseNamed(name); p != 0 && !m.Serves(p) {
				problems = append(problems, f.doc.Problem(fmt.Sprintf("%sphases[%d]", at, k), document.BadValue, document.Unknown("phase of the module", name, m.Phases)))
			}
		}
	}
	return problems.Err()
}

// Where names a case by file and line.
func (f *File) Where(c *Case) string { return fmt.Sprintf("%s:%d", f.Name, c.line) }

// Setup makes the device of a case. Files that it names are read.
func (f *File) Setup(c *Case) (Setup, error) {
	s := Setup{Facts: c.Facts, Artifacts: map[string]*Blob{}, Targets: map[string]Target{}, KV: c.KV, Mark: c.Mark, Wall: c.Wall}
	var err error
	for _, name := range c.Grants {
		s.Grants = append(s.Grants, abi.Capability(name))
	}
	if c.With != nil {
		if s.Settings, err = json.Marshal(c.With); err != nil {
			return s, fmt.Errorf("%s: settings: %w", f.Where(c), err)
		}
	}
	if c.Now != "" {
		if s.Now, err = time.Parse(time.RFC3339, c.Now); err != nil {
			return s, fmt.Errorf("%s: %w", f.Where(c), err)
		}
	}
	for role, content := range c.Artifacts {
		if s.Artifacts[role], err = f.blob(content); err != nil {
			return s, fmt.Errorf("%s: artifact %s: %w", f.Where(c), role, err)
		}
	}
	for role, p := range c.Targets {
		if s.Targets[role], err = f.target(p); err != nil {
			return s, fmt.Errorf("%s: target %s: %w", f.Where(c), role, err)
		}
	}
	return s, nil
}

func (f *File) target(p Place) (Target, error) {
	t := Target{Type: device.Type(p.Type), Mode: wasmhost.Mode(p.Mode), Quota: p.Quota, Entries: map[string]*Blob{}}
	if t.Type == "" {
		t.Type = device.File
	}
	var err error
	if p.Content != nil {
		if t.Content, err = f.blob(*p.Content); err != nil {
			return t, err
		}
	}
	for path, content := range p.Entries {
		if t.Entries[path], err = f.blob(content); err != nil {
			return t, fmt.Errorf("%s: %w", path, err)
		}
	}
	return t, nil
}

// blob makes the bytes of content.
func (f *File) blob(c Content) (*Blob, error) {
	switch {
	case c.File != "":
		b, err := disk.ReadFile(disk.OS(), f.beside(c.File), maxContent)
		if err != nil {
			return nil, err
		}
		return Bytes(b), nil
	case c.Size > 0:
		return Noise(c.Size, c.Seed), nil
	}
	return Bytes([]byte(c.Text)), nil
}

// Granted are the capabilities that a case grants.
func (c *Case) Granted() []abi.Capability {
	granted := Allowed()
	for _, name := range c.Grants {
		granted = append(granted, abi.Capability(name))
	}
	return granted
}

// Limits are those of the case for the loading of its module.
func (c *Case) Limits() wasmhost.Limits {
	l := wasmhost.Limits{Memory: c.Memory, Fuel: c.Fuel}
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	return l
}

func (c *Case) phases() []abi.Phase {
	var list []abi.Phase
	for _, name := range c.Phases {
		list = append(list, abi.PhaseNamed(name))
	}
	return list
}

// ReadFile reads a test file of the machine.
func ReadFile(name string) (*File, error) {
	data, err := disk.ReadFile(disk.OS(), name, document.MaxBytes)
	if err != nil {
		return nil, err
	}
	return Load(name, data)
}

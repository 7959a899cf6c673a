package device

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/updraft-ota/updraft/internal/document"
)

const (
	apiVersion    = "updraft/v1"
	deviceKind    = "Device"
	defaultGuard  = "guard.bin"
	defaultMemory = 64 << 20 // bytes of memory for a module
)

// deviceFile is a device file as it stands in YAML.
type deviceFile struct {
	APIVersion string `yaml:"apiVersion,required"`
	Kind       string `yaml:"kind,required"`
	Config     `yaml:",inline"`
}

// Load reads the text of a device file. Paths in it are relative to the file
// and become absolute, defaults are filled in. All mistakes come at once, as
// [document.Problems] with file, line and column.
func Load(file string, data []byte) (Config, error) {
	doc, err := document.Load(file, data)
	if err != nil {
		return Config{}, err
	}
	var f deviceFile
	var problems document.Problems
	if err := doc.Decode(&f); err != nil && !errors.As(err, &problems) {
		return Config{}, err
	}
	add := func(path, code, text string) {
		p := doc.Problem(path, code, text)
		for _, have := range problems {
			if have.Line == p.Line && have.Column == p.Column {
				return // it follows from that one
			}
		}
		problems = append(problems, p)
	}
	if f.APIVersion != apiVersion && f.APIVersion != "" {
		add("apiVersion", document.WrongKind, fmt.Sprintf("expected apiVersion %s, found %s", apiVersion, quote(f.APIVersion)))
	}
	if f.Kind != deviceKind && f.Kind != "" {
		add("kind", document.WrongKind, fmt.Sprintf("expected kind %s, found %s", deviceKind, quote(f.Kind)))
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return Config{}, fmt.Errorf("find %s: %w", file, err)
	}
	if f.Trust.Require == RequireSignature && len(f.Trust.Keys) == 0 {
		add("trust", document.Missing, "trust.require: signature needs keys: [FILE…]; only require: sha256 or none goes without")
	}
	c := f.Config.from(abs)
	for _, m := range c.mistakes() {
		add(m.path, m.code, m.text)
	}
	if err := problems.Err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// from fills in where the file stands, and the defaults.
func (c Config) from(file string) Config {
	c.File = file
	at := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(file), name)
	}
	for name, f := range c.Facts {
		f.File = at(f.File)
		c.Facts[name] = f
	}
	for name, p := range c.Targets {
		for slot, image := range p.Slots {
			p.Slots[slot] = at(image)
		}
		p.Boot.File, p.Directory, p.File = at(p.Boot.File), at(p.Directory), at(p.File)
		c.Targets[name] = p
	}
	for name, p := range c.Serial {
		p.Path = at(p.Path)
		c.Serial[name] = p
	}
	for i := range c.Report.To {
		c.Report.To[i].File = at(c.Report.To[i].File)
	}
	for i, key := range c.Trust.Keys {
		c.Trust.Keys[i] = at(key)
	}
	if c.Guard == "" {
		c.Guard = defaultGuard
	}
	c.Guard = at(c.Guard)
	if c.Trust.Require == "" {
		c.Trust.Require = RequireSignature
	}
	if c.Modules.Memory == 0 {
		c.Modules.Memory = defaultMemory
	}
	if c.Modules.Isolation == "" {
		c.Modules.Isolation = IsolationNone
	}
	return c
}

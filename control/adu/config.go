package adu

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control/adu/manifest"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("adu configuration")

// maxCompat is how many names of compatibility the service takes.
const maxCompat = 5

// Config is what a dialect needs to know.
type Config struct {
	// Device is the device's id in the hub, or device/module.
	Device string `yaml:"device"`
	// Manufacturer and Model are what updates are made for.
	Manufacturer string `yaml:"manufacturer"`
	Model        string `yaml:"model"`
	// Properties are further device properties. Each is a name of
	// compatibility too: 3 at most.
	Properties map[string]string `yaml:"properties"`
	// Contract is the contract model. The default is "dtmi:azure:iot:deviceUpdateContractModel;3".
	Contract string `yaml:"contract"`
	// Version is what the device reports as its agent. The default is "DU;updraft/1.0".
	Version string `yaml:"version"`
	// RootKeys is the text of a root key package whose keys are trusted. The
	// default are the service's own.
	RootKeys string `yaml:"rootKeys"`
	// Test makes it a device for tests: it takes root key packages for tests, and no others.
	Test bool `yaml:"test"`
}

// Settings reads a Config from words, as an agent file has them: device,
// manufacturer, model, properties (NAME=VALUE,…), contract, version, rootKeys
// (the text of a root key package) and test (true, false). Errors wrap
// [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Device: words["device"], Manufacturer: words["manufacturer"], Model: words["model"],
		Contract: words["contract"], Version: words["version"], RootKeys: words["rootKeys"]}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "device", "manufacturer", "model", "contract", "version", "rootKeys":
		case "properties":
			c.Properties, err = readProperties(value)
		case "test":
			if c.Test = value == "true"; !c.Test && value != "false" {
				err = errors.New("want true or false")
			}
		default:
			err = errors.New("unknown (have contract, device, manufacturer, model, properties, rootKeys, test, version)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %.140q: %w", ErrConfig, key, value, err))
		}
	}
	_, err := c.filled().check()
	return c, errors.Join(append(wrong, err)...)
}

func readProperties(text string) (map[string]string, error) {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if _, twice := all[name]; !ok || twice {
			return nil, errors.New("want NAME=VALUE,NAME=VALUE with different names")
		}
		all[name] = value
	}
	return all, nil
}

// filled puts defaults in place of what is left out.
func (c Config) filled() Config {
	if c.Contract == "" {
		c.Contract = "dtmi:azure:iot:deviceUpdateContractModel;3"
	}
	if c.Version == "" {
		c.Version = "DU;updraft/1.0"
	}
	return c
}

var (
	deviceID     = regexp.MustCompile(`^[A-Za-z0-9.%_*?!(),:=@$'-]{1,128}(/[A-Za-z0-9.%_*?!(),:=@$'-]{1,128})?$`)
	propertyName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)
	propertyText = regexp.MustCompile(`^[ -~]{1,256}$`)
)

// taken are the names that the device properties have already.
var taken = []string{"manufacturer", "model", "contractModelId", "aduVer"}

// check names all that is wrong, and gives the roots that are trusted.
func (c Config) check() (manifest.Roots, error) {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if !deviceID.MatchString(c.Device) {
		add("device %.140q: want a device id of the hub, or DEVICE/MODULE", c.Device)
	}
	for _, field := range [][2]string{{"manufacturer", c.Manufacturer}, {"model", c.Model}, {"contract", c.Contract}, {"version", c.Version}} {
		if !propertyText.MatchString(field[1]) {
			add("%s %.140q: want 1 to 256 printable characters", field[0], field[1])
		}
	}
	if len(c.Properties) > maxCompat-2 {
		add("properties: %d, the limit is %d", len(c.Properties), maxCompat-2)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		if !propertyName.MatchString(name) || slices.Contains(taken, name) || !propertyText.MatchString(c.Properties[name]) {
			add("properties %.70q=%.140q: want another name than %s, of letters, digits and _, and 1 to 256 printable characters",
				name, c.Properties[name], strings.Join(taken, ", "))
		}
	}
	roots := manifest.Production()
	if c.RootKeys != "" {
		var err error
		if roots, err = manifest.ParseRoots([]byte(c.RootKeys)); err != nil {
			add("rootKeys: %w", err)
		} else if roots.Test != c.Test {
			add("rootKeys: the package is for tests: %t, the device is: %t", roots.Test, c.Test)
		}
	}
	return roots, errors.Join(wrong...)
}

// compat gives the names of compatibility, in the order in which they are reported.
func (c Config) compat() []string {
	return append([]string{"manufacturer", "model"}, slices.Sorted(maps.Keys(c.Properties))...)
}

// property gives a device property by its name, or by the name that manifests have for it.
func (c Config) property(name string) (string, bool) {
	known := map[string]string{"manufacturer": c.Manufacturer, "devicemanufacturer": c.Manufacturer, "model": c.Model, "devicemodel": c.Model}
	if value, ok := known[strings.ToLower(name)]; ok {
		return value, true
	}
	for key, value := range c.Properties {
		if strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}

// fits says whether an update is for this device: one of its entries must hold
// wholly. One without entries is for all.
func (c Config) fits(m *manifest.Manifest) bool {
	if len(m.Compatibility) == 0 {
		return true
	}
	return slices.ContainsFunc(m.Compatibility, func(entry map[string]string) bool {
		for name, want := range entry {
			if have, ok := c.property(name); !ok || !strings.EqualFold(have, want) {
				return false
			}
		}
		return true
	})
}

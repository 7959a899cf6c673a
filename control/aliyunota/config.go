package aliyunota

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/updraft-ota/updraft/control/aliyun"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("aliyunota configuration")

// DefaultModule is the module that messages leave out.
const DefaultModule = "default"

// maxModules bounds the modules of one device.
const maxModules = 8

// Config is what a dialect needs to know.
type Config struct {
	// Device names the device.
	Device aliyun.Device
	// Versions holds, by module, the version that runs at the first start, or
	// "" where only Running knows it. Upgrades of other modules are refused.
	// The default is the module [DefaultModule].
	Versions map[string]string
	// Running holds, by module, what the device's facts say that runs when the
	// dialect is made. It wins over what was saved, but for a module whose
	// job still runs: a version on trial is not told.
	Running map[string]string
	// Progress is the least time between two reports of progress. The default is
	// 3s; below 0 there are none but the first.
	Progress time.Duration
	// Ask makes the device ask for what is pending on each connect. Whether the
	// cloud waits for a failure still is asked in any case.
	Ask bool
}

// Settings reads a Config from words, as an agent file has them:
//
//	device    PRODUCTKEY.DEVICENAME
//	version   what runs at the first start: 1.0.1, or 1.0.1 MCU=2.0 for a device with a module MCU besides the default one
//	running   the same form, given by the agent from the device's facts
//	progress  the least time between two reports, such as 3s, or off
//	ask       true, the default, or false
//
// Errors wrap [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Ask: true}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "device":
			c.Device, err = aliyun.ParseDevice(value)
		case "version":
			c.Versions, err = parseVersions(value)
		case "running":
			c.Running, err = parseVersions(value)
		case "progress":
			if c.Progress = -1; value != "off" {
				c.Progress, err = time.ParseDuration(value)
			}
		case "ask":
			if c.Ask = value == "true"; !c.Ask && value != "false" {
				err = errors.New("want true or false")
			}
		default:
			err = errors.New("unknown (have ask, device, progress, running, version)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %.140q: %w", ErrConfig, key, value, err))
		}
	}
	if len(wrong) > 0 {
		return c, errors.Join(wrong...)
	}
	return c, c.check()
}

// parseVersions reads "1.0.1 MCU=2.0": the one without a name is the default module's.
func parseVersions(text string) (map[string]string, error) {
	versions := map[string]string{}
	for word := range strings.FieldsSeq(text) {
		module, version, named := strings.Cut(word, "=")
		if !named {
			module, version = DefaultModule, word
		}
		if _, twice := versions[module]; twice {
			return nil, fmt.Errorf("module %q stands there twice", module)
		}
		if module == "" {
			return nil, errors.New("want VERSION or MODULE=VERSION, separated by blanks")
		}
		versions[module] = version
	}
	return versions, nil
}

// check names all that is wrong, and fills in what is left out.
func (c *Config) check() error {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if err := c.Device.Check(); err != nil {
		add("%w", err)
	}
	if len(c.Versions) == 0 {
		c.Versions = map[string]string{DefaultModule: ""}
		for module := range c.Running {
			c.Versions[module] = ""
		}
	}
	if len(c.Versions) > maxModules {
		add("%d modules, the limit is %d", len(c.Versions), maxModules)
	}
	for _, of := range []map[string]string{c.Versions, c.Running} {
		for _, module := range slices.Sorted(maps.Keys(of)) {
			if err := aliyun.CheckWord(module); err != nil {
				add("module %.70q %w", module, err)
			}
			if version := of[module]; version != "" && aliyun.CheckWord(version) != nil {
				add("version %.70q of module %s %w", version, module, aliyun.CheckWord(version))
			}
		}
	}
	if c.Progress > 0 && c.Progress < time.Second {
		add("progress %v: want at least 1s, or off", c.Progress)
	}
	return errors.Join(wrong...)
}

func (c *Config) every() time.Duration {
	if c.Progress == 0 {
		return 3 * time.Second
	}
	return c.Progress
}

func (c *Config) has(module string) bool {
	_, ok := c.Versions[module]
	return ok
}

func (c *Config) modules() []string { return slices.Sorted(maps.Keys(c.Versions)) }

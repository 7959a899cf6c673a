package tencent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("tencent configuration")

// Method says how a password is signed.
type Method string

// The methods.
const (
	HMACSHA256 Method = "hmacsha256" // the default
	HMACSHA1   Method = "hmacsha1"
)

// Config is what a dialect and its connection need to know.
type Config struct {
	// Product is the product's id: up to 32 letters and digits.
	Product string `yaml:"product"`
	// Device is the device's name within the product: up to 64 letters, digits and _.:-
	Device string `yaml:"device"`
	// Version is what the device runs, in the words that the cloud has for
	// firmware versions: up to 32 characters. It counts until an update of
	// this cloud has succeeded, and again when it is another than it was then.
	Version string `yaml:"version"`
	// Progress is the least time between two reports of progress. The default is
	// one second, the least that the cloud allows.
	Progress time.Duration `yaml:"progress"`
	// Method says how the password is signed. The default is [HMACSHA256].
	Method Method `yaml:"method"`
	// App is the sdkappid in the user name. The default is 12010126, which
	// the cloud's documentation gives to all.
	App string `yaml:"app"`
	// Lifetime is how long a password is valid. The default is a day.
	Lifetime time.Duration `yaml:"lifetime"`
}

// defaultApp is the sdkappid of the cloud's documentation.
const defaultApp = "12010126"

// Settings reads a Config from words, as an agent file has them: product,
// device, version, progress and lifetime (durations such as 10s), method
// (hmacsha256, hmacsha1) and app. Errors wrap [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Product: words["product"], Device: words["device"], Version: words["version"], Method: Method(words["method"]), App: words["app"]}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		err := error(nil)
		switch key {
		case "app", "device", "method", "product", "version":
		case "lifetime":
			c.Lifetime, err = time.ParseDuration(words[key])
		case "progress":
			c.Progress, err = time.ParseDuration(words[key])
		default:
			err = errors.New("unknown (have app, device, lifetime, method, product, progress, version)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %q: %w", ErrConfig, key, words[key], err))
		}
	}
	return c, errors.Join(append(wrong, c.check())...)
}

// check names all that is wrong.
func (c Config) check() error {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if err := checkName(c.Product, 32, ""); err != nil {
		add("product %.80q: %w", c.Product, err)
	}
	if err := checkName(c.Device, 64, "_.:-"); err != nil {
		add("device %.80q: %w", c.Device, err)
	}
	if err := checkVersion(c.Version); err != nil {
		add("version %.80q: %w", c.Version, err)
	}
	if c.Progress != 0 && c.Progress < time.Second {
		add("progress %v: want at least 1s", c.Progress)
	}
	switch c.Method {
	case "", HMACSHA256, HMACSHA1:
	default:
		add("method %.80q: want hmacsha256 or hmacsha1", c.Method)
	}
	if err := checkName(c.App, 32, ""); c.App != "" && err != nil {
		add("app %.80q: %w", c.App, err)
	}
	if c.Lifetime != 0 && c.Lifetime < time.Minute {
		add("lifetime %v: want at least 1m", c.Lifetime)
	}
	return errors.Join(wrong...)
}

// checkName holds a name to what can stand in a topic and in a user name.
func checkName(name string, limit int, besides string) error {
	if name == "" || len(name) > limit {
		return fmt.Errorf("has %d bytes, want 1 to %d", len(name), limit)
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(besides, r):
		case besides == "":
			return fmt.Errorf("holds %q, want letters and digits", r)
		default:
			return fmt.Errorf("holds %q, want letters, digits and %s", r, besides)
		}
	}
	return nil
}

// checkVersion holds a version to what the cloud takes, and to what can stand
// in the id of a command and in a log line.
func checkVersion(version string) error {
	if version == "" || len(version) > maxVersion {
		return fmt.Errorf("has %d bytes, want 1 to %d", len(version), maxVersion)
	}
	for _, r := range version {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"#?\`, r) {
			return fmt.Errorf(`holds %q, want ASCII without blanks, ", #, ? and \`, r)
		}
	}
	return nil
}

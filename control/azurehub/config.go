package azurehub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("azurehub configuration")

// The shapes of [Config.Shape].
const (
	Flat     = "flat"     // of the Python sample; the default
	IoTHubDM = "iothubDM" // of the Node sample
	Firmware = "firmware" // of the tutorial that desires firmware in the twin
)

// Config is what a dialect needs to know.
type Config struct {
	// Device is the device's id in the hub, or DEVICE/MODULE for a module of it.
	Device string `yaml:"device"`
	// Shape says how updates are asked for and reported: [Flat], [IoTHubDM] or [Firmware].
	Shape string `yaml:"shape"`
	// Scheme, http or https, is put before a fwPackageUri that has none. Without it such a call is answered 400.
	Scheme string `yaml:"scheme"`
	// Plain takes http URLs in the shape [Firmware] too, which wants https
	// otherwise. The method of the other shapes takes both.
	Plain bool `yaml:"plain"`
	// Sample writes times as the Python sample does, local and without a zone.
	Sample bool `yaml:"sample"`
	// Progress, if not zero, reports the bytes that are there, at most once in
	// this time. Only [Firmware] has a place for it.
	Progress time.Duration `yaml:"progress"`
	// Version is the version that the device runs at its first start, if known. [Firmware] reports it.
	Version string `yaml:"version"`
	// Steps names the stage that begins with a step of the workflow: downloading,
	// verifying or applying. What it does not name follows from the bytes: verifying when all of them are
	// there, applying when the step that takes them is done.
	Steps map[string]string `yaml:"steps"`
}

// Settings reads a Config from words, as an agent file has them: device,
// shape, scheme, plain and sample (true, false), progress (a duration such as
// 10s), version, and steps (such as "write=applying check=verifying"). Errors wrap [ErrConfig]
// and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Device: words["device"], Shape: words["shape"], Scheme: words["scheme"], Version: words["version"]}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "device", "shape", "scheme", "version":
		case "plain":
			c.Plain, err = readBool(value)
		case "sample":
			c.Sample, err = readBool(value)
		case "progress":
			c.Progress, err = time.ParseDuration(value)
		case "steps":
			c.Steps, err = readSteps(value)
		default:
			err = errors.New("unknown (have device, plain, progress, sample, scheme, shape, steps, version)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %.140q: %w", ErrConfig, key, value, err))
		}
	}
	return c, errors.Join(append(wrong, c.check())...)
}

func readBool(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, errors.New("want true or false")
	}
	return value == "true", nil
}

func readSteps(value string) (map[string]string, error) {
	steps := map[string]string{}
	for _, pair := range strings.Fields(value) {
		step, stage, ok := strings.Cut(pair, "=")
		if !ok || step == "" {
			return nil, errors.New("want STEP=STAGE pairs with blanks between")
		}
		steps[step] = stage
	}
	return steps, nil
}

// check names all that is wrong.
func (c Config) check() error {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	device, module, both := strings.Cut(c.Device, "/")
	for _, id := range []string{device, module} {
		if err := checkID(id); err != nil && (id == device || both) {
			add("device %.140q: %w", c.Device, err)
			break
		}
	}
	if _, known := shapes[c.shape()]; !known {
		add("shape %.40q: want flat, iothubDM or firmware", c.Shape)
	}
	if c.Scheme != "" && c.Scheme != "http" && c.Scheme != "https" {
		add("scheme %.40q: want http or https", c.Scheme)
	}
	if c.Plain && c.shape() != Firmware {
		add("plain: the shape %.40s takes http anyway", c.shape())
	}
	if c.Progress != 0 && (c.Progress < time.Second || c.shape() != Firmware) {
		add("progress %v: want at least 1s, and the shape firmware", c.Progress)
	}
	if !isLine(c.Version, maxVersion) {
		add("version %.140q: want at most %d bytes without control characters", c.Version, maxVersion)
	}
	for _, step := range slices.Sorted(maps.Keys(c.Steps)) {
		if s := stage(c.Steps[step]); s != downloading && s != verifying && s != applying {
			add("steps: %.40q is %.40q, want downloading, verifying or applying", step, c.Steps[step])
		}
	}
	return errors.Join(wrong...)
}

func (c Config) shape() string {
	if c.Shape == "" {
		return Flat
	}
	return c.Shape
}

// checkID holds an id to the characters that the hub allows.
func checkID(id string) error {
	if id == "" || len(id) > 128 {
		return fmt.Errorf("has %d bytes, want 1 to 128", len(id))
	}
	for _, r := range id {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-.%_*?!(),:=@$'", r):
		default:
			return fmt.Errorf("holds %q, want letters, digits and -.%%_*?!(),:=@$'", r)
		}
	}
	return nil
}

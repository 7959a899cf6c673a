package awsjobs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("awsjobs configuration")

// Start says how the device takes the next job.
type Start string

// The ways to start.
const (
	// StartUpdate looks at the next job and sets it to IN_PROGRESS once the
	// command is durable. The default.
	StartUpdate Start = "update"
	// StartNext has the cloud set the next job to IN_PROGRESS when it hands it
	// out, before the device has seen it.
	StartNext Start = "start-next"
)

// Config is what a dialect needs to know.
type Config struct {
	// Device is the name of the thing: letters, digits and :_- up to 128. It
	// must be the client id too.
	Device string
	// Start says how the device takes the next job. The default is [StartUpdate].
	Start Start
	// Progress is the time between two updates of a running job. The default
	// is 30 s; a negative one says nothing between acceptance and end.
	Progress time.Duration
	// StepTimeout, if not zero, is in whole minutes how long the cloud waits
	// for the next update before it gives the job up as TIMED_OUT, up to a week.
	// News of progress starts it anew, so that Progress should be shorter.
	StepTimeout time.Duration
}

// Settings reads a Config from words, as an agent file has them: device, start
// (update, start-next), progress (a duration such as 10s, or off) and
// stepTimeout (such as 60m). Errors wrap [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Device: words["device"], Start: Start(words["start"])}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "device", "start":
		case "progress":
			if c.Progress = -1; value != "off" {
				c.Progress, err = time.ParseDuration(value)
				if err == nil && c.Progress < time.Second {
					err, c.Progress = errors.New("want at least 1s, or off"), 0
				}
			}
		case "stepTimeout":
			c.StepTimeout, err = time.ParseDuration(value)
		default:
			err = errors.New("unknown (have device, progress, start, stepTimeout)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %.140q: %w", ErrConfig, key, value, err))
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
	if err := checkName(c.Device, 128, ":_-"); err != nil {
		add("device %.140q: %w", c.Device, err)
	}
	if c.Start != "" && c.Start != StartUpdate && c.Start != StartNext {
		add("start %.140q: want update or start-next", c.Start)
	}
	if c.Progress > 0 && c.Progress < time.Second {
		add("progress %v: want at least 1s", c.Progress)
	}
	if t := c.StepTimeout; t != 0 && (t < time.Minute || t > 7*24*time.Hour || t%time.Minute != 0) {
		add("stepTimeout %v: want whole minutes, 1m to 168h", t)
	}
	return errors.Join(wrong...)
}

func (c Config) progress() time.Duration {
	if c.Progress == 0 {
		return 30 * time.Second
	}
	return c.Progress
}

// checkName holds a name to what the service allows in one.
func checkName(name string, most int, marks string) error {
	if name == "" || len(name) > most {
		return fmt.Errorf("has %d bytes, want 1 to %d", len(name), most)
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(marks, r):
		default:
			return fmt.Errorf("holds %s, want letters, digits and %s", strconv.QuoteRune(r), marks)
		}
	}
	return nil
}

package awsiot

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("awsiot configuration")

// Delivery says when a report counts as delivered.
type Delivery string

// The deliveries.
const (
	// OnAccepted: when the cloud answers on …/update/accepted with the
	// report's clientToken. The default, and the only one that shows that the
	// cloud has taken the report.
	OnAccepted Delivery = "accepted"
	// OnPublished: when the broker acknowledges the publish. For brokers
	// behind which nothing answers: a report that the broker loses is lost.
	OnPublished Delivery = "published"
)

// Config is what a dialect needs to know.
type Config struct {
	// Device is the device's id: letters, digits and ._:=~- up to 128.
	Device string
	// Topic is the topic of updates, in which {device} stands for Device. The default
	// is "state/{device}/update"; a named thing's own shadow is
	// "$aws/things/{device}/shadow/update".
	Topic string
	// Shadow, if given, is a shadow of the service itself instead of a Topic:
	// "classic", or "name/NAME" for a named one. The device then asks for the
	// whole document on each connect, rather than say what it reported last.
	Shadow string
	// Delivery says when a report counts as delivered. The default is [OnAccepted].
	Delivery Delivery
	// Text sends the result as the line "jobID:j-17 SUCCESS" or
	// "jobID:j-17FAILURE" instead of JSON, for clouds that read nothing else.
	// Both forms, with and without the space, are always understood.
	Text bool
	// Progress, if not zero, reports the progress of a running job, at most
	// once in this time. Each such report makes the cloud repeat the delta.
	Progress time.Duration
	// Quiet keeps the device from saying on connect what it reported last. A delta that
	// was lost while the device was away is then not noticed, unless there is a Shadow.
	Quiet bool
}

// Settings reads a Config from words, as an agent file has them: device,
// topic, shadow (classic, name/NAME), delivery (accepted, published), format
// (json, text), progress (a duration such as 10s) and quiet (true, false). Errors wrap [ErrConfig] and
// name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{Device: words["device"], Topic: words["topic"], Shadow: words["shadow"], Delivery: Delivery(words["delivery"])}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "device", "topic", "shadow", "delivery":
		case "format":
			if c.Text = value == "text"; value != "text" && value != "json" {
				err = fmt.Errorf("want json or text")
			}
		case "progress":
			c.Progress, err = time.ParseDuration(value)
		case "quiet":
			if c.Quiet = value == "true"; !c.Quiet && value != "false" {
				err = errors.New("want true or false")
			}
		default:
			err = errors.New("unknown (have delivery, device, format, progress, quiet, shadow, topic)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %q: %w", ErrConfig, key, value, err))
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
	if err := checkID(c.Device); err != nil {
		add("device %.140q: %w", c.Device, err)
	}
	switch t := c.topic(); {
	case strings.ContainsAny(t, "+#\x00 ") || strings.HasPrefix(t, "/") || strings.HasSuffix(t, "/") || len(t) > 512:
		add("topic %.140q: want at most 512 bytes without +, #, blanks, and a slash at neither end", t)
	case c.Topic != "" && !strings.Contains(c.Topic, "{device}"):
		add("topic %.140q: want {device} in it, so that no two devices share a shadow", c.Topic)
	}
	c.checkShadow(add)
	switch c.Delivery {
	case "", OnAccepted, OnPublished:
	default:
		add("delivery %q: want accepted or published", c.Delivery)
	}
	if c.Progress != 0 && (c.Progress < time.Second || c.Text) {
		add("progress %v: want at least 1s, and format json", c.Progress)
	}
	return errors.Join(wrong...)
}

// checkShadow holds a shadow of the service to the service's own rules.
func (c Config) checkShadow(add func(format string, args ...any)) {
	if c.Shadow == "" {
		return
	}
	name, named := strings.CutPrefix(c.Shadow, "name/")
	plain := func(r rune) bool {
		return r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(":_-", r))
	}
	strange := func(s string) bool { return strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) }
	if c.Shadow != "classic" && (!named || name == "" || len(name) > 64 || strange(name)) {
		add("shadow %.140q: want classic, or name/ and 1 to 64 letters, digits and :_-", c.Shadow)
	}
	switch {
	case strange(c.Device):
		add("device %.140q: a thing's name has letters, digits and :_- only", c.Device)
	case c.Topic != "":
		add("topic %.140q: shadow %.140q has topics of its own", c.Topic, c.Shadow)
	case c.Text:
		add("format text: a shadow of the service takes json only")
	}
}

func (c Config) topic() string {
	t := c.Topic
	switch {
	case c.Shadow == "classic":
		t = "$aws/things/{device}/shadow/update"
	case c.Shadow != "":
		t = "$aws/things/{device}/shadow/" + c.Shadow + "/update"
	case t == "":
		t = "state/{device}/update"
	}
	return strings.ReplaceAll(t, "{device}", c.Device)
}

// checkID holds an id to what can stand in a topic, a text and a log line.
func checkID(id string) error {
	if id == "" || len(id) > maxJobID {
		return fmt.Errorf("has %d bytes, want 1 to %d", len(id), maxJobID)
	}
	for _, r := range id {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._:=~-", r):
		default:
			return fmt.Errorf("holds %q, want letters, digits and ._:=~-", r)
		}
	}
	return nil
}

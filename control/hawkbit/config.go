package hawkbit

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("hawkbit configuration")

// The answers to a deployment that the server does not force.
const (
	SoftRun  = "run"  // as if it were forced
	SoftWait = "wait" // not before the server forces it, which it can do by itself at a set time
)

// Config is what a dialect needs to know.
type Config struct {
	// URL is the server: https://host[:port][/path], or http on this machine.
	URL string `yaml:"url"`
	// Tenant is the server's name for the customer. The default is "DEFAULT".
	Tenant string `yaml:"tenant"`
	// Device is the device's id, which hawkBit calls controller id: letters,
	// digits and ._:=~- up to 128.
	Device string `yaml:"device"`
	// Attributes are what the server may know of the device, such as its
	// model: at most 99, keys and values up to 128 bytes. "agent" is always there.
	Attributes map[string]string `yaml:"attributes"`
	// Files says which artifacts of a deployment the workflow takes, as
	// [NAME=]PART/FILE: PART is the type of the software module, FILE the
	// artifact's name, in which * and ? stand for any letters. NAME and an
	// underscore come before the inputs of that artifact. Each must be there exactly once.
	// The default is release.json if there is one, and else the only artifact that is
	// no signature.
	Files []string `yaml:"files"`
	// Soft is the answer to a deployment that is not forced. The default is [SoftRun].
	Soft string `yaml:"soft"`
	// Confirm says yes when the server asks whether it may. Otherwise somebody
	// says so at the server.
	Confirm bool `yaml:"confirm"`
	// Downloads gives the command "download" for a deployment that is to be
	// downloaded and not installed, or not yet. Otherwise the first ends as a
	// failure, and the second waits for its maintenance window.
	Downloads bool `yaml:"downloads"`
	// Progress, if not zero, reports how far a job is, at most once in this time.
	Progress time.Duration `yaml:"progress"`
}

// Settings reads a Config from words, as an agent file has them: url, tenant,
// device, attributes (key=value, with commas between), files (with blanks
// between), soft (run, wait), confirm and downloads (true, false) and progress
// (a duration such as 1m). Errors wrap [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	c := Config{URL: words["url"], Tenant: words["tenant"], Device: words["device"], Soft: words["soft"], Files: strings.Fields(words["files"])}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		switch key {
		case "url", "tenant", "device", "files", "soft":
		case "attributes":
			c.Attributes, err = readAttributes(value)
		case "confirm":
			c.Confirm, err = readSwitch(value)
		case "downloads":
			c.Downloads, err = readSwitch(value)
		case "progress":
			c.Progress, err = time.ParseDuration(value)
		default:
			err = errors.New("unknown (have attributes, confirm, device, downloads, files, progress, soft, tenant, url)")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%w: %s %.140q: %w", ErrConfig, key, value, err))
		}
	}
	return c, errors.Join(append(wrong, c.check())...)
}

func readSwitch(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, errors.New("want true or false")
	}
	return value == "true", nil
}

func readAttributes(text string) (map[string]string, error) {
	got := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(strings.TrimSpace(pair), "=")
		if _, twice := got[key]; !found || twice {
			return nil, errors.New("want key=value, with commas between, each key once")
		}
		got[key] = value
	}
	return got, nil
}

// check names all that is wrong.
func (c Config) check() error {
	var wrong []error
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if err := checkServer(c.URL); err != nil {
		add("url: %w", err)
	}
	if err := checkID(c.tenant()); err != nil {
		add("tenant %.140q: %w", c.Tenant, err)
	}
	if err := checkID(c.Device); err != nil {
		add("device %.140q: %w", c.Device, err)
	}
	if len(c.Attributes) > 99 {
		add("attributes: there are %d, want at most 99", len(c.Attributes))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Attributes)) {
		if key == "" || len(key) > 128 || len(c.Attributes[key]) > 128 || key == "agent" {
			add("attributes: %.140q: want keys of 1 to 128 bytes that are not agent, and values up to 128", key)
		}
	}
	if err := checkFiles(c.Files); err != nil {
		add("files: %w", err)
	}
	if c.Soft != "" && c.Soft != SoftRun && c.Soft != SoftWait {
		add("soft %.140q: want run or wait", c.Soft)
	}
	if c.Progress != 0 && c.Progress < 10*time.Second {
		add("progress %v: want at least 10s", c.Progress)
	}
	return errors.Join(wrong...)
}

// checkServer never quotes the URL: there may be a password in it.
func checkServer(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return errors.New("want https://host[:port][/path]")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("user, password, query and fragment do not belong into it")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("want https, or http and a server on this machine: the token would cross a network in the clear")
	case strings.Contains(u.EscapedPath(), "%") || strings.TrimSuffix(u.Path, "/") != "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/"):
		return errors.New("want a path without .., // and %")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errors.New("want a port from 1 to 65535")
		}
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkID holds an id to what can stand in a path and a log line.
func checkID(id string) error {
	if id == "" || len(id) > 128 {
		return fmt.Errorf("has %d bytes, want 1 to 128", len(id))
	}
	if strings.Trim(id, ".") == "" {
		return errors.New("holds dots alone")
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

func (c Config) tenant() string {
	if c.Tenant == "" {
		return "DEFAULT"
	}
	return c.Tenant
}

// base is the address of the device's own documents.
func (c Config) base() string {
	return strings.TrimSuffix(c.URL, "/") + "/" + c.tenant() + "/controller/v1/" + c.Device
}

// Ours says whether an address is one of the device's own documents or
// artifacts at the server, by scheme, host, port and path. Only requests to these
// may carry the token.
func (c Config) Ours(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return false
	}
	base, err := url.Parse(c.base())
	return err == nil && u.Scheme == base.Scheme && strings.EqualFold(u.Hostname(), base.Hostname()) &&
		port(u) == port(base) && below(base.Path, u)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// below says whether a path is that of the base or lies below it, however it is spelt.
func below(base string, u *url.URL) bool {
	clean := path.Clean(u.Path)
	return u.Path == base || clean == u.Path && strings.HasPrefix(u.Path, base+"/") && !strings.Contains(u.Path, "\\") &&
		!strings.Contains(strings.ToLower(u.EscapedPath()), "%2f")
}

package haas

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/updraft-ota/updraft/control/aliyun"
)

// ErrConfig is wrapped by every error of a configuration.
var ErrConfig = errors.New("haas configuration")

// Config is what a dialect needs to know. App is needed; of the others, what is
// left out gets the words of the vendor's own agent.
type Config struct {
	// Device names the device.
	Device aliyun.Device
	// App is the id of the app: 16 digits that begin with 88001000.
	App string
	// Version is the app's version at the first start, such as 0.0.1, the default.
	Version string
	// Running is what the device's facts say that runs when the dialect is
	// made, such as the version of the manifest of the running app. It wins over what was saved,
	// but while a job still runs: a version on trial is not told.
	Running string
	// Firmware is the version of the firmware below the app. The default is 0.0.1.
	Firmware string
	// MAC and IP are the device's addresses, which the cloud shows to people.
	MAC, IP string
	// Scenario is the use, "online" by default.
	Scenario string
	// Vendor is who made the firmware, "HaaSPython" by default.
	Vendor string
	// Build is the kind of firmware, "eng" by default.
	Build string
}

// Settings reads a Config from words, as an agent file has them: device
// (PRODUCTKEY.DEVICENAME), app, version, running, firmware, mac, ip, scenario,
// vendor and build. Errors wrap [ErrConfig] and name all that is wrong.
func Settings(words map[string]string) (Config, error) {
	var c Config
	var wrong []error
	into := map[string]*string{"app": &c.App, "version": &c.Version, "running": &c.Running, "firmware": &c.Firmware,
		"mac": &c.MAC, "ip": &c.IP, "scenario": &c.Scenario, "vendor": &c.Vendor, "build": &c.Build}
	for _, key := range slices.Sorted(maps.Keys(words)) {
		value, err := words[key], error(nil)
		if to, known := into[key]; known {
			*to = value
		} else if key == "device" {
			c.Device, err = aliyun.ParseDevice(value)
		} else {
			err = errors.New("unknown (have app, build, device, firmware, ip, mac, running, scenario, vendor, version)")
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

// check names all that is wrong, and fills in what is left out.
func (c *Config) check() error {
	var wrong []error
	add := func(key, value string, err error) {
		wrong = append(wrong, fmt.Errorf("%w: %s %.70q %w", ErrConfig, key, value, err))
	}
	if err := c.Device.Check(); err != nil {
		wrong = append(wrong, fmt.Errorf("%w: %w", ErrConfig, err))
	}
	if err := checkApp(c.App); err != nil {
		add("app", c.App, err)
	}
	if c.Version == "" {
		c.Version = "0.0.1"
	}
	for _, s := range []struct {
		key, usual string
		value      *string
	}{{"firmware", "0.0.1", &c.Firmware}, {"scenario", "online", &c.Scenario}, {"vendor", "HaaSPython", &c.Vendor}, {"build", "eng", &c.Build}} {
		if *s.value == "" {
			*s.value = s.usual
		}
		if err := aliyun.CheckWord(*s.value); err != nil {
			add(s.key, *s.value, err)
		}
	}
	if _, err := ParseVersion(c.Version); err != nil {
		add("version", c.Version, err)
	}
	if _, err := ParseVersion(c.Running); c.Running != "" && err != nil {
		add("running", c.Running, err)
	}
	if c.IP != "" {
		if _, err := netip.ParseAddr(c.IP); err != nil {
			add("ip", c.IP, errors.New("is no address"))
		}
	}
	if len(c.MAC) > 32 || strings.Trim(c.MAC, "0123456789abcdefABCDEF:-") != "" {
		add("mac", c.MAC, errors.New("is no hardware address"))
	}
	return errors.Join(wrong...)
}

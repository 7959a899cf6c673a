package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Push desires something of a device's classic shadow, as an application does, and gives the
// new version. A member that is nil is deleted. The device hears of it under
// both names of its topics. Errors wrap [cloudsim.ErrConfig] or [cloudsim.ErrState].
func (c *Cloud) Push(device string, desired map[string]any) (version int64, err error) {
	if err := c.refuses(device); err != nil {
		return 0, fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
	}
	version, messages, err := c.desire(device, "", desired)
	if err != nil {
		return 0, err
	}
	done := cloudsim.Done{Device: device, Text: fmt.Sprintf("shadow %d", version)}
	done.Job, _ = desired["jobID"].(string)
	done.URL, _ = desired["softwareURL"].(string)
	done.URL, _, _ = strings.Cut(done.URL, "?")
	c.sim.Tell(cloudsim.Event{Kind: cloudsim.EventOrder, Client: device, Done: done, Text: string(cloudsim.VerbPush)})
	c.sim.Send(messages...)
	return version, nil
}

// desire updates a shadow as an application does: the classic one under both its names.
func (c *Cloud) desire(device, name string, desired map[string]any) (version int64, out []message, err error) {
	raw, err := json.Marshal(desired)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: desired state: %w", cloudsim.ErrConfig, err)
	}
	names := shadowTopics(device)
	if name != "" {
		names = shadowTopics(device, name)[2:]
	}
	r := request{token: fmt.Sprintf("push-%d", c.pushes.Add(1)), desired: raw}
	err = c.sim.Book().Change(device, func(rec *cloudsim.Record) error {
		kept, err := thingOf(*rec)
		if err != nil {
			return err
		}
		old := kept.shadowNamed(name)
		u, refused := old.apply(r, c.sim.Now().Unix())
		if refused != nil {
			return fmt.Errorf("%w: desired state: %s", cloudsim.ErrConfig, refused.text)
		}
		if !kept.putShadow(name, u.next) {
			return fmt.Errorf("%w: a thing has at most %d named shadows here", cloudsim.ErrConfig, maxNamed)
		}
		for _, t := range names {
			out = append(out, c.accepted(t, r.token, old, u)...)
		}
		version = u.next.Version
		return rec.Write(kept)
	})
	if err != nil {
		return 0, nil, full(err)
	}
	return version, out, nil
}

// full makes an error of an order out of that of a full book.
func full(err error) error {
	if errors.Is(err, cloudsim.ErrTooMany) {
		return fmt.Errorf("%w: %w", cloudsim.ErrConfig, err)
	}
	return err
}

// pushShadow desires software, and what else the order has.
func (c *Cloud) pushShadow(o cloudsim.Order, name string, more map[string]any) (cloudsim.Done, []message, error) {
	kept, err := c.look(o.Device)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	desired := map[string]any{"jobID": o.Job}
	software, _ := kept.shadowNamed(name).Desired["softwareURL"].(string)
	if address, err := c.sim.Address(o.Software); err != nil {
		return cloudsim.Done{}, nil, err
	} else if address != "" {
		software = address
		desired["softwareURL"] = address
		desired["version"], desired["sha256"], desired["size"] = or(o.Given.Version), or(o.Given.SHA256), or(o.Given.Size) // nil: it was said of other software
		// What a file itself says is left out: no device reports it, so that it would stay a difference.
	}
	if software == "" {
		return cloudsim.Done{}, nil, fmt.Errorf("%w: a URL is missing: nothing is desired of %q yet", cloudsim.ErrConfig, o.Device)
	}
	for k := range more {
		switch {
		case k == "softwareURL" || k == "jobID":
			return cloudsim.Done{}, nil, fmt.Errorf("%w: %s is said by the URL and the job of the order", cloudsim.ErrConfig, k)
		case desired[k] != nil:
			return cloudsim.Done{}, nil, fmt.Errorf("%w: %s was given twice", cloudsim.ErrConfig, k)
		}
	}
	maps.Copy(desired, more)
	version, messages, err := c.desire(o.Device, name, desired)
	if err != nil {
		return cloudsim.Done{}, nil, err
	}
	return cloudsim.Done{Job: o.Job, URL: software, Text: fmt.Sprintf("shadow %d", version)}, messages, nil
}

// or is nil for the zero value.
func or[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

package aws

import (
	"context"
	"errors"

	"github.com/updraft-ota/updraft/control/cloudsim"
)

// Sim is a simulator with its cloud, for tests and demos that look into both.
type Sim struct {
	*cloudsim.Sim
	Cloud *Cloud
}

// Device is what the cloud knows of one: its classic shadow, and the ends of its updates.
type Device struct {
	Shadow
	Ends []cloudsim.End
}

// Start starts a simulator of AWS IoT that lets in whoever has a name, as
// [cloudsim.Start] does.
func Start(cfg cloudsim.Config) (*Sim, error) {
	c, err := New(Config{})
	if err != nil {
		return nil, err
	}
	s, err := cloudsim.Start(cfg, c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &Sim{s, c}, nil
}

// Push is [Cloud.Push].
func (s *Sim) Push(device string, desired map[string]any) (version int64, err error) {
	return s.Cloud.Push(device, desired)
}

// Device is what the cloud knows of a device; nothing if its record is damaged.
func (s *Sim) Device(name string) Device {
	r, _ := s.Book().Look(name)
	return deviceOf(r)
}

func deviceOf(r cloudsim.Record) Device {
	t, err := thingOf(r)
	if err != nil {
		return Device{}
	}
	return Device{t.Shadow, r.Ends}
}

// Wait waits until a device is as ok wants it, or ctx ends.
func (s *Sim) Wait(ctx context.Context, name string, ok func(Device) bool) (Device, error) {
	r, err := s.Sim.Wait(ctx, name, func(r cloudsim.Record) bool { return ok(deviceOf(r)) })
	return deviceOf(r), err
}

// Devices are the names of all devices that the cloud keeps, sorted.
func (s *Sim) Devices() []string { return s.Book().Devices() }

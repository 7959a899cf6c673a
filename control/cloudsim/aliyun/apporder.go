package aliyun

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/updraft-ota/updraft/control/cloudsim"
	"github.com/updraft-ota/updraft/control/haas"
)

// Verbs is push alone.
func (h *HaaS) Verbs() []cloudsim.Verb { return []cloudsim.Verb{cloudsim.VerbPush} }

var appID = regexp.MustCompile(`^88001000[0-9]{8}$`)

// newPush makes a push of an order.
func newPush(o cloudsim.Order) (*push, error) {
	set, err := settings(o.Set, "appId", "errorCode", "needRestart", "needUpdateFirmware", "rollingBack")
	if err != nil {
		return nil, err
	}
	p := &push{Job: o.Job, App: set.Text("appId"), Version: o.Software.Version, Package: o.Software, Back: set.Flag("rollingBack"),
		Restart: set.Flag("needRestart"), Firmware: set.Flag("needUpdateFirmware"), ErrorCode: cmp.Or(set.Word("errorCode"), "200")}
	_, bad := haas.ParseVersion(p.Version)
	switch {
	case set.Err != nil:
		return nil, fmt.Errorf("%w: set: %w", cloudsim.ErrConfig, set.Err)
	case !appID.MatchString(p.App):
		return nil, fmt.Errorf("%w: set: appId %.40q, expected 16 digits that begin with 88001000", cloudsim.ErrConfig, p.App)
	case bad != nil:
		return nil, fmt.Errorf("%w: version %.40q %w", cloudsim.ErrConfig, p.Version, bad)
	case o.Delta != nil || o.Source != nil:
		return nil, fmt.Errorf("%w: the HaaS cloud has no deltas", cloudsim.ErrConfig)
	}
	return p, checkSoftware(p.Package, "MD5")
}

// Order pushes an app.
func (h *HaaS) Order(_ context.Context, order cloudsim.Order) (done cloudsim.Done, out []cloudsim.Message, err error) {
	if err := h.checkOrder(order); err != nil {
		return done, nil, err
	}
	p, err := newPush(order)
	if err != nil {
		return done, nil, err
	}
	address, err := h.sim.Address(p.Package)
	if err != nil {
		return done, nil, err
	}
	there := false
	err = change(h.door, order.Device, func(d *haasDoc, n *news) error {
		if err := d.add(p, n); err != nil {
			return err
		}
		if there = h.sim.Connected(order.Device); there {
			p.Call = nextID(&d.Last, h.sim.Now())
		}
		return nil
	})
	if err != nil {
		return left(order, err)
	}
	done = cloudsim.Done{Job: p.Job, URL: address, Text: fmt.Sprintf("app %s to %s, when the device asks", p.App, p.Version)}
	if there {
		done.Text = fmt.Sprintf("app %s to %s, called", p.App, p.Version)
		out = h.offer(order.Device, []call{{p.Call, []*push{p}}})
	}
	return done, out, nil
}

// add puts a push in the place of the open one of its app, if there is one.
func (d *haasDoc) add(p *push, n *news) error {
	if slices.ContainsFunc(d.Pushes, func(known *push) bool { return known.Job == p.Job }) {
		return fmt.Errorf("%w: there is a job %s already", cloudsim.ErrConfig, p.Job)
	}
	if _, known := d.Apps[p.App]; !known && len(d.Apps) >= maxApps {
		return fmt.Errorf("%w: %d apps, the limit is %d", cloudsim.ErrConfig, len(d.Apps)+1, maxApps)
	}
	if !d.news(p) {
		return skipped{fmt.Sprintf("app %s runs %s, and %s is not higher; rollingBack is for others", p.App, d.Apps[p.App], p.Version)}
	}
	if now := d.current(p.App); now != nil {
		if now.Version == p.Version {
			return skipped{fmt.Sprintf("job %s of the same version has no result yet", now.Job)}
		}
		now.Result = replaced
		n.ends = append(n.ends, now.end())
	}
	if len(d.Pushes) >= maxPushes {
		i := slices.IndexFunc(d.Pushes, func(p *push) bool { return p.Result != "" })
		if i < 0 { // as many apps as there may be were pushed and never said
			return fmt.Errorf("%w: %d pushes without a result", cloudsim.ErrConfig, len(d.Pushes))
		}
		d.Pushes = slices.Delete(d.Pushes, i, i+1)
	}
	d.Pushes = append(d.Pushes, p)
	return nil
}

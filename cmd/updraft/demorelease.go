package main

import (
	"context"
	"fmt"
	"os"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/internal/trust"
)

// release signs what the device will be given.
func (d *demo) release(ctx context.Context) error {
	d.page.chapter("Release: sign them, two of them with a delta from the version before")
	if err := d.updraft(ctx, true, "keys", "new", "release", "--no-password"); err != nil {
		return err
	}
	for i, v := range []struct{ version, before string }{{better, factory}, {broken, better}, {patched, ""}} {
		out := "releases/" + v.version
		args := []string{"release", "new", "--name", "gateway", "--version", v.version, "--artifact", "image=build/gateway-" + v.version}
		if v.before != "" {
			args = append(args, "--delta-from", "image=build/gateway-"+v.before)
		}
		if err := d.updraft(ctx, i == 0, append(args, "--out", out)...); err != nil {
			return err
		}
		if err := d.updraft(ctx, i == 0, "release", "sign", out, "--key", "release.key"); err != nil {
			return err
		}
		_, delta, err := d.deltaOf(v.version)
		if err != nil {
			return err
		}
		f := facts{"version": v.version, "image": d.images[v.version].size}
		text := fmt.Sprintf("%s: image %s", v.version, agent.ByteCount(d.images[v.version].size))
		if delta > 0 {
			f["delta"] = delta
			text += fmt.Sprintf(", delta from %s %s", v.before, agent.ByteCount(delta))
		}
		d.page.tell("release", "released", f, "%s", text)
	}
	return nil
}

// deltaOf gives the file of the delta to a version, and its bytes; none is "".
func (d *demo) deltaOf(version string) (file string, size int64, err error) {
	name := d.path("releases/" + version + "/" + manifestName)
	text, err := os.ReadFile(name)
	if err != nil {
		return "", 0, err
	}
	r, err := trust.ParseRelease(name, text)
	if err != nil || len(r.Artifacts) != 1 || len(r.Artifacts[0].Deltas) == 0 {
		return "", 0, err
	}
	return r.Artifacts[0].Deltas[0].URL, r.Artifacts[0].Deltas[0].Size, nil
}

package main

import (
	"context"

	"github.com/updraft-ota/updraft/agent"
	"github.com/updraft-ota/updraft/control/cloudsim"
)

// update brings the device to the better version, by a delta.
func (d *demo) update(ctx context.Context) error {
	d.page.chapter("The cloud asks for 2.0.0")
	if err := d.cloud.ask(better); err != nil {
		return err
	}
	if err := d.restart(ctx, "b", better, better); err != nil {
		return err
	}
	if err := d.hears(ctx, better, "SUCCESS", "", ""); err != nil {
		return err
	}
	file, size, err := d.deltaOf(better)
	if err != nil {
		return err
	}
	delta, full := d.cloud.served(better, file), d.cloud.served(better, "image")
	if err := d.promise(delta.Bytes == size && full.Requests == 0,
		"the file server gave %d bytes of the delta, want %d, and %d of the image, want none", delta.Bytes, size, full.Bytes); err != nil {
		return err
	}
	whole := d.images[better].size
	d.page.tell("checked", "checked", facts{"promise": "delta instead of the image", "delta": size, "image": whole},
		"the file server gave a delta of %s instead of the image of %s: %.2f %%", agent.ByteCount(size), agent.ByteCount(whole), 100*float64(size)/float64(whole))
	if err := d.slots("ab-slot.wasm wrote slot b, and slot a is untouched", d.images[factory], d.images[better]); err != nil {
		return err
	}
	return d.standing(ctx, "b", better, better)
}

// comeBack tries a version that is not healthy.
func (d *demo) comeBack(ctx context.Context) error {
	d.page.chapter("The cloud asks for 3.0.0, which starts but is never healthy")
	if err := d.cloud.ask(broken); err != nil {
		return err
	}
	if err := d.restart(ctx, "a", broken, unhealthy); err != nil {
		return err
	}
	if err := d.restart(ctx, "b", better, better); err != nil {
		return err
	}
	if err := d.hears(ctx, broken, "FAILURE", "rolled_back", "probe"); err != nil {
		return err
	}
	if err := d.slots("the device runs 2.0.0 again, and slot b is untouched", d.images[broken], d.images[better]); err != nil {
		return err
	}
	return d.standing(ctx, "b", better, better)
}

const (
	slowRate  = 384 << 10       // bytes a second
	mostTwice = 1<<20 + 128<<10 // bytes: what lies between two checkpoints, and what was under way
)

// goOn kills the agent in mid-download.
func (d *demo) goOn(ctx context.Context) error {
	d.page.chapter("The cloud asks for 2.1.0, the network is slow, and the agent is killed")
	if err := d.cloud.sim.SetFault(cloudsim.Fault{Kind: cloudsim.FaultSlow, Rate: slowRate}); err != nil {
		return err
	}
	d.page.tell("", "network", facts{"slow": true}, "")
	if err := d.cloud.ask(patched); err != nil {
		return err
	}
	err := until(ctx, endTime, "the cloud sees a third of the download", func() (bool, error) {
		done, total := d.cloud.sees(jobOf(patched))
		more := d.cloud.served(patched, "image").Bytes - done // than is in the slot for certain
		return total > 0 && 3*done >= total && more >= 64<<10, d.agent.runs()
	})
	if err != nil {
		return err
	}
	d.agent.kill()
	d.agentEnds("is killed in mid-download: kill -9")
	before := d.cloud.served(patched, "image").Bytes
	if err := d.cloud.sim.SetFault(cloudsim.Fault{Kind: cloudsim.FaultNone}); err != nil {
		return err
	}
	d.page.tell("cloud", "network", facts{"slow": false}, "the network is as fast as before")
	if err := d.startAgent(ctx); err != nil {
		return err
	}
	if err := d.restart(ctx, "a", patched, patched); err != nil {
		return err
	}
	if err := d.hears(ctx, patched, "SUCCESS", "", ""); err != nil {
		return err
	}
	size, served := d.images[patched].size, d.cloud.served(patched, "image")
	twice := served.Bytes - size
	if err := d.promise(before < size && twice >= 0 && twice < before && twice <= mostTwice,
		"the file server gave %d bytes until the kill and %d in all, of a file of %d", before, served.Bytes, size); err != nil {
		return err
	}
	d.page.tell("checked", "checked", facts{"promise": "goes on where it was", "image": size, "beforeKill": before, "twice": twice},
		"it went on where it was: of %s only %s came twice", agent.ByteCount(size), agent.ByteCount(twice))
	if err := d.slots("2.1.0 is in slot a, and slot b is untouched", d.images[patched], d.images[better]); err != nil {
		return err
	}
	return d.standing(ctx, "a", patched, patched)
}

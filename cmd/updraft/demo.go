package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/updraft-ota/updraft/agent"
)

func (p *program) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show an update, one that fails and comes back, and one that is there already",
		Long: `Build a small program in three versions, sign releases with deltas, and update a
device of two slots that lies in a folder: to 2.0.0 with real restarts, to a 3.0.0
that is never healthy and comes back, and to 2.0.0 again. Each command is shown
with what it says, and the folder stays. Neither network nor root is needed, but
the source of updraft and Go, since the program is built here.`,
		Example:           "  updraft demo --keep /tmp/look",
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	keep := c.Flags().String("keep", "", "folder `DIR` to work in, which is new or empty (default one among the temporary files)")
	must(c.MarkFlagDirname("keep"))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		source, err := findSource()
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		dir, err := demoFolder(*keep)
		if err != nil {
			return err
		}
		d := &demo{p: p, page: newPage(p), self: self, source: source, dir: dir, began: time.Now()}
		if err := d.show(cmd.Context()); err != nil {
			p.say("the folder of the demo is %s", dir)
			return err
		}
		return nil
	}
	return c
}

// demoFolder makes the folder of a demo, or takes an empty one.
func demoFolder(keep string) (string, error) {
	if keep == "" {
		return os.MkdirTemp("", "updraft-demo-")
	}
	dir, err := filepath.Abs(keep)
	if err != nil {
		return "", usagef("--keep: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", usagef("--keep: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return "", usagef("--keep: %w", err)
	}
	if len(there) > 0 {
		return "", usagef("--keep %s: expected a new or empty folder, it holds %s", keep, there[0].Name())
	}
	return dir, nil
}

// The versions of the demo, in the order of their appearance.
const (
	factory = "1.0.0"
	better  = "2.0.0"
	broken  = "3.0.0"
)

// demo is one telling of the story, in a folder of its own.
type demo struct {
	p       *program
	page    *page
	self    string // this program
	source  string // root of updraft's source
	dir     string // of the demo; all paths in commands are relative to it
	began   time.Time
	images  map[string]image // built, by version
	machine *machine         // nil until the device is set up
}

// image is one version of the program, built.
type image struct {
	sha256 string // lower-case hex
	size   int64  // bytes
}

// show tells the whole story. Whatever it started has ended when it returns.
func (d *demo) show(ctx context.Context) (err error) {
	defer func() {
		if d.machine != nil {
			err = errors.Join(err, d.machine.off())
		}
	}()
	d.page.title("updraft demo, in %s", d.dir)
	for _, chapter := range []func(context.Context) error{
		d.build, d.release, d.setUp, d.update, d.comeBack, d.again, d.reports,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return d.farewell()
}

// release signs what the device will be given.
func (d *demo) release(ctx context.Context) error {
	d.page.chapter("Release: sign 2.0.0 and 3.0.0, each with a delta from the version before")
	if _, err := d.updraft(ctx, exitSucceeded, "keys", "new", "release", "--no-password"); err != nil {
		return err
	}
	for _, v := range []struct{ version, before string }{{better, factory}, {broken, better}} {
		out := "releases/" + v.version
		if _, err := d.updraft(ctx, exitSucceeded, "release", "new", "--name", "gateway", "--version", v.version,
			"--artifact", "image=build/gateway-"+v.version, "--delta-from", "image=build/gateway-"+v.before, "--out", out); err != nil {
			return err
		}
		if _, err := d.updraft(ctx, exitSucceeded, "release", "sign", out, "--key", "release.key"); err != nil {
			return err
		}
	}
	return nil
}

// setUp makes the device as it left the factory, and starts it.
func (d *demo) setUp(ctx context.Context) error {
	d.page.chapter("Device: two slots, 1.0.0 in slot a")
	for from, to := range map[string]string{
		filepath.Join(d.source, "examples", "demo", "workflow.yaml"): "workflow.yaml",
		filepath.Join(d.source, "examples", "demo", "device.yaml"):   "device/device.yaml",
		filepath.Join(d.dir, "release.pub"):                          "device/release.pub",
		filepath.Join(d.dir, "build", "gateway-"+factory):            "device/slot-a.img",
		os.DevNull: "device/slot-b.img", // empty
	} {
		if err := copyFile(from, d.path(to), 0o644); err != nil {
			return err
		}
	}
	if err := writeFactoryBoot(d.path("device/boot.json"), d.images[factory]); err != nil {
		return err
	}
	config, err := agent.LoadDevice(d.path("device/device.yaml"))
	if err != nil {
		return err
	}
	if d.machine, err = newMachine(config, d.path("device/run"), d.p.stderr); err != nil {
		return err
	}
	if err := d.powerCycle(ctx, "a", factory, factory); err != nil {
		return err
	}
	return d.slots("a holds 1.0.0, b is empty", d.images[factory], image{sha256: hexSum(sha256.New())})
}

// update brings the device to the better version.
func (d *demo) update(ctx context.Context) error {
	d.page.chapter("Update to 2.0.0")
	said, err := d.run(ctx, exitWaiting, "to-2", better)
	if err != nil {
		return err
	}
	delta, full, err := d.deltaOf(better)
	if err != nil {
		return err
	}
	if err := d.expect(said.has(fmt.Sprintf("delta of %d bytes", delta)), "the delta was not used"); err != nil {
		return err
	}
	d.page.note("fetched %s as a delta instead of %s, %.2f %%", agent.ByteCount(delta), agent.ByteCount(full), 100*float64(delta)/float64(full))
	if err := d.slots("ab-slot.wasm wrote b, a is untouched", d.images[factory], d.images[better]); err != nil {
		return err
	}
	if err := d.powerCycle(ctx, "b", better, better); err != nil {
		return err
	}
	if _, err := d.resume(ctx, exitSucceeded); err != nil {
		return err
	}
	return d.standing(ctx, "b", better, better)
}

// comeBack tries a version that is not healthy.
func (d *demo) comeBack(ctx context.Context) error {
	d.page.chapter("Update to 3.0.0, which starts but is never healthy")
	if _, err := d.run(ctx, exitWaiting, "to-3", broken); err != nil {
		return err
	}
	if err := d.powerCycle(ctx, "a", broken, unhealthy); err != nil {
		return err
	}
	if _, err := d.resume(ctx, exitWaiting); err != nil {
		return err
	}
	if err := d.powerCycle(ctx, "b", better, better); err != nil {
		return err
	}
	if _, err := d.resume(ctx, exitRolledBack); err != nil {
		return err
	}
	if err := d.slots("b is untouched, a is not bootable", d.images[broken], d.images[better]); err != nil {
		return err
	}
	return d.standing(ctx, "b", better, better)
}

// again asks for what the device runs already.
func (d *demo) again(ctx context.Context) error {
	d.page.chapter("Update to 2.0.0 again")
	before, err := readImage(d.path("device/boot.json"))
	if err != nil {
		return err
	}
	if _, err := d.run(ctx, exitSucceeded, "to-2-again", better); err != nil {
		return err
	}
	after, err := readImage(d.path("device/boot.json"))
	if err != nil {
		return err
	}
	if err := d.expect(before == after, "the boot state was changed"); err != nil {
		return err
	}
	d.page.note("nothing written and nothing restarted: slot %s still runs as pid %d", d.machine.slot, d.machine.pid())
	return d.slots("as before", d.images[broken], d.images[better])
}

// run gives a release to the device.
func (d *demo) run(ctx context.Context, want int, id, version string) (*said, error) {
	return d.updraft(ctx, want, "run", "workflow.yaml", "--device", "device/device.yaml", "--id", id,
		"--input", "release=releases/"+version+"/release.json", "--restart", "exit")
}

// resume is what a device calls at each start.
func (d *demo) resume(ctx context.Context, want int) (*said, error) {
	return d.updraft(ctx, want, "resume", "--device", "device/device.yaml", "--restart", "exit")
}

// powerCycle restarts the machine and holds it to the slot, the version and
// what the program says of its health.
func (d *demo) powerCycle(ctx context.Context, slot, version, health string) error {
	before := d.machine.pid()
	if err := d.machine.cycle(ctx); err != nil {
		return err
	}
	if before == 0 {
		d.page.note("power on: slot %s starts, pid %d says %q", d.machine.slot, d.machine.pid(), d.machine.health())
	} else {
		d.page.note("power cycle: pid %d stops, slot %s starts, pid %d says %q", before, d.machine.slot, d.machine.pid(), d.machine.health())
	}
	return d.standing(ctx, slot, version, health)
}

// standing checks what the device runs.
func (d *demo) standing(ctx context.Context, slot, version, health string) error {
	boot, facts, err := d.machine.look(ctx)
	if err != nil {
		return err
	}
	if err := d.expect(boot.Active == slot, "slot %s is active, want %s", boot.Active, slot); err != nil {
		return err
	}
	if err := d.expect(facts["version"] == version, "the device says that it runs %q, want %q", facts["version"], version); err != nil {
		return err
	}
	return d.expect(d.machine.health() == health, "the program says %q, want %q", d.machine.health(), health)
}

// slots shows what the slots hold, and holds them to it.
func (d *demo) slots(what string, a, b image) error {
	have := map[string]string{}
	for slot, want := range map[string]image{"a": a, "b": b} {
		got, err := readImage(d.path("device/slot-" + slot + ".img"))
		if err != nil {
			return err
		}
		if err := d.expect(got.sha256 == want.sha256, "slot %s has SHA-256 %s, want %s", slot, got.sha256, want.sha256); err != nil {
			return err
		}
		have[slot] = got.sha256
	}
	d.page.note("sha256 a %.12s, b %.12s: %s", have["a"], have["b"], what)
	return nil
}

// expect ends the demo if what it promises does not hold.
func (d *demo) expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("the demo did not go as promised: "+format, args...)
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

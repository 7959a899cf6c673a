package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a cloud that updates a device: with a delta, with a roll-back, and through kill -9",
		Long: `Play a cloud and a device with two slots on this machine. The cloud asks for three
updates and hears how they went:

  to 2.0.0, which comes as a delta, with a real restart of the device's agent;
  to 3.0.0, which starts but is never healthy, and is rolled back;
  to 2.1.0 over a slow network, with a kill -9 of the agent in mid-download.

The program, its updates and updraft-agent are built here, so the source of
updraft and Go are needed, but neither network nor root. Everything that is shown
is checked: the exit code is 0 if all of it held. The folder of the demo stays.

With --json standard output gets a line of JSON for each thing that happens, an
object with chapter (1 to 7), event and its facts; sizes are in bytes:
  began      dir
  chapter    title
  built      file, size, sha256; of updraft-agent too
  command    args, exit                a command of updraft that was run
  released   version, image, delta     no delta if the image alone is offered
  cloud      broker, files, trace      addresses, and the file of all messages
  power      slot, pid, says           the boot loader started a slot's program
  started    pid                       updraft-agent was started
  ended      pid, exit, signal         it ended; signal if one killed it
  agent      told                      an event of a run, as in events.ndjson
  connected, gone    device
  desired    device, job, version
  network    slow                      the file server became slow, or is not any more
  progress   job, step, done, total    as the cloud sees it
  reported   device, job, result, code, message, report, arrivals
  checked    promise and figures       something that was promised holds
The last line has event result, ok, seconds, dir and, unless ok, error.`,
		Example: `  updraft demo --keep /tmp/look
  updraft demo --json | jq -c 'select(.event == "checked")'`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	keep := c.Flags().String("keep", "", "folder `DIR` to work in, which is new or empty (default one among the temporary files)")
	must(c.MarkFlagDirname("keep"))
	asJSON := c.Flags().Bool("json", false, "print a line of JSON for each thing that happens")
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
		d := &demo{p: p, page: newPage(p, *asJSON), self: self, source: source, dir: dir, began: time.Now()}
		err = d.show(cmd.Context())
		d.page.result(dir, time.Since(d.began), err)
		if err != nil {
			p.say("the folder of the demo is %s", dir)
		}
		return err
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
	patched = "2.1.0"
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
	cloud   *demoCloud       // nil until it is started
	machine *machine         // nil until the device is set up
	agent   *process         // nil if it does not run
}

// image is one version of the program, built.
type image struct {
	sha256 string // lower-case hex
	size   int64  // bytes
}

// show tells the whole story. Whatever it started has ended when it returns.
func (d *demo) show(ctx context.Context) (err error) {
	// Processes are tied to the thread that starts them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() { err = errors.Join(err, d.shutDown()) }()
	d.page.begin(d.dir)
	for _, chapter := range []func(context.Context) error{
		d.build, d.release, d.setUp, d.update, d.comeBack, d.goOn, d.lookBack,
	} {
		if err := chapter(ctx); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	if err := d.shutDown(); err != nil {
		return err
	}
	d.farewell()
	return nil
}

// shutDown ends what still runs. A second call does nothing.
func (d *demo) shutDown() (err error) {
	d.page.mute()
	if d.agent != nil {
		err = d.agent.stop()
		d.agent = nil
	}
	if d.machine != nil {
		err = errors.Join(err, d.machine.off())
	}
	if d.cloud != nil {
		err = errors.Join(err, d.cloud.close())
		d.cloud = nil
	}
	return err
}

// farewell says what to look at.
func (d *demo) farewell() {
	d.page.farewell(fmt.Sprintf("All as promised, in %.1f s. Look around:", time.Since(d.began).Seconds()),
		"cd "+quoted(d.dir)+" && alias updraft="+quoted(d.self)+" updraft-agent=build/updraft-agent",
		"updraft status --device device/device.yaml; updraft log --device device/device.yaml",
		"less cloud/trace.ndjson                               # what cloud and device told each other",
		"updraft sim awsiot --state cloud --files releases &   # the cloud again",
		"updraft-agent --config device/agent.yaml &            # the device again",
		"updraft-agent status --config device/agent.yaml       # how they are doing, and a job:",
		"updraft sim awsiot push --state cloud --device "+demoDevice+" --url "+patched+"/"+manifestName+" --wait 1m")
}

// promise ends the demo if what it promises does not hold.
func (d *demo) promise(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("the demo did not go as promised: "+format, args...)
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// until waits until something holds or cannot any more, at most so long.
func until(ctx context.Context, limit time.Duration, what string, holds func() (bool, error)) error {
	for end := time.Now().Add(limit); ; {
		ok, err := holds()
		switch {
		case err != nil:
			return fmt.Errorf("wait until %s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("wait until %s: not within %v", what, limit)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lookEvery):
		}
	}
}

const lookEvery = 20 * time.Millisecond

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/wasm-sdk/toolchain"
)

// kit is what all gateways of this test share: the program, the modules and a
// signed release.
type kit struct {
	dir      string
	old, new []byte
}

const example = ".." // this folder's

func makeKit(t *testing.T) *kit {
	t.Helper()
	var missing *toolchain.Missing
	if err := toolchain.Check(t.Context(), toolchain.C, filepath.Join(example, "write")); errors.As(err, &missing) {
		t.Skip(err)
	}
	k := &kit{dir: t.TempDir(), old: image("1.0.0", 8000), new: image("2.0.0", 9000)}
	k.run(t, ".", "go", "build", "-o", filepath.Join(k.dir, "updraft"), "github.com/updraft-ota/updraft/cmd/updraft")
	for _, name := range []string{"backup", "write"} {
		if err := toolchain.Build(t.Context(), toolchain.Options{Dir: filepath.Join(example, name), Out: filepath.Join(k.dir, "mcu-"+name+".wasm")}); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(k.dir, "new.bin"), k.new)
	updraft := filepath.Join(k.dir, "updraft")
	k.run(t, k.dir, updraft, "keys", "new", "vendor", "--no-password")
	k.run(t, k.dir, updraft, "release", "new", "--name", "mcu1", "--version", "2.0.0", "--artifact", "image=new.bin", "--out", "release")
	k.run(t, k.dir, updraft, "release", "sign", "release", "--key", "vendor.key")
	return k
}

func (k *kit) run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
}

// gateway is a device with a microcontroller that plays in this process.
type gateway struct {
	*kit
	dir    string
	part   *part
	line   *line
	replug chan time.Time
	seen   []string // requests that arrived whole: Q, R, B, E, W0, W1, …, G
	ended  chan error
	stop   context.CancelFunc
}

// gateway makes one. Edit, in pairs of old and new, changes update.yaml.
func (k *kit) gateway(t *testing.T, flash []byte, edit ...string) *gateway {
	t.Helper()
	g := &gateway{kit: k, dir: t.TempDir(), replug: make(chan time.Time, 1), ended: make(chan error, 1)}
	for _, name := range []string{"vendor.pub", "mcu-backup.wasm", "mcu-write.wasm"} {
		if err := os.Link(filepath.Join(k.dir, name), filepath.Join(g.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	update := string(read(t, filepath.Join(example, "update.yaml")))
	for i := 0; i < len(edit); i += 2 {
		if !strings.Contains(update, edit[i]) {
			t.Fatalf("update.yaml has no %q", edit[i])
		}
		update = strings.ReplaceAll(update, edit[i], edit[i+1])
	}
	write(t, filepath.Join(g.dir, "update.yaml"), []byte(update))
	write(t, filepath.Join(g.dir, "device.yaml"), read(t, filepath.Join(example, "device.yaml")))
	write(t, filepath.Join(g.dir, "mcu1.version"), []byte("1.0.0\n"))
	var err error
	if g.part, err = newPart(64<<10, flash); err != nil {
		t.Fatal(err)
	}
	g.line = &line{path: filepath.Join(g.dir, "mcu-port"), replug: func() <-chan time.Time { return g.replug }}
	return g
}

// plug begins to play; asked, which may be nil, is called with each request.
// Until unplug the microcontroller belongs to the line.
func (g *gateway) plug(t *testing.T, asked func()) {
	t.Helper()
	g.line.asked = func(command byte, payload []byte) {
		name := string(command)
		if command == 'W' {
			name = blockName(blockOf(payload))
		}
		g.seen = append(g.seen, name)
		if asked != nil {
			asked()
		}
	}
	var ctx context.Context
	ctx, g.stop = context.WithCancel(t.Context())
	go func() { g.ended <- g.line.serve(ctx, g.part) }()
}

// blockName is the name of the request to write block n, from 0.
func blockName(n int) string { return fmt.Sprint("W", n) }

func (g *gateway) unplug(t *testing.T) {
	t.Helper()
	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
}

func (g *gateway) updraft(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(g.kit.dir, "updraft"), append(args, "--device", "device.yaml")...)
	cmd.Dir = g.dir
	return cmd
}

func (g *gateway) start(t *testing.T) *exec.Cmd {
	t.Helper()
	return g.updraft(t, "run", "update.yaml", "--id", "to-2", "--input", "release="+filepath.Join(g.kit.dir, "release", "release.json"))
}

// ends runs cmd and compares its exit code.
func ends(t *testing.T, cmd *exec.Cmd, code int) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		t.Errorf("ended with %v, want exit code %d:\n%s", err, code, out)
	}
	return string(out)
}

// holds compares what the microcontroller runs, nil for nothing, and the files
// of the gateway; a backup of nil is none.
func (g *gateway) holds(t *testing.T, runs, backup []byte, version string) {
	t.Helper()
	if got := g.part.flash[:g.part.size]; !bytes.Equal(got, runs) || g.part.loader != (len(runs) == 0) {
		t.Errorf("the microcontroller has an image of %d bytes (boot loader %v), want the one of %d", len(got), g.part.loader, len(runs))
	}
	got, err := os.ReadFile(filepath.Join(g.dir, "mcu1.backup"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(got, backup) || (err == nil) != (backup != nil) {
		t.Errorf("the backup has %d bytes (%v), want %d", len(got), err, len(backup))
	}
	if got := string(read(t, filepath.Join(g.dir, "mcu1.version"))); got != version+"\n" {
		t.Errorf("the version is %q, want %s", got, version)
	}
}

const (
	often = "retry: {max: 5, backoff: 1s}"
	twice = "retry: {max: 1, backoff: 10ms}"
)

func TestUpdate(t *testing.T) {
	k := makeKit(t)
	t.Run("a good line", k.goodLine)
	t.Run("lost bytes and NAK", k.badLine)
	t.Run("a reply that comes late", k.late)
	t.Run("unplugged while it is written", k.unplugged)
	t.Run("a storm of NAK", k.storm)
	t.Run("an image that does not fit", k.tooLarge)
	t.Run("no valid image to begin with", k.empty)
	t.Run("updraft is killed", k.killed)
	t.Run("updraft is killed on the way back", k.killedOnTheWayBack)
	t.Run("the README", k.readme)
}

// goodLine also updates to the same image again: flash is not written.
func (k *kit) goodLine(t *testing.T) {
	g := k.gateway(t, k.old)
	g.plug(t, nil)
	ends(t, g.start(t), 0)
	g.unplug(t)
	g.holds(t, k.new, k.old, "2.0.0")
	if n := count(g.seen, "W"); n != 36 {
		t.Errorf("%d blocks were written, want 36", n)
	}
	g.seen = nil
	g.plug(t, nil)
	again := g.start(t)
	again.Args = append(again.Args, "--id", "again")
	ends(t, again, 0)
	g.unplug(t)
	g.holds(t, k.new, k.new, "2.0.0")
	if count(g.seen, "W")+count(g.seen, "E") > 0 || count(g.seen, "G") != 1 {
		t.Errorf("the same image again: %q, want no erasing and no writing", g.seen)
	}
}

func (k *kit) badLine(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, f := range []faults{{lose: 1300, nak: 25}, {lose: 2000, seed: 7}} {
		g := k.gateway(t, k.old, "{port: mcu1}", "{port: mcu1, patience: 120}")
		g.line.faults = f
		g.plug(t, nil)
		ends(t, g.start(t), 0)
		g.unplug(t)
		g.holds(t, k.new, k.old, "2.0.0")
		if g.line.bytes/f.lose < 10 {
			t.Errorf("%+v: only %d bytes went over the line", f, g.line.bytes)
		}
	}
}

// late answers one request only after the module has asked again, so that a
// second reply to it lies before the one to the next request.
func (k *kit) late(t *testing.T) {
	t.Parallel()
	g := k.gateway(t, k.old, "{port: mcu1}", "{port: mcu1, patience: 300}")
	g.plug(t, func() {
		if len(g.seen) == 10 {
			time.Sleep(400 * time.Millisecond) // how late it is
		}
	})
	out := ends(t, g.start(t), 0)
	g.unplug(t)
	g.holds(t, k.new, k.old, "2.0.0")
	if strings.Contains(out, "tried again") || g.seen[9] != "R" {
		t.Errorf("a late answer to %s made the step fail:\n%s", g.seen[9], out)
	}
}

// unplugged pulls the cable after 20 blocks, and plugs it in again once the
// module has said that it wants to be called later.
func (k *kit) unplugged(t *testing.T) {
	t.Parallel() // it waits more than it works
	g := k.gateway(t, k.old)
	g.line.unplug = 20
	g.plug(t, nil)
	cmd := g.start(t)
	said := &watch{line: "is tried again", seen: func() { g.replug <- time.Time{} }}
	cmd.Stderr = said
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s", err, said.text.String())
	}
	g.unplug(t)
	g.holds(t, k.new, k.old, "2.0.0")
	if at := after(g.seen, blockName(19)); at != blockName(16) {
		t.Errorf("block 20 was followed by %q, want the one behind the mark, block 17", at)
	}
}

// watch keeps what is written and calls seen when line is in it first.
type watch struct {
	text bytes.Buffer
	line string
	seen func()
}

func (w *watch) Write(p []byte) (int, error) {
	w.text.Write(p)
	if w.seen != nil && bytes.Contains(w.text.Bytes(), []byte(w.line)) {
		w.seen()
		w.seen = nil
	}
	return len(p), nil
}

// storm refuses a block longer than the step has patience.
func (k *kit) storm(t *testing.T) {
	t.Parallel() // it waits more than it works
	g := k.gateway(t, k.old, often, twice)
	g.line.faults = faults{storm: 20, naks: 16}
	g.plug(t, nil)
	out := ends(t, g.start(t), 4)
	g.unplug(t)
	g.holds(t, k.old, nil, "1.0.0")
	if !strings.Contains(out, "only noise or NAK") {
		t.Errorf("it does not say why:\n%s", out)
	}
}

func (k *kit) tooLarge(t *testing.T) {
	g := k.gateway(t, k.old)
	g.part.flash = g.part.flash[:8192]
	g.plug(t, nil)
	out := ends(t, g.start(t), 4)
	g.unplug(t)
	g.holds(t, k.old, nil, "1.0.0")
	if !strings.Contains(out, "larger than the flash") || count(g.seen, "B") > 0 {
		t.Errorf("it asked %q and said:\n%s", g.seen, out)
	}
}

// empty begins in the boot loader: without a backup the way back leads there,
// and with one from before to that.
func (k *kit) empty(t *testing.T) {
	g := k.gateway(t, nil)
	g.plug(t, nil)
	ends(t, g.start(t), 0)
	g.unplug(t)
	g.holds(t, k.new, []byte{}, "2.0.0")
	for name, before := range map[string][]byte{"no backup": nil, "a backup": k.old} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := k.gateway(t, nil, often, twice)
			if before != nil {
				write(t, filepath.Join(g.dir, "mcu1.backup"), before)
			}
			g.line.faults = faults{storm: 20, naks: 16}
			g.plug(t, nil)
			ends(t, g.start(t), 4)
			g.unplug(t)
			g.holds(t, before, before, "1.0.0")
		})
	}
}

// killed ends updraft with SIGKILL while the microcontroller waits to answer,
// in turn at the requests of a whole update. What goes on begins at the block
// behind the last mark.
func (k *kit) killed(t *testing.T) {
	all := k.gateway(t, k.old)
	all.plug(t, nil)
	ends(t, all.start(t), 0)
	all.unplug(t)
	var kills, wentOn int
	for at := 3; at <= len(all.seen); at += 9 {
		g := k.gateway(t, k.old)
		g.kill(t, func() bool { return len(g.seen) == at })
		before := g.seen
		g.seen = nil
		g.plug(t, nil)
		ends(t, g.updraft(t, "resume"), 0)
		g.unplug(t)
		g.holds(t, k.new, k.old, "2.0.0")
		kills++
		if n := count(before, "W"); n > 0 && n < 36 {
			first := blockName(n / 16 * 16)
			if got := after(g.seen, "B"); n >= 16 && got != first || n < 16 && got != "E" {
				t.Errorf("killed at block %d, it went on with %q, want %q (or E before the first mark)", n, got, first)
			}
			wentOn++
		}
	}
	t.Logf("killed at %d of %d requests, %d of them while it was written", kills, len(all.seen), wentOn)
	if wentOn < 3 {
		t.Errorf("only %d kills while it was written", wentOn)
	}
}

// killedOnTheWayBack ends it while it writes the old image again.
func (k *kit) killedOnTheWayBack(t *testing.T) {
	t.Parallel()
	g := k.gateway(t, k.old, often, twice)
	g.line.faults = faults{storm: 20, naks: 16}
	g.kill(t, func() bool { return count(g.seen, "E") == 2 && g.seen[len(g.seen)-1] == blockName(10) })
	g.seen = nil
	g.plug(t, nil)
	ends(t, g.updraft(t, "resume"), 4)
	g.unplug(t)
	g.holds(t, k.old, nil, "1.0.0")
	if count(g.seen, "W") != 32 {
		t.Errorf("%d blocks were written after the kill, want the 32 of the old image", count(g.seen, "W"))
	}
}

// kill starts updraft and kills it when a request has arrived and has no answer
// yet, the first one at which now says so.
func (g *gateway) kill(t *testing.T, now func() bool) {
	t.Helper()
	arrived, dead := make(chan struct{}), make(chan struct{})
	over := false
	g.plug(t, func() {
		if !over && now() {
			over = true
			close(arrived)
			<-dead
		}
	})
	cmd := g.start(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(time.Minute):
		t.Error("the request never came")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it was killed, and ended well")
	}
	close(dead)
	g.unplug(t)
}

// readme runs the console blocks of the README: each line that stands between
// the commands must be said, in this order.
func (k *kit) readme(t *testing.T) {
	page := string(read(t, filepath.Join(example, "README.md")))
	var commands, shown []string
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(page, -1) {
		for text := range strings.Lines(block[1]) {
			text = strings.TrimSuffix(text, "\n")
			if command, ok := strings.CutPrefix(text, "$ "); ok {
				commands = append(commands, command)
			} else {
				shown = append(shown, text)
			}
		}
	}
	if len(commands) < 15 || len(shown) < 4 {
		t.Fatalf("the README shows %d commands and %d lines, want at least 15 and 4", len(commands), len(shown))
	}
	shell := exec.CommandContext(t.Context(), "sh", "-e", "-c", strings.Join(commands, "\n"))
	shell.Dir = example
	shell.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "PATH="+k.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := strings.Split(string(out), "\n")
	for _, text := range shown {
		for len(rest) > 0 && rest[0] != text {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Fatalf("the README shows %q, which is not said or not at this place:\n%s", text, out)
		}
	}
}

// count counts the requests whose names begin with prefix.
func count(seen []string, prefix string) (n int) {
	for _, s := range seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// after gives the first request to erase, write or run that follows the first
// one called name, "" for none.
func after(seen []string, name string) string {
	if i := slices.Index(seen, name); i >= 0 {
		for _, s := range seen[i+1:] {
			if strings.ContainsAny(s[:1], "EWG") {
				return s
			}
		}
	}
	return ""
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

package process

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// effect is a line of plan --json.
type effect struct {
	Step, Kind, Target, Certainty string
	Bytes                         int64
}

// TestPlan holds a plan to writing nothing, and to what the run then does:
// exact figures are equal, others are not passed, nothing is left out.
func TestPlan(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		native     bool
	}{
		{"a module and the full image", "full", false},
		{"a module and a delta", "delta", false},
		{"the full image without a module", "full", true},
		{"a delta without a module", "delta", true},
		{"a delta that is stored first", "stored-delta", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newStand(t, tt.kind)
			if tt.native {
				b.native(t)
			}
			plan := b.plan(t)
			if !tt.native && tt.kind == "delta" {
				t.Run("read-only", func(t *testing.T) { b.readOnly(t, plan) })
			}
			if tt.native {
				b.planText(t, plan)
			}
			if got := b.artifacts(); len(got) > 0 {
				t.Errorf("plan downloaded %v", got)
			}
			b.run(t, "x", "--restart", "exit").wants(t, 6, "waiting", "restart")
			spooled := b.spooled(t)
			b.updraft(t, "resume", "--device", "device.yaml", "--restart", "simulate", "--progress", "json").wants(t, 0, "succeeded", "")
			b.compare(t, plan, happened{b.artifacts(), spooled, b.restarts(t), b.boot(t).Stamps["b"].Size})
			want := map[string]string{"download": "exact", "write": "at most", "restart": "exact"}
			if tt.kind == "stored-delta" {
				want["space"] = "exact"
			}
			if tt.native {
				want["write"] = "exact"
			}
			for _, e := range plan {
				if want[e.Kind] != e.Certainty {
					t.Errorf("%s is %s, want %s", e.Kind, e.Certainty, want[e.Kind])
				}
				if step := map[string]string{"download": "image", "space": "image", "write": "write", "restart": "prove"}[e.Kind]; e.Step != step {
					t.Errorf("%s %s is listed for step %q, want %q", e.Kind, e.Target, e.Step, step)
				}
				delete(want, e.Kind)
			}
			if len(want) > 0 {
				t.Errorf("the plan %+v leaves out %v", plan, want)
			}
			if tt.native {
				b.planAgain(t)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		b := newStand(t, "small-other")
		b.native(t)
		before := b.tree(t)
		b.updraft(t, b.planArgs()...).says(t, 3, "would be refused", "nothing changed")
		b.same(t, before)
	})
}

// planText holds the table for people to the same effects.
func (b *stand) planText(t *testing.T, plan []effect) {
	t.Helper()
	o := b.updraft(t, b.planArgs()...)
	o.says(t, 0)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != len(plan)+1 {
		t.Fatalf("%d lines for %d effects:\n%s", len(lines), len(plan), o.stdout)
	}
	for i, e := range plan {
		for _, word := range []string{e.Step, e.Kind, e.Target, e.Certainty, strings.TrimPrefix(strconv.FormatInt(e.Bytes, 10), "0")} {
			if !strings.Contains(lines[i+1], word) {
				t.Errorf("the line %q lacks %q", lines[i+1], word)
			}
		}
	}
}

// planAgain plans, and then does, what the device has already.
func (b *stand) planAgain(t *testing.T) {
	t.Helper()
	boots := b.restarts(t)
	plan := b.plan(t)
	b.s.mu.Lock()
	clear(b.s.sent)
	b.s.mu.Unlock()
	b.run(t, "again").wants(t, 0, "succeeded", "already_installed")
	b.compare(t, plan, happened{b.artifacts(), 0, b.restarts(t) - boots, 0})
}

// readOnly plans again on a file system that cannot be written.
func (b *stand) readOnly(t *testing.T, want []effect) {
	t.Helper()
	at := b.dir + "-ro"
	mount(t, at, "--bind", b.dir)
	if out, err := exec.Command("mount", "-o", "remount,bind,ro", at).CombinedOutput(); err != nil {
		t.Skipf("remount read-only is not permitted here: %v %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(at, "x"), nil, 0o600); err == nil {
		t.Fatalf("%s can be written", at)
	}
	o := b.k.updraftIn(t, at, b.planArgs("--json")...)
	o.says(t, 0)
	if got := effects(t, o); !slices.Equal(got, want) {
		t.Errorf("on a read-only file system the plan is\n%+v\nand not\n%+v", got, want)
	}
}

func (b *stand) planArgs(more ...string) []string {
	return append([]string{"plan", "update.yaml", "--device", "device.yaml", "--input", b.release()}, more...)
}

// plan plans and holds the device to having nothing changed by it.
func (b *stand) plan(t *testing.T) []effect {
	t.Helper()
	before := b.tree(t)
	o := b.updraft(t, b.planArgs("--json")...)
	o.says(t, 0)
	b.same(t, before)
	return effects(t, o)
}

func effects(t *testing.T, o outcome) []effect {
	t.Helper()
	var plan struct{ Effects []effect }
	if err := json.Unmarshal([]byte(o.stdout), &plan); err != nil {
		t.Fatalf("plan --json: %v\n%s", err, o.stdout)
	}
	return plan.Effects
}

// tree describes everything below the device's folder: names, modes, times
// and content.
func (b *stand) tree(t *testing.T) map[string]string {
	t.Helper()
	at := map[string]string{}
	err := filepath.WalkDir(b.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		content := ""
		if e.Type().IsRegular() {
			content = digest(t, name)
		}
		at[name] = fmt.Sprintf("%v %v %s", info.Mode(), info.ModTime(), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// same holds the device's folder to what it was.
func (b *stand) same(t *testing.T, before map[string]string) {
	t.Helper()
	after := b.tree(t)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was %q and is %q", name, was, after[name])
		}
	}
	for name := range after {
		if _, was := before[name]; !was {
			t.Errorf("%s is new", name)
		}
	}
}

// happened is what a run did.
type happened struct {
	downloads map[string]int64 // bytes by file
	spooled   int64            // bytes kept in the state directory
	restarts  int
	written   int64 // bytes of the slot
}

// compare holds a plan to what happened.
func (b *stand) compare(t *testing.T, plan []effect, did happened) {
	t.Helper()
	restarts := 0
	var spooled int64
	for _, e := range plan {
		var got int64
		switch e.Kind {
		case "download":
			got = did.downloads[path.Base(e.Target)]
			delete(did.downloads, path.Base(e.Target))
		case "space":
			got = did.spooled
			spooled += e.Bytes
		case "write":
			if e.Target != "rootfs@b" {
				t.Errorf("it plans to write %s", e.Target)
			}
			got, did.written = did.written, 0
		case "restart":
			restarts++
			continue
		case "nothing":
			continue
		default:
			t.Errorf("unknown effect %+v", e)
		}
		switch {
		case e.Certainty == "exact" && e.Bytes != got:
			t.Errorf("%s %s of exactly %d bytes became %d", e.Kind, e.Target, e.Bytes, got)
		case e.Certainty == "at most" && got > e.Bytes:
			t.Errorf("%s %s of at most %d bytes became %d", e.Kind, e.Target, e.Bytes, got)
		case e.Certainty != "exact" && e.Certainty != "at most":
			t.Errorf("%s %s is %q, want a bound", e.Kind, e.Target, e.Certainty)
		}
	}
	if restarts != did.restarts {
		t.Errorf("%d restarts are planned, %d happened", restarts, did.restarts)
	}
	if len(did.downloads) > 0 || did.written > 0 || did.spooled > spooled {
		t.Errorf("not planned: downloads %v, %d bytes written, %d bytes of space", did.downloads, did.written, did.spooled-spooled)
	}
}

// artifacts gives the bytes that the server sent, but for manifests and
// signatures, which a plan reads itself.
func (b *stand) artifacts() map[string]int64 {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	files := map[string]int64{}
	for key, n := range b.s.sent {
		if name := path.Base(key); n > 0 && !strings.HasPrefix(name, "release.json") {
			files[name] = n
		}
	}
	return files
}

// spooled is what the run keeps in its state directory while it waits.
func (b *stand) spooled(t *testing.T) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(b.dir, ".updraft", "work"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == "release.json" {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// restarts is how often the device started, by its boot loader's count.
func (b *stand) restarts(t *testing.T) int {
	t.Helper()
	var file struct{ Boots int }
	if err := json.Unmarshal([]byte(b.read(t, "boot.json")), &file); err != nil {
		t.Fatalf("boot.json: %v", err)
	}
	return file.Boots
}

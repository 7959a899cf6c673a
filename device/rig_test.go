package device

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/updraft-ota/updraft/internal/disk"
)

const (
	oldText = "the old bytes, which nobody may touch"
	newText = "the new bytes, in several writes and longer than the old"
)

func hexOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// rig is a device below a folder.
type rig struct {
	fs   disk.FS
	root string
	mode Mode
}

func (r rig) config() Config {
	at := func(name string) string { return path.Join(r.root, name) }
	return Config{
		File: at("device.yaml"),
		Facts: map[string]Fact{
			"model": {Value: "1.10"}, "version": {Target: "rootfs"}, "app": {Target: "app"}, "serial": {File: at("serial")},
		},
		Targets: map[string]Place{
			"rootfs": {Slots: map[string]string{"a": at("slot-a.img"), "b": at("slot-b.img")}, Boot: BootState{File: at("boot.json")}},
			"data":   {Slots: map[string]string{"a": at("data-a.img"), "b": at("data-b.img"), "c": at("data-c.img")}, Boot: BootState{File: at("boot.json")}, Active: "b", Space: 64},
			"app":    {Directory: at("app")},
			"config": {File: at("etc/app.yaml")},
		},
	}
}

func (r rig) door() *Files {
	f, err := New(r.config(), Env{FS: r.fs, Clock: disk.NewVirtual(time.Unix(0, 0)), Restart: r.mode})
	if err != nil {
		panic(err)
	}
	return f
}

// plant makes the device as it leaves the factory.
func (r rig) plant(t testing.TB) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"etc", "app/1"} {
		must(disk.MkdirAll(r.fs, path.Join(r.root, dir), 0o755))
	}
	for name, text := range map[string]string{
		"slot-a.img": oldText, "slot-b.img": strings.Repeat("older ", 50), "data-b.img": oldText,
		"etc/app.yaml": oldText, "app/1/run": oldText, "serial": " s-1\n",
	} {
		must(disk.WriteFile(r.fs, path.Join(r.root, name), []byte(text), 0o644))
	}
	must(r.fs.Symlink("1", path.Join(r.root, "app/current")))
	must(r.fs.SyncDir(path.Join(r.root, "app")))
	must(r.fs.SyncDir(path.Join(r.root, "etc")))
}

// tree gives every file's content and every link below a folder. What a cut
// may leave behind without harm is left out.
func tree(t testing.TB, fsys disk.FS, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(dir, rel string)
	walk = func(dir, rel string) {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name, rel := path.Join(dir, e.Name()), path.Join(rel, e.Name())
			info, err := fsys.Lstat(name)
			switch {
			case err != nil:
				t.Fatal(err)
			case strings.HasSuffix(rel, ".new") || strings.HasPrefix(e.Name(), "current-"):
			case info.IsDir():
				if e.Name() != ".updraft" {
					all[rel+"/"] = ""
				}
				walk(name, rel)
			case info.Mode()&fs.ModeSymlink != 0:
				all[rel], _ = fsys.Readlink(name)
			default:
				data, err := disk.ReadFile(fsys, name, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				all[rel] = string(data)
			}
		}
	}
	walk(dir, "")
	return all
}

func diff(got, want map[string]string) string {
	var b strings.Builder
	names := maps.Clone(got)
	maps.Copy(names, want)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		g, inGot := got[name]
		w, inWant := want[name]
		if g != w || inGot != inWant {
			fmt.Fprintf(&b, "%s: got %q (%v), want %q (%v)\n", name, g, inGot, w, inWant)
		}
	}
	return b.String()
}

// act is a step of a story: what a run does between two records of its journal.
type act func(ctx context.Context, f *Files) error

const run = "run-1"

func (f *Files) client() Client { return Client{Door: f, Run: run} }

func preserved(target string) act {
	return func(ctx context.Context, f *Files) error {
		u, err := f.client().Preserve(ctx, target)
		if err != nil {
			return err
		}
		again, err := f.client().Preserve(ctx, target)
		if err == nil && again != u {
			err = fmt.Errorf("preserve again: got %+v, want %+v", again, u)
		}
		return err
	}
}

func invalidated(target string) act {
	return func(ctx context.Context, f *Files) error { return f.client().Invalidate(ctx, target) }
}

// written writes text in pieces of 16 bytes, syncing now and then, from the start.
func written(target string, entries ...string) act {
	return func(ctx context.Context, f *Files) (err error) {
		w, err := f.client().OpenWriter(ctx, target, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		if len(entries) == 0 {
			return pour(w)
		}
		for _, name := range entries {
			e, err := w.OpenEntry(name, 0o755)
			if err != nil {
				return err
			}
			if err := errors.Join(pour(e), e.Close()); err != nil {
				return err
			}
		}
		return w.Sync()
	}
}

// scribbled writes without a single sync: commit has to do it.
func scribbled(target string, entries ...string) act {
	return func(ctx context.Context, f *Files) (err error) {
		w, err := f.client().OpenWriter(ctx, target, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close()) }()
		if len(entries) == 0 {
			_, err = w.WriteAt([]byte(newText), 0)
			return err
		}
		for _, name := range entries {
			e, err := w.OpenEntry(name, 0o755)
			if err != nil {
				return err
			}
			_, err = e.WriteAt([]byte(newText), 0)
			if err = errors.Join(err, e.Close()); err != nil {
				return err
			}
		}
		return nil
	}
}

// both does two acts that belong together: what the first leaves is not durable.
func both(first, second act) act {
	return func(ctx context.Context, f *Files) error {
		if err := first(ctx, f); err != nil {
			return err
		}
		return second(ctx, f)
	}
}

func pour(w *Writer) error {
	for at := 0; at < len(newText); at += 16 {
		if _, err := w.WriteAt([]byte(newText[at:min(at+16, len(newText))]), int64(at)); err != nil {
			return err
		}
		if at == 16 {
			if err := w.Sync(); err != nil {
				return err
			}
		}
	}
	return w.Sync()
}

func committed(target, version string) act {
	return func(ctx context.Context, f *Files) error {
		digest := hexOf(newText)
		if strings.HasPrefix(target, "app") {
			digest = ""
		}
		_, err := f.client().Commit(ctx, target, int64(len(newText)), digest, Stamp{Version: version, Source: "s"})
		return err
	}
}

func chosen(target, to string) act {
	return func(ctx context.Context, f *Files) error { return f.client().Choose(ctx, target, to, 1) }
}

func good(target string) act {
	return func(ctx context.Context, f *Files) error { return f.client().MarkGood(ctx, target) }
}

// started starts the device once, however often it is called.
func started(want int64) act {
	return func(ctx context.Context, f *Files) error {
		var boots int64
		look := func(st *bootState) error { boots = st.Boots; return nil }
		if err := f.boots[0].update(look); err != nil { // durable: a boot loader has written it
			return f.explain(err, "")
		}
		if boots >= want {
			return nil
		}
		return f.SimulateBoot(ctx)
	}
}

func aborted(target string) act {
	return func(ctx context.Context, f *Files) error { return f.client().Abort(ctx, target) }
}

func restored(undo Undo) act {
	return func(ctx context.Context, f *Files) error { return f.client().Restore(ctx, undo) }
}

var stories = []struct {
	name string
	acts []act
}{
	{"a slot is updated and proven", []act{
		preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2"),
		chosen("rootfs", "b"), started(1), good("rootfs"),
	}},
	{"both slots are updated, one after the other", []act{
		preserved("rootfs@b"), both(invalidated("rootfs@b"), both(scribbled("rootfs@b"), committed("rootfs@b", "2"))),
		chosen("rootfs", "b"), started(1), good("rootfs"),
		preserved("rootfs@a"), both(invalidated("rootfs@a"), both(scribbled("rootfs@a"), committed("rootfs@a", "3"))), chosen("rootfs", "a"), started(2), good("rootfs"),
	}},
	{"a directory is written without a sync", []act{
		preserved("app"), both(scribbled("app", "run", "lib/one/x"), committed("app", "2")), chosen("app", "2"), good("app"),
	}},
	{"a file is written without a sync", []act{preserved("config"), both(scribbled("config"), committed("config", "2")), good("config")}},
	{"a slot with a fixed size is updated", []act{
		preserved("data@a"), invalidated("data@a"), written("data@a"), committed("data@a", "2"), chosen("data", "a"), started(1), good("data"),
	}},
	{"a slot falls back and is restored", []act{
		preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2"),
		chosen("rootfs", "b"), started(1), started(2), restored(Undo{Target: "rootfs@b", From: "a", To: "b"}),
	}},
	{"a slot is given up before it is chosen", []act{
		preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2"),
		restored(Undo{Target: "rootfs@b", From: "a", To: "b"}), started(1),
	}},
	{"a slot that runs is left again", []act{
		preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2"), chosen("rootfs", "b"), started(1),
		chosen("rootfs", "a"), started(2), good("rootfs"), restored(Undo{Target: "rootfs@b", From: "a", To: "b"}),
	}},
	{"a directory is updated and proven", []act{
		preserved("app@" + run), written("app@"+run, "run", "lib/one/x", "lib/y"), committed("app@"+run, "2"), chosen("app", "2"), good("app"),
	}},
	{"a directory is switched back and restored", []act{
		preserved("app"), written("app", "run", "lib/x"), committed("app", "2"), chosen("app", "2"), chosen("app", "1"),
		restored(Undo{Target: "app@" + run, From: "1"}),
	}},
	{"a directory is restored while it is current", []act{
		preserved("app"), written("app", "run", "lib/x"), committed("app", "2"), chosen("app", "2"), restored(Undo{Target: "app@" + run, From: "1"}),
	}},
	{"a directory gets a version that is there with other content", []act{
		preserved("app"), written("app", "run"), committed("app", "1"), chosen("app", "1-"+run), good("app"),
	}},
	{"a staged version is aborted", []act{
		preserved("app"), written("app", "run"), aborted("app"), restored(Undo{Target: "app@" + run, From: "1"}),
	}},
	{"a file is updated and proven", []act{preserved("config"), written("config"), committed("config", "2"), good("config")}},
	{"a file is updated and restored", []act{
		preserved("config"), written("config"), committed("config", "2"),
		restored(Undo{Target: "config", From: hexOf(oldText), Keep: "/d/etc/.app.yaml.before-" + run}),
	}},
	{"a file is written and restored", []act{
		preserved("config"), written("config"), restored(Undo{Target: "config", From: hexOf(oldText), Keep: "/d/etc/.app.yaml.before-" + run}),
	}},
}

// play does the acts from the first on and gives the number of the one that failed.
func play(f *Files, acts []act, from int) (int, error) {
	for i := from; i < len(acts); i++ {
		if err := acts[i](context.Background(), f); err != nil {
			return i, err
		}
	}
	return len(acts), nil
}

// whole checks what must hold at any moment, whoever looks.
func whole(t testing.TB, r rig) {
	t.Helper()
	files := tree(t, r.fs, r.root)
	f := r.door()
	for _, name := range []string{"rootfs", "data"} {
		st, _, err := f.boots[0].load()
		if err != nil {
			t.Fatal(err)
		}
		b := st.Targets[name]
		bootable := append([]string{b.Active}, b.Good...)
		if b.onTrial() {
			bootable = append(bootable, b.Next)
		}
		for _, slot := range bootable {
			text := files[path.Base(f.config.Targets[name].Slots[slot])]
			if stamp, ok := b.Stamps[slot]; ok && stamp.SHA256 != hexOf(text[:min(stamp.Size, int64(len(text)))]) || !ok && text == "" {
				t.Errorf("slot %s of %s may be started and holds %q", slot, name, text)
			} else if !ok && text != oldText && !strings.HasPrefix(text, "older") {
				t.Errorf("slot %s of %s may be started without a stamp and holds %q", slot, name, text)
			}
		}
	}
	current, ok := files["app/current"]
	if _, there := files["app/"+current+"/"]; !ok || !there {
		t.Errorf("current leads to %q, which is not there", current)
	}
	if current != "1" && !strings.Contains(files["app/.updraft/state.json"], `"nonce": "`+run+`"`) {
		t.Errorf("current leads to %s, and no run chose it", current)
	}
	if files["app/1/run"] != oldText {
		t.Errorf("version 1 was written into: %q", files["app/1/run"])
	}
	for name, text := range files {
		if strings.HasPrefix(name, "app/") && !strings.HasPrefix(name, "app/.") && strings.HasSuffix(name, "/run") && text != oldText && text != newText {
			t.Errorf("%s is mixed: %q", name, text)
		}
	}
	if text := files["etc/app.yaml"]; text != oldText && text != newText {
		t.Errorf("etc/app.yaml is mixed: %q", text)
	}
}

func memory(t testing.TB) (*disk.Forgetful, rig) {
	d := disk.NewForgetful()
	if err := disk.MkdirAll(d, "/d", 0o755); err != nil {
		t.Fatal(err)
	}
	r := rig{fs: d, root: "/d", mode: RestartSimulate}
	r.plant(t)
	return d, r
}

var cuts = []disk.Cut{disk.Kill, disk.Power, disk.PowerKeepNames, disk.PowerTorn}

// TestCuts stops each story at each call to the disk, in each way, and then
// goes on with the act that was cut.
func TestCuts(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			base, r := memory(t)
			full := base.Clone()
			r.fs = full
			if _, err := play(r.door(), story.acts, 0); err != nil {
				t.Fatal(err)
			}
			whole(t, r)
			want := tree(t, full, r.root)
			points := 0
			for n := int64(1); n <= full.Calls(); n++ {
				for _, mode := range cuts {
					points++
					d := base.Clone()
					d.Before = disk.StopAt(n)
					r.fs = d
					at, err := play(r.door(), story.acts, 0)
					if err == nil {
						t.Fatalf("call %d was not made", n)
					}
					d.Before = nil
					d.Cut(mode)
					whole(t, r)
					if _, err := play(r.door(), story.acts, at); err != nil {
						t.Fatalf("%v at call %d, act %d again: %v", mode, n, at, err)
					}
					d.Cut(disk.Power)
					whole(t, r)
					if d := diff(tree(t, d, r.root), want); d != "" {
						t.Fatalf("%v at call %d, in act %d:\n%s", mode, n, at, d)
					}
				}
			}
			t.Logf("%d calls, %d cuts", full.Calls(), points)
		})
	}
}

// TestTwoCuts cuts again while the act is repeated.
func TestTwoCuts(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			base, r := memory(t)
			full := base.Clone()
			r.fs = full
			if _, err := play(r.door(), story.acts, 0); err != nil {
				t.Fatal(err)
			}
			want := tree(t, full, r.root)
			for n := int64(1); n <= full.Calls(); n++ {
				for m := int64(1); ; m += 5 { // every fifth: the first cut moves on by one
					d := base.Clone()
					r.fs = d
					d.Before = disk.StopAt(n)
					at, _ := play(r.door(), story.acts, 0)
					d.Cut([]disk.Cut{disk.Kill, disk.PowerTorn}[m%2])
					d.Before = disk.StopAt(d.Calls() + m)
					at, err := play(r.door(), story.acts, at)
					d.Before = nil
					if err == nil {
						break
					}
					d.Cut(disk.Power)
					whole(t, r)
					if _, err := play(r.door(), story.acts, at); err != nil {
						t.Fatalf("cuts at %d and %d, act %d again: %v", n, m, at, err)
					}
					if d := diff(tree(t, d, r.root), want); d != "" {
						t.Fatalf("cuts at %d and %d, in act %d:\n%s", n, m, at, d)
					}
				}
			}
		})
	}
}

// TestFaults fails each call to the disk once; the act reports it and can be
// done again, by the same process too.
func TestFaults(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			base, r := memory(t)
			full := base.Clone()
			r.fs = full
			if _, err := play(r.door(), story.acts, 0); err != nil {
				t.Fatal(err)
			}
			want := tree(t, full, r.root)
			for n := int64(1); n <= full.Calls(); n++ {
				for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
					d := base.Clone()
					d.Before = disk.FailAt(n, fault)
					r.fs = d
					f := r.door()
					at, err := play(f, story.acts, 0)
					if err == nil {
						// Only what tidies up may fail in silence.
						t.Fatalf("%v at call %d was not reported", fault, n)
					}
					if !errors.Is(err, fault) {
						t.Fatalf("%v at call %d became %v", fault, n, err)
					}
					if fault == syscall.ENOSPC && !strings.Contains(err.Error(), "bytes free in /d") {
						t.Fatalf("no free space in %v", err)
					}
					whole(t, r)
					if at, err := again(f, story.acts, at); err != nil {
						t.Fatalf("%v at call %d, act %d again: %v", fault, n, at, err)
					}
					d.Cut(disk.Power)
					whole(t, r)
					if d := diff(tree(t, d, r.root), want); d != "" {
						t.Fatalf("%v at call %d, in act %d:\n%s", fault, n, at, d)
					}
				}
			}
		})
	}
}

// again repeats an act that failed. If bytes may be lost by that, the step that wrote
// them is repeated too, as a caller must do.
func again(f *Files, acts []act, at int) (int, error) {
	for range 4 {
		reached, err := play(f, acts, at)
		if !errors.Is(err, fs.ErrInvalid) && !(errors.Is(err, ErrDenied) && at > 0) {
			return reached, err
		}
		at--
	}
	return at, errors.New("it never ends")
}

// TestHost plays the stories on the file system of the host.
func TestHost(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			mem, m := memory(t)
			if _, err := play(m.door(), story.acts, 0); err != nil {
				t.Fatal(err)
			}
			r := rig{fs: disk.OS(), root: t.TempDir(), mode: RestartSimulate}
			r.plant(t)
			acts := slices.Clone(story.acts)
			if strings.HasPrefix(story.name, "a file") && strings.HasSuffix(story.name, "restored") {
				acts[len(acts)-1] = restored(Undo{Target: "config", From: hexOf(oldText), Keep: path.Join(r.root, "etc/.app.yaml.before-"+run)})
			}
			if _, err := play(r.door(), acts, 0); err != nil {
				t.Fatal(err)
			}
			whole(t, r)
			got := tree(t, r.fs, r.root)
			for name, text := range got {
				got[name] = strings.ReplaceAll(text, r.root, "/d")
			}
			if d := diff(got, tree(t, mem, "/d")); d != "" {
				t.Error(d)
			}
		})
	}
}

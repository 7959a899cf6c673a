package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/updraft-ota/updraft/internal/disk"
)

var background = context.Background()

func TestResolve(t *testing.T) {
	_, r := memory(t)
	f := r.door()
	for _, tt := range []struct{ name, run, want string }{
		{"rootfs", "", "rootfs@a active 37/0"},
		{"rootfs@active", "", "rootfs@a active 37/0"},
		{"rootfs@inactive", run, "rootfs@b 300/0"},
		{"rootfs@b", "", "rootfs@b 300/0"},
		{"data@active", "", "data@b active 37/64"},
		{"data@inactive", "", "data@a 0/64"},
		{"data@c", "", "data@c 0/64"},
		{"app", run, "app@run-1 0/0"},
		{"app@inactive", run, "app@run-1 0/0"},
		{"app@run-1", run, "app@run-1 0/0"},
		{"app", "", "app@1 active 0/0"},
		{"app@active", run, "app@1 active 0/0"},
		{"app@current", run, "app@1 active 0/0"},
		{"app@1", run, "app@1 active 0/0"},
		{"config", run, "config active 37/0"},
		{"rootfs@d", run, `resolve rootfs@d: slot "d": not in the device file (have a, b)`},
		{"app@2", run, `resolve app@2: version "2": not in the device file: there is no such folder in /d/app`},
		{"app@..", run, `resolve app@..: version "..": not in the device file: there is no such folder in /d/app`},
		{"app@.updraft", run, `resolve app@.updraft: version ".updraft": not in the device file: there is no such folder in /d/app`},
		{"app@inactive", "", `resolve app@inactive: not in the device file: a staged version belongs to a run`},
		{"config@a", run, `resolve config@a: part "a": not in the device file: a file has none`},
		{"rotfs", run, `resolve rotfs: target "rotfs": not in the device file (have app, config, data, rootfs)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, err := Client{Door: f, Run: tt.run}.Resolve(background, tt.name)
			got := fmt.Sprint(err)
			if err == nil {
				got = target.Ref
				if target.Active {
					got += " active"
				}
				got += fmt.Sprintf(" %d/%d", target.Size, target.Space)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestRefused has what the door refuses, and what is said.
func TestRefused(t *testing.T) {
	other := func(f *Files) Client { return Client{Door: f, Run: "run-2"} }
	trial := []act{preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2"), chosen("rootfs", "b")}
	app := []act{preserved("app"), written("app", "run"), committed("app", "2"), chosen("app", "2")}
	file := []act{preserved("config"), written("config"), committed("config", "2")}
	for _, tt := range []struct {
		name   string
		before []act
		do     func(f *Files) error
		is     error
		says   string
	}{
		{"invalidate the active slot", nil, func(f *Files) error { return f.client().Invalidate(background, "rootfs@a") }, ErrDenied, "slot a is active"},
		{"invalidate the trial of another run", trial, func(f *Files) error { return other(f).Invalidate(background, "rootfs@b") }, ErrDenied, "on trial for run run-1"},
		{"invalidate the only proven slot", append(trial[:5:5], started(1)), func(f *Files) error { return f.client().Invalidate(background, "rootfs@a") }, ErrDenied, "only proven"},
		{"preserve the active slot", nil, func(f *Files) error { _, err := f.client().Preserve(background, "rootfs@a"); return err }, ErrDenied, "slot a is active"},
		{"open the active slot", nil, func(f *Files) error { _, err := f.client().OpenWriter(background, "rootfs@a", 0); return err }, ErrDenied, "slot a is active"},
		{"open a committed slot", trial[:4], func(f *Files) error { _, err := f.client().OpenWriter(background, "rootfs@b", 0); return err }, ErrDenied, "must be invalidated"},
		{"commit with another digest", trial[:3], func(f *Files) error {
			_, err := f.client().Commit(background, "rootfs@b", int64(len(newText)), hexOf("x"), Stamp{})
			return err
		}, ErrDigest, "expected sha256"},
		{"commit more than was written", trial[:3], func(f *Files) error {
			_, err := f.client().Commit(background, "rootfs@b", 1000, "", Stamp{})
			return err
		}, ErrDigest, "has 300 bytes, 1000 were"},
		{"choose what is not committed", trial[:3], func(f *Files) error { return f.client().Choose(background, "rootfs", "b", 1) }, ErrDenied, "not committed"},
		{"choose without tries", trial[:4], func(f *Files) error { return f.client().Choose(background, "rootfs", "b", 0) }, ErrDenied, "at least one"},
		{"choose against a trial of another run", trial, func(f *Files) error { return other(f).Choose(background, "rootfs", "b", 1) }, ErrConflict, "on trial for run run-1"},
		{"call off a trial of another run", trial, func(f *Files) error { return other(f).Choose(background, "rootfs", "a", 1) }, ErrConflict, "on trial for run run-1"},
		{"prove a slot that was not started", trial, func(f *Files) error { return f.client().MarkGood(background, "rootfs") }, ErrConflict, "not started yet"},
		{"prove the trial of another run", append(trial[:5:5], started(1)), func(f *Files) error { return other(f).MarkGood(background, "rootfs") }, ErrConflict, "on trial"},
		{"prove a slot that does not run", nil, func(f *Files) error { return f.client().MarkGood(background, "rootfs@b") }, ErrConflict, "slot a is running"},
		{"restore a slot that runs", append(trial[:5:5], started(1)), func(f *Files) error {
			return f.client().Restore(background, Undo{Target: "rootfs@b", From: "a", To: "b"})
		}, ErrDenied, "choose a and restart first"},
		{"restore a slot of another pair", nil, func(f *Files) error {
			_, err := f.Do(background, Op{Kind: Restore, Run: run, Target: "rootfs", Undo: Undo{Target: "data@a", From: "b", To: "a"}})
			return err
		}, ErrDenied, "not this target's"},
		{"restore after a third slot was started", nil, func(f *Files) error {
			return f.client().Restore(background, Undo{Target: "data@a", From: "c", To: "a"})
		}, ErrConflict, "slot b is active"},
		{"write into an existing version", nil, func(f *Files) error { _, err := f.client().OpenWriter(background, "app@1", 0); return err }, ErrDenied, "never written into"},
		{"commit nothing", nil, func(f *Files) error {
			_, err := f.client().Commit(background, "app", 0, "", Stamp{Version: "2"})
			return err
		}, fs.ErrNotExist, "staged nothing"},
		{"choose a version that is not there", nil, func(f *Files) error { return f.client().Choose(background, "app", "9", 1) }, ErrUnknown, "no such folder"},
		{"choose against another run's version", app, func(f *Files) error { return other(f).Choose(background, "app", "1", 1) }, ErrConflict, "on trial for run run-1"},
		{"restore after current was switched by hand", append(app[:4:4], func(_ context.Context, f *Files) error {
			return relink(f, "1-by-hand")
		}), func(f *Files) error {
			return f.client().Restore(background, Undo{Target: "app@" + run, From: "1"})
		}, ErrConflict, `"1-by-hand" is current`},
		{"a current that is a folder", []act{func(_ context.Context, f *Files) error {
			return errors.Join(f.env.FS.Remove("/d/app/current"), f.env.FS.Mkdir("/d/app/current", 0o755))
		}}, func(f *Files) error { _, err := f.client().BootOf(background, "app"); return err }, ErrConflict, "expected a link"},
		{"a current that leads out", []act{func(_ context.Context, f *Files) error { return relink(f, "../../etc") }},
			func(f *Files) error { _, err := f.client().BootOf(background, "app"); return err }, ErrConflict, "expected a version beside it"},
		{"choose for a file", nil, func(f *Files) error { return f.client().Choose(background, "config", "x", 1) }, ErrDenied, "nothing to choose"},
		{"boot state of a file", nil, func(f *Files) error { _, err := f.client().BootOf(background, "config"); return err }, ErrDenied, "no boot state"},
		{"commit over a file that was edited", []act{file[0], file[1], edited("by hand")}, func(f *Files) error { return file[2](background, f) }, ErrConflict, "since the run began"},
		{"restore a file that was edited", append(file[:3:3], edited("by hand")), func(f *Files) error {
			return f.client().Restore(background, Undo{Target: "config", From: hexOf(oldText), Keep: "/d/etc/.app.yaml.before-" + run})
		}, ErrConflict, "or what it made"},
		{"restore a file from elsewhere", file, func(f *Files) error {
			return f.client().Restore(background, Undo{Target: "config", From: hexOf(oldText), Keep: "/d/serial"})
		}, ErrDenied, "not of this target"},
		{"a run id with a slash", nil, func(f *Files) error {
			_, err := Client{Door: f, Run: "../x"}.Preserve(background, "app")
			return err
		}, ErrDenied, "run id"},
		{"no run id", nil, func(f *Files) error { return Client{Door: f}.Invalidate(background, "rootfs@b") }, ErrDenied, "run id"},
		{"restart a file", nil, func(f *Files) error { return f.client().Restart(background, "config") }, ErrUnknown, `expected "device" or a directory`},
		{"an op that does not exist", nil, func(f *Files) error { _, err := f.Do(background, Op{Kind: 40, Target: "config"}); return err }, ErrDenied, "no such op"},
		{"a closed handle", nil, func(f *Files) error { _, err := f.Do(background, Op{Kind: Write, Run: run, Handle: 7}); return err }, fs.ErrClosed, "handle 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, r := memory(t)
			f := r.door()
			if at, err := play(f, tt.before, 0); err != nil {
				t.Fatalf("act %d: %v", at, err)
			}
			was := tree(t, d, r.root)
			err := tt.do(f)
			if !errors.Is(err, tt.is) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("error = %v, want %v with %q", err, tt.is, tt.says)
			}
			if d := diff(tree(t, d, r.root), was); d != "" && !errors.Is(err, ErrDigest) { // what is staged may change
				t.Errorf("it changed:\n%s", d)
			}
		})
	}
}

func relink(f *Files, to string) error {
	_ = f.env.FS.Mkdir("/d/app/"+path.Base(to), 0o755)
	return errors.Join(f.env.FS.Remove("/d/app/current"), f.env.FS.Symlink(to, "/d/app/current"))
}

func edited(text string) act {
	return func(_ context.Context, f *Files) error {
		return disk.WriteFile(f.env.FS, "/d/etc/app.yaml", []byte(text), 0o644)
	}
}

// TestTrials plays what a boot loader and a run do to each other.
func TestTrials(t *testing.T) {
	_, r := memory(t)
	f := r.door()
	steps := func(acts ...act) {
		t.Helper()
		if at, err := play(f, acts, 0); err != nil {
			t.Fatalf("act %d: %v", at, err)
		}
	}
	boot := func(want string) {
		t.Helper()
		b, err := f.client().BootOf(background, "rootfs")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s next %s/%d good %v nonce %s", b.Active, b.Next, b.Tries, b.Good, b.Nonce); got != want {
			t.Fatalf("boot state = %s, want %s", got, want)
		}
	}
	install := []act{preserved("rootfs@b"), invalidated("rootfs@b"), written("rootfs@b"), committed("rootfs@b", "2")}
	before, err := f.client().Incarnation(background, "device")
	if err != nil {
		t.Fatal(err)
	}
	boot("a next /0 good [a] nonce ")
	steps(install...)
	steps(chosen("rootfs", "b"), chosen("rootfs", "b"))
	boot("a next b/1 good [a] nonce run-1")
	steps(started(1), chosen("rootfs", "b"))
	boot("b next b/0 good [a] nonce run-1")
	if now, _ := f.client().Incarnation(background, "device"); now == before {
		t.Errorf("incarnation is still %s", now)
	}
	steps(started(2))
	boot("a next b/0 good [a] nonce run-1")
	steps(started(3))
	boot("a next b/0 good [a] nonce run-1")
	steps(chosen("rootfs", "b")) // a new choice, not the old one
	boot("a next b/1 good [a] nonce run-1")
	steps(chosen("rootfs", "a"))
	boot("a next /0 good [a] nonce run-1")
	steps(chosen("rootfs", "b"), started(4), good("rootfs"), good("rootfs"))
	boot("b next /0 good [a b] nonce run-1")
	steps(started(5))
	boot("b next /0 good [a b] nonce run-1")
	facts, err := f.client().Facts(background)
	if want := map[string]string{"model": "1.10", "version": "2", "app": "1", "serial": "s-1"}; err != nil || !reflect.DeepEqual(facts, want) {
		t.Errorf("facts = %v, %v, want %v", facts, err, want)
	}
}

// TestReused commits a version that is there already with the same content:
// it is used and survives the undo.
func TestReused(t *testing.T) {
	d, r := memory(t)
	first := r.door()
	if _, err := play(first, []act{preserved("app"), written("app", "run"), committed("app", "2"), chosen("app", "2"), good("app"), chosen("app", "1"), good("app")}, 0); err != nil {
		t.Fatal(err)
	}
	was := tree(t, d, r.root)
	f, second := r.door(), "run-2"
	c := Client{Door: f, Run: second}
	undo, err := c.Preserve(background, "app")
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.OpenWriter(background, "app", 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.OpenEntry("run", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pour(e), e.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Commit(background, "app", 0, hexOf(newText), Stamp{Version: "2"}); err != nil {
		t.Fatal(err)
	}
	target, err := c.Resolve(background, "app")
	if err != nil || target.Part != "2" || target.Stamp.Run != run {
		t.Errorf("target = %+v, %v, want version 2 of %s", target, err, run)
	}
	if err := errors.Join(c.Choose(background, "app", "2", 1), c.Restore(background, undo)); err != nil {
		t.Fatal(err)
	}
	got := tree(t, d, r.root)
	for _, name := range []string{"app/.updraft/state.json"} { // it keeps the nonce
		delete(got, name)
		delete(was, name)
	}
	if d := diff(got, was); d != "" {
		t.Error(d)
	}
}

// TestListing reads a version's listing, whose digest is the stamp's.
func TestListing(t *testing.T) {
	_, r := memory(t)
	f := r.door()
	if _, err := play(f, []act{written("app", "lib/x", "run"), committed("app", "2")}, 0); err != nil {
		t.Fatal(err)
	}
	in, err := f.client().OpenReader(background, "app", "")
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, in.Size())
	if _, err := in.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	target, err := f.client().Resolve(background, "app")
	if err != nil {
		t.Fatal(err)
	}
	if want := hexOf(string(text)); target.Stamp.SHA256 != want {
		t.Errorf("digest = %s, want that of\n%s", target.Stamp.SHA256, text)
	}
	if lines := strings.Count(string(text), "\n"); lines != 2 {
		t.Errorf("listing has %d lines, want 2:\n%s", lines, text)
	}
}

func TestQuota(t *testing.T) {
	_, r := memory(t)
	f := r.door()
	open := func(target string, quota int64) *Writer {
		t.Helper()
		if err := f.client().Invalidate(background, target); err != nil {
			t.Fatal(err)
		}
		w, err := f.client().OpenWriter(background, target, quota)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	app := open("app", 20)
	x, err := app.OpenEntry("x", 0)
	if err != nil {
		t.Fatal(err)
	}
	y, err := app.OpenEntry("y", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		w    *Writer
		n    int
		off  int64
		ok   bool
	}{
		{"the last byte of a slot", open("data@a", 0), 1, 63, true},
		{"one byte behind a slot", open("data@a", 0), 1, 64, false},
		{"across the end of a slot", open("data@a", 0), 2, 63, false},
		{"up to the quota", open("data@a", 8), 8, 0, true},
		{"beyond the quota", open("data@a", 8), 8, 1, false},
		{"a quota larger than the slot", open("data@a", 1000), 1, 64, false},
		{"the end of all numbers", open("data@a", 0), 2, math.MaxInt64, false},
		{"the end of all numbers without a limit", open("rootfs@b", 0), 2, math.MaxInt64, false},
		{"a file", open("config", 4), 5, 0, false},
		{"the first entry", x, 15, 0, true},
		{"the first entry again", x, 15, 0, true},
		{"the second entry", y, 6, 0, false},
		{"the second entry, smaller", y, 5, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.w.WriteAt(make([]byte, tt.n), tt.off)
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, ErrQuota) {
				t.Errorf("error = %v, want success %v or %v", err, tt.ok, ErrQuota)
			}
		})
	}
	if err := x.Truncate(3); err != nil {
		t.Fatal(err)
	}
	if _, err := y.WriteAt(make([]byte, 17), 0); err != nil {
		t.Errorf("after a truncate: %v", err)
	}
	if _, err := y.WriteAt(nil, -1); !errors.Is(err, ErrDenied) {
		t.Errorf("negative offset: %v", err)
	}
	if err := y.Truncate(100); !errors.Is(err, ErrConflict) {
		t.Errorf("truncate beyond the end: %v", err)
	}
}

// TestDamaged gives the state files hostile content.
func TestDamaged(t *testing.T) {
	for _, tt := range []struct{ file, text, says string }{
		{"boot.json", "", "unexpected EOF"},
		{"boot.json", "{}", `expected version "boot/1"`},
		{"boot.json", `{"updraft":"boot/1","boots":1,"boots":2,"targets":{}}`, "stands there twice"},
		{"boot.json", `{"updraft":"boot/1","boots":1,"extra":2,"targets":{}}`, `unknown field "extra"`},
		{"boot.json", `{"updraft":"boot/1","boots":1,"targets":{}} x`, ""},
		{"boot.json", `{"updraft":"boot/1","boots":-1,"targets":{}}`, "boots is -1"},
		{"boot.json", `{"updraft":"boot/1","boots":1,"targets":{"rootfs":null}}`, "has no state"},
		{"boot.json", `{"updraft":"boot/1","boots":1,"targets":{"rootfs":{"active":"x","good":[]}}}`, `names slot "x"`},
		{"boot.json", strings.Repeat("[", 1000), "levels"},
		{"boot.json", strings.Repeat(" ", maxState+1), "too large"},
		{"app/.updraft/state.json", `{"updraft":"boot/1"}`, `expected version "directory/1"`},
		{"etc/.app.yaml.updraft.json", `{"updraft":"file/2"}`, `expected version "file/1"`},
	} {
		t.Run(tt.file+" "+tt.says, func(t *testing.T) {
			d, r := memory(t)
			if err := disk.MkdirAll(d, "/d/app/.updraft", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := disk.WriteFile(d, "/d/"+tt.file, []byte(tt.text), 0); err != nil {
				t.Fatal(err)
			}
			c := r.door().client()
			var err error
			for _, name := range []string{"rootfs@b", "app", "config"} {
				_, one := c.Preserve(background, name)
				err = errors.Join(err, one)
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "restore it from a copy") {
				t.Errorf("error = %v, want %v with %q and advice", err, ErrCorrupt, tt.says)
			}
		})
	}
}

// hostile are names of entries that are refused.
var hostile = []string{
	"", ".", "..", "/", "//", "/etc/passwd", "../x", "x/..", "x/../y", "x/../../y", "./x", "x/.", "x/./y", "x//y", "x/", "/x/", "../../../../etc/shadow",
	`\`, `..\x`, `x\..\y`, `\\server\share`, `C:\x`, "C:/x", "c:x", "z:", "x\x00", "\x00", "x\x00/../y", "x\ny", "x\ry", "\tx", "\x1b[2J", "x\x7f", "x\u0085y",
	"\xff", "x/\xc3\x28", "\xed\xa0\x80", " ", " x", "x ", "x /y", "x/ y", "x.", "x./y", "...", "x/...", ".. /x", "x/..", "..../x/../..",
	strings.Repeat("x", 256), strings.Repeat("x/", 600) + "y", strings.Repeat("y/", 64) + "x", "x/" + strings.Repeat("z", 300), "\u00a0x", "x\u2003",
	"../.updraft/state.json", "/d/boot.json", "../../boot.json", "./../current", "x/../../1/run", "//d/boot.json", "..//x", ".//x",
	// These collide with what is there.
	"Run", "RUN", "LIB/other", "lib", "run/x", "ﬀ.TXT/../run",
}

func TestHostileEntries(t *testing.T) {
	if len(hostile) < 60 {
		t.Fatalf("%d names, want 60", len(hostile))
	}
	d, r := memory(t)
	f := r.door()
	w, err := f.client().OpenWriter(background, "app", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run", "lib/x", "run", "lib/x", ".hidden", "...x", "ab:c", "ü", "bin::m", "lib/a:b"} {
		e, err := w.OpenEntry(name, 0o644)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	was := tree(t, d, "/")
	for _, name := range hostile {
		if _, err := w.OpenEntry(name, 0o644); !errors.Is(err, ErrDenied) {
			t.Errorf("write %q: %v, want %v", name, err, ErrDenied)
		} else if strings.ContainsAny(err.Error(), "\x00\x1b\n\r") || !utf8.ValidString(err.Error()) || len(err.Error()) > 600 {
			t.Errorf("message %q", err)
		}
		if name == "" || strings.EqualFold(name, "run") || strings.HasPrefix(strings.ToLower(name), "lib") {
			continue // a listing, or only absent
		}
		if _, err := f.client().OpenReader(background, "app@1", name); err == nil {
			t.Errorf("read %q was possible", name)
		}
	}
	for _, perm := range []fs.FileMode{fs.ModeSetuid | 0o755, fs.ModeSymlink | 0o777, fs.ModeDir | 0o755, fs.ModeDevice} {
		if _, err := w.OpenEntry("plain", perm); !errors.Is(err, ErrDenied) {
			t.Errorf("permissions %v: %v", perm, err)
		}
	}
	if d := diff(tree(t, d, "/"), was); d != "" {
		t.Errorf("it changed:\n%s", d)
	}
}

// TestPlantedLinks puts links where a run will write.
func TestPlantedLinks(t *testing.T) {
	r := rig{fs: disk.OS(), root: t.TempDir()}
	r.plant(t)
	stage := path.Join(r.root, "app/.updraft/stage-"+run)
	if err := disk.MkdirAll(r.fs, stage, 0o700); err != nil {
		t.Fatal(err)
	}
	f := r.door()
	w, err := f.client().OpenWriter(background, "app", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.fs.Symlink("../../../serial", stage+"/run"), r.fs.Symlink("../../../etc", stage+"/lib"), r.fs.Symlink("/etc", stage+"/abs")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"run", "lib/app.yaml", "abs/x"} {
		if _, err := w.OpenEntry(name, 0o644); err == nil {
			t.Errorf("%s was opened through a link", name)
		}
	}
	if _, err := r.door().client().OpenWriter(background, "app", 0); !errors.Is(err, ErrConflict) {
		t.Errorf("open what holds links: %v, want %v", err, ErrConflict)
	}
	if err := r.fs.Symlink("../serial", path.Join(r.root, "etc/.app.yaml.updraft-"+run)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.client().OpenWriter(background, "config", 0); !errors.Is(err, ErrConflict) {
		t.Errorf("open a file's link: %v, want %v", err, ErrConflict)
	}
	if text, err := disk.ReadFile(r.fs, path.Join(r.root, "serial"), 100); err != nil || string(text) != " s-1\n" {
		t.Errorf("serial is %q, %v", text, err)
	}
}

// TestSameSlot refuses to write a slot that is the active one under another name.
func TestSameSlot(t *testing.T) {
	d, r := memory(t)
	if err := errors.Join(d.Remove("/d/slot-b.img"), d.Symlink("slot-a.img", "/d/slot-b.img")); err != nil {
		t.Fatal(err)
	}
	c := r.door().client()
	if err := c.Invalidate(background, "rootfs@b"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.OpenWriter(background, "rootfs@b", 0); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "the same file") {
		t.Errorf("error = %v, want %v", err, ErrDenied)
	}
}

// TestPlanning plays every story under plan: nothing changes.
func TestPlanning(t *testing.T) {
	for _, story := range stories {
		t.Run(story.name, func(t *testing.T) {
			d, r := memory(t)
			was, calls := tree(t, d, "/"), d.Calls()
			var effects []string
			f := r.door()
			door := Planning(f, func(op Op) { effects = append(effects, op.Kind.String()+" "+op.Target) })
			c := Client{Door: door, Run: run}
			target := "rootfs@inactive"
			if strings.Contains(story.name, "director") || strings.Contains(story.name, "staged") {
				target = "app"
			} else if strings.HasPrefix(story.name, "a file") {
				target = "config"
			}
			undo, err := c.Preserve(background, target)
			if err != nil {
				t.Fatal(err)
			}
			w, err := c.OpenWriter(background, target, 0)
			if err != nil {
				t.Fatal(err)
			}
			e, err := w.OpenEntry("run", 0)
			if err != nil {
				t.Fatal(err)
			}
			n, err := e.WriteAt([]byte(newText), 0)
			if err != nil || n != len(newText) {
				t.Fatal(n, err)
			}
			_, err = c.Commit(background, target, int64(n), "", Stamp{Version: "2"})
			if err = errors.Join(err, w.Sync(), e.Close(), w.Close(), c.Restart(background, "device"), c.Restore(background, undo)); err != nil {
				t.Fatal(err)
			}
			if _, err := e.WriteAt(nil, 0); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("write to a closed handle: %v", err)
			}
			if d.Calls() != calls {
				t.Errorf("%d calls to the disk", d.Calls()-calls)
			}
			if d := diff(tree(t, d, "/"), was); d != "" {
				t.Error(d)
			}
			ref := undo.Target
			want := strings.NewReplacer("REF", ref).Replace("preserve REF,open REF,open entry of REF,write REF,commit REF,sync REF,restart device,restore REF")
			if got := strings.Join(effects, ","); got != want {
				t.Errorf("effects = %s\nwant %s", got, want)
			}
		})
	}
}

// TestCrashing counts effects alone, before and after.
func TestCrashing(t *testing.T) {
	_, r := memory(t)
	var hits []string
	door := Crashing(r.door(), func(n int64, op Op, after bool) { hits = append(hits, fmt.Sprint(n, " ", op.Kind, " ", after)) })
	c := Client{Door: door, Run: run}
	if _, err := c.Resolve(background, "app"); err != nil {
		t.Fatal(err)
	}
	if err := c.Invalidate(background, "rootfs@b"); err != nil {
		t.Fatal(err)
	}
	if err := c.Invalidate(background, "rootfs@a"); err == nil {
		t.Fatal("no error")
	}
	if got, want := strings.Join(hits, ","), "1 invalidate false,1 invalidate true,2 invalidate false,2 invalidate true"; got != want {
		t.Errorf("hits = %s, want %s", got, want)
	}
}

// TestPlain holds that ops and answers survive JSON, for record and replay.
func TestPlain(t *testing.T) {
	op := Op{Kind: Commit, Run: run, Target: "a@b", Entry: "x/y", Perm: 0o755, Handle: 1 << 60, Offset: math.MaxInt64, Size: 3, Bytes: []byte{0, 255},
		Digest: "d", To: "b", Tries: 3, Stamp: Stamp{"1", "2", 3, "4", "5"}, Undo: Undo{"a", "b", "c", "d", true}}
	answer := Answer{Text: "x", Handle: 1 << 60, N: 2, Size: 3, Digest: "d", Facts: map[string]string{"a": "b"}, Target: Target{Ref: "r", Type: Slots, Active: true},
		Boot: Boot{"a", "b", 1, []string{"a"}, "n"}, Undo: op.Undo}
	var opBack Op
	var answerBack Answer
	for _, v := range []struct{ in, out any }{{op, &opBack}, {answer, &answerBack}} {
		data, err := json.Marshal(v.in)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, v.out); err != nil {
			t.Fatal(err)
		}
		if got := reflect.ValueOf(v.out).Elem().Interface(); !reflect.DeepEqual(got, v.in) {
			t.Errorf("got %+v, want %+v", got, v.in)
		}
	}
}

// TestReader holds Reader to the rules of package io.
func TestReader(t *testing.T) {
	_, r := memory(t)
	in, err := r.door().client().OpenReader(background, "rootfs@active", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(sectionOf(in), []byte(oldText)); err != nil {
		t.Error(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := in.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func TestRestart(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    Mode
		scope   string
		ran     string
		changes bool
	}{
		{"exit does nothing", RestartExit, "device", "", false},
		{"exit restarts a program", RestartExit, "app", "./again in /d", true},
		{"exec runs the command", RestartExec, "device", "reboot now in /d", false},
		{"exec restarts a program and counts", RestartExec, "app", "./again in /d", true},
		{"simulate plays the boot loader", RestartSimulate, "device", "", true},
		{"simulate restarts a program", RestartSimulate, "app", "./again in /d", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, r := memory(t)
			cfg := r.config()
			cfg.Restart = map[string]Command{"device": {Exec: []string{"reboot", "now"}}, "app": {Exec: []string{"./again"}}}
			ran := ""
			env := Env{FS: d, Clock: disk.NewVirtual(time.Unix(0, 0)), Restart: tt.mode, BootID: func() (string, error) { return "k", nil }}
			env.Exec = func(_ context.Context, argv []string, dir string) ([]byte, error) {
				ran += strings.Join(argv, " ") + " in " + dir
				return nil, nil
			}
			f, err := New(cfg, env)
			if err != nil {
				t.Fatal(err)
			}
			before, err := f.client().Incarnation(background, tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.client().Restart(background, tt.scope); err != nil {
				t.Fatal(err)
			}
			after, err := f.client().Incarnation(background, tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			if ran != tt.ran || (before != after) != tt.changes {
				t.Errorf("ran %q, incarnation %s to %s; want %q, change %v", ran, before, after, tt.ran, tt.changes)
			}
		})
	}
}

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var cuts = []Cut{Kill, Power, PowerKeepNames, PowerTorn}

var (
	oldText = bytes.Repeat([]byte("old."), 3000)
	newText = bytes.Repeat([]byte("new!"), 2000)
)

// bases gives disks with and without an old content of d/file, and with what an
// earlier cut may have left.
func bases(t *testing.T) map[string]*Forgetful {
	t.Helper()
	all := map[string]*Forgetful{}
	for _, name := range []string{"missing", "old", "old and leftovers"} {
		d := NewForgetful()
		mustDo(t, MkdirAll(d, "d", 0o755))
		if name != "missing" {
			mustDo(t, WriteFile(d, "d/file", oldText, 0))
		}
		if strings.HasSuffix(name, "leftovers") {
			do(t, d, "write d/.file.new junk; syncdir d")
		}
		all[name] = d
	}
	return all
}

// sweep cuts write before each of its calls, in every way, and tells what was
// wrong afterwards.
func sweep(base *Forgetful, write func(*Forgetful) error) (wrong []string, points int) {
	const seeds = 4
	for n := int64(1); ; n++ {
		finished := false
		for i := range len(cuts) + seeds - 1 {
			d := base.Clone()
			d.LieSync = base.LieSync
			mode := cuts[min(i, len(cuts)-1)]
			d.Seed = uint64(i)
			d.Before = StopAt(n)
			err := write(d)
			finished = err == nil
			d.Before = nil
			d.Cut(mode)
			points++
			if w := after(d, finished, bytes.Equal(mustHave(base), oldText)); w != "" {
				wrong = append(wrong, fmt.Sprintf("before call %d, %s: %s", n, mode, w))
			}
		}
		if finished {
			return wrong, points
		}
	}
}

// mustHave gives the content of d/file, nil if it is missing.
func mustHave(d *Forgetful) []byte {
	data, err := ReadFile(d, "d/file", 1<<20)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	return data
}

// after tells what is wrong with a disk after a cut and a second WriteFile.
func after(d *Forgetful, finished, hadOld bool) string {
	got := mustHave(d)
	isOld := bytes.Equal(got, oldText) || !hadOld && got == nil
	if !bytes.Equal(got, newText) && (finished || !isOld) {
		return fmt.Sprintf("%d bytes that are neither content (%.10q)", len(got), got)
	}
	third := []byte("third")
	if err := WriteFile(d, "d/file", third, 0); err != nil {
		return "a second WriteFile: " + err.Error()
	}
	d.Cut(Power)
	entries, err := d.ReadDir("d")
	if err != nil || len(entries) != 1 || !bytes.Equal(mustHave(d), third) {
		return fmt.Sprintf("a second WriteFile leaves %v, %v", entries, err)
	}
	return ""
}

// A power cut before any call of WriteFile leaves the old content or the new.
func TestWriteFileIsAtomic(t *testing.T) {
	for name, base := range bases(t) {
		wrong, points := sweep(base, func(d *Forgetful) error { return WriteFile(d, "d/file", newText, 0o644) })
		if len(wrong) > 0 {
			t.Errorf("%s: %s", name, strings.Join(wrong, "\n"))
		}
		if want := 6 * (len(cuts) + 3); points < want { // create, write, sync, rename, syncdir, none
			t.Errorf("%s: %d points, want at least %d", name, points, want)
		}
		t.Logf("%s: %d points", name, points)
	}
}

// The sweep above finds writers that are wrong.
func TestTheSweepFindsMutants(t *testing.T) {
	inPlace := func(d *Forgetful) error {
		return errors.Join(withFile(d, "d/file", os.O_RDWR|os.O_CREATE|os.O_TRUNC, func(f File) error {
			return errors.Join(second(f.WriteAt(newText, 0)), f.Sync())
		}), d.SyncDir("d"))
	}
	unsynced := func(sync, dir bool) func(*Forgetful) error {
		return func(d *Forgetful) error {
			err := withFile(d, "d/n", os.O_RDWR|os.O_CREATE, func(f File) error {
				err := second(f.WriteAt(newText, 0))
				if sync {
					err = errors.Join(err, f.Sync())
				}
				return err
			})
			err = errors.Join(err, d.Rename("d/n", "d/file"))
			if dir {
				err = errors.Join(err, d.SyncDir("d"))
			}
			return err
		}
	}
	for name, write := range map[string]func(*Forgetful) error{
		"in place": inPlace, "no sync of the file": unsynced(false, true), "no sync of the folder": unsynced(true, false),
		"a sync that lies": func(d *Forgetful) error {
			d.LieSync = func(name string) bool { return strings.HasSuffix(name, ".new") }
			defer func() { d.LieSync = nil }()
			return WriteFile(d, "d/file", newText, 0)
		},
	} {
		if wrong, _ := sweep(bases(t)["old"], write); len(wrong) == 0 {
			t.Errorf("%s: the sweep finds nothing wrong", name)
		}
	}
}

// One call of WriteFile fails: the error comes out, nothing else is left, and
// the content is one of the two.
func TestWriteFileWithOneFault(t *testing.T) {
	for name, base := range bases(t) {
		calls := base.Clone()
		mustDo(t, WriteFile(calls, "d/file", newText, 0))
		for n := int64(1); n <= calls.Calls(); n++ {
			for _, want := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS, errShort} {
				d := base.Clone()
				d.Before = FailAt(n, want)
				op := ""
				if want == errShort {
					d.Before = ShortAt(n)
				}
				hook := d.Before
				d.Before = func(c Call) error {
					if c.N == n {
						op = c.Op
					}
					return hook(c)
				}
				err := WriteFile(d, "d/file", newText, 0)
				d.Before = nil
				if (err == nil) != (want == errShort && op != "write") {
					t.Errorf("%s: call %d, %s: %v gives %v", name, n, op, want, err)
				}
				if want != errShort && !errors.Is(err, want) {
					t.Errorf("%s: call %d, %s: %v became %v", name, n, op, want, err)
				}
				if e := must(d.ReadDir("d")); op != "remove" && (len(e) > 1 || len(e) == 1 && e[0].Name() != "file") {
					t.Errorf("%s: call %d, %s fails and leaves %v", name, n, op, e)
				}
				d.Cut(PowerKeepNames)
				if w := after(d, false, name != "missing"); w != "" {
					t.Errorf("%s: call %d, %s fails: %s", name, n, op, w)
				}
			}
		}
	}
}

func TestWriteFile(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		mustDo(t, fsys.Mkdir("d", 0o755), fsys.Symlink("target", "link"), WriteFile(fsys, "link", []byte("x"), 0o640))
		if got := describe(fsys, "link"); got != "-rw-r----- 1" {
			t.Errorf("%s: a link becomes %s, want a file", kind, got)
		}
		mustDo(t, WriteFile(fsys, "d/secret", nil, 0))
		if got := describe(fsys, "d/secret"); got != "-rw------- 0" {
			t.Errorf("%s: without perm it is %s, want 0600", kind, got)
		}
		if err := WriteFile(fsys, "d", nil, 0); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: over a folder = %v, want ErrExist", kind, err)
		}
		if err := WriteFile(fsys, "none/file", nil, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: in a missing folder = %v, want ErrNotExist", kind, err)
		}
		mustDo(t, fsys.Symlink("../link", "d/.x.new"), WriteFile(fsys, "d/x", []byte("mine"), 0))
		if got := string(must(ReadFile(fsys, "link", 9))); got != "x" {
			t.Errorf("%s: a link at the temporary name was followed: %q", kind, got)
		}
		var names []string
		for _, e := range append(must(fsys.ReadDir(".")), must(fsys.ReadDir("d"))...) {
			names = append(names, e.Name())
		}
		if want := []string{"d", "link", "secret", "x"}; !slices.Equal(names, want) {
			t.Errorf("%s: names left %q, want %q", kind, names, want)
		}
	}
}

func TestReadFile(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		mustDo(t, WriteFile(fsys, "five", []byte("12345"), 0), WriteFile(fsys, "empty", nil, 0), fsys.Mkdir("d", 0o755))
		for _, tt := range []struct {
			name, file string
			limit      int64
			want       string
			err        error
		}{
			{"at the limit", "five", 5, "12345", nil},
			{"below it", "five", 1 << 40, "12345", nil},
			{"no limit to speak of", "five", 1<<63 - 1, "12345", nil},
			{"one above it", "five", 4, "", ErrLimit},
			{"nothing allowed", "five", 0, "", ErrLimit},
			{"negative limit", "empty", -1, "", ErrLimit},
			{"empty at nothing", "empty", 0, "", nil},
			{"missing", "none", 5, "", fs.ErrNotExist},
			{"folder", "d", 5, "", syscall.EISDIR},
		} {
			got, err := ReadFile(fsys, tt.file, tt.limit)
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s, %s: %q, %v; want %q, %v", kind, tt.name, got, err, tt.want, tt.err)
			}
		}
	}
	if got, err := ReadFile(OS(), "/proc/self/stat", 1<<16); len(got) == 0 && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in /proc, which shows no size: %q, %v", got, err)
	}
	if _, err := ReadFile(OS(), "/dev/zero", 100); err != nil && !errors.Is(err, ErrLimit) && !errors.Is(err, fs.ErrNotExist) || err == nil {
		t.Errorf("an endless file = %v, want ErrLimit", err)
	}
}

func TestMkdirAll(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		mustDo(t, MkdirAll(fsys, "a/b/c", 0o750), MkdirAll(fsys, "a/b/c", 0o750), MkdirAll(fsys, "a//b/./d/", 0o750),
			MkdirAll(fsys, ".", 0o750), fsys.Symlink("a/b", "link"), MkdirAll(fsys, "link", 0o750), MkdirAll(fsys, "link/e", 0o750),
			WriteFile(fsys, "file", nil, 0), fsys.Symlink("nowhere", "broken"))
		if got, want := list(t, fsys, "a"), "a/b/ a/b/c/ a/b/d/ a/b/e/"; got != want {
			t.Errorf("%s: made %q, want %q", kind, got, want)
		}
		if got := describe(fsys, "a/b"); got != "drwxr-x---" {
			t.Errorf("%s: mode %s, want 0750", kind, got)
		}
		for _, name := range []string{"file", "file/below", "broken", "broken/below"} {
			if err := MkdirAll(fsys, name, 0o750); err == nil {
				t.Errorf("%s: MkdirAll(%s) = nil, want an error", kind, name)
			}
		}
	}
	mustDo(t, MkdirAll(OS(), t.TempDir()+"/x/y", 0o750), MkdirAll(OS(), "/", 0o750))
}

// Folders are durable when MkdirAll returns, also when an earlier one was
// killed between any two calls.
func TestMkdirAllIsDurable(t *testing.T) {
	base := NewForgetful()
	mustDo(t, MkdirAll(base, "/old", 0o755))
	for n := int64(1); ; n++ {
		d := base.Clone()
		d.Before = StopAt(n)
		err := MkdirAll(d, "/old/a/b/c", 0o755)
		d.Before = nil
		d.Cut(Kill)
		if err := MkdirAll(d, "/old/a/b/c", 0o755); err != nil {
			t.Fatalf("again after a kill before call %d: %v", n, err)
		}
		d.Cut(Power)
		if got, want := list(t, d, "/"), "/old/ /old/a/ /old/a/b/ /old/a/b/c/"; got != want {
			t.Errorf("killed before call %d, left %q, want %q", n, got, want)
		}
		if err == nil {
			break
		}
	}
}

func TestRemoveAll(t *testing.T) {
	const script = "write outside keep; mkdir o; write o/x keep; mkdir d; mkdir d/e; mkdir d/e/f; write d/a x; write d/e/b y; symlink ../o d/up; symlink ../../o d/e/up; symlink o link"
	const want = "link->o o/ o/x=keep outside=keep"
	for kind, fsys := range bothKinds(t) {
		do(t, fsys, script)
		mustDo(t, RemoveAll(fsys, "d"), RemoveAll(fsys, "d"), RemoveAll(fsys, "none/below"))
		if got := list(t, fsys, "."); got != want {
			t.Errorf("%s: left %q, want %q", kind, got, want)
		}
		mustDo(t, RemoveAll(fsys, "link"), RemoveAll(fsys, "outside"))
		if got := list(t, fsys, "."); got != "o/ o/x=keep" {
			t.Errorf("%s: left %q, want the folder that the link led to", kind, got)
		}
	}
	for n := int64(1); ; n++ { // killed anywhere and called again
		d := NewForgetful()
		do(t, d, script)
		d.Before = StopAt(d.Calls() + n)
		err := RemoveAll(d, "d")
		d.Before = nil
		mustDo(t, RemoveAll(d, "d"))
		if got := list(t, d, "."); got != want {
			t.Errorf("killed before call %d, left %q, want %q", n, got, want)
		}
		if err == nil {
			break
		}
	}
}

func TestExists(t *testing.T) {
	for kind, fsys := range bothKinds(t) {
		do(t, fsys, "mkdir d; write a x; symlink nowhere l")
		for name, want := range map[string]bool{"d": true, "a": true, "l": true, "none": false, "d/none": false, "none/none": false} {
			if got, err := Exists(fsys, name); got != want || err != nil {
				t.Errorf("%s: Exists(%s) = %v, %v, want %v", kind, name, got, err, want)
			}
		}
		if _, err := Exists(sub(t, fsys, "d"), "../a"); err == nil {
			t.Errorf("%s: Exists outside a Sub = nil, want an error", kind)
		}
	}
}

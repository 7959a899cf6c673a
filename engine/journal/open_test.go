//go:build linux

package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
	"github.com/updraft-ota/updraft/internal/disk"
)

func mustOpen(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

func apply(t *testing.T, j *journal.Journal, b engine.Batch) {
	t.Helper()
	if err := j.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, j *journal.Journal, run string) int {
	t.Helper()
	log, err := j.Load(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return len(log.Entries)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir() + "/j"
	mustOpen(t, dir)
	if _, err := journal.Open(dir, journal.Options{}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("open twice = %v, want %v", err, disk.ErrLocked)
	}
	if _, err := journal.Quarantine(dir); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("quarantine an open store = %v, want %v", err, disk.ErrLocked)
	}
}

func TestClosed(t *testing.T) {
	j := mustOpen(t, t.TempDir()+"/j")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, load := j.Load(t.Context(), "r")
	_, runs := j.Runs(t.Context())
	for what, err := range map[string]error{
		"load": load, "runs": runs,
		"apply":  j.Apply(t.Context(), batch(0)),
		"delete": j.Delete(t.Context(), "r"),
	} {
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s = %v, want %v", what, err, journal.ErrClosed)
		}
	}
}

func TestModes(t *testing.T) {
	dir := t.TempDir() + "/j"
	for range 2 {
		j := mustOpen(t, dir)
		n := count(t, j, "run-1")
		if n == 0 {
			apply(t, j, batch(0))
		}
		wantModes(t, dir)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		wantModes(t, dir)
	}
}

func wantModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// full is a disk with little room.
type full struct {
	disk.FS
	free int64
}

func (f *full) Free(string) (int64, error) { return f.free, nil }

func TestFull(t *testing.T) {
	dir := t.TempDir() + "/new/j"
	d := &full{disk.OS(), 64 << 10}
	_, err := journal.Open(dir, journal.Options{Disk: d})
	var space *journal.SpaceError
	if !errors.As(err, &space) || space.Path != dir || space.Free != 64<<10 || space.Need <= space.Free || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("open with 64 KiB = %v, want a SpaceError with the path, what is needed and what is free", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open with 64 KiB made a folder: %v", err)
	}
	d.free = space.Need
	j, err := journal.Open(dir, journal.Options{Disk: d})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Apply(t.Context(), batch(0)); !errors.As(err, &space) {
		t.Fatalf("apply on a full disk = %v, want a SpaceError", err)
	}
	d.free = 1 << 20
	for n := range 2 { // nothing was written, so the journal goes on
		apply(t, j, batch(n))
	}
	d.free = 1 << 10
	if err := j.Close(); !errors.As(err, &space) {
		t.Fatalf("close on a full disk = %v, want a SpaceError", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "journal.open")); err != nil {
		t.Errorf("a store that could not be closed is not marked: %v", err)
	}
}

// mount gives a small or read-only file system, where the machine allows it.
func mount(t *testing.T, options string, flags uintptr) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestSmallDisk(t *testing.T) {
	dir := mount(t, "size=64k", 0)
	var space *journal.SpaceError
	if _, err := journal.Open(dir+"/j", journal.Options{}); !errors.As(err, &space) {
		t.Fatalf("open on 64 KiB = %v, want a SpaceError", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("open on 64 KiB left %v, %v", left, err)
	}
}

// TestLeastDisk fills a small disk: every batch is refused or there.
func TestLeastDisk(t *testing.T) {
	dir := mount(t, "size=1m", 0) + "/j"
	j := mustOpen(t, dir)
	n, err := 0, error(nil)
	for ; err == nil; n++ {
		err = j.Apply(t.Context(), engine.Batch{Run: "r", Expect: uint64(n), Append: []engine.Entry{{Seq: uint64(n), Bytes: make([]byte, 1000)}}})
	}
	n--
	if !errors.Is(err, syscall.ENOSPC) || n == 0 {
		t.Fatalf("after %d batches: %v, want %v", n, err, syscall.ENOSPC)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if got := count(t, mustOpen(t, dir), "r"); got != n {
		t.Errorf("%d entries, want %d", got, n)
	}
	t.Logf("1 MiB holds a journal with %d entries of 1000 bytes", n)
}

func TestReadOnlyDisk(t *testing.T) {
	dir := mount(t, "size=8m", syscall.MS_RDONLY) + "/j"
	if _, err := journal.Open(dir, journal.Options{}); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
		t.Errorf("open on a read-only disk = %v, want %v and the path", err, syscall.EROFS)
	}
}

func TestUncleanIsCopied(t *testing.T) {
	killed := build(t, 10)
	aside := killed + ".unclean-1"
	before := tree(t, killed)
	for round := range 2 {
		j := mustOpen(t, killed)
		if got := count(t, j, "run-1"); got != 12 {
			t.Fatalf("round %d: %d entries, want 12", round, got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := tree(t, aside); got != before {
			t.Errorf("round %d: the copy is\n%swant\n%s", round, got, before)
		}
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "journal.") || strings.HasSuffix(e.Name(), ".vlog") || e.Name() == "DISCARD" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d %.40q\n", e.Name(), len(data), strings.TrimRight(string(data), "\x00"))
	}
	return b.String()
}

func TestQuarantine(t *testing.T) {
	dir := build(t, 10, 10)
	for range 2 {
		if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("no manifest"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Open(dir, journal.Options{}); !errors.Is(err, engine.ErrStore) {
			t.Fatalf("open = %v, want %v", err, engine.ErrStore)
		}
		aside, err := journal.Quarantine(dir)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(aside, "MANIFEST")); err != nil || string(data) != "no manifest" {
			t.Errorf("quarantine kept %q, %v", data, err)
		}
		j := mustOpen(t, dir)
		if got := count(t, j, "run-1"); got != 0 {
			t.Errorf("the new store has %d entries", got)
		}
		apply(t, j, batch(0))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := journal.Quarantine(dir + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("quarantine nothing = %v, want %v", err, fs.ErrNotExist)
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir() + "/j"
	j := mustOpen(t, dir)
	for _, run := range []string{"a", "a.1", "b"} {
		for n := range 3 {
			b := engine.Batch{Run: run, Expect: uint64(n * 900), Put: map[string][]byte{"k": []byte(run)}}
			for i := range 900 {
				b.Append = append(b.Append, engine.Entry{Seq: uint64(n*900 + i), Bytes: record(i)})
			}
			apply(t, j, b)
		}
	}
	if err := errors.Join(j.Delete(t.Context(), "a"), j.Delete(t.Context(), "unknown")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		runs, err := j.Runs(t.Context())
		if err != nil || !slices.Equal(runs, []string{"a.1", "b"}) {
			t.Fatalf("runs = %q, %v, want a.1 and b", runs, err)
		}
		if a, b := count(t, j, "a"), count(t, j, "a.1"); a != 0 || b != 2700 {
			t.Fatalf("%d and %d entries, want 0 and 2700", a, b)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = mustOpen(t, dir)
	}
	apply(t, j, engine.Batch{Run: "a", Append: []engine.Entry{{Bytes: []byte("again")}}})
	if got := count(t, j, "a"); got != 1 {
		t.Errorf("the run that began again has %d entries, want 1", got)
	}
}

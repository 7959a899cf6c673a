//go:build linux

package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/updraft-ota/updraft/engine"
	"github.com/updraft-ota/updraft/engine/journal"
)

// used is what a folder takes of the disk, in bytes.
func used(t testing.TB, dir string) (sum int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if os.IsNotExist(err) {
			continue // Badger merges beside us
		}
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	return sum
}

// TestGrowth overwrites one checkpoint as a 2 GiB image does, in runs that
// are deleted once three newer ones are there.
func TestGrowth(t *testing.T) {
	const (
		checkpoints = 2048
		state       = 400     // bytes
		limit       = 2 << 20 // bytes of the disk, when closed
	)
	runs := 8
	if testing.Short() {
		runs = 4
	}
	dir := filepath.Join(memory(t), "journal")
	var most int64
	for r := range runs {
		j := mustOpen(t, dir)
		for n := range checkpoints {
			b := engine.Batch{Run: fmt.Sprint("run-", r), Put: map[string][]byte{"pipe": make([]byte, state)}}
			if n%64 == 0 {
				b.Expect = uint64(n / 64)
				b.Append = []engine.Entry{{Seq: b.Expect, Bytes: record(n)}}
			} else {
				b.Expect = uint64(n/64 + 1)
			}
			apply(t, j, b)
			if n%256 == 0 {
				most = max(most, used(t, dir))
			}
		}
		if r >= 3 {
			if err := j.Delete(t.Context(), fmt.Sprint("run-", r-3)); err != nil {
				t.Fatal(err)
			}
		}
		most = max(most, used(t, dir))
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if got := used(t, dir); got > limit {
			t.Fatalf("after %d runs the journal takes %d bytes, want at most %d", r+1, got, limit)
		}
	}
	if most > limit {
		t.Errorf("the open journal took %d bytes, want at most %d", most, limit)
	}
	t.Logf("%d runs: at most %d KiB while open, %d KiB at the end", runs, most>>10, used(t, dir)>>10)
}

// TestTurning writes what would fill several of Badger's logs: large values,
// and ones that waste most of the memory that Badger makes tables in.
func TestTurning(t *testing.T) {
	for _, size := range []int{300, 5 << 10, 33 << 10, 64<<10 - 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := filepath.Join(memory(t), "journal")
			j := mustOpen(t, dir)
			var most int64
			last := ""
			for n := range 12 << 20 / size {
				last = fmt.Sprint(n)
				apply(t, j, engine.Batch{Run: "r", Put: map[string][]byte{"pipe": make([]byte, size), "n": []byte(last)}})
				if n%16 == 0 {
					most = max(most, used(t, dir))
				}
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if most > 2<<20 || used(t, dir) > 1<<20 {
				t.Errorf("the journal took %d bytes while open, want at most 2 MiB, and %d closed, want at most 1 MiB", most, used(t, dir))
			}
			log, err := mustOpen(t, dir).Load(t.Context(), "r")
			if err != nil || string(log.Values["n"]) != last || len(log.Values["pipe"]) != size {
				t.Errorf("the last value is %q, %v, want %s", log.Values["n"], err, last)
			}
			t.Logf("12 MiB of one value: %d KiB at most, %d KiB closed", most>>10, used(t, dir)>>10)
		})
	}
}

const tenThousand = 10000

// filled makes a journal of 10,000 records, in batches of ten.
func filled(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j := mustOpen(t, dir)
	for n := 0; n < tenThousand; n += 10 {
		b := engine.Batch{Run: "run-1", Expect: uint64(n)}
		for i := range 10 {
			b.Append = append(b.Append, engine.Entry{Seq: uint64(n + i), Bytes: append(record(n+i), make([]byte, 60)...)})
		}
		apply(t, j, b)
	}
	return j
}

// TestOpenTime holds opening and loading 10,000 records to 100 ms, after a
// Close and after a kill, with nothing in the page cache. The best of five
// counts: the machine may have other work.
func TestOpenTime(t *testing.T) {
	const limit = 100 * time.Millisecond
	dir := t.TempDir()
	j := filled(t, dir+"/closed")
	if err := os.CopyFS(dir+"/killed", os.DirFS(dir+"/closed")); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"closed", "killed"} {
		best, opened := time.Hour, time.Duration(0)
		for range 5 {
			place := filepath.Join(t.TempDir(), name)
			if err := os.CopyFS(place, os.DirFS(filepath.Join(dir, name))); err != nil {
				t.Fatal(err)
			}
			cold(t, place)
			start := time.Now()
			j := mustOpen(t, place)
			open := time.Since(start)
			if got := count(t, j, "run-1"); got != tenThousand {
				t.Fatalf("%d records, want %d", got, tenThousand)
			}
			if all := time.Since(start); all < best {
				best, opened = all, open
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: open %v, with load %v", name, opened.Round(time.Millisecond/10), best.Round(time.Millisecond/10))
		if best > limit && !raceEnabled() {
			t.Errorf("open and load took %v, want at most %v", best, limit)
		}
	}
}

// raceEnabled says whether the race detector slows everything down.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// cold drops the files from the page cache.
func cold(t *testing.T, dir string) {
	t.Helper()
	syscall.Sync()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		dropCache(f)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIdleMemory bounds what an open journal keeps resident.
func TestIdleMemory(t *testing.T) {
	rss := func() int64 {
		runtime.GC()
		debug.FreeOSMemory()
		data, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip(err)
		}
		for line := range strings.Lines(string(data)) {
			var kib int64
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
				return kib << 10
			}
		}
		t.Fatal("no VmRSS")
		return 0
	}
	dir := t.TempDir() + "/j"
	if err := mustOpen(t, dir).Close(); err != nil { // touches the code
		t.Fatal(err)
	}
	before := rss()
	j := mustOpen(t, dir)
	for n := range 100 {
		apply(t, j, batch(n))
	}
	got := rss() - before
	t.Logf("an open journal keeps %d KiB resident", got>>10)
	if got > 8<<20 {
		t.Errorf("an open journal keeps %d bytes resident, want at most 8 MiB", got)
	}
}

func BenchmarkApply(b *testing.B) {
	j, err := journal.Open(b.TempDir()+"/j", journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close() //nolint:errcheck // thrown away
	n := 0
	for b.Loop() {
		if err := j.Apply(b.Context(), batch(n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint: without it the file is warm
}

//go:build linux

package match

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCorpus measures what the copies of real pairs would cost in a patch
// without any knowledge of executables. It wants UPDRAFT_CORPUS, a folder of
// pairs NAME/old and NAME/new, and takes names from UPDRAFT_PAIRS, the level
// from UPDRAFT_LEVEL (0 to 2) and the threads from UPDRAFT_THREADS. Each kind
// of bytes is compressed by the program xz, or not at all if UPDRAFT_SIZES is
// "no".
func TestCorpus(t *testing.T) {
	dir := os.Getenv("UPDRAFT_CORPUS")
	if dir == "" {
		t.Skip("UPDRAFT_CORPUS is not set")
	}
	names := strings.Fields(os.Getenv("UPDRAFT_PAIRS"))
	if len(names) == 0 {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") {
				names = append(names, e.Name())
			}
		}
	}
	level, _ := strconv.Atoi(os.Getenv("UPDRAFT_LEVEL"))
	threads, _ := strconv.Atoi(os.Getenv("UPDRAFT_THREADS"))
	for _, name := range names {
		old, new := mapped(t, filepath.Join(dir, name, "old")), mapped(t, filepath.Join(dir, name, "new"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cpu, start := cpuTime(t), time.Now()
		copies, err := Find(context.Background(), old, new, Options{Level: Level(level), Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		cpu, wall := cpuTime(t)-cpu, time.Since(start)
		runtime.ReadMemStats(&after)
		check(t, old, new, copies)
		if os.Getenv("UPDRAFT_SIZES") == "no" {
			t.Logf("%-14s copies %6d  CPU %.2f s  wall %.2f s  allocated %d M  resident peak %d M",
				name, len(copies), cpu.Seconds(), wall.Seconds(), (after.TotalAlloc-before.TotalAlloc)>>20, residentPeak(t)>>20)
			continue
		}
		s := split(old, new, copies)
		total := 0
		var sizes [6]int
		for i, b := range s.all() {
			sizes[i] = xz(t, b)
			total += sizes[i]
		}
		t.Logf("%-14s total %8d  copies %6d  gap %d length %d shift %d = %d  zero runs %d  values %d (raw %d)  literals %d (raw %d)  CPU %.2f s  wall %.2f s  allocated %d M  resident peak %d M",
			name, total, len(copies), sizes[0], sizes[1], sizes[2], sizes[0]+sizes[1]+sizes[2], sizes[3], sizes[4], len(s.values), sizes[5], len(s.literals),
			cpu.Seconds(), wall.Seconds(), (after.TotalAlloc-before.TotalAlloc)>>20, residentPeak(t)>>20)
	}
}

// streams are the kinds of bytes that a patch is made of.
type streams struct{ gap, length, shift, runs, values, literals []byte }

func (s *streams) all() [][]byte {
	return [][]byte{s.gap, s.length, s.shift, s.runs, s.values, s.literals}
}

func split(old, new []byte, copies []Copy) *streams {
	s := &streams{}
	at, last, run := int64(0), int64(0), uint64(0)
	var recent [4]int64
	for _, c := range copies {
		s.gap = binary.AppendUvarint(s.gap, uint64(c.New-at))
		s.length = binary.AppendUvarint(s.length, uint64(c.Length))
		d := c.Old - c.New
		found := false
		for i, r := range recent {
			if r == d {
				s.shift = append(s.shift, byte(i))
				copy(recent[1:i+1], recent[:i])
				found = true
				break
			}
		}
		if !found {
			s.shift = binary.AppendUvarint(s.shift, 4+(uint64(d-last)<<1^uint64((d-last)>>63)))
			copy(recent[1:], recent[:3])
		}
		recent[0] = d
		last = d
		s.literals = append(s.literals, new[at:c.New]...)
		at = c.New + c.Length
		for i := range c.Length {
			if v := new[c.New+i] - old[c.Old+i]; v != 0 {
				s.runs = binary.AppendUvarint(s.runs, run)
				s.values = append(s.values, v)
				run = 0
			} else {
				run++
			}
		}
	}
	s.literals = append(s.literals, new[at:]...)
	return s
}

func xz(t *testing.T, b []byte) int {
	t.Helper()
	cmd := exec.Command("xz", "-9e", "--format=raw", "--lzma2=preset=9e", "-c")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run xz: %v", err)
	}
	return len(out)
}

func mapped(t *testing.T, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(b) })
	return b
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentPeak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

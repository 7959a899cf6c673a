package process

import (
	"bufio"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var imageMiB = flag.Int("image-mib", 128, "size of the image of TestMemory")

// maxResident is what an update may hold from the moment at which its command
// was accepted, its modules compiled.
const maxResident = 64 << 20 // bytes

// TestMemory runs a full image and, a delta through
// fetch, verify and a Go module, and holds the process to its memory.
func TestMemory(t *testing.T) {
	k := theKit(t)
	s := newServer(t, k.dir)
	k.sparse(t, int64(*imageMiB)<<20)
	for _, kind := range []string{"full", "delta", "sparse"} {
		t.Run(kind, func(t *testing.T) {
			b := k.box(t, s, "memory-"+kind, kind)
			defer os.RemoveAll(b.dir)
			peak := make(chan int64, 1)
			began := time.Now()
			pid := make(chan int, 1)
			cmd, wait, err := b.start(func(e event) {
				if e.Kind == "run" && e.State == "accepted" {
					go func() { peak <- watch(<-pid) }()
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			pid <- cmd.Process.Pid
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			got := <-peak
			t.Logf("%s: peak resident %.1f MiB from accepted on, %.1f s", kind, float64(got)/(1<<20), time.Since(began).Seconds())
			if got == 0 || got > maxResident {
				t.Errorf("peak resident %d bytes, want above 0 and at most %d", got, maxResident)
			}
			if kind == "sparse" {
				same(t, filepath.Join(b.dir, "slot-b.img"), filepath.Join(k.dir, "sparse", "image"))
			}
		})
	}
}

// sparse makes a release of a sparse image with random bytes in every MiB.
func (k *kit) sparse(t *testing.T, size int64) {
	t.Helper()
	name := filepath.Join(k.dir, "sparse.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4096)
	source := rand.NewChaCha8([32]byte{1})
	for at := int64(0); at < size; at += 1 << 20 {
		_, _ = source.Read(chunk)
		if _, err := f.WriteAt(chunk, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	k.command(t, k.dir, k.updraft, "release", "new", "--name", "gw", "--version", "2.0.0", "--artifact", "image=sparse.img", "--out", "sparse")
	k.command(t, k.dir, k.updraft, "release", "sign", "sparse", "--key", "rel.key")
}

// watch resets the peak of a process and gives it when the process has ended.
func watch(pid int) (peak int64) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	if err := os.WriteFile(proc+"clear_refs", []byte("5"), 0); err != nil {
		return 0
	}
	for {
		now := highWater(proc + "status")
		if now == 0 {
			return peak
		}
		peak = max(peak, now)
		time.Sleep(5 * time.Millisecond)
	}
}

// highWater reads VmHWM in bytes, 0 if the process is gone.
func highWater(name string) int64 {
	f, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

func same(t *testing.T, a, b string) {
	t.Helper()
	if x, y := digest(t, a), digest(t, b); x != y {
		t.Errorf("%s has SHA-256 %s, %s has %s", a, x, b, y)
	}
}

func digest(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

package planes

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// figures are what a swarm took.
type figures struct {
	connect, order, update time.Duration
	peak                   int64  // resident bytes of the process, 0 if the system does not tell
	heap                   uint64 // bytes that live, with everybody connected
}

// forgetPeak gives back what memory is free, and lets the kernel count the peak anew.
func forgetPeak(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	if runtime.GOOS != "linux" {
		return
	}
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Logf("the peak is that of all planes so far: %v", err)
	}
}

// measure takes the memory of this moment.
func (f *figures) measure(t *testing.T) {
	t.Helper()
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range bytes.Lines(status) {
			if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
				if _, err := fmt.Sscanf(string(rest), "%d kB", &f.peak); err != nil {
					t.Errorf("peak of memory %q: %v", rest, err)
				}
				f.peak <<= 10
			}
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.heap = m.HeapAlloc
}

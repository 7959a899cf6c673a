package agent

import (
	"runtime/debug"
)

// saveMemory keeps the heap close to what is in use while bytes flow, on devices with
// little memory, until what it gives is called. It counts for the whole process. Compiling a
// module under such a limit would take five times as long, so that it comes after.
func saveMemory() (restore func()) {
	percent := debug.SetGCPercent(25)
	limit := debug.SetMemoryLimit(32 << 20)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
		debug.FreeOSMemory()
	}
}

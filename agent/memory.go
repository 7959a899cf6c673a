package agent

import "runtime/debug"

// saveMemory keeps the heap close to what is in use while bytes flow, on devices with
// little memory. It counts for the whole process. Compiling a module under
// such a limit would take five times as long, so that it comes after.
func saveMemory() {
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(32 << 20)
}

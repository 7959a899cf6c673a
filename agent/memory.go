package agent

import "runtime/debug"

// SaveMemory tells the Go runtime to keep its heap close to what is in use. It
// is for programs whose whole purpose is the update, on devices with little
// memory; it costs a few per cent of time, and counts for the whole process.
func SaveMemory() {
	debug.SetGCPercent(25)
	debug.SetMemoryLimit(32 << 20)
}

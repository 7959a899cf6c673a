package wasmhost

import "time"

// Usage is what a phase, or several, took of the limits. All but Wall are the
// same on every run with the same input.
type Usage struct {
	Fuel   int64 // see package meter, and 100 for each call of the host
	Memory int64 // most bytes of linear memory at a time
	Frames int64 // most calls within calls at a time
	Calls  int64 // of functions of the host
	Moved  int64 // bytes that went through them or were moved by services
	Wall   time.Duration
}

// plus is what u and a later phase took together.
func (u Usage) plus(v Usage) Usage {
	return Usage{
		Fuel: u.Fuel + v.Fuel, Memory: max(u.Memory, v.Memory), Frames: max(u.Frames, v.Frames),
		Calls: u.Calls + v.Calls, Moved: u.Moved + v.Moved, Wall: u.Wall + v.Wall,
	}
}

// count adds bytes that a service moved without the guest.
func (c *call) count(n int64) { c.usage.Moved += n }

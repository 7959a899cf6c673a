// Package planes holds each cloud's simulator and dialect to what a fleet and
// an outage ask of them: a thousand devices that one push updates, and an hour
// without a broker. Links, dialects and simulators are the real ones, all in
// one process; the engine's side of a device is played, but in the test of an
// agent. It is tests only: `make swarm` measures.
package planes

// Command workgo does in Go what the guest work does in C: it loops, hashes
// and calls, and needs nothing from a host but what Go itself does.
package main

//lint:file-ignore U1000 what is exported to Wasm looks unused elsewhere

import "crypto/sha256"

func main() {}

const (
	prepare, rollback, health, cleanup = 2, 5, 6, 7

	failed = 5
)

var (
	seed  = uint64(88172645463325252)
	block [64 << 10]byte
)

//go:wasmexport loop
func loop() int32 {
	x := seed
	for range 30_000_000 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return int32(x>>33) | 1
}

//go:wasmexport hash
func hash() int32 {
	h := sha256.New()
	for range 128 {
		h.Write(block[:])
	}
	sum := h.Sum(nil)
	return int32(sum[0])<<8 | int32(sum[1]) | 1
}

//go:wasmexport tree
func tree() int32 { return fib(33) }

//go:noinline
func fib(n int32) int32 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//go:wasmexport updraft_abi_1_0
func marker() {}

//go:wasmexport updraft_phase
func phase(n int32) int32 {
	switch n {
	case prepare:
		return zero(loop())
	case health:
		return zero(hash())
	case cleanup:
		return zero(tree())
	case rollback:
		for {
			loop()
		}
	}
	return failed
}

// zero is the class of a sum: ok, unless nothing was computed.
func zero(sum int32) int32 {
	if sum == 0 {
		return failed
	}
	return 0
}

// Command work is a guest that loops, hashes and calls, for tests and
// benchmarks of the meter.
package main

import "crypto/sha256"

func main() {}

//go:wasmexport loop
func loop(n int32) int64 {
	x := uint64(88172645463325252)
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return int64(x)
}

var block [64 << 10]byte

//go:wasmexport hash
func hash(n int32) int64 {
	h := sha256.New()
	for range n {
		h.Write(block[:])
	}
	sum := h.Sum(nil)
	return int64(sum[0])<<8 | int64(sum[1])
}

//go:wasmexport tree
func tree(n int32) int64 { return fib(int64(n)) }

//go:noinline
func fib(n int64) int64 {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

var numbers [4096]uint32

// sort is Shell's, n times.
//
//go:wasmexport sort
func sort(n int32) int64 {
	x, sum := uint32(1), int64(0)
	for range n {
		for i := range numbers {
			x = x*1664525 + 1013904223
			numbers[i] = x
		}
		for gap := len(numbers) / 2; gap > 0; gap /= 2 {
			for i := gap; i < len(numbers); i++ {
				v, j := numbers[i], i
				for ; j >= gap && numbers[j-gap] > v; j -= gap {
					numbers[j] = numbers[j-gap]
				}
				numbers[j] = v
			}
		}
		sum += int64(numbers[len(numbers)/2])
	}
	return sum
}

//go:wasmexport allocate
func allocate(n int32) int64 {
	sum := 0
	list := map[int]string{}
	for i := range int(n) {
		list[i] = string(make([]byte, i%100))
		sum += len(list[i])
	}
	return int64(sum)
}

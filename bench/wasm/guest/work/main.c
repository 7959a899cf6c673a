/* Loops, hashes and calls, and needs nothing from a host: for the figures of
 * metering. Each export is also a phase, so that every host runs this code. */
#include <stdint.h>
#include "sha256.h"

#define EXPORT(name) __attribute__((export_name(name), noinline))

enum { PREPARE = 2, ROLLBACK = 5, HEALTH = 6, CLEANUP = 7 };

static uint64_t seed = 88172645463325252u;
static uint8_t block[64 << 10];

/* 30 million turns of a loop that calls nothing. */
EXPORT("loop") int32_t loop(void)
{
	uint64_t x = seed;

	for (int i = 0; i < 30000000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return (int32_t)(x >> 33) | 1;
}

/* 8 MiB of SHA-256. */
EXPORT("hash") int32_t hash(void)
{
	uint32_t h[8] = SHA256_START;

	for (int i = 0; i < 128; i++)
		for (uint32_t at = 0; at < sizeof block; at += 64)
			sha256(h, block + at);
	return (int32_t)(h[0] >> 1) | 1;
}

static __attribute__((noinline)) int32_t fib(int32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

/* A tree of 11 million calls and no loop. */
EXPORT("tree") int32_t tree(void) { return fib(33); }

/* Never ends. */
static int32_t spin(void)
{
	volatile uint32_t n = 0;

	for (;;)
		n = n + (uint32_t)loop();
}

EXPORT("updraft_abi_1_0") void updraft_abi_1_0(void) {}

EXPORT("updraft_phase") int32_t updraft_phase(int32_t phase)
{
	switch (phase) {
	case PREPARE:
		return loop() == 0;
	case HEALTH:
		return hash() == 0;
	case CLEANUP:
		return tree() == 0;
	case ROLLBACK:
		return spin();
	}
	return 5;
}

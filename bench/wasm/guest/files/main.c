/* Copies /image to /out with the files of WASI, in calls of n bytes: what a
 * module does that is given a folder instead of handles. */
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>
#include "sha256.h"

static unsigned char room[1 << 20];

/* Gives the number of bytes, or a negative one. With digest, each whole block
 * goes through SHA-256 on its way. */
__attribute__((export_name("copy"))) int64_t copy(int32_t n, int32_t digest)
{
	static uint32_t h[8] = SHA256_START;
	int64_t done = 0;
	ssize_t got, put;
	int from, to;

	if (n < 1 || (size_t)n > sizeof room)
		return -1;
	if ((from = open("/image", O_RDONLY)) < 0 || (to = open("/out", O_WRONLY | O_CREAT | O_TRUNC, 0600)) < 0)
		return -2;
	while ((got = read(from, room, (size_t)n)) > 0) {
		for (ssize_t at = 0; at < got; at += put)
			if ((put = write(to, room + at, (size_t)(got - at))) <= 0)
				return -3;
		for (ssize_t at = 0; digest && at + 64 <= got; at += 64)
			sha256(h, room + at);
		done += got;
	}
	if (digest && h[0] == 0x6a09e667)
		return -5;
	if (got < 0 || fsync(to) < 0 || close(to) < 0 || close(from) < 0)
		return -4;
	return done;
}

/* Moves the artifact "image" to the target "out" in the way that the setting
 * "how" says: through its own memory, or by one of the host's services. */
#include "updraft.h"

static unsigned char room[15 << 20];

/* Reads and writes in calls of "piece" bytes, in turn at each place of the
 * first "room" bytes of memory. */
static int32_t stream(ud_artifact image, ud_target out)
{
	int64_t piece, size, off = 0, at = 0;
	int32_t n;

	UD_CHECK(ud_setting_number("piece", &piece));
	UD_CHECK(ud_setting_number("room", &size));
	if (piece < 1 || size < piece || size > (int64_t)sizeof room)
		return ud_fail("want 1 <= piece <= room <= 15 MiB");
	for (;;) {
		UD_CHECK(n = ud_art_read(image, off, room + at, (size_t)piece));
		if (n == 0)
			return UD_OK;
		UD_CHECK(ud_tgt_write(out, off, room + at, (size_t)n));
		off += n;
		at = at + 2 * piece > size ? 0 : at + piece;
	}
}

static int32_t install(void)
{
	char how[16], digest[65];
	ud_artifact image;
	ud_target out, old;

	UD_CHECK(ud_setting_text("how", how, sizeof how));
	if (ud_equal(how, "hash-old")) {
		UD_CHECK(old = ud_tgt_open("old", UD_READ));
		UD_CHECK(ud_svc_hash(old, 0, UD_ALL, UD_SHA256, digest, sizeof digest));
		return UD_OK;
	}
	UD_CHECK(image = ud_art_open("image"));
	if (ud_equal(how, "hash")) {
		UD_CHECK(ud_svc_hash(image, 0, UD_ALL, UD_SHA256, digest, sizeof digest));
		return UD_OK;
	}
	UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
	if (ud_equal(how, "stream"))
		return stream(image, out);
	if (ud_equal(how, "copy"))
		UD_CHECK(ud_svc_copy(image, 0, out, 0, UD_ALL));
	else if (ud_equal(how, "inflate"))
		UD_CHECK(ud_svc_inflate(UD_ZSTD, image, out));
	else if (ud_equal(how, "patch")) {
		UD_CHECK(old = ud_tgt_open("old", UD_READ));
		UD_CHECK(ud_svc_patch(UD_UDELTA, old, image, out));
	} else if (ud_equal(how, "sleep"))
		UD_CHECK(ud_sleep_ms(60000));
	else
		return ud_fail("unknown setting how");
	return UD_OK;
}

static int32_t commit(void) { return UD_OK; }

UD_PHASES(.install = install, .commit = commit)

/* A step that writes an image to a microcontroller, reads it back and runs it,
 * and on failure writes the one that was kept before. */
#include "../link.h"

enum { MARK_EVERY = 16, REWRITES = 3 }; /* blocks between two marks; times that a block may read back wrong */

static const char magic[] = "MCU1"; /* an image begins so, and its version follows */

static struct link line;
static struct part part;

/* An image, in an artifact or in a target. */
struct image {
	int32_t handle;
	bool kept; /* a target */
	uint32_t size, crc;
	char version[LINK_VERSION + 1];
};

static int32_t image_read(const struct image *i, uint32_t off, uint8_t *p)
{
	int32_t want = i->size - off < LINK_BLOCK ? (int32_t)(i->size - off) : LINK_BLOCK;
	int32_t n = i->kept ? ud_tgt_read(i->handle, off, p, (size_t)want) : ud_art_read(i->handle, off, p, (size_t)want);
	return n < 0 || n == want ? n : UD_EBADDATA;
}

/* Reads an image whole, for its CRC and its version. */
static int32_t image_look(struct image *i)
{
	uint8_t block[LINK_BLOCK];
	int32_t n, end = LINK_VERSION;

	i->crc = 0, i->version[0] = 0;
	for (uint32_t off = 0; off < i->size; off += (uint32_t)n) {
		if ((n = image_read(i, off, block)) < 0)
			return n;
		i->crc = link_crc32(i->crc, block, n);
		if (off > 0)
			continue;
		for (int32_t k = 0; k < 4; k++)
			if (n < 4 + LINK_VERSION || block[k] != (uint8_t)magic[k])
				return link_say(&line, "it is no image: want MCU1 and a version at its begin");
		while (end > 0 && block[3 + end] == ' ')
			end--;
		for (int32_t k = 0; k < end; k++)
			i->version[k] = (char)block[4 + k];
		i->version[end] = 0;
	}
	return 0;
}

static int32_t artifact(struct image *i)
{
	int64_t size;

	if ((i->handle = ud_art_open("image")) < 0)
		return i->handle;
	size = ud_art_size(i->handle);
	if (size < 0 || size > INT32_MAX)
		return link_say(&line, "the image has no size, or one above 2 GiB");
	i->kept = false, i->size = (uint32_t)size;
	return image_look(i);
}

static int32_t kept(struct image *i)
{
	int64_t size;

	if ((i->handle = ud_tgt_open("backup", UD_READ)) < 0)
		return i->handle;
	size = ud_tgt_size(i->handle);
	if (size < 0 || size > INT32_MAX)
		return link_say(&line, "the backup is larger than 2 GiB");
	i->kept = true, i->size = (uint32_t)size;
	return image_look(i);
}

/* Makes flash hold block, if it does not already. */
static int32_t settle(uint32_t off, const uint8_t *block, int32_t n)
{
	for (int tries = 0;; tries++) {
		int32_t same = 0, got = link_read(&line, off, n);
		if (got < 0)
			return got;
		while (same < n && line.reply[same] == block[same])
			same++;
		if (same == n)
			return 0;
		if (tries == REWRITES)
			return link_say(&line, "flash does not keep what is written");
		if ((got = link_write(&line, off, block, n)) < 0)
			return got;
	}
}

/* Writes the image from block number from on, then reads all of it back. */
static int32_t transfer(const struct image *i, uint32_t from, bool mark)
{
	uint8_t block[LINK_BLOCK];
	int32_t n;

	for (uint32_t off = from * LINK_BLOCK; off < i->size; off += (uint32_t)n) {
		uint32_t next = off / LINK_BLOCK + 1;
		if (ud_cancelled())
			return UD_ECANCELED;
		if ((n = image_read(i, off, block)) < 0)
			return n;
		int32_t e = link_write(&line, off, block, n);
		if (e >= 0 && mark && next % MARK_EVERY == 0)
			e = ud_mark(&next, sizeof next);
		if (e < 0)
			return e;
		ud_progress(off + (uint32_t)n, i->size, "write");
	}
	for (uint32_t off = 0; off < i->size; off += (uint32_t)n) {
		int32_t e;
		if ((n = image_read(i, off, block)) < 0)
			return n;
		if ((e = settle(off, block, n)) < 0)
			return e;
		ud_progress(off + (uint32_t)n, i->size, "verify");
	}
	return 0;
}

/* Enters the boot loader; without going on where it was, the image in flash no longer counts. */
static int32_t enter(bool on)
{
	int32_t n = link_ask(&line, 'B', 0, 0);
	return n < 0 || on ? n : link_ask(&line, 'E', 0, 0);
}

static bool runs(const struct image *i) { return !part.loader && part.size == i->size && part.crc == i->crc; }

/* Stages: the image is in flash, but what runs is the boot loader. */
static int32_t stage(const struct image *i)
{
	uint32_t from = 0;
	int32_t n = link_query(&line, &part);

	if (n < 0 || runs(i))
		return n;
	if (i->size > part.room)
		return link_say(&line, "the image is larger than the flash");
	if ((n = ud_kv_put("touched", "yes", 3)) < 0 || (n = ud_kv_flush()) < 0)
		return n;
	if (ud_last_mark(&from, sizeof from) != sizeof from || part.size > 0)
		from = 0; /* what the mark speaks of is not there */
	n = enter(from > 0);
	return n < 0 ? n : transfer(i, from, true);
}

static int32_t install(void)
{
	struct image image;
	char no[3];
	ud_target version;
	int32_t n;

	UD_CHECK(link_open(&line));
	if (ud_kv_get("touched", no, sizeof no) == UD_ENOENT) {
		UD_CHECK(ud_kv_put("touched", "no", 2));
		UD_CHECK(ud_kv_flush());
	}
	if ((n = artifact(&image)) < 0 || (n = stage(&image)) < 0)
		return link_end(&line, line.port, n, true);
	n = (int32_t)ud_length(image.version);
	UD_CHECK(version = ud_tgt_open("version", UD_WRITE));
	UD_CHECK(ud_tgt_write(version, 0, image.version, (size_t)n));
	UD_CHECK(ud_tgt_write(version, n, "\n", 1));
	UD_CHECK(ud_kv_put("image", &image, sizeof image));
	UD_CHECK(ud_kv_flush());
	return UD_OK;
}

/* Starts an image that is in flash, and asks it who it is. */
static int32_t start(const struct image *i)
{
	int32_t n = link_run(&line, i->size, i->crc);

	if (n < 0 || (n = link_query(&line, &part)) < 0)
		return n;
	return runs(i) && ud_equal(part.version, i->version) ? 0 : link_say(&line, "it does not run the image that was written");
}

static int32_t commit(void)
{
	struct image image;
	ud_target version;
	int32_t n;

	UD_CHECK(link_open(&line));
	UD_CHECK(n = ud_kv_get("image", &image, sizeof image));
	if (n != sizeof image)
		return ud_fail("the key-value image is damaged");
	if ((n = start(&image)) < 0)
		return link_end(&line, line.port, n, true);
	UD_CHECK(version = ud_tgt_open("version", UD_WRITE));
	UD_CHECK(ud_tgt_commit(version));
	return UD_OK;
}

/* Writes what was kept, unless it runs. */
static int32_t restore(void)
{
	struct image before;
	int32_t n;

	if ((n = kept(&before)) < 0 || (n = link_query(&line, &part)) < 0)
		return n;
	if (before.size == 0 ? part.size == 0 : runs(&before))
		return 0;
	if ((n = enter(false)) < 0 || before.size == 0)
		return n; /* there was no image before */
	if ((n = transfer(&before, 0, false)) < 0)
		return n;
	return start(&before);
}

/* May be called when install never ran, or when a later step failed and what
 * this step kept for itself is gone: what counts is what the part says. */
static int32_t rollback(void)
{
	char touched[3];

	UD_CHECK(link_open(&line));
	if (ud_kv_get("touched", touched, sizeof touched) == 2)
		return UD_OK; /* no */
	return link_end(&line, line.port, restore(), false);
}

UD_PHASES(.install = install, .commit = commit, .rollback = rollback)

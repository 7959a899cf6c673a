/* A step that keeps the image of a microcontroller, as it is in flash, in a
 * file, so that a later step can go back to it. */
#include "../link.h"

enum { MARK_EVERY = 16 }; /* blocks between two marks */

static struct link line;
static struct part part;

/* Without a valid image in flash, what was kept before stays the way back. */
static int32_t keep(ud_target out)
{
	uint8_t block[LINK_BLOCK];
	int64_t off = 0;
	int32_t n;
	ud_target before = ud_tgt_open("backup", UD_READ);

	ud_log(UD_WARN, before < 0 ? "there is no valid image in flash, and none was kept: there is no way back"
				    : "there is no valid image in flash: the one that was kept before stays");
	if (before == UD_ENOENT)
		return 0;
	for (n = before; n >= 0 && (n = ud_tgt_read(before, off, block, sizeof block)) > 0; off += n)
		n = ud_tgt_write(out, off, block, (size_t)n) < 0 ? UD_EIO : n;
	return n;
}

/* Reads flash from where the last mark was. The CRC of what is kept already is
 * durable together with it. */
static int32_t copy(ud_target out)
{
	int64_t off = ud_tgt_size(out);
	uint32_t crc = 0;
	int32_t n = 0;

	if (off > 0 && ud_kv_get("crc", &crc, sizeof crc) != sizeof crc)
		return UD_EIO;
	while (off < part.size) {
		n = part.size - off < LINK_BLOCK ? (int32_t)(part.size - off) : LINK_BLOCK;
		if ((n = link_read(&line, (uint32_t)off, n)) < 0)
			return n;
		crc = link_crc32(crc, line.reply, n);
		if (ud_tgt_write(out, off, line.reply, (size_t)n) < 0)
			return UD_EIO;
		off += n;
		if (off / LINK_BLOCK % MARK_EVERY == 0 && ((n = ud_kv_put("crc", &crc, sizeof crc)) < 0 || (n = ud_mark_text("reading")) < 0))
			return n;
		ud_progress(off, part.size, "backup");
	}
	if (crc == part.crc)
		return 0;
	/* It is another image than the one that was begun with: begin anew. */
	n = ud_tgt_truncate(out, 0);
	if (n >= 0)
		n = ud_mark_text("anew");
	return n < 0 ? n : LINK_NOISE;
}

static int32_t install(void)
{
	ud_target out;
	int32_t n;

	UD_CHECK(link_open(&line));
	UD_CHECK(out = ud_tgt_open("backup", UD_WRITE));
	if ((n = link_query(&line, &part)) >= 0)
		n = part.size > 0 ? copy(out) : keep(out);
	if (n < 0)
		return link_end(&line, line.port, n, true);
	UD_CHECK(ud_mark_text("kept"));
	return UD_OK;
}

static int32_t commit(void)
{
	ud_target out;

	UD_CHECK(out = ud_tgt_open("backup", UD_WRITE));
	UD_CHECK(ud_tgt_commit(out));
	return UD_OK;
}

static int32_t rollback(void)
{
	ud_target out;

	UD_CHECK(out = ud_tgt_open("backup", UD_WRITE));
	UD_CHECK(ud_tgt_abort(out));
	return UD_OK;
}

UD_PHASES(.install = install, .commit = commit, .rollback = rollback)

/* A step that writes an image to the inactive slot of an A/B device. */
#include "updraft.h"

/* Stages the image. After a power cut it is called again, and ud_svc_copy goes
 * on where the last checkpoint was. */
static int32_t install(void)
{
	ud_artifact image;
	ud_target out;

	if (ud_marked("copied"))
		return UD_OK;
	UD_CHECK(image = ud_art_open("image"));
	UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
	UD_CHECK(ud_svc_copy(image, 0, out, 0, UD_ALL));
	UD_CHECK(ud_mark_text("copied"));
	return UD_OK;
}

/* Makes the slot choosable, once every byte of the image was verified. */
static int32_t commit(void)
{
	ud_target out;

	UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
	UD_CHECK(ud_tgt_commit(out));
	return UD_OK;
}

/* Drops what install staged. */
static int32_t rollback(void)
{
	ud_target out;

	UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
	UD_CHECK(ud_tgt_abort(out));
	return UD_OK;
}

UD_PHASES(.install = install, .commit = commit, .rollback = rollback)

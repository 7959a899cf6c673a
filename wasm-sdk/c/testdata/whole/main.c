/* A module for tests that calls every function of the contract, so that the
 * double for unit tests and the real host are seen to agree on them. */
#include <string.h>

#include "updraft.h"

#define WANT(condition)          \
	do {                         \
		if (!(condition))        \
			return ud_fail(#condition); \
	} while (0)

static int32_t facts(void)
{
	char text[64];
	int64_t n;

	WANT(ud_prop_get("model", text, sizeof text) == 2 && strcmp(text, "gw") == 0);
	WANT(ud_prop_get("model", text, 2) == 2 && *text == 0); /* does not fit */
	WANT(ud_prop_get("none", text, sizeof text) == UD_ENOENT);
	WANT(ud_prop_list(text, sizeof text) == 13 && memcmp(text, "model\0serial\0", 13) == 0);
	WANT(ud_config_get("slot", text, sizeof text) == 3 && strcmp(text, "\"b\"") == 0);
	WANT(ud_setting_text("slot", text, sizeof text) == 1 && *text == 'b');
	WANT(ud_setting_number("size", &n) == 0 && n == -1234567890123);
	WANT(ud_setting_number("slot", &n) == UD_EINVAL && ud_setting_number("none", &n) == UD_ENOENT);
	WANT(ud_setting_bool("force") == 1 && ud_setting_bool("size") == UD_EINVAL);
	WANT(ud_setting_item("list", 1, text, sizeof text) == 6 && strcmp(text, "\"\\\xc3\xbc" "\t\n") == 0);
	WANT(ud_setting_item("list", 2, text, sizeof text) == UD_ENOENT);
	return UD_OK;
}

static int32_t files(void)
{
	ud_artifact image;
	ud_target out, tree, file;
	char text[80];

	UD_CHECK(image = ud_art_open("image"));
	WANT(ud_art_open("none") == UD_ENOENT && ud_art_size(image) == 10);
	WANT(ud_art_read(image, 0, text, 5) == 5 && memcmp(text, "01234", 5) == 0);
	WANT(ud_art_digest(image, text, sizeof text) == 64 || ud_art_digest(image, text, sizeof text) == UD_EUNKNOWN);
	UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
	WANT(ud_svc_copy(image, 5, out, 2, UD_ALL) == 5);
	WANT(ud_art_read(image, 0, text, 5) == UD_ESEQ && ud_art_read(image, 10, text, 5) == 0);
	WANT(ud_tgt_write(out, 0, "ab", 2) == 2 && ud_tgt_size(out) == 7);
	WANT(ud_tgt_truncate(out, 6) == 0 && ud_tgt_truncate(out, 9) == UD_EINVAL && ud_tgt_sync(out) == 0);
	WANT(ud_tgt_read(out, 0, text, 1) == UD_EDENIED && ud_art_close(image) == 0);
	UD_CHECK(tree = ud_tgt_open("tree", UD_WRITE));
	UD_CHECK(file = ud_tgt_entry(tree, "bin/tool", 0755));
	WANT(ud_tgt_write(file, 0, "tool", 4) == 4 && ud_tgt_close(file) == 0);
	return ud_tgt_abort(tree);
}

static int32_t services(void)
{
	ud_artifact archive, conf, packed, delta;
	ud_target tree, made, old;
	char text[80];

	UD_CHECK(archive = ud_art_open("archive"));
	UD_CHECK(conf = ud_art_entry(archive, "etc/conf"));
	WANT(ud_art_read(conf, 0, text, sizeof text) == 4 && memcmp(text, "conf", 4) == 0 && ud_art_close(conf) == 0);
	WANT(ud_art_entry(archive, "none") == UD_ENOENT && ud_art_close(archive) == 0);
	UD_CHECK(archive = ud_art_open("archive"));
	UD_CHECK(tree = ud_tgt_open("tree", UD_WRITE));
	WANT(ud_svc_unpack(archive, tree) == 2);
	UD_CHECK(packed = ud_art_open("packed"));
	UD_CHECK(delta = ud_art_open("delta"));
	UD_CHECK(old = ud_tgt_open("old", UD_READ));
	UD_CHECK(made = ud_tgt_open("made", UD_WRITE));
	WANT(ud_svc_hash(old, 0, UD_ALL, UD_MD5, text, sizeof text) == 32 && strcmp(text, "149603e6c03516362a8da23f624db945") == 0);
	WANT(ud_svc_verify(old, "no signature", "no key") == UD_EBADDATA);
	WANT(ud_svc_inflate(UD_RECOGNISE, packed, made) == 8 && ud_tgt_truncate(made, 0) == 0);
	WANT(ud_svc_patch(UD_RECOGNISE, old, delta, made) > 0);
	return UD_OK;
}

static int32_t state(void)
{
	char text[64];

	WANT(ud_kv_put("b", "value", 5) == 0 && ud_kv_put("a", "", 0) == 0 && ud_kv_put("c", "", 0) == 0 && ud_kv_del("c") == 0);
	WANT(ud_kv_flush() == 0 && ud_kv_list(text, sizeof text) == 4 && memcmp(text, "a\0b\0", 4) == 0);
	WANT(ud_kv_get("b", text, sizeof text) == 5 && memcmp(text, "value", 5) == 0 && ud_kv_get("b", text, 2) == 5);
	WANT(ud_kv_get("c", text, sizeof text) == UD_ENOENT && !ud_marked("m1"));
	WANT(ud_mark("m1", 2) == 0 && ud_last_mark(text, sizeof text) == 2 && ud_marked("m1") && !ud_marked("m") && !ud_marked("m12"));
	return ud_mark_text("m2");
}

static int32_t effects(void)
{
	ud_response r;
	char text[80];
	int64_t status;

	UD_CHECK(r = ud_http_do("{\"url\":\"https://example.com/ask\"}", "question", 8));
	UD_CHECK(ud_http_answer(r, text, sizeof text));
	WANT(ud_json_number(ud_json_member(text, "status"), &status) == 0 && status == 200);
	WANT(ud_http_read(r, text, 3) == 3 && ud_http_read(r, text + 3, 9) == 3 && memcmp(text, "answer", 6) == 0 && ud_http_read(r, text, 3) == 0);
	UD_CHECK(ud_http_close(r));
	WANT(ud_serial_xfer("mcu", "ping", 4, text, 4, 1000) == 4 && memcmp(text, "pong", 4) == 0);
	WANT(ud_exec("flash", "{\"port\": \"a\"}") == 3);
	WANT(ud_exec_output(text, sizeof text) == 6 && strcmp(text, "said a") == 0);
	return ud_reboot_request("new firmware");
}

static int32_t install(void)
{
	static int32_t (*const parts[])(void) = {facts, files, services, state, effects};
	char text[512];
	int64_t mono, now;

	ud_log(UD_INFO, "begin");
	ud_progress(1, 2, "half");
	WANT(ud_fuel_left() > 0 && !ud_cancelled());
	UD_CHECK(ud_phase_info(text, sizeof text));
	WANT(ud_json_text(ud_json_member(text, "abi"), text, sizeof text) == 3 && strcmp(text, "1.0") == 0);
	mono = ud_mono_ms(), now = ud_now_ms();
	WANT(ud_sleep_ms(1000) == 0 && ud_mono_ms() - mono >= 1000 && ud_now_ms() - now >= 1000 && ud_random(text, 8) == 8);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		int32_t n = parts[i]();
		if (n != 0)
			return n;
	}
	return ud_result_set("{\"resultCode\": 7}");
}

static int32_t commit(void)
{
	static const char *const roles[] = {"out", "tree", "made"};

	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
		ud_target t;
		UD_CHECK(t = ud_tgt_open(roles[i], UD_WRITE));
		UD_CHECK(ud_tgt_commit(t));
	}
	return UD_OK;
}

/* Reads back what commit left. */
static int32_t health(void)
{
	ud_target out;
	char text[8];

	UD_CHECK(out = ud_tgt_open("out", UD_READ));
	WANT(ud_tgt_size(out) == 6 && ud_tgt_read(out, 0, text, sizeof text) == 6 && memcmp(text, "ab5678", 6) == 0);
	return UD_OK;
}

UD_PHASES(.install = install, .commit = commit, .health = health)

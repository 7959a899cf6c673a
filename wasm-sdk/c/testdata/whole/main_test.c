/* The module on the double. */
#include "main.c"
#include "updraft_double.h"

static int64_t give(void *p, size_t size, const char *text)
{
	size_t n = strlen(text);
	if (n <= size)
		memcpy(p, text, n);
	return (int64_t)n;
}

static int64_t answer(const struct ud_question *q, void *p, size_t size)
{
	if (strcmp(q->function, "svc_hash") == 0)
		return q->kind == UD_MD5 && q->in_size == 3 ? give(p, size, "149603e6c03516362a8da23f624db945") : UD_EINVAL;
	if (strcmp(q->function, "svc_verify") == 0)
		return UD_EBADDATA;
	if (strcmp(q->function, "svc_inflate") == 0)
		return give(p, size, "inflated");
	if (strcmp(q->function, "svc_patch") == 0)
		return memcmp(q->in, "old", 3) == 0 && memcmp(q->with, "+x", 2) == 0 ? give(p, size, "old+x") : UD_EBADDATA;
	if (strcmp(q->function, "http_do") == 0)
		return memcmp(q->with, "question", 8) == 0 ? 200 : UD_EINVAL;
	if (strcmp(q->function, "http_read") == 0)
		return give(p, size, "answer");
	if (strcmp(q->function, "serial_xfer") == 0)
		return strcmp(q->name, "mcu") == 0 && memcmp(q->in, "ping", 4) == 0 ? give(p, size, "pong") : UD_EDENIED;
	if (strcmp(q->function, "exec") == 0)
		return strcmp(q->name, "flash") == 0 ? 3 : UD_EDENIED;
	return give(p, size, "said a"); /* exec_output */
}

int main(void)
{
	static const int32_t phases[] = {UD_INSTALL, UD_COMMIT, UD_HEALTH};

	ud_double_fact("model", "gw");
	ud_double_fact("serial", "1");
	ud_double.settings = "{\"slot\": \"b\", \"size\": -1234567890123, \"force\": true, \"list\": [\"x\", \"\\\"\\\\\\u00fc\\t\\n\"]}";
	ud_double_artifact("image", "0123456789", 10);
	ud_double_artifact("archive", "", 0);
	ud_double_artifact("archive/bin/tool", "tool", 4);
	ud_double_artifact("archive/etc/conf", "conf", 4);
	ud_double_artifact("packed", "#", 1);
	ud_double_artifact("delta", "+x", 2);
	ud_double_target("old", "old", 3);
	ud_double.fuel = 1;
	ud_double.answer = answer;
	for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
		if (ud_double_call(phases[i]) != UD_OK) {
			fprintf(stderr, "phase %d: %s\n", (int)phases[i], ud_double.result);
			return 1;
		}
	if (!ud_double_committed("made", "old+x", 5) || !ud_double_committed("tree/etc/conf", "conf", 4) ||
	    !ud_double_marked("m2", 2) || strcmp(ud_double.restart, "new firmware") != 0 || strcmp(ud_double.log, "1 begin\n") != 0)
		return 1;
	ud_double_reset();
	puts("ok");
	return 0;
}

/*
 * updraft_double.h - a device in memory, for unit tests of a module on the
 * machine of who writes it, with that machine's own C compiler. One source
 * file includes it together with the module:
 *
 *     #include "main.c"
 *     #include "updraft_double.h"
 *
 *     int main(void)
 *     {
 *         ud_double_artifact("image", "new system", 10);
 *         if (ud_double_call(UD_INSTALL) != UD_OK || !ud_double_staged("out", "new system", 10))
 *             return 1;
 *         return 0;
 *     }
 *
 *     cc -o main_test main_test.c && ./main_test
 *
 * It grants whatever is in it: capabilities, quotas, the rules of which
 * function belongs to which phase, and power cuts are the real host's, which
 * "updraft module test" puts a module through. A bad or closed handle aborts.
 *
 * An archive is an artifact with its files beside it, as in
 * ud_double_artifact("tree/etc/conf", ...): ud_art_entry and ud_svc_unpack find
 * them there. What computes or reaches out (hash, inflate, patch, verify, http,
 * serial, exec) asks ud_double.answer.
 */
#ifndef UPDRAFT_DOUBLE_H
#define UPDRAFT_DOUBLE_H

#ifdef __wasm__
#error "updraft_double.h is for native unit tests; a module includes updraft.h alone"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "updraft.h"

/* What the module asks of the world outside of the double. */
struct ud_question {
	const char *function;  /* as imported: svc_hash, svc_patch, svc_inflate, svc_verify, http_do, http_read, serial_xfer, exec, exec_output */
	const char *name;      /* serial port or command, else "" */
	int32_t kind;          /* algorithm or format */
	const void *in, *with; /* content and (patch, signature); request and body; bytes sent; parameters */
	size_t in_size, with_size;
};

enum { UD_DOUBLE_NAME = 512, UD_DOUBLE_ENTRIES = 128, UD_DOUBLE_ANSWER = 1 << 16 };

/* The device. Set what a test needs, and look at it afterwards. */
static struct {
	const char *settings; /* JSON, 0 for {} */
	bool random;          /* the manifest has access: random; else going back in an artifact is UD_ESEQ */
	bool cancel;          /* what ud_cancelled answers */
	int64_t clock;        /* milliseconds; ud_sleep_ms moves it */
	int64_t fuel;         /* what ud_fuel_left answers */
	/* Writes at most size bytes to p and gives their number, or an errno; for
	 * exec the exit status, and for http_do the status, with nothing
	 * written. 0 denies all of it. */
	int64_t (*answer)(const struct ud_question *q, void *p, size_t size);

	char result[16 << 10]; /* the last ud_result_set, as JSON */
	char log[64 << 10];    /* the lines of ud_log */
	char restart[512];     /* the reason of ud_reboot_request */

	struct {
		char kind; /* f fact, a artifact, t target, s staged, k key-value, m mark; 0 free */
		char name[UD_DOUBLE_NAME + 1];
		char *bytes;
		size_t size;
	} blobs[UD_DOUBLE_ENTRIES];
	struct {
		char kind; /* a artifact, r and w target, h answer of http; 0 free */
		char name[UD_DOUBLE_NAME + 1];
		int64_t at; /* bytes read of an artifact or answer */
		int64_t size, status;
		char *body;
	} handles[32];
} ud_double;

static void ud_double_stop(const char *why)
{
	fprintf(stderr, "updraft_double.h: %s\n", why);
	abort();
}

/* --- what is there --- */

static int ud_double_find(char kind, const char *name)
{
	for (int i = 0; i < UD_DOUBLE_ENTRIES; i++)
		if (ud_double.blobs[i].kind == kind && strcmp(ud_double.blobs[i].name, name) == 0)
			return i;
	return -1;
}

static void ud_double_drop(char kind, const char *name)
{
	int i = ud_double_find(kind, name);
	if (i < 0)
		return;
	free(ud_double.blobs[i].bytes);
	ud_double.blobs[i].kind = 0;
}

static void ud_double_put(char kind, const char *name, const void *bytes, size_t size)
{
	char *copy = malloc(size + 1);

	if (!copy || strlen(name) > UD_DOUBLE_NAME)
		ud_double_stop("no memory, or a name too long");
	if (size)
		memcpy(copy, bytes, size);
	copy[size] = 0;
	ud_double_drop(kind, name);
	for (int i = 0; i < UD_DOUBLE_ENTRIES; i++)
		if (!ud_double.blobs[i].kind) {
			ud_double.blobs[i].kind = kind;
			strcpy(ud_double.blobs[i].name, name);
			ud_double.blobs[i].bytes = copy;
			ud_double.blobs[i].size = size;
			return;
		}
	ud_double_stop("full: more than UD_DOUBLE_ENTRIES");
}

static bool ud_double_is(char kind, const char *name, const void *bytes, size_t size)
{
	int i = ud_double_find(kind, name);
	return i >= 0 && ud_double.blobs[i].size == size && memcmp(ud_double.blobs[i].bytes, bytes, size) == 0;
}

/* Sets a fact, an artifact by role, a target's content by role or role/path, a key-value. */
static inline void ud_double_fact(const char *name, const char *text) { ud_double_put('f', name, text, strlen(text)); }
static inline void ud_double_artifact(const char *role, const void *p, size_t n) { ud_double_put('a', role, p, n); }
static inline void ud_double_target(const char *role, const void *p, size_t n) { ud_double_put('t', role, p, n); }
static inline void ud_double_kv(const char *key, const void *p, size_t n) { ud_double_put('k', key, p, n); }

/* Report what a target holds after its commit, what is staged for it, a key-value, and the mark. */
static inline bool ud_double_committed(const char *role, const void *p, size_t n) { return ud_double_is('t', role, p, n); }
static inline bool ud_double_staged(const char *role, const void *p, size_t n) { return ud_double_is('s', role, p, n); }
static inline bool ud_double_key(const char *key, const void *p, size_t n) { return ud_double_is('k', key, p, n); }
static inline bool ud_double_marked(const void *p, size_t n) { return ud_double_is('m', "", p, n); }

/* Makes the device new. */
static inline void ud_double_reset(void)
{
	for (int i = 0; i < UD_DOUBLE_ENTRIES; i++)
		free(ud_double.blobs[i].kind ? ud_double.blobs[i].bytes : 0);
	for (int i = 0; i < 32; i++)
		free(ud_double.handles[i].kind == 'h' ? ud_double.handles[i].body : 0);
	memset(&ud_double, 0, sizeof ud_double);
}

int32_t ud_phase(int32_t phase);

/* Calls a phase as the host would, with no handle open, and gives its class. */
static inline int32_t ud_double_call(int32_t phase)
{
	for (int i = 0; i < 32; i++)
		free(ud_double.handles[i].kind == 'h' ? ud_double.handles[i].body : 0);
	memset(ud_double.handles, 0, sizeof ud_double.handles);
	return ud_phase(phase);
}

/* --- the imports --- */

static int32_t ud_double_open(char kind, const char *name)
{
	int i, unused = -1;

	for (i = 31; i >= 0; i--) {
		if (!ud_double.handles[i].kind)
			unused = i;
		else if (kind != 'h' && ud_double.handles[i].kind == kind && strcmp(ud_double.handles[i].name, name) == 0)
			return i;
	}
	if (unused < 0)
		return UD_EMFILE;
	memset(&ud_double.handles[unused], 0, sizeof ud_double.handles[unused]);
	ud_double.handles[unused].kind = kind;
	strcpy(ud_double.handles[unused].name, name);
	return unused;
}

/* Gives the kind of a handle that is one of kinds. */
static char ud_double_handle(int32_t h, const char *kinds)
{
	if (h < 0 || h >= 32 || !ud_double.handles[h].kind || !strchr(kinds, ud_double.handles[h].kind))
		ud_double_stop("a handle that is not open, or of another kind; on a device this traps");
	return ud_double.handles[h].kind;
}

/* A name as the module gave it; false if it is too long or has a zero byte. */
static bool ud_double_name(char *name, const void *p, uint32_t n)
{
	if (n > UD_DOUBLE_NAME || memchr(p, 0, n))
		return false;
	memcpy(name, p, n);
	name[n] = 0;
	return true;
}

static int32_t ud_double_fill(const void *from, size_t size, void *p, uint32_t cap)
{
	if (size <= cap && size)
		memcpy(p, from, size);
	return (int32_t)size;
}

static int32_t ud_double_get(char kind, const void *k, uint32_t kn, void *p, uint32_t cap)
{
	char name[UD_DOUBLE_NAME + 1];
	int i = ud_double_name(name, k, kn) ? ud_double_find(kind, name) : -1;
	return i < 0 ? UD_ENOENT : ud_double_fill(ud_double.blobs[i].bytes, ud_double.blobs[i].size, p, cap);
}

/* The names of a kind in order, each with a zero byte. */
static int32_t ud_double_list(char kind, void *p, uint32_t cap)
{
	char *list = malloc((size_t)UD_DOUBLE_ENTRIES * (UD_DOUBLE_NAME + 1));
	const char *last = 0;
	size_t size = 0;
	int32_t n;

	if (!list)
		ud_double_stop("no memory");
	for (;;) {
		const char *next = 0;
		for (int i = 0; i < UD_DOUBLE_ENTRIES; i++) {
			const char *name = ud_double.blobs[i].name;
			if (ud_double.blobs[i].kind == kind && (!last || strcmp(name, last) > 0) && (!next || strcmp(name, next) < 0))
				next = name;
		}
		if (!next)
			break;
		strcpy(list + size, next);
		size += strlen(next) + 1;
		last = next;
	}
	n = ud_double_fill(list, size, p, cap);
	free(list);
	return n;
}

static void ud_double_line(char *to, size_t size, const void *p, uint32_t n, const char *end)
{
	size_t at = strlen(to);
	snprintf(to + at, size - at, "%.*s%s", (int)n, (const char *)p, end);
}

void ud_v1_log(int32_t level, const void *p, uint32_t n)
{
	char head[16];
	snprintf(head, sizeof head, "%d ", (int)level);
	ud_double_line(ud_double.log, sizeof ud_double.log, head, (uint32_t)strlen(head), "");
	ud_double_line(ud_double.log, sizeof ud_double.log, p, n, "\n");
}
void ud_v1_progress(int64_t done, int64_t total, const void *p, uint32_t n) { (void)done, (void)total, (void)p, (void)n; }
int32_t ud_v1_result_set(const void *p, uint32_t n)
{
	if (n >= sizeof ud_double.result)
		return UD_EQUOTA;
	*ud_double.result = 0;
	ud_double_line(ud_double.result, sizeof ud_double.result, p, n, "");
	return 0;
}
int32_t ud_v1_cancelled(void) { return ud_double.cancel; }
int64_t ud_v1_fuel_left(void) { return ud_double.fuel; }
int32_t ud_v1_phase_info(void *p, uint32_t cap)
{
	static const char info[] = "{\"run\":\"double\",\"abi\":\"1.0\"}";
	return ud_double_fill(info, sizeof info - 1, p, cap);
}
int32_t ud_v1_prop_get(const void *k, uint32_t kn, void *p, uint32_t cap) { return ud_double_get('f', k, kn, p, cap); }
int32_t ud_v1_prop_list(void *p, uint32_t cap) { return ud_double_list('f', p, cap); }
int32_t ud_v1_config_get(const void *k, uint32_t kn, void *p, uint32_t cap)
{
	const char *all = ud_double.settings ? ud_double.settings : "{}", *value;
	char name[UD_DOUBLE_NAME + 1];

	if (kn == 0)
		return ud_double_fill(all, strlen(all), p, cap);
	value = ud_double_name(name, k, kn) ? ud_json_member(all, name) : 0;
	return value ? ud_double_fill(value, (size_t)(ud_json_skip(value) - value), p, cap) : UD_ENOENT;
}

static int32_t ud_double_artifact_named(const char *name)
{
	return ud_double_find('a', name) < 0 ? UD_ENOENT : ud_double_open('a', name);
}
int32_t ud_v1_art_open(const void *role, uint32_t n)
{
	char name[UD_DOUBLE_NAME + 1];
	return ud_double_name(name, role, n) ? ud_double_artifact_named(name) : UD_ENOENT;
}
int32_t ud_v1_art_entry(int32_t h, const void *path, uint32_t n)
{
	char name[2 * UD_DOUBLE_NAME + 2];

	ud_double_handle(h, "a");
	strcpy(name, ud_double.handles[h].name);
	strcat(name, "/");
	return ud_double_name(name + strlen(name), path, n) && strlen(name) <= UD_DOUBLE_NAME ? ud_double_artifact_named(name) : UD_ENOENT;
}

/* What a handle reads; the content of a handle for writing is what is staged. */
static const char *ud_double_content(int32_t h, size_t *size)
{
	char kind = ud_double_handle(h, "arw");
	int i = ud_double_find(kind == 'a' ? 'a' : kind == 'r' ? 't' : 's', ud_double.handles[h].name);
	*size = i < 0 ? 0 : ud_double.blobs[i].size;
	return i < 0 ? "" : ud_double.blobs[i].bytes;
}

/* Finds n bytes of what h reads, -1 for all that follows, and moves on behind them. */
static int64_t ud_double_take(int32_t h, int64_t off, int64_t n, const char **p)
{
	char kind = ud_double_handle(h, "arw");
	size_t size;
	const char *content = ud_double_content(h, &size);

	if (off < 0 || n < -1)
		return UD_EINVAL;
	if (kind == 'w')
		return UD_EDENIED;
	if (kind == 'a' && !ud_double.random && off < ud_double.handles[h].at)
		return UD_ESEQ;
	if (off > (int64_t)size)
		off = (int64_t)size;
	if (n < 0 || n > (int64_t)size - off)
		n = (int64_t)size - off;
	ud_double.handles[h].at = off + n;
	*p = content + off;
	return n;
}
static int32_t ud_double_read(int32_t h, int64_t off, void *p, uint32_t cap)
{
	const char *from;
	int64_t n = ud_double_take(h, off, cap, &from);
	return n < 0 ? (int32_t)n : ud_double_fill(from, (size_t)n, p, cap);
}

int64_t ud_v1_art_size(int32_t h)
{
	size_t size;
	ud_double_handle(h, "a");
	ud_double_content(h, &size);
	return (int64_t)size;
}
int32_t ud_v1_art_read(int32_t h, int64_t off, void *p, uint32_t cap) { ud_double_handle(h, "a"); return ud_double_read(h, off, p, cap); }
int32_t ud_v1_art_digest(int32_t h, int32_t alg, void *p, uint32_t cap)
{
	(void)p, (void)cap;
	ud_double_handle(h, "a");
	return alg == UD_SHA256 ? UD_EUNKNOWN : UD_EINVAL;
}
int32_t ud_v1_art_close(int32_t h) { ud_double_handle(h, "a"); ud_double.handles[h].kind = 0; return 0; }

int32_t ud_v1_tgt_open(const void *role, uint32_t n, int32_t mode)
{
	char name[UD_DOUBLE_NAME + 1];

	if (!ud_double_name(name, role, n))
		return UD_ENOENT;
	if (mode != UD_READ && mode != UD_WRITE)
		return UD_EINVAL;
	return ud_double_open(mode == UD_READ ? 'r' : 'w', name);
}
int32_t ud_v1_tgt_entry(int32_t h, const void *path, uint32_t n, int32_t perm)
{
	char name[2 * UD_DOUBLE_NAME + 2], kind = ud_double_handle(h, "rw");

	(void)perm;
	strcpy(name, ud_double.handles[h].name);
	strcat(name, "/");
	if (!ud_double_name(name + strlen(name), path, n) || strlen(name) > UD_DOUBLE_NAME)
		return UD_EINVAL;
	return kind == 'r' && ud_double_find('t', name) < 0 ? UD_ENOENT : ud_double_open(kind, name);
}
int32_t ud_v1_tgt_write(int32_t h, int64_t off, const void *p, uint32_t n)
{
	char *grown;
	const char *now;
	size_t size, end = (size_t)off + n;

	if (off < 0)
		return UD_EINVAL;
	if (ud_double_handle(h, "rw") == 'r')
		return UD_EDENIED;
	now = ud_double_content(h, &size);
	grown = calloc((end > size ? end : size) + 1, 1);
	if (!grown)
		ud_double_stop("no memory");
	memcpy(grown, now, size);
	if (n)
		memcpy(grown + off, p, n);
	ud_double_put('s', ud_double.handles[h].name, grown, end > size ? end : size);
	free(grown);
	return (int32_t)n;
}
int32_t ud_v1_tgt_read(int32_t h, int64_t off, void *p, uint32_t cap) { ud_double_handle(h, "rw"); return ud_double_read(h, off, p, cap); }
int32_t ud_v1_tgt_truncate(int32_t h, int64_t n)
{
	size_t size;

	if (ud_double_handle(h, "rw") == 'r')
		return UD_EDENIED;
	ud_double_content(h, &size);
	if (n < 0 || n > (int64_t)size)
		return UD_EINVAL;
	if (size) {
		int i = ud_double_find('s', ud_double.handles[h].name);
		ud_double.blobs[i].size = (size_t)n;
	}
	return 0;
}
int32_t ud_v1_tgt_sync(int32_t h) { ud_double_handle(h, "rw"); return 0; }
int64_t ud_v1_tgt_size(int32_t h)
{
	size_t size;
	ud_double_handle(h, "rw");
	ud_double_content(h, &size);
	return (int64_t)size;
}

/* Ends what is staged for a target and below it; keep makes it the content. */
static int32_t ud_double_end(int32_t h, bool keep)
{
	char role[UD_DOUBLE_NAME + 1];
	size_t n;

	if (ud_double_handle(h, "rw") == 'r')
		return UD_EINVAL;
	strcpy(role, ud_double.handles[h].name);
	n = strlen(role);
	for (int i = 0; i < UD_DOUBLE_ENTRIES; i++) {
		const char *name = ud_double.blobs[i].name;
		if (ud_double.blobs[i].kind != 's' || strncmp(name, role, n) != 0 || (name[n] != 0 && name[n] != '/'))
			continue;
		if (keep)
			ud_double_put('t', name, ud_double.blobs[i].bytes, ud_double.blobs[i].size);
		ud_double_drop('s', name);
	}
	for (int i = 0; i < 32; i++)
		if (ud_double.handles[i].kind == 'w' && strncmp(ud_double.handles[i].name, role, n) == 0 && (!ud_double.handles[i].name[n] || ud_double.handles[i].name[n] == '/'))
			ud_double.handles[i].kind = 0;
	return 0;
}
int32_t ud_v1_tgt_commit(int32_t h) { return ud_double_end(h, true); }
int32_t ud_v1_tgt_abort(int32_t h) { return ud_double_end(h, false); }
int32_t ud_v1_tgt_close(int32_t h) { ud_double_handle(h, "rw"); ud_double.handles[h].kind = 0; return 0; }

int64_t ud_v1_svc_copy(int32_t src, int64_t soff, int32_t dst, int64_t doff, int64_t n)
{
	const char *from;

	ud_double_handle(src, "a");
	if (ud_double.cancel)
		return UD_ECANCELED;
	n = ud_double_take(src, soff, n, &from);
	return n < 0 ? n : ud_v1_tgt_write(dst, doff, from, (uint32_t)n);
}
int64_t ud_v1_svc_unpack(int32_t src, int32_t dst)
{
	char archive[UD_DOUBLE_NAME + 1], name[2 * UD_DOUBLE_NAME + 2];
	int64_t count = 0;
	size_t n;

	ud_double_handle(src, "a");
	if (ud_double_handle(dst, "rw") == 'r')
		return UD_EDENIED;
	strcpy(archive, ud_double.handles[src].name);
	strcat(archive, "/");
	n = strlen(archive);
	for (int i = 0; i < UD_DOUBLE_ENTRIES; i++) {
		if (ud_double.blobs[i].kind != 'a' || strncmp(ud_double.blobs[i].name, archive, n) != 0)
			continue;
		snprintf(name, sizeof name, "%s/%s", ud_double.handles[dst].name, ud_double.blobs[i].name + n);
		ud_double_put('s', name, ud_double.blobs[i].bytes, ud_double.blobs[i].size);
		count++;
	}
	return count;
}

static int64_t ud_double_ask(const struct ud_question *q, void *p, size_t size) { return ud_double.answer ? ud_double.answer(q, p, size) : UD_EDENIED; }

/* Asks for bytes that a service makes of content, and stages them if dst is not -1. */
static int64_t ud_double_make(struct ud_question q, int32_t dst, void *p, uint32_t cap)
{
	char *out = malloc(UD_DOUBLE_ANSWER);
	int64_t n;

	if (!out)
		ud_double_stop("no memory");
	n = ud_double_ask(&q, out, UD_DOUBLE_ANSWER);
	if (n >= 0 && dst >= 0)
		ud_double_put('s', ud_double.handles[dst].name, out, (size_t)n);
	else if (n >= 0)
		ud_double_fill(out, (size_t)n, p, cap);
	free(out);
	return n;
}
int32_t ud_v1_svc_hash(int32_t h, int64_t off, int64_t n, int32_t alg, void *p, uint32_t cap)
{
	struct ud_question q = {"svc_hash", "", alg, "", "", 0, 0};
	const char *in;

	n = ud_double_take(h, off, n, &in);
	q.in = in, q.in_size = n < 0 ? 0 : (size_t)n;
	return (int32_t)(n < 0 ? n : ud_double_make(q, -1, p, cap));
}
int64_t ud_v1_svc_inflate(int32_t kind, int32_t src, int32_t dst)
{
	struct ud_question q = {"svc_inflate", "", kind, "", "", 0, 0};
	const char *in;
	int64_t n = ud_double_take(src, 0, -1, &in);

	ud_double_handle(dst, "w");
	q.in = in, q.in_size = n < 0 ? 0 : (size_t)n;
	return n < 0 ? n : ud_double_make(q, dst, 0, 0);
}
int64_t ud_v1_svc_patch(int32_t kind, int32_t old, int32_t patch, int32_t dst)
{
	struct ud_question q = {"svc_patch", "", kind, "", "", 0, 0};
	const char *in, *with;
	int64_t n = ud_double_take(old, 0, -1, &in), m = ud_double_take(patch, 0, -1, &with);

	ud_double_handle(dst, "w");
	if (n < 0 || m < 0)
		return n < 0 ? n : m;
	q.in = in, q.in_size = (size_t)n, q.with = with, q.with_size = (size_t)m;
	return ud_double_make(q, dst, 0, 0);
}
int32_t ud_v1_svc_verify(int32_t h, const void *sig, uint32_t sn, const void *key, uint32_t kn)
{
	struct ud_question q = {"svc_verify", "", 0, "", sig, 0, sn};
	const char *in;
	int64_t n = ud_double_take(h, 0, -1, &in);

	(void)key, (void)kn;
	q.in = in, q.in_size = n < 0 ? 0 : (size_t)n;
	return (int32_t)(n < 0 ? n : ud_double_ask(&q, 0, 0));
}

int32_t ud_v1_kv_get(const void *k, uint32_t kn, void *p, uint32_t cap) { return ud_double_get('k', k, kn, p, cap); }
int32_t ud_v1_kv_put(const void *k, uint32_t kn, const void *p, uint32_t n)
{
	char name[UD_DOUBLE_NAME + 1];
	if (kn > UD_MAX_KEY || !ud_double_name(name, k, kn))
		return UD_EINVAL;
	ud_double_put('k', name, p, n);
	return 0;
}
int32_t ud_v1_kv_del(const void *k, uint32_t kn)
{
	char name[UD_DOUBLE_NAME + 1];
	if (ud_double_name(name, k, kn))
		ud_double_drop('k', name);
	return 0;
}
int32_t ud_v1_kv_list(void *p, uint32_t cap) { return ud_double_list('k', p, cap); }
int32_t ud_v1_kv_flush(void) { return 0; }
int32_t ud_v1_mark(const void *p, uint32_t n) { ud_double_put('m', "", p, n); return 0; }
int32_t ud_v1_last_mark(void *p, uint32_t cap) { return ud_double_get('m', "", 0, p, cap); }

int64_t ud_v1_now_ms(void) { return ud_double.clock; }
int64_t ud_v1_mono_ms(void) { return ud_double.clock; }
int32_t ud_v1_sleep_ms(int64_t ms) { ud_double.clock += ms; return 0; }
int32_t ud_v1_random(void *p, uint32_t cap) /* repeats, so that a test does */
{
	for (uint32_t i = 0; i < cap; i++)
		((unsigned char *)p)[i] = (unsigned char)i;
	return (int32_t)cap;
}

int32_t ud_v1_http_do(const void *r, uint32_t rn, const void *body, uint32_t n)
{
	struct ud_question q = {"http_do", "", 0, r, body, rn, n};
	int64_t status = ud_double_ask(&q, 0, 0), size;
	char *text;
	int32_t h;

	if (status < 0)
		return (int32_t)status;
	text = malloc(UD_DOUBLE_ANSWER);
	if (!text)
		ud_double_stop("no memory");
	q.function = "http_read";
	size = ud_double_ask(&q, text, UD_DOUBLE_ANSWER);
	h = size < 0 ? (int32_t)size : ud_double_open('h', "");
	if (h < 0) {
		free(text);
		return h;
	}
	ud_double.handles[h].body = text, ud_double.handles[h].size = size, ud_double.handles[h].status = status;
	return h;
}
int32_t ud_v1_http_answer(int32_t h, void *p, uint32_t cap)
{
	char json[96];
	ud_double_handle(h, "h");
	snprintf(json, sizeof json, "{\"status\":%d,\"size\":%ld}", (int)ud_double.handles[h].status, (long)ud_double.handles[h].size);
	return ud_double_fill(json, strlen(json), p, cap);
}
int32_t ud_v1_http_read(int32_t h, void *p, uint32_t cap)
{
	int64_t n;
	ud_double_handle(h, "h");
	n = ud_double.handles[h].size - ud_double.handles[h].at;
	n = n > (int64_t)cap ? (int64_t)cap : n;
	ud_double_fill(ud_double.handles[h].body + ud_double.handles[h].at, (size_t)n, p, cap);
	ud_double.handles[h].at += n;
	return (int32_t)n;
}
int32_t ud_v1_http_close(int32_t h)
{
	ud_double_handle(h, "h");
	free(ud_double.handles[h].body);
	ud_double.handles[h].kind = 0;
	return 0;
}
int32_t ud_v1_serial_xfer(const void *port, uint32_t pn, const void *send, uint32_t n, void *p, uint32_t cap, int32_t ms)
{
	char name[UD_DOUBLE_NAME + 1];
	struct ud_question q = {"serial_xfer", name, 0, send, "", n, 0};

	(void)ms;
	return ud_double_name(name, port, pn) ? (int32_t)ud_double_ask(&q, p, cap) : UD_EDENIED;
}
int32_t ud_v1_exec(const void *command, uint32_t nn, const void *p, uint32_t n)
{
	char name[UD_DOUBLE_NAME + 1];
	struct ud_question q = {"exec", name, 0, p, "", n, 0};
	return ud_double_name(name, command, nn) ? (int32_t)ud_double_ask(&q, 0, 0) : UD_EDENIED;
}
int32_t ud_v1_exec_output(void *p, uint32_t cap)
{
	struct ud_question q = {"exec_output", "", 0, "", "", 0, 0};
	return (int32_t)ud_double_make(q, -1, p, cap);
}
int32_t ud_v1_reboot_request(const void *p, uint32_t n)
{
	*ud_double.restart = 0;
	ud_double_line(ud_double.restart, sizeof ud_double.restart, p, n, "");
	return 0;
}

#endif /* UPDRAFT_DOUBLE_H */

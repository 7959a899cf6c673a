/*
 * updraft.h - what a vendor writes an install or compatibility step with, in
 * C99, as a WebAssembly module for updraft. This file is the whole SDK.
 *
 * UD_PHASES names the functions that updraft calls. Each returns UD_OK,
 * another class, or a negative errno, and reaches the device through the
 * functions here alone:
 *
 *     #include "updraft.h"
 *
 *     static int32_t install(void)
 *     {
 *         ud_artifact image;
 *         ud_target out;
 *
 *         UD_CHECK(image = ud_art_open("image"));
 *         UD_CHECK(out = ud_tgt_open("out", UD_WRITE));
 *         UD_CHECK(ud_svc_copy(image, 0, out, 0, UD_ALL));
 *         return UD_OK;
 *     }
 *
 *     UD_PHASES(.install = install, .commit = commit, .rollback = rollback)
 *
 * The module is built, and gets its manifest, by "updraft module build". The
 * manifest must declare the capability of everything that the code calls; the
 * groups below say which. What is not called is not imported.
 *
 * Any phase may be called again from its start, in a new instance whose memory
 * is empty: whatever must survive is in targets, key-values and marks.
 *
 * Answers. A negative one is an errno. Functions that fill text put a zero
 * byte behind it and return its length; one of size or more means that it did
 * not fit and that the text is empty: ask again with more. Functions that fill
 * bytes return the length in the same way, without a zero byte; those whose
 * answer is called a count return the number of bytes that they wrote, 0 at
 * the end. A bad pointer or handle ends the module.
 *
 * On other platforms than WebAssembly the functions are those of the device in
 * memory in updraft_double.h, for unit tests. Only freestanding headers are
 * used; nothing is allocated.
 */
#ifndef UPDRAFT_H
#define UPDRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Phases. */
enum {
	UD_COMPAT = 1, /* judge, purely: facts, settings, sizes and digests */
	UD_PREPARE,    /* find out and reserve, without lasting effect */
	UD_INSTALL,    /* stage; nothing takes hold */
	UD_COMMIT,     /* make what was staged take hold; open targets again */
	UD_ROLLBACK,   /* undo what this module did */
	UD_HEALTH,     /* judge the new version after the restart */
	UD_CLEANUP,    /* remove what only served the update */
	UD_ENUMERATE   /* list components while facts are gathered */
};

/* Classes: what a phase returns. */
enum {
	UD_OK,           /* done */
	UD_OK_RESTART,   /* done, and a restart is wanted */
	UD_ALREADY_DONE, /* the device has it already */
	UD_INCOMPATIBLE, /* the update does not suit this device: ud_incompatible */
	UD_RETRY_LATER,  /* not now: ud_retry */
	UD_FAILED,       /* see ud_fail and ud_failed */
	UD_CANCELLED     /* the module saw ud_cancelled and stopped */
};

/* Errnos. */
enum {
	UD_ENOENT = -1,     /* no such role, fact, setting, key or mark */
	UD_EDENIED = -2,    /* not granted, or not in this phase */
	UD_EINVAL = -3,     /* a length, offset, path or JSON text is not acceptable */
	UD_EIO = -4,        /* the host could not read or write; the phase fails whatever it returns */
	UD_ESEQ = -5,       /* a sequential artifact cannot go back */
	UD_EQUOTA = -6,     /* more than the grant, or a limit, allows */
	UD_ECANCELED = -7,  /* the run is being cancelled */
	UD_EMFILE = -8,     /* too many handles: close some */
	UD_EUNKNOWN = -9,   /* the size or digest is not known before the end */
	UD_EBADDATA = -10,  /* bytes are damaged, hostile or not signed so */
	UD_ETIMEDOUT = -11, /* no answer in time */
	UD_ECONN = -12      /* the other side cannot be reached */
};

enum { UD_DEBUG, UD_INFO, UD_WARN, UD_ERROR }; /* levels of ud_log */
enum { UD_READ = 1, UD_WRITE = 2 };            /* modes of ud_tgt_open: one or the other */
enum { UD_SHA256 = 1, UD_SHA512 = 2, UD_MD5 = 3 };
enum { UD_RECOGNISE = 0 }; /* a kind of ud_svc_patch and ud_svc_inflate */
enum { UD_UDELTA = 1, UD_BSDIFF = 2, UD_VCDIFF = 3, UD_ZSTD_PATCH = 4 };
enum { UD_ZSTD = 1, UD_GZIP = 2, UD_XZ = 3, UD_LZ4 = 4, UD_BZIP2 = 5 };

#define UD_ALL (-1)     /* as a count: to the end */
#define UD_MAX_KEY 128  /* bytes of a key, and of a name after http:, serial: or exec: */
#define UD_MAX_LINE 1024 /* bytes of one line of the log, and of a reason */

#ifndef UD_JSON_SIZE
#define UD_JSON_SIZE 4096 /* the longest setting that ud_setting_* read, on the stack */
#endif

typedef int32_t ud_artifact; /* a handle, or a negative errno */
typedef int32_t ud_target;
typedef int32_t ud_response;

/* A module's functions, 0 for phases that it does not serve. */
struct ud_phases {
	int32_t (*compat)(void), (*prepare)(void), (*install)(void), (*commit)(void);
	int32_t (*rollback)(void), (*health)(void), (*cleanup)(void), (*enumerate)(void);
};

#if defined(__wasm__)
#define UD_IMPORT(name) __attribute__((import_module("updraft_v1"), import_name(name))) extern
#define UD_EXPORT(name) __attribute__((export_name(name)))
#else
#define UD_IMPORT(name) extern
#define UD_EXPORT(name)
#endif

/* The imports as the wire has them. Use the functions below. */
UD_IMPORT("log") void ud_v1_log(int32_t level, const void *p, uint32_t n);
UD_IMPORT("progress") void ud_v1_progress(int64_t done, int64_t total, const void *p, uint32_t n);
UD_IMPORT("result_set") int32_t ud_v1_result_set(const void *p, uint32_t n);
UD_IMPORT("cancelled") int32_t ud_v1_cancelled(void);
UD_IMPORT("fuel_left") int64_t ud_v1_fuel_left(void);
UD_IMPORT("phase_info") int32_t ud_v1_phase_info(void *p, uint32_t cap);
UD_IMPORT("prop_get") int32_t ud_v1_prop_get(const void *k, uint32_t kn, void *p, uint32_t cap);
UD_IMPORT("prop_list") int32_t ud_v1_prop_list(void *p, uint32_t cap);
UD_IMPORT("config_get") int32_t ud_v1_config_get(const void *k, uint32_t kn, void *p, uint32_t cap);
UD_IMPORT("art_open") int32_t ud_v1_art_open(const void *role, uint32_t n);
UD_IMPORT("art_entry") int32_t ud_v1_art_entry(int32_t h, const void *path, uint32_t n);
UD_IMPORT("art_size") int64_t ud_v1_art_size(int32_t h);
UD_IMPORT("art_read") int32_t ud_v1_art_read(int32_t h, int64_t off, void *p, uint32_t cap);
UD_IMPORT("art_digest") int32_t ud_v1_art_digest(int32_t h, int32_t alg, void *p, uint32_t cap);
UD_IMPORT("art_close") int32_t ud_v1_art_close(int32_t h);
UD_IMPORT("tgt_open") int32_t ud_v1_tgt_open(const void *role, uint32_t n, int32_t mode);
UD_IMPORT("tgt_entry") int32_t ud_v1_tgt_entry(int32_t h, const void *path, uint32_t n, int32_t perm);
UD_IMPORT("tgt_write") int32_t ud_v1_tgt_write(int32_t h, int64_t off, const void *p, uint32_t n);
UD_IMPORT("tgt_read") int32_t ud_v1_tgt_read(int32_t h, int64_t off, void *p, uint32_t cap);
UD_IMPORT("tgt_truncate") int32_t ud_v1_tgt_truncate(int32_t h, int64_t size);
UD_IMPORT("tgt_sync") int32_t ud_v1_tgt_sync(int32_t h);
UD_IMPORT("tgt_size") int64_t ud_v1_tgt_size(int32_t h);
UD_IMPORT("tgt_commit") int32_t ud_v1_tgt_commit(int32_t h);
UD_IMPORT("tgt_abort") int32_t ud_v1_tgt_abort(int32_t h);
UD_IMPORT("tgt_close") int32_t ud_v1_tgt_close(int32_t h);
UD_IMPORT("svc_copy") int64_t ud_v1_svc_copy(int32_t src, int64_t soff, int32_t dst, int64_t doff, int64_t n);
UD_IMPORT("svc_unpack") int64_t ud_v1_svc_unpack(int32_t src, int32_t dst);
UD_IMPORT("svc_hash") int32_t ud_v1_svc_hash(int32_t h, int64_t off, int64_t n, int32_t alg, void *p, uint32_t cap);
UD_IMPORT("svc_patch") int64_t ud_v1_svc_patch(int32_t kind, int32_t old, int32_t patch, int32_t dst);
UD_IMPORT("svc_inflate") int64_t ud_v1_svc_inflate(int32_t kind, int32_t src, int32_t dst);
UD_IMPORT("svc_verify") int32_t ud_v1_svc_verify(int32_t h, const void *sig, uint32_t sn, const void *key, uint32_t kn);
UD_IMPORT("kv_get") int32_t ud_v1_kv_get(const void *k, uint32_t kn, void *p, uint32_t cap);
UD_IMPORT("kv_put") int32_t ud_v1_kv_put(const void *k, uint32_t kn, const void *p, uint32_t n);
UD_IMPORT("kv_del") int32_t ud_v1_kv_del(const void *k, uint32_t kn);
UD_IMPORT("kv_list") int32_t ud_v1_kv_list(void *p, uint32_t cap);
UD_IMPORT("kv_flush") int32_t ud_v1_kv_flush(void);
UD_IMPORT("mark") int32_t ud_v1_mark(const void *p, uint32_t n);
UD_IMPORT("last_mark") int32_t ud_v1_last_mark(void *p, uint32_t cap);
UD_IMPORT("now_ms") int64_t ud_v1_now_ms(void);
UD_IMPORT("mono_ms") int64_t ud_v1_mono_ms(void);
UD_IMPORT("sleep_ms") int32_t ud_v1_sleep_ms(int64_t ms);
UD_IMPORT("random") int32_t ud_v1_random(void *p, uint32_t cap);
UD_IMPORT("http_do") int32_t ud_v1_http_do(const void *r, uint32_t rn, const void *body, uint32_t n);
UD_IMPORT("http_answer") int32_t ud_v1_http_answer(int32_t h, void *p, uint32_t cap);
UD_IMPORT("http_read") int32_t ud_v1_http_read(int32_t h, void *p, uint32_t cap);
UD_IMPORT("http_close") int32_t ud_v1_http_close(int32_t h);
UD_IMPORT("serial_xfer") int32_t ud_v1_serial_xfer(const void *port, uint32_t pn, const void *send, uint32_t n, void *p, uint32_t cap, int32_t ms);
UD_IMPORT("exec") int32_t ud_v1_exec(const void *name, uint32_t nn, const void *p, uint32_t n);
UD_IMPORT("exec_output") int32_t ud_v1_exec_output(void *p, uint32_t cap);
UD_IMPORT("reboot_request") int32_t ud_v1_reboot_request(const void *p, uint32_t n);

static inline uint32_t ud_length(const char *text)
{
	uint32_t n = 0;
	while (text[n])
		n++;
	return n;
}

static inline bool ud_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static inline uint32_t ud_bytes(size_t size) { return size > INT32_MAX ? INT32_MAX : (uint32_t)size; }
static inline uint32_t ud_room(size_t size) { return size ? ud_bytes(size - 1) : 0; } /* without the zero byte */

/* Ends the text that an answer of n bytes filled. */
static inline int32_t ud_text(int32_t n, char *text, size_t size)
{
	if (size)
		text[n >= 0 && (size_t)n < size ? n : 0] = 0;
	return n;
}

/* What an errno means. */
static inline const char *ud_strerror(int64_t n)
{
	static const char *const texts[] = {
		"no such name", "not granted", "not acceptable", "host input or output error", "a sequential artifact cannot go back",
		"over quota", "cancelled", "too many handles", "not known yet", "damaged or not signed so", "no answer in time", "not to be reached",
	};
	return n < 0 && n >= UD_ECONN ? texts[-1 - n] : "unknown errno";
}

/* Adds text to a JSON string at out[at] and gives the place behind it; what
 * does not fit in size is left out. */
static inline size_t ud_json_quote(char *out, size_t size, size_t at, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && at + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < ' ') {
			out[at++] = '\\', out[at++] = 'u', out[at++] = '0', out[at++] = '0';
			out[at++] = hex[c >> 4], out[at++] = hex[c & 15];
			continue;
		}
		if (c == '"' || c == '\\')
			out[at++] = '\\';
		out[at++] = (char)c;
	}
	return at;
}

/* --- core: no capability --- */

/* Writes one line of at most 1 KiB. What is printed to stdout and stderr becomes lines too. */
static inline void ud_log(int32_t level, const char *line) { ud_v1_log(level, line, ud_length(line)); }

/* Says how many of total units are done; total may be 0 for unknown. */
static inline void ud_progress(int64_t done, int64_t total, const char *text) { ud_v1_progress(done, total, text, ud_length(text)); }

/* Reports whether the run is being cancelled; a phase then returns UD_CANCELLED soon. */
static inline bool ud_cancelled(void) { return ud_v1_cancelled() != 0; }

/* What the phase may still use up, about one for an instruction. */
static inline int64_t ud_fuel_left(void) { return ud_v1_fuel_left(); }

/* JSON: phase, run, abi, module, artifacts, targets, grants. */
static inline int32_t ud_phase_info(char *text, size_t size) { return ud_text(ud_v1_phase_info(text, ud_room(size)), text, size); }

/* Leaves codes and details for the report, as JSON: resultCode,
 * extendedResultCode, details, reboot, restartAgent, retryable, installedCriteria. */
static inline int32_t ud_result_set(const char *json) { return ud_v1_result_set(json, ud_length(json)); }

/* Leaves "what: why" for the report and gives class; why may be 0. */
static inline int32_t ud_report(int32_t class_, const char *what, const char *why)
{
	static const char head[] = "{\"details\":\"";
	char json[UD_MAX_LINE + 64];
	size_t at = 0;

	for (const char *p = head; *p; p++)
		json[at++] = *p;
	at = ud_json_quote(json, UD_MAX_LINE, at, what);
	if (why) {
		at = ud_json_quote(json, UD_MAX_LINE, at, ": ");
		at = ud_json_quote(json, UD_MAX_LINE, at, why);
	}
	json[at++] = '"', json[at++] = '}';
	ud_v1_result_set(json, (uint32_t)at);
	return class_;
}

/* What a phase returns with a reason. */
static inline int32_t ud_fail(const char *reason) { return ud_report(UD_FAILED, reason, 0); }
static inline int32_t ud_incompatible(const char *reason) { return ud_report(UD_INCOMPATIBLE, reason, 0); }
static inline int32_t ud_retry(const char *reason) { return ud_report(UD_RETRY_LATER, reason, 0); }

/* What a phase returns when an errno stops it: UD_CANCELLED or UD_FAILED. */
static inline int32_t ud_failed(const char *what, int64_t n)
{
	return ud_report(n == UD_ECANCELED ? UD_CANCELLED : UD_FAILED, what, ud_strerror(n));
}

/* Returns from a phase if call, a call or an assignment of one, gives an
 * errno. Its text is the reason in the report. */
#define UD_CHECK(call)                                \
	do {                                              \
		int64_t ud_check_ = (call);                   \
		if (ud_check_ < 0)                            \
			return ud_failed(#call, ud_check_);       \
	} while (0)

/* --- facts: of the device, and the step's settings --- */

static inline int32_t ud_prop_get(const char *name, char *text, size_t size)
{
	return ud_text(ud_v1_prop_get(name, ud_length(name), text, ud_room(size)), text, size);
}

/* The names of all facts, each with a zero byte at its end; the answer is the length of it all. */
static inline int32_t ud_prop_list(char *names, size_t size) { return ud_text(ud_v1_prop_list(names, ud_room(size)), names, size); }

/* The JSON of a setting, or with the name "" of all settings; see ud_setting_text. */
static inline int32_t ud_config_get(const char *name, char *json, size_t size)
{
	return ud_text(ud_v1_config_get(name, ud_length(name), json, ud_room(size)), json, size);
}

/* --- artifact: by role. Sequential ones are read forwards only --- */

static inline ud_artifact ud_art_open(const char *role) { return ud_v1_art_open(role, ud_length(role)); }
/* A file in an archive; of a sequential artifact in the order in which they stand there. */
static inline ud_artifact ud_art_entry(ud_artifact archive, const char *path) { return ud_v1_art_entry(archive, path, ud_length(path)); }
static inline int64_t ud_art_size(ud_artifact a) { return ud_v1_art_size(a); } /* or UD_EUNKNOWN */
/* Fills p from off; the answer is a count. */
static inline int32_t ud_art_read(ud_artifact a, int64_t off, void *p, size_t n) { return ud_v1_art_read(a, off, p, ud_bytes(n)); }
/* The lower-case hex SHA-256 that was promised, or UD_EUNKNOWN. */
static inline int32_t ud_art_digest(ud_artifact a, char *hex, size_t size)
{
	return ud_text(ud_v1_art_digest(a, UD_SHA256, hex, ud_room(size)), hex, size);
}
static inline int32_t ud_art_close(ud_artifact a) { return ud_v1_art_close(a); }

/* --- target: by role. A handle reads or writes, never both --- */

/* What an earlier call of install synced is still there. */
static inline ud_target ud_tgt_open(const char *role, int32_t mode) { return ud_v1_tgt_open(role, ud_length(role), mode); }
/* A file below a directory target, in its mode. Close it when done: a step has 32 handles. */
static inline ud_target ud_tgt_entry(ud_target directory, const char *path, int32_t permissions)
{
	return ud_v1_tgt_entry(directory, path, ud_length(path), permissions);
}
/* Writes all of p. */
static inline int32_t ud_tgt_write(ud_target t, int64_t off, const void *p, size_t n) { return ud_v1_tgt_write(t, off, p, ud_bytes(n)); }
/* Fills p from off; the answer is a count. */
static inline int32_t ud_tgt_read(ud_target t, int64_t off, void *p, size_t n) { return ud_v1_tgt_read(t, off, p, ud_bytes(n)); }
static inline int32_t ud_tgt_truncate(ud_target t, int64_t size) { return ud_v1_tgt_truncate(t, size); }
static inline int32_t ud_tgt_sync(ud_target t) { return ud_v1_tgt_sync(t); }
/* Of what was staged, or of what is read. */
static inline int64_t ud_tgt_size(ud_target t) { return ud_v1_tgt_size(t); }
/* Makes what was staged take hold, in the phase commit. */
static inline int32_t ud_tgt_commit(ud_target t) { return ud_v1_tgt_commit(t); }
/* Drops what was staged. */
static inline int32_t ud_tgt_abort(ud_target t) { return ud_v1_tgt_abort(t); }
/* Syncs and frees the handle; what was staged stays. */
static inline int32_t ud_tgt_close(ud_target t) { return ud_v1_tgt_close(t); }

/* --- services: work of the host on handles, the bytes never enter the module.
 * Long ones make checkpoints on their own: a call after a power cut does not
 * write again what is durable. Damaged bytes are UD_EBADDATA --- */

/* Streams n bytes, or UD_ALL, and gives their number, those of earlier calls included. */
static inline int64_t ud_svc_copy(ud_artifact src, int64_t soff, ud_target dst, int64_t doff, int64_t n)
{
	return ud_v1_svc_copy(src, soff, dst, doff, n);
}
/* Writes the files of a tar or zip below a directory target and gives their number. */
static inline int64_t ud_svc_unpack(ud_artifact src, ud_target directory) { return ud_v1_svc_unpack(src, directory); }
/* The lower-case hex digest of n bytes, or UD_ALL, of an artifact or a target opened for reading. */
static inline int32_t ud_svc_hash(int32_t content, int64_t off, int64_t n, int32_t alg, char *hex, size_t size)
{
	return ud_text(ud_v1_svc_hash(content, off, n, alg, hex, ud_room(size)), hex, size);
}
/* Makes dst from old (a target opened for reading, or an artifact with access: random) and a delta; gives its size. */
static inline int64_t ud_svc_patch(int32_t kind, int32_t old, ud_artifact patch, ud_target dst) { return ud_v1_svc_patch(kind, old, patch, dst); }
/* Writes the decompressed artifact to dst and gives its size. */
static inline int64_t ud_svc_inflate(int32_t kind, ud_artifact src, ud_target dst) { return ud_v1_svc_inflate(kind, src, dst); }
/* Checks a minisign signature with a minisign public key, both as text: 0, or UD_EBADDATA. */
static inline int32_t ud_svc_verify(int32_t content, const char *signature, const char *key)
{
	return ud_v1_svc_verify(content, signature, ud_length(signature), key, ud_length(key));
}

/* --- state: key-values that outlive the instance, 24 KiB with their keys --- */

static inline int32_t ud_kv_get(const char *key, void *p, size_t size) { return ud_v1_kv_get(key, ud_length(key), p, ud_bytes(size)); }
static inline int32_t ud_kv_put(const char *key, const void *p, size_t n) { return ud_v1_kv_put(key, ud_length(key), p, ud_bytes(n)); }
static inline int32_t ud_kv_del(const char *key) { return ud_v1_kv_del(key, ud_length(key)); }
/* The keys, each with a zero byte at its end. */
static inline int32_t ud_kv_list(char *keys, size_t size) { return ud_text(ud_v1_kv_list(keys, ud_room(size)), keys, size); }
/* Makes them durable now, with all that ud_mark makes durable. */
static inline int32_t ud_kv_flush(void) { return ud_v1_kv_flush(); }

/* --- resume --- */

/* Syncs every target, then makes the mark, the key-values and the positions in artifacts durable as one. */
static inline int32_t ud_mark(const void *p, size_t n) { return ud_v1_mark(p, ud_bytes(n)); }
static inline int32_t ud_mark_text(const char *mark) { return ud_v1_mark(mark, ud_length(mark)); }
/* The last durable mark of this step, or UD_ENOENT. */
static inline int32_t ud_last_mark(void *p, size_t size) { return ud_v1_last_mark(p, ud_bytes(size)); }
/* Reports whether it is this text. */
static inline bool ud_marked(const char *mark)
{
	char last[UD_MAX_KEY + 1];
	int32_t n = ud_text(ud_v1_last_mark(last, UD_MAX_KEY), last, sizeof last);
	return n >= 0 && ud_equal(last, mark) && (uint32_t)n == ud_length(mark);
}

/* --- time --- */

static inline int64_t ud_now_ms(void) { return ud_v1_now_ms(); }   /* since 1970 */
static inline int64_t ud_mono_ms(void) { return ud_v1_mono_ms(); } /* since an arbitrary moment */
static inline int32_t ud_sleep_ms(int64_t ms) { return ud_v1_sleep_ms(ms); }
static inline int32_t ud_random(void *p, size_t n) { return ud_v1_random(p, ud_bytes(n)); } /* at most 4 KiB */

/* --- http:HOST. Bodies of a phase, both ways, are at most 1 MiB --- */

/* Sends a request, as JSON: method, url, headers, timeoutMs. UD_ECONN and
 * UD_ETIMEDOUT say that there is no answer; a status of 400 and more is one. */
static inline ud_response ud_http_do(const char *request, const void *body, size_t n)
{
	return ud_v1_http_do(request, ud_length(request), body, ud_bytes(n));
}
/* JSON: status, headers (names in lower case), size of the body or -1; see ud_json_member. */
static inline int32_t ud_http_answer(ud_response r, char *json, size_t size)
{
	return ud_text(ud_v1_http_answer(r, json, ud_room(size)), json, size);
}
/* The next bytes of the body; the answer is a count. */
static inline int32_t ud_http_read(ud_response r, void *p, size_t n) { return ud_v1_http_read(r, p, ud_bytes(n)); }
static inline int32_t ud_http_close(ud_response r) { return ud_v1_http_close(r); }

/* --- serial:PORT --- */

/* Sends n bytes, then fills receive until it is full or ms are over; the answer is a count. */
static inline int32_t ud_serial_xfer(const char *port, const void *send, size_t n, void *receive, size_t size, int32_t ms)
{
	return ud_v1_serial_xfer(port, ud_length(port), send, ud_bytes(n), receive, ud_bytes(size), ms);
}

/* --- exec:NAME --- */

/* Runs a command of the device file; parameters is a JSON object of texts that
 * fill its template. The answer is the exit status. */
static inline int32_t ud_exec(const char *name, const char *parameters)
{
	return ud_v1_exec(name, ud_length(name), parameters, ud_length(parameters));
}
/* The last 64 KiB that the last ud_exec printed. */
static inline int32_t ud_exec_output(char *text, size_t size) { return ud_text(ud_v1_exec_output(text, ud_room(size)), text, size); }

/* --- reboot --- */

/* Asks for a restart of the device once the step has ended well. */
static inline int32_t ud_reboot_request(const char *reason) { return ud_v1_reboot_request(reason, ud_length(reason)); }

/* --- JSON, as far as settings and answers need it. The text is well-formed,
 * since the host wrote it; a place in it is a pointer, 0 for none --- */

static inline const char *ud_json_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

/* The place behind the value at p. */
static inline const char *ud_json_skip(const char *p)
{
	int32_t depth = 0;

	for (p = ud_json_space(p); *p; p++) {
		if (*p == '"') {
			for (p++; *p && *p != '"'; p++)
				if (*p == '\\' && p[1])
					p++;
			if (!*p)
				return p;
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if (*p == '}' || *p == ']') {
			depth--;
		} else if (depth == 0) { /* a number or a word */
			while (*p && *p != ',' && *p != '}' && *p != ']' && ud_json_space(p) == p)
				p++;
			return p;
		}
		if (depth == 0)
			return p + 1;
	}
	return p;
}

static inline int32_t ud_json_hex(const char *p)
{
	int32_t n = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int32_t d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
		if (d < 0)
			return -1;
		n = n << 4 | d;
	}
	return n;
}

/* Reads the escape behind a backslash into *c and gives the place behind it, or 0. */
static inline const char *ud_json_escape(const char *p, int32_t *c)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int32_t low;

	if (*p == 'u') {
		if ((*c = ud_json_hex(p + 1)) <= 0) /* a zero byte would end the text */
			return 0;
		p += 5;
		if (*c >= 0xd800 && *c < 0xdc00 && p[0] == '\\' && p[1] == 'u' && (low = ud_json_hex(p + 2)) >= 0xdc00 && low < 0xe000) {
			*c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
			p += 6;
		}
		return p;
	}
	for (int i = 0; from[i]; i++)
		if (*p == from[i]) {
			*c = (unsigned char)to[i];
			return p + 1;
		}
	return 0;
}

/* Puts c as UTF-8 to text[n], as far as size goes, and gives the n behind it. */
static inline int32_t ud_json_utf8(char *text, size_t size, int32_t n, int32_t c)
{
	static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
	int32_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

	for (int32_t i = more; i >= 0; i--, n++)
		if ((size_t)n < size)
			text[n] = (char)(i == more ? lead[more] | c >> 6 * more : 0x80 | (c >> 6 * i & 63));
	return n;
}

/* The text of the JSON string at p; UD_EINVAL if there is none. */
static inline int32_t ud_json_text(const char *p, char *text, size_t size)
{
	int32_t n = 0;

	if (!p || *(p = ud_json_space(p)) != '"')
		return ud_text(UD_EINVAL, text, size);
	for (p++; *p != '"';) {
		int32_t c;
		if (*p == 0)
			return ud_text(UD_EINVAL, text, size);
		if (*p == '\\') {
			if (!(p = ud_json_escape(p + 1, &c)))
				return ud_text(UD_EINVAL, text, size);
			n = ud_json_utf8(text, size, n, c);
			continue;
		}
		if ((size_t)n < size)
			text[n] = *p;
		n++, p++;
	}
	return ud_text(n, text, size);
}

/* The whole number at p; UD_EINVAL if there is none, or it has more than 18 digits. */
static inline int32_t ud_json_number(const char *p, int64_t *n)
{
	bool minus;
	int digits = 0;

	if (!p)
		return UD_EINVAL;
	p = ud_json_space(p);
	minus = *p == '-';
	*n = 0;
	for (p += minus; *p >= '0' && *p <= '9' && digits < 19; p++, digits++)
		*n = *n * 10 + (*p - '0');
	if (minus)
		*n = -*n;
	return digits == 0 || digits > 18 || *p == '.' || *p == 'e' || *p == 'E' ? UD_EINVAL : 0;
}

/* 1 for true, 0 for false, UD_EINVAL for anything else. */
static inline int32_t ud_json_bool(const char *p)
{
	if (!p)
		return UD_EINVAL;
	p = ud_json_space(p);
	return *p == 't' ? 1 : *p == 'f' ? 0 : UD_EINVAL;
}

/* The place of the value number i of the list at p, from 0; 0 if there is none. */
static inline const char *ud_json_item(const char *p, int32_t i)
{
	if (!p || *(p = ud_json_space(p)) != '[' || *ud_json_space(p + 1) == ']')
		return 0;
	for (p++; i > 0; i--) {
		p = ud_json_space(ud_json_skip(p));
		if (*p != ',')
			return 0;
		p++;
	}
	return ud_json_space(p);
}

/* The place of the member called name of the object at p; 0 if there is none. */
static inline const char *ud_json_member(const char *p, const char *name)
{
	char key[UD_MAX_KEY + 1];

	if (!p || *(p = ud_json_space(p)) != '{')
		return 0;
	do {
		int32_t n = ud_json_text(p + 1, key, sizeof key);
		if (n < 0)
			return 0;
		p = ud_json_space(ud_json_skip(p + 1));
		if (*p != ':')
			return 0;
		if (n < (int32_t)sizeof key && ud_equal(key, name))
			return ud_json_space(p + 1);
		p = ud_json_space(ud_json_skip(p + 1));
	} while (*p == ',');
	return 0;
}

/* Settings by their names, of at most UD_JSON_SIZE bytes (UD_EQUOTA). A
 * setting that is not there is UD_ENOENT, one of another type UD_EINVAL.
 * Capability: facts. */

static inline int32_t ud_setting(const char *name, char *json, size_t size)
{
	int32_t n = ud_config_get(name, json, size);
	return n >= 0 && (size_t)n >= size ? UD_EQUOTA : n;
}
static inline int32_t ud_setting_text(const char *name, char *text, size_t size)
{
	char json[UD_JSON_SIZE];
	int32_t n = ud_setting(name, json, sizeof json);
	return n < 0 ? ud_text(n, text, size) : ud_json_text(json, text, size);
}
static inline int32_t ud_setting_number(const char *name, int64_t *value)
{
	char json[UD_JSON_SIZE];
	int32_t n = ud_setting(name, json, sizeof json);
	return n < 0 ? n : ud_json_number(json, value);
}
static inline int32_t ud_setting_bool(const char *name)
{
	char json[UD_JSON_SIZE];
	int32_t n = ud_setting(name, json, sizeof json);
	return n < 0 ? n : ud_json_bool(json);
}
/* The text number i, from 0, of a list of texts; UD_ENOENT behind its end. */
static inline int32_t ud_setting_item(const char *name, int32_t i, char *text, size_t size)
{
	char json[UD_JSON_SIZE];
	const char *item;
	int32_t n = ud_setting(name, json, sizeof json);

	if (n >= 0 && *json != '[')
		n = UD_EINVAL;
	if (n < 0)
		return ud_text(n, text, size);
	item = ud_json_item(json, i);
	return item ? ud_json_text(item, text, size) : ud_text(UD_ENOENT, text, size);
}

/* --- phases --- */

/* Calls the function of a phase; UD_PHASES uses it. */
static inline int32_t ud_serve(const struct ud_phases *p, int32_t phase)
{
	int32_t (*const functions[])(void) = {
		0, p->compat, p->prepare, p->install, p->commit, p->rollback, p->health, p->cleanup, p->enumerate,
	};
	int32_t n;

	if (phase < UD_COMPAT || phase > UD_ENUMERATE || !functions[phase])
		return ud_fail("the phase is not served");
	n = functions[phase]();
	return n < 0 ? ud_failed("phase", n) : n;
}

/* Names the module's functions, once in a module, as in
 * UD_PHASES(.install = install, .commit = commit) */
#define UD_PHASES(...)                                                   \
	UD_EXPORT("updraft_abi_1_0") void ud_abi_1_0(void);                  \
	UD_EXPORT("updraft_abi_1_0") void ud_abi_1_0(void) {}                \
	UD_EXPORT("updraft_phase") int32_t ud_phase(int32_t phase);          \
	UD_EXPORT("updraft_phase") int32_t ud_phase(int32_t phase)           \
	{                                                                    \
		static const struct ud_phases ud_phases_ = {__VA_ARGS__};        \
		return ud_serve(&ud_phases_, phase);                             \
	}

#endif /* UPDRAFT_H */

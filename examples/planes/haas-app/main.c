/* A step that unpacks an app of the HaaS cloud beside the one that runs, if its
 * manifest.json says what the cloud's message says. */
#include "updraft.h"

/* What a text may have; the manifest's own rules are stricter. */
enum { WORD = 64, FILE_NAME = 256, MANIFEST = 4096 };

static char text[MANIFEST + 1], name[WORD], id[WORD], version[WORD];

static int32_t read_member(const char *member, char *word)
{
	return ud_json_text(ud_json_member(text, member), word, WORD);
}

/* Reads text, name, id and version out of the manifest. */
static int32_t read_manifest(ud_artifact package)
{
	ud_artifact manifest;
	int32_t n;

	manifest = ud_art_entry(package, "manifest.json");
	if (manifest == UD_ENOENT)
		return ud_fail("the package has no manifest.json at its top");
	UD_CHECK(manifest);
	UD_CHECK(n = ud_art_read(manifest, 0, text, sizeof text));
	if (n > MANIFEST)
		return ud_fail("manifest.json has more than 4096 bytes");
	text[n] = 0;
	UD_CHECK(ud_art_close(manifest));
	if (read_member("appName", name) <= 0 || read_member("appid", id) <= 0 || read_member("version", version) <= 0)
		return ud_fail("manifest.json has no appName, appid and version as texts");
	return UD_OK;
}

/* Reports whether file starts with word and gives what is behind it. */
static const char *behind(const char *file, const char *word)
{
	while (*word && *file == *word)
		file++, word++;
	return *word ? 0 : file;
}

/* Reports whether file is NAME-ID-VERSION.tar.gz. */
static bool named(const char *file)
{
	const char *const parts[] = {name, "-", id, "-", version, ".tar.gz"};

	for (size_t i = 0; file && i < sizeof parts / sizeof *parts; i++)
		file = behind(file, parts[i]);
	return file && !*file;
}

/* Reports whether file ends in .tar.gz: addresses need not name the package. */
static bool is_package(const char *file)
{
	for (; *file; file++)
		if (ud_equal(file, ".tar.gz"))
			return true;
	return false;
}

/* Compares manifest, message and the name of the file. */
static int32_t check(ud_artifact package)
{
	char want[WORD], file[FILE_NAME];
	int32_t class_ = read_manifest(package);

	if (class_ != UD_OK)
		return class_;
	UD_CHECK(ud_setting_text("appId", want, sizeof want));
	if (!ud_equal(want, id))
		return ud_fail("manifest.json is that of another app");
	UD_CHECK(ud_setting_text("version", want, sizeof want));
	if (!ud_equal(want, version))
		return ud_fail("manifest.json is that of another version");
	UD_CHECK(ud_setting_text("file", file, sizeof file));
	if (is_package(file) && !named(file))
		return ud_fail("manifest.json does not fit the name of the package");
	return UD_OK;
}

/* Unpacks into a folder of its own. ud_svc_unpack refuses absolute names, "..",
 * links and devices, and goes on after a power cut where it was. */
static int32_t install(void)
{
	ud_artifact package;
	ud_target app;
	int32_t class_;

	if (ud_marked("unpacked"))
		return UD_OK;
	UD_CHECK(package = ud_art_open("package"));
	if ((class_ = check(package)) != UD_OK)
		return class_;
	UD_CHECK(app = ud_tgt_open("app", UD_WRITE));
	UD_CHECK(ud_svc_unpack(package, app));
	UD_CHECK(ud_mark_text("unpacked"));
	return UD_OK;
}

/* Makes the folder a version that can be switched to. */
static int32_t commit(void)
{
	ud_target app;

	UD_CHECK(app = ud_tgt_open("app", UD_WRITE));
	UD_CHECK(ud_tgt_commit(app));
	return UD_OK;
}

/* Drops what install staged. */
static int32_t rollback(void)
{
	ud_target app;

	UD_CHECK(app = ud_tgt_open("app", UD_WRITE));
	UD_CHECK(ud_tgt_abort(app));
	return UD_OK;
}

UD_PHASES(.install = install, .commit = commit, .rollback = rollback)

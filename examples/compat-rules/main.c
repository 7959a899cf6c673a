/* A compatibility check with rules over any facts of the device, and reasons
 * in the words of whoever wrote the rules. */
#include "updraft.h"
#include "version.h"

enum { MAX_RULES = 16 << 10, MAX_TEXT = 256 };

static char rules[MAX_RULES];
static char reasons[UD_MAX_LINE];

/* Adds text to the reasons, as far as there is room. */
static void say(const char *text)
{
	size_t at = ud_length(reasons);

	while (*text && at + 1 < sizeof reasons)
		reasons[at++] = *text++;
	reasons[at] = 0;
}

static void say3(const char *a, const char *b, const char *c) { say(a), say(b), say(c); }

/* The text of the member called name: its length, UD_ENOENT, or UD_EINVAL also
 * for one that is too long. */
static int32_t member(const char *rule, const char *name, char *text)
{
	const char *p = ud_json_member(rule, name);
	int32_t n = p ? ud_json_text(p, text, MAX_TEXT) : UD_ENOENT;
	return n >= MAX_TEXT ? UD_EINVAL : n;
}

/* A misspelt rule must not pass for one that holds. */
static bool known(const char *rule)
{
	static const char *const names[] = {"fact", "is", "isNot", "atLeast", "below", "because"};
	char name[UD_MAX_KEY + 1];
	const char *p = ud_json_space(rule);

	if (*p != '{')
		return false;
	for (;;) {
		size_t i = 0;
		if (*(p = ud_json_space(p + 1)) == '}')
			return true;
		ud_json_text(p, name, sizeof name);
		while (i < sizeof names / sizeof *names && !ud_equal(name, names[i]))
			i++;
		if (i == sizeof names / sizeof *names)
			return false;
		p = ud_json_space(ud_json_skip(p));
		p = ud_json_space(ud_json_skip(p + 1));
		if (*p != ',')
			return true;
	}
}

/* Looks for value in the list called name: 1, 0, UD_ENOENT without the list, UD_EINVAL. */
static int32_t listed(const char *rule, const char *name, const char *value)
{
	const char *list = ud_json_member(rule, name), *item;
	char text[MAX_TEXT];

	if (!list)
		return UD_ENOENT;
	if (*ud_json_space(list) != '[')
		return UD_EINVAL;
	for (int32_t i = 0; (item = ud_json_item(list, i)); i++) {
		int32_t n = ud_json_text(item, text, sizeof text);
		if (n < 0 || n >= MAX_TEXT)
			return UD_EINVAL;
		if (ud_equal(text, value))
			return 1;
	}
	return 0;
}

/* Adds the texts of the list called name. */
static void say_list(const char *rule, const char *name)
{
	const char *list = ud_json_member(rule, name), *item;
	char text[MAX_TEXT];

	for (int32_t i = 0; (item = ud_json_item(list, i)); i++) {
		ud_json_text(item, text, sizeof text);
		say3(i ? ", " : "", text, "");
	}
}

/* Compares with the version called name. Gives 1 if value is at least that, 0
 * if it is below, UD_ENOENT without it, UD_EINVAL if it is none. */
static int32_t reaches(const char *rule, const char *name, const char *value, char *bound)
{
	int32_t n = member(rule, name, bound);

	if (n < 0)
		return n;
	return version_is(bound) ? version_order(value, bound) >= 0 : UD_EINVAL;
}

/* Adds what speaks against value, if anything does: the number of objections, or UD_EINVAL. */
static int32_t object(const char *rule, const char *fact, const char *value)
{
	char least[MAX_TEXT], below[MAX_TEXT];
	int32_t is = listed(rule, "is", value), is_not = listed(rule, "isNot", value);
	int32_t reached = reaches(rule, "atLeast", value, least), passed = reaches(rule, "below", value, below);
	bool versions = reached != UD_ENOENT || passed != UD_ENOENT;

	if (is == UD_EINVAL || is_not == UD_EINVAL || reached == UD_EINVAL || passed == UD_EINVAL)
		return UD_EINVAL;
	if (is == UD_ENOENT && is_not == UD_ENOENT && !versions)
		return UD_EINVAL; /* it says nothing */
	if (is != 0 && is_not != 1 && (!versions || (version_is(value) && reached != 0 && passed != 1)))
		return 0;
	say3(*reasons ? "; " : "", fact, " is ");
	say3(*value ? value : "empty", "", "");
	if (is == 0)
		say(", want "), say_list(rule, "is");
	else if (is_not == 1)
		say(", want another");
	else if (!version_is(value))
		say(", want a version");
	else if (reached == 0)
		say3(", want at least ", least, "");
	else
		say3(", want one below ", below, "");
	return 1;
}

/* The number of objections of one rule, or UD_EINVAL if it is no rule. */
static int32_t judge(const char *rule)
{
	char fact[MAX_TEXT], value[MAX_TEXT], because[MAX_TEXT];
	int32_t n, why = member(rule, "because", because);

	if (!known(rule) || member(rule, "fact", fact) < 0 || (why < 0 && why != UD_ENOENT))
		return UD_EINVAL;
	n = ud_prop_get(fact, value, sizeof value);
	if (n >= MAX_TEXT)
		return UD_EQUOTA;
	if (n < 0) {
		say3(*reasons ? "; " : "", "the device has no fact ", fact);
		n = 1;
	} else {
		n = object(rule, fact, value);
	}
	if (n > 0 && why > 0)
		say3(" (", because, ")");
	return n;
}

static int32_t compat(void)
{
	const char *rule;
	int32_t i, objections = 0, n = ud_setting("rules", rules, sizeof rules);

	if (n < 0)
		return ud_failed("setting rules", n);
	for (i = 0; (rule = ud_json_item(rules, i)); i++) {
		char number[] = "rule 000 of the setting rules";
		if ((n = judge(rule)) < 0) {
			for (int32_t k = 7, left = i + 1; k >= 5; k--, left /= 10)
				number[k] = (char)('0' + left % 10);
			return ud_failed(number, n);
		}
		objections += n;
	}
	if (i == 0)
		return ud_fail("the setting rules is not a list of rules");
	return objections ? ud_incompatible(reasons) : UD_OK;
}

UD_PHASES(.compat = compat)

/* The rules are tested natively, against a device in memory: cc -o main_test main_test.c && ./main_test */
#include "main.c"
#include "updraft_double.h"

/* Facts of every case. */
static void facts(void)
{
	ud_double_fact("model", "gw-200");
	ud_double_fact("version", "1.10.0");
	ud_double_fact("loader", "2.0.0-rc.9");
	ud_double_fact("site", "");
}

static const struct {
	const char *name, *rules;
	int32_t want;
	const char *says;
} cases[] = {
	{"one of the models", "[{\"fact\": \"model\", \"is\": [\"gw-100\", \"gw-200\"]}]", UD_OK, ""},
	{"another model", "[{\"fact\": \"model\", \"is\": [\"gw-100\", \"gw-300\"]}]", UD_INCOMPATIBLE, "model is gw-200, want gw-100, gw-300"},
	{"a reason", "[{\"fact\": \"model\", \"is\": [\"x\"], \"because\": \"call us\"}]", UD_INCOMPATIBLE, "model is gw-200, want x (call us)"},
	{"an excluded model", "[{\"fact\": \"model\", \"isNot\": [\"gw-200\"], \"because\": \"its flash is too small\"}]", UD_INCOMPATIBLE, "model is gw-200, want another (its flash is too small)"},
	{"not excluded", "[{\"fact\": \"model\", \"isNot\": [\"gw-20\"]}]", UD_OK, ""},
	{"nothing allowed", "[{\"fact\": \"model\", \"is\": []}]", UD_INCOMPATIBLE, "model is gw-200, want "},
	{"an empty fact", "[{\"fact\": \"site\", \"is\": [\"lab\"]}]", UD_INCOMPATIBLE, "site is empty, want lab"},
	{"new enough", "[{\"fact\": \"version\", \"atLeast\": \"1.9\"}]", UD_OK, ""},
	{"just new enough", "[{\"fact\": \"version\", \"atLeast\": \"1.10\"}]", UD_OK, ""},
	{"too old", "[{\"fact\": \"version\", \"atLeast\": \"1.10.1\", \"because\": \"1.10.1 moves the settings\"}]", UD_INCOMPATIBLE, "version is 1.10.0, want at least 1.10.1 (1.10.1 moves the settings)"},
	{"old enough", "[{\"fact\": \"version\", \"below\": \"2\"}]", UD_OK, ""},
	{"just too new", "[{\"fact\": \"version\", \"below\": \"1.10\"}]", UD_INCOMPATIBLE, "version is 1.10.0, want one below 1.10"},
	{"in between", "[{\"fact\": \"version\", \"atLeast\": \"1\", \"below\": \"2\"}]", UD_OK, ""},
	{"a pre-release is below its release", "[{\"fact\": \"loader\", \"atLeast\": \"2\"}]", UD_INCOMPATIBLE, "loader is 2.0.0-rc.9, want at least 2"},
	{"pre-releases have numbers", "[{\"fact\": \"loader\", \"below\": \"2.0.0-rc.10\"}]", UD_OK, ""},
	{"no version", "[{\"fact\": \"model\", \"atLeast\": \"1\"}]", UD_INCOMPATIBLE, "model is gw-200, want a version"},
	{"no fact", "[{\"fact\": \"battery\", \"atLeast\": \"40\"}]", UD_INCOMPATIBLE, "the device has no fact battery"},
	{"all that speaks against it", "[{\"fact\": \"model\", \"is\": [\"x\"]}, {\"fact\": \"version\", \"is\": [\"1.10.0\"]}, {\"fact\": \"battery\", \"is\": [\"1\"], \"because\": \"why\"}]",
	 UD_INCOMPATIBLE, "model is gw-200, want x; the device has no fact battery (why)"},
	{"a bound that is no version", "[{\"fact\": \"version\", \"is\": [\"1.10.0\"]}, {\"fact\": \"version\", \"atLeast\": \"1.x\"}]", UD_FAILED, "rule 002 of the setting rules: not acceptable"},
	{"a misspelt rule", "[{\"fact\": \"version\", \"is\": [\"1.10.0\"], \"atleast\": \"9\"}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"a rule about nothing", "[{\"is\": [\"x\"]}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"a rule that says nothing", "[{\"fact\": \"model\"}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"a text for a list", "[{\"fact\": \"model\", \"is\": \"gw-200\"}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"a number in a list", "[{\"fact\": \"model\", \"is\": [200]}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"a number as a reason", "[{\"fact\": \"model\", \"is\": [\"gw-200\"], \"because\": 1}]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"no rule", "[\"model\"]", UD_FAILED, "rule 001 of the setting rules: not acceptable"},
	{"no rules", "[]", UD_FAILED, "the setting rules is not a list of rules"},
	{"one rule without a list", "{\"fact\": \"model\"}", UD_FAILED, "the setting rules is not a list of rules"},
};

/* Pairs in the order of versions, the first below the second. */
static const char *const ordered[][2] = {
	{"1.9", "1.10"}, {"1", "1.0.1"}, {"9", "10"}, {"1.0-1", "1.0-a"}, {"1.0-a", "1.0-a.1"}, {"1.0-rc.2", "1.0-rc.10"}, {"1.0-rc", "1.0"},
	{"0099", "100"}, {"1.0-a", "1.0-b"}, {"1.0-a", "1.0-ab"}, {"99999999999999999999998", "99999999999999999999999"},
};
static const char *const same[][2] = {{"1", "1.0.0"}, {"1.01", "1.1"}, {"1.0+x", "1.0+y"}, {"1-rc.1+x", "1.0-rc.01"}};
static const char *const none[] = {"", ".", "1.", ".1", "1..2", "v1", "1.x", "1-", "1-a..b", "1+", "1 ", "1-a+b+c", "-1"};

int main(void)
{
	char settings[MAX_RULES], want[UD_MAX_LINE + 32];
	int bad = 0;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int32_t class_;
		ud_double_reset();
		facts();
		*reasons = 0; /* each call is a new instance */
		snprintf(settings, sizeof settings, "{\"rules\": %s}", cases[i].rules);
		ud_double.settings = settings;
		class_ = ud_double_call(UD_COMPAT);
		snprintf(want, sizeof want, *cases[i].says ? "{\"details\":\"%s\"}" : "", cases[i].says);
		if (class_ != cases[i].want || strcmp(ud_double.result, want) != 0)
			bad++, fprintf(stderr, "%s: class %d, %s, want %d, %s\n", cases[i].name, (int)class_, ud_double.result, (int)cases[i].want, want);
	}
	for (size_t i = 0; i < sizeof ordered / sizeof *ordered; i++)
		if (version_order(ordered[i][0], ordered[i][1]) != -1 || version_order(ordered[i][1], ordered[i][0]) != 1)
			bad++, fprintf(stderr, "%s is not below %s\n", ordered[i][0], ordered[i][1]);
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		if (!version_is(same[i][0]) || !version_is(same[i][1]) || version_order(same[i][0], same[i][1]) != 0)
			bad++, fprintf(stderr, "%s is not %s\n", same[i][0], same[i][1]);
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		if (version_is(none[i]))
			bad++, fprintf(stderr, "%s is a version\n", none[i]);
	ud_double_reset();
	if (ud_double_call(UD_COMPAT) != UD_FAILED)
		bad++, fprintf(stderr, "no setting at all: no failure\n");
	if (bad)
		return 1;
	puts("ok");
	return 0;
}

/* A check is tested natively, against a device in memory: cc -o main_test main_test.c && ./main_test */
#include "main.c"
#include "updraft_double.h"

int main(void)
{
	static const struct {
		const char *name, *settings, *model;
		int32_t want;
	} cases[] = {
		{"one of them", "{\"models\": [\"gw-100\", \"gw-200\"]}", "gw-200", UD_OK},
		{"written with escapes", "{\"x\": [{}], \"mod\\u0065ls\" : [ \"\\u00fcber\" ] }", "\xc3\xbc" "ber", UD_OK},
		{"another one", "{\"models\": [\"gw-100\"]}", "gw-200", UD_INCOMPATIBLE},
		{"the beginning of one", "{\"models\": [\"gw-200\"]}", "gw-20", UD_INCOMPATIBLE},
		{"no models", "{}", "gw-200", UD_INCOMPATIBLE},
		{"an empty list", "{\"models\": []}", "gw-200", UD_INCOMPATIBLE},
		{"no fact", "{\"models\": [\"gw-100\"]}", 0, UD_INCOMPATIBLE},
		{"settings of another type", "{\"models\": 1}", "gw-200", UD_FAILED},
		{"a list of numbers", "{\"models\": [1]}", "gw-200", UD_FAILED},
		{"a zero byte", "{\"models\": [\"gw\\u0000x\"]}", "gw", UD_FAILED},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int32_t class_;
		ud_double_reset();
		ud_double.settings = cases[i].settings;
		if (cases[i].model)
			ud_double_fact("model", cases[i].model);
		class_ = ud_double_call(UD_COMPAT);
		if (class_ != cases[i].want) {
			fprintf(stderr, "%s: class %d, want %d; result %s\n", cases[i].name, (int)class_, (int)cases[i].want, ud_double.result);
			return 1;
		}
	}
	puts("ok");
	return 0;
}

/* A step is tested natively, against a device in memory: cc -o main_test main_test.c && ./main_test */
#include "main.c"
#include "updraft_double.h"

#define WANT(condition)                                                                        \
	do {                                                                                       \
		if (!(condition)) {                                                                    \
			fprintf(stderr, "line %d: %s; result %s\n", __LINE__, #condition, ud_double.result); \
			return 1;                                                                          \
		}                                                                                      \
	} while (0)

int main(void)
{
	static const char image[] = "new system";

	ud_double_artifact("image", image, 10);
	WANT(ud_double_call(UD_INSTALL) == UD_OK);
	WANT(ud_double_staged("out", image, 10));
	WANT(ud_double_marked("copied", 6));
	WANT(ud_double_call(UD_INSTALL) == UD_OK); /* again, after a power cut */
	WANT(ud_double_call(UD_COMMIT) == UD_OK);
	WANT(ud_double_committed("out", image, 10));

	ud_double_reset();
	ud_double_artifact("image", image, 10);
	WANT(ud_double_call(UD_INSTALL) == UD_OK);
	WANT(ud_double_call(UD_ROLLBACK) == UD_OK);
	WANT(!ud_double_staged("out", image, 10) && !ud_double_committed("out", image, 10));

	ud_double_reset();
	WANT(ud_double_call(UD_INSTALL) == UD_FAILED);
	WANT(strcmp(ud_double.result, "{\"details\":\"image = ud_art_open(\\\"image\\\"): no such name\"}") == 0);

	ud_double_reset();
	ud_double_artifact("image", image, 10);
	ud_double.cancel = true;
	WANT(ud_double_call(UD_INSTALL) == UD_CANCELLED);
	WANT(ud_double_call(UD_HEALTH) == UD_FAILED);
	puts("ok");
	return 0;
}

/* A compatibility check that lets an update pass on some models alone. */
#include "updraft.h"

/* Compares the fact model with the models in the step's settings. */
static int32_t compat(void)
{
	char model[64], allowed[64];
	int32_t i, n;

	if (ud_prop_get("model", model, sizeof model) < 0)
		return ud_incompatible("the device has no fact model");
	for (i = 0; (n = ud_setting_item("models", i, allowed, sizeof allowed)) >= 0; i++)
		if (*model && ud_equal(model, allowed))
			return UD_OK;
	if (n != UD_ENOENT)
		return ud_failed("setting models", n);
	return ud_incompatible("the update is not for this model");
}

UD_PHASES(.compat = compat)

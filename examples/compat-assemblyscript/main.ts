// A compatibility check that lets an update pass on some models alone.
import { Class, Errno, Phase, fact, failed, incompatible, lastError, serve, settingTexts } from "./updraft";
export { updraft_abi_1_0, updraft_phase } from "./updraft";

// Compares the fact model with the models in the step's settings.
function compat(): Class {
  const model = fact("model");
  if (model === null) return incompatible("the device has no fact model");
  const models = settingTexts("models");
  if (models === null && lastError() != Errno.NOENT) return failed();
  if (models === null || !models.includes(model)) return incompatible("the update is not for model " + model);
  return Class.OK;
}

serve(Phase.Compat, compat);

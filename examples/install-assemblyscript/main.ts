// A step that writes an image to the inactive slot of an A/B device.
import { Artifact, Class, Mode, Phase, Target, copy, failed, mark, marked, serve } from "./updraft";
export { updraft_abi_1_0, updraft_phase } from "./updraft";

// Stages the image. After a power cut it is called again, and copy goes on
// where the last checkpoint was.
function install(): Class {
  if (marked("copied")) return Class.OK;
  const image = Artifact.open("image");
  if (image === null) return failed();
  const out = Target.open("out", Mode.Write);
  if (out === null) return failed();
  return copy(image, out) < 0 || mark("copied") < 0 ? failed() : Class.OK;
}

// Makes the slot choosable, once every byte of the image was verified.
function commit(): Class {
  const out = Target.open("out", Mode.Write);
  return out === null || out.commit() < 0 ? failed() : Class.OK;
}

// Drops what install staged.
function rollback(): Class {
  const out = Target.open("out", Mode.Write);
  return out === null || out.abort() < 0 ? failed() : Class.OK;
}

serve(Phase.Install, install);
serve(Phase.Commit, commit);
serve(Phase.Rollback, rollback);

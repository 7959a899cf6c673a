// A module for tests that calls every function of the contract.
import * as ud from "./updraft";
import { Artifact, Class, Errno, Level, Mode, Phase, Target } from "./updraft";
export { updraft_abi_1_0, updraft_phase } from "./updraft";

// What was wrong, for the report.
let wrong = "";
function want(condition: bool, what: string): void {
  if (!condition && wrong == "") wrong = what;
}

function bytes(text: string): Uint8Array { return Uint8Array.wrap(String.UTF8.encode(text)); }
function text(p: Uint8Array, n: i32): string { return n < 0 ? "" : String.UTF8.decode(p.slice(0, n).buffer); }

function install(): Class {
  ud.log(Level.Info, "begin");
  ud.progress(1, 2, "half");
  want(ud.fuelLeft() > 0 && !ud.cancelled(), "fuel");
  const version = ud.jsonMember(ud.phaseInfo(), "abi");
  want(version !== null && version == '"1.0"', "phase info");
  const mono = ud.monoMs(), now = ud.nowMs();
  want(ud.sleepMs(1000) == 0 && ud.monoMs() - mono >= 1000 && ud.nowMs() - now >= 1000, "sleep");
  want(ud.random(new Uint8Array(8)) == 8, "random");
  facts();
  files();
  services();
  state();
  effects();
  if (wrong != "") return ud.fail(wrong);
  return ud.result('{"resultCode": 7}') < 0 ? ud.failed() : Class.OK;
}

function facts(): void {
  const model = ud.fact("model");
  want(model !== null && model == "gw", "fact");
  want(ud.fact("none") === null && ud.lastError() == Errno.NOENT, "a fact from nowhere");
  want(ud.facts().join(" ") == "model serial", "facts");
  const slot = ud.settingText("slot");
  want(slot !== null && slot == "b", "setting");
  const list = ud.settingTexts("list");
  want(list !== null && list.length == 2 && list[1] == '"\\ü\t\n', "list");
  want(ud.settingTexts("slot") === null && ud.lastError() == Errno.INVAL, "a list that is none");
  const size = ud.setting("size");
  want(size !== null && ud.jsonNumber(size) == -1234567890123.0, "number");
}

function files(): void {
  const image = Artifact.open("image"), out = Target.open("out", Mode.Write), tree = Target.open("tree", Mode.Write);
  if (image === null || out === null || tree === null) return want(false, "open");
  const p = new Uint8Array(5);
  want(Artifact.open("none") === null && image.size() == 10, "size");
  want(image.read(0, p) == 5 && text(p, 5) == "01234", "read");
  const digest = image.digest();
  want(digest === null ? ud.lastError() == Errno.UNKNOWN : digest.length == 64, "digest");
  want(ud.copy(image, out, 5, 2) == 5, "copy");
  want(image.read(0, p) == Errno.SEQ && image.read(10, p) == 0, "back to the start");
  want(out.write(0, bytes("ab")) == 2 && out.size() == 7 && out.truncate(6) == 0 && out.sync() == 0, "write");
  want(out.read(0, p) == Errno.DENIED && image.close() == 0, "read what is being written");
  const file = tree.entry("bin/tool", 0o755);
  want(file !== null && file.write(0, bytes("tool")) == 4 && file.close() == 0 && tree.abort() == 0, "entry");
}

function services(): void {
  let archive = Artifact.open("archive");
  const packed = Artifact.open("packed"), delta = Artifact.open("delta");
  const tree = Target.open("tree", Mode.Write), made = Target.open("made", Mode.Write), old = Target.open("old", Mode.Read);
  if (archive === null || packed === null || delta === null || tree === null || made === null || old === null) return want(false, "open");
  const p = new Uint8Array(64), conf = archive.entry("etc/conf");
  want(conf !== null && text(p, conf.read(0, p)) == "conf" && conf.close() == 0 && archive.close() == 0, "archive");
  archive = Artifact.open("archive");
  want(archive !== null && ud.unpack(archive, tree) == 2, "unpack");
  const sum = ud.hash(old, ud.Hash.MD5);
  want(sum !== null && sum == "149603e6c03516362a8da23f624db945", "hash");
  want(ud.verify(old, "no signature", "no key") == Errno.BADDATA, "verify");
  want(ud.inflate(packed, made) == 8 && made.truncate(0) == 0 && ud.patch(old, delta, made) > 0, "patch");
}

function state(): void {
  want(ud.put("b", bytes("value")) == 0 && ud.put("a", new Uint8Array(0)) == 0 && ud.put("c", bytes("")) == 0 && ud.remove("c") == 0, "put");
  want(ud.flush() == 0 && ud.keys().join(" ") == "a b", "keys");
  const b = ud.get("b");
  want(b !== null && text(b, b.length) == "value" && ud.get("c") === null, "get");
  want(!ud.marked("m1") && ud.mark("m1") == 0 && ud.marked("m1") && !ud.marked("m"), "mark");
}

function effects(): void {
  const p = new Uint8Array(16), answer = ud.http('{"url":"https://example.com/ask"}', bytes("question"));
  want(answer !== null && answer.status == 200 && text(p, answer.read(p)) == "answer" && answer.read(p) == 0 && answer.close() == 0, "http");
  want(text(p, ud.serial("mcu", bytes("ping"), p.subarray(0, 4), 1000)) == "pong", "serial");
  want(ud.exec("flash", '{"port":' + ud.quote("a") + "}") == 3 && ud.execOutput() == "said a", "exec");
  want(ud.reboot("new firmware") == 0, "reboot");
}

function commit(): Class {
  const roles = ["out", "tree", "made"];
  for (let i = 0; i < roles.length; i++) {
    const t = Target.open(roles[i], Mode.Write);
    if (t === null || t.commit() < 0) return ud.failed();
  }
  return Class.OK;
}

// Reads back what commit left.
function health(): Class {
  const out = Target.open("out", Mode.Read);
  const p = new Uint8Array(8);
  if (out === null) return ud.failed();
  return out.size() == 6 && text(p, out.read(0, p)) == "ab5678" && out.close() == 0 ? Class.OK : ud.fail("read back");
}

ud.serve(Phase.Install, install);
ud.serve(Phase.Commit, commit);
ud.serve(Phase.Health, health);

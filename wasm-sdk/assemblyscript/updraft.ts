/**
 * What a vendor writes an install or compatibility step with, in
 * AssemblyScript, as a WebAssembly module for updraft. This file is the whole
 * SDK; it lies beside main.ts, which exports its two entry points again:
 *
 *     import { Artifact, Class, Mode, Phase, Target, copy, failed, serve } from "./updraft";
 *     export { updraft_abi_1_0, updraft_phase } from "./updraft";
 *
 *     serve(Phase.Install, (): Class => {
 *       const image = Artifact.open("image");
 *       const out = Target.open("out", Mode.Write);
 *       if (image === null || out === null || copy(image, out) < 0) return failed();
 *       return Class.OK;
 *     });
 *
 * AssemblyScript cannot catch exceptions, so nothing here throws: a call that
 * the host refuses gives null or a negative Errno, and `failed()` turns the
 * last such refusal into the class to return, with its reason for the report.
 * What does throw, such as an index out of range, ends the module; its message
 * goes to the log and to the report.
 *
 * The module is built, and gets its manifest, by `updraft module build`. The
 * manifest must declare the capability of everything that the code calls; each
 * group below says which. What is not called is not imported. There is no
 * Date.now, Math.random or console: use nowMs, random and log.
 *
 * Any phase may be called again from its start, in a new instance whose memory
 * is empty: whatever must survive is in targets, key-values and marks. Memory
 * that is no longer used is not freed during a phase unless `__collect()` is
 * called: read large artifacts into one buffer, or use the services.
 */

/** What a phase is called for. */
export enum Phase {
  Compat = 1, // judge, purely: facts, settings, sizes and digests
  Prepare, // find out and reserve, without lasting effect
  Install, // stage; nothing takes hold
  Commit, // make what was staged take hold; open targets again
  Rollback, // undo what this module did
  Health, // judge the new version after the restart
  Cleanup, // remove what only served the update
  Enumerate, // list components while facts are gathered
}

/** What a phase returns. */
export enum Class {
  OK, // done
  OKRestart, // done, and a restart is wanted
  AlreadyDone, // the device has it already
  Incompatible, // the update does not suit this device: see incompatible
  RetryLater, // not now: see retry
  Failed, // see failed and fail
  Cancelled, // the module saw cancelled() and stopped
}

/** Why the host refused, as a negative answer. */
export enum Errno {
  NOENT = -1, // no such role, fact, setting, key or mark
  DENIED = -2, // not granted, or not in this phase
  INVAL = -3, // a length, offset, path or JSON text is not acceptable
  IO = -4, // the host could not read or write; the phase fails whatever it returns
  SEQ = -5, // a sequential artifact cannot go back
  QUOTA = -6, // more than the grant, or a limit, allows
  CANCELED = -7, // the run is being cancelled
  MFILE = -8, // too many handles: close some
  UNKNOWN = -9, // the size or digest is not known before the end
  BADDATA = -10, // bytes are damaged, hostile or not signed so
  TIMEDOUT = -11, // no answer in time
  CONN = -12, // the other side cannot be reached
}

/** Levels of log. */
export enum Level { Debug, Info, Warn, Error }

/** What a target is opened for: one or the other. */
export enum Mode { Read = 1, Write = 2 }

/** Algorithms of hash. MD5 is against damage, never for trust. */
export enum Hash { SHA256 = 1, SHA512 = 2, MD5 = 3 }

/** Formats of patch. */
export enum Delta { Recognise, Udelta, Bsdiff, VCDIFF, Zstd }

/** Formats of inflate. */
export enum Codec { Recognise, Zstd, Gzip, XZ, LZ4, Bzip2 }

// The imports as the wire has them.
/* eslint-disable */
@external("updraft_v1", "log") declare function v1_log(level: i32, p: usize, n: u32): void;
@external("updraft_v1", "progress") declare function v1_progress(done: i64, total: i64, p: usize, n: u32): void;
@external("updraft_v1", "result_set") declare function v1_result_set(p: usize, n: u32): i32;
@external("updraft_v1", "cancelled") declare function v1_cancelled(): i32;
@external("updraft_v1", "fuel_left") declare function v1_fuel_left(): i64;
@external("updraft_v1", "phase_info") declare function v1_phase_info(p: usize, cap: u32): i32;
@external("updraft_v1", "prop_get") declare function v1_prop_get(k: usize, kn: u32, p: usize, cap: u32): i32;
@external("updraft_v1", "prop_list") declare function v1_prop_list(p: usize, cap: u32): i32;
@external("updraft_v1", "config_get") declare function v1_config_get(k: usize, kn: u32, p: usize, cap: u32): i32;
@external("updraft_v1", "art_open") declare function v1_art_open(role: usize, n: u32): i32;
@external("updraft_v1", "art_entry") declare function v1_art_entry(h: i32, path: usize, n: u32): i32;
@external("updraft_v1", "art_size") declare function v1_art_size(h: i32): i64;
@external("updraft_v1", "art_read") declare function v1_art_read(h: i32, off: i64, p: usize, cap: u32): i32;
@external("updraft_v1", "art_digest") declare function v1_art_digest(h: i32, alg: i32, p: usize, cap: u32): i32;
@external("updraft_v1", "art_close") declare function v1_art_close(h: i32): i32;
@external("updraft_v1", "tgt_open") declare function v1_tgt_open(role: usize, n: u32, mode: i32): i32;
@external("updraft_v1", "tgt_entry") declare function v1_tgt_entry(h: i32, path: usize, n: u32, perm: i32): i32;
@external("updraft_v1", "tgt_write") declare function v1_tgt_write(h: i32, off: i64, p: usize, n: u32): i32;
@external("updraft_v1", "tgt_read") declare function v1_tgt_read(h: i32, off: i64, p: usize, cap: u32): i32;
@external("updraft_v1", "tgt_truncate") declare function v1_tgt_truncate(h: i32, size: i64): i32;
@external("updraft_v1", "tgt_sync") declare function v1_tgt_sync(h: i32): i32;
@external("updraft_v1", "tgt_size") declare function v1_tgt_size(h: i32): i64;
@external("updraft_v1", "tgt_commit") declare function v1_tgt_commit(h: i32): i32;
@external("updraft_v1", "tgt_abort") declare function v1_tgt_abort(h: i32): i32;
@external("updraft_v1", "tgt_close") declare function v1_tgt_close(h: i32): i32;
@external("updraft_v1", "svc_copy") declare function v1_svc_copy(src: i32, soff: i64, dst: i32, doff: i64, n: i64): i64;
@external("updraft_v1", "svc_unpack") declare function v1_svc_unpack(src: i32, dst: i32): i64;
@external("updraft_v1", "svc_hash") declare function v1_svc_hash(h: i32, off: i64, n: i64, alg: i32, p: usize, cap: u32): i32;
@external("updraft_v1", "svc_patch") declare function v1_svc_patch(kind: i32, old: i32, patch: i32, dst: i32): i64;
@external("updraft_v1", "svc_inflate") declare function v1_svc_inflate(kind: i32, src: i32, dst: i32): i64;
@external("updraft_v1", "svc_verify") declare function v1_svc_verify(h: i32, sig: usize, sn: u32, key: usize, kn: u32): i32;
@external("updraft_v1", "kv_get") declare function v1_kv_get(k: usize, kn: u32, p: usize, cap: u32): i32;
@external("updraft_v1", "kv_put") declare function v1_kv_put(k: usize, kn: u32, p: usize, n: u32): i32;
@external("updraft_v1", "kv_del") declare function v1_kv_del(k: usize, kn: u32): i32;
@external("updraft_v1", "kv_list") declare function v1_kv_list(p: usize, cap: u32): i32;
@external("updraft_v1", "kv_flush") declare function v1_kv_flush(): i32;
@external("updraft_v1", "mark") declare function v1_mark(p: usize, n: u32): i32;
@external("updraft_v1", "last_mark") declare function v1_last_mark(p: usize, cap: u32): i32;
@external("updraft_v1", "now_ms") declare function v1_now_ms(): i64;
@external("updraft_v1", "mono_ms") declare function v1_mono_ms(): i64;
@external("updraft_v1", "sleep_ms") declare function v1_sleep_ms(ms: i64): i32;
@external("updraft_v1", "random") declare function v1_random(p: usize, cap: u32): i32;
@external("updraft_v1", "http_do") declare function v1_http_do(r: usize, rn: u32, body: usize, n: u32): i32;
@external("updraft_v1", "http_answer") declare function v1_http_answer(h: i32, p: usize, cap: u32): i32;
@external("updraft_v1", "http_read") declare function v1_http_read(h: i32, p: usize, cap: u32): i32;
@external("updraft_v1", "http_close") declare function v1_http_close(h: i32): i32;
@external("updraft_v1", "serial_xfer") declare function v1_serial_xfer(port: usize, pn: u32, send: usize, n: u32, p: usize, cap: u32, ms: i32): i32;
@external("updraft_v1", "exec") declare function v1_exec(name: usize, nn: u32, p: usize, n: u32): i32;
@external("updraft_v1", "exec_output") declare function v1_exec_output(p: usize, cap: u32): i32;
@external("updraft_v1", "reboot_request") declare function v1_reboot_request(p: usize, n: u32): i32;
/* eslint-enable */

// --- how calls pass text and bytes ---

/** The bytes of a text for the length of one call. */
class Bytes {
  private buffer: ArrayBuffer;
  constructor(text: string) { this.buffer = String.UTF8.encode(text); }
  get at(): usize { return changetype<usize>(this.buffer); }
  get size(): u32 { return this.buffer.byteLength; }
}

/** Where the host puts text; it grows to the longest. */
let room: ArrayBuffer = new ArrayBuffer(256);

@inline function roomAt(): usize { return changetype<usize>(room); }
@inline function roomSize(): u32 { return room.byteLength; }

/** Reports whether an answer of n bytes is in room; if not, makes room for asking again. */
function fits(n: i32): bool {
  if (n <= room.byteLength) return true;
  room = new ArrayBuffer(n);
  return false;
}

function textOf(what: string, n: i32): string | null {
  if (note(what, n) < 0) return null;
  return String.UTF8.decodeUnsafe(roomAt(), n);
}

function bytesOf(what: string, n: i32): Uint8Array | null {
  if (note(what, n) < 0) return null;
  return Uint8Array.wrap(room.slice(0, n));
}

/** A list of names that each end in a zero byte. */
function namesOf(what: string, n: i32): string[] {
  const list = new Array<string>();
  if (note(what, n) < 0) return list;
  let from = 0;
  for (let i = 0; i < n; i++) {
    if (load<u8>(roomAt() + i) != 0) continue;
    list.push(String.UTF8.decodeUnsafe(roomAt() + from, i - from));
    from = i + 1;
  }
  return list;
}

// --- refusals ---

let lastWhat: string = "";
let lastErrno: i32 = 0;

/** Keeps a refusal for failed(). */
function note(what: string, n: i64): i64 {
  if (n < 0) {
    lastWhat = what;
    lastErrno = <i32>n;
  }
  return n;
}

/** The Errno of the last call that was refused, 0 if none was. */
export function lastError(): i32 { return lastErrno; }

/** What an Errno means. */
export function describe(errno: i32): string {
  switch (errno) {
    case Errno.NOENT: return "no such name";
    case Errno.DENIED: return "not granted";
    case Errno.INVAL: return "not acceptable";
    case Errno.IO: return "host input or output error";
    case Errno.SEQ: return "a sequential artifact cannot go back";
    case Errno.QUOTA: return "over quota";
    case Errno.CANCELED: return "cancelled";
    case Errno.MFILE: return "too many handles";
    case Errno.UNKNOWN: return "not known yet";
    case Errno.BADDATA: return "damaged or not signed so";
    case Errno.TIMEDOUT: return "no answer in time";
    case Errno.CONN: return "not to be reached";
  }
  return "unknown errno";
}

/** The class for a phase that the last refusal stops: Cancelled or Failed, with the reason. */
export function failed(): Class {
  report(lastErrno == 0 ? "failed" : lastWhat + ": " + describe(lastErrno));
  return lastErrno == Errno.CANCELED ? Class.Cancelled : Class.Failed;
}

/** Classes with a reason for the report. */
export function fail(reason: string): Class { report(reason); return Class.Failed; }
export function incompatible(reason: string): Class { report(reason); return Class.Incompatible; }
export function retry(reason: string): Class { report(reason); return Class.RetryLater; }

function report(details: string): void {
  const json = new Bytes('{"details":' + quote(details.slice(0, 1024)) + "}");
  v1_result_set(json.at, json.size);
}

// --- core: no capability ---

/** Writes one line of at most 1 KiB. */
export function log(level: Level, line: string): void {
  const b = new Bytes(line);
  v1_log(level, b.at, b.size);
}

/** Says how many of total units are done; total may be 0 for unknown. */
export function progress(done: i64, total: i64, text: string): void {
  const b = new Bytes(text);
  v1_progress(done, total, b.at, b.size);
}

/** Reports whether the run is being cancelled; a phase then returns Class.Cancelled soon. */
export function cancelled(): bool { return v1_cancelled() != 0; }

/** What the phase may still use up, about one for an instruction. */
export function fuelLeft(): i64 { return v1_fuel_left(); }

/** JSON: phase, run, abi, module, artifacts, targets, grants. */
export function phaseInfo(): string {
  let n: i32;
  do n = v1_phase_info(roomAt(), roomSize()); while (!fits(n));
  const text = textOf("phase info", n);
  return text === null ? "{}" : text;
}

/** Leaves codes and details for the report, as JSON: resultCode, extendedResultCode,
 * details, reboot, restartAgent, retryable, installedCriteria. */
export function result(json: string): i32 {
  const b = new Bytes(json);
  return <i32>note("result", v1_result_set(b.at, b.size));
}

// --- facts: of the device, and the step's settings ---

/** A fact, null if there is none. */
export function fact(name: string): string | null {
  const k = new Bytes(name);
  let n: i32;
  do n = v1_prop_get(k.at, k.size, roomAt(), roomSize()); while (!fits(n));
  return textOf("fact " + name, n);
}

/** The names of all facts. */
export function facts(): string[] {
  let n: i32;
  do n = v1_prop_list(roomAt(), roomSize()); while (!fits(n));
  return namesOf("facts", n);
}

/** A setting as JSON, or with the name "" all of them; null if it is not there. See json* below. */
export function setting(name: string): string | null {
  const k = new Bytes(name);
  let n: i32;
  do n = v1_config_get(k.at, k.size, roomAt(), roomSize()); while (!fits(n));
  return textOf("setting " + name, n);
}

/** A setting that is a text; null if it is not there, or another type (Errno.INVAL). */
export function settingText(name: string): string | null {
  const json = setting(name);
  if (json === null) return null;
  const text = jsonText(json);
  if (text === null) note("setting " + name, Errno.INVAL);
  return text;
}

/** A setting that is a list of texts; null if it is not there, or another type (Errno.INVAL). */
export function settingTexts(name: string): string[] | null {
  const json = setting(name);
  if (json === null) return null;
  const items = jsonItems(json);
  const list = new Array<string>();
  if (items !== null) {
    for (let i = 0; i < items.length; i++) {
      const text = jsonText(items[i]);
      if (text !== null) list.push(text);
    }
  }
  if (items === null || list.length != items.length) {
    note("setting " + name, Errno.INVAL);
    return null;
  }
  return list;
}

// --- artifact: by role. Sequential ones are read forwards only ---

/** What a service reads: an artifact, or a target opened for reading. */
export class Content {
  constructor(readonly handle: i32, readonly name: string) {}
}

export class Artifact extends Content {
  /** Opens the artifact that the workflow bound to role, or gives null. */
  static open(role: string): Artifact | null {
    const b = new Bytes(role);
    const h = v1_art_open(b.at, b.size);
    return note("artifact " + role, h) < 0 ? null : new Artifact(h, role);
  }

  /** Opens a file in an archive; of a sequential artifact in the order in which they stand there. */
  entry(path: string): Artifact | null {
    const b = new Bytes(path);
    const h = v1_art_entry(this.handle, b.at, b.size);
    const name = this.name + "/" + path;
    return note("entry " + name, h) < 0 ? null : new Artifact(h, name);
  }

  /** The size in bytes, or Errno.UNKNOWN. */
  size(): i64 { return note("size of " + this.name, v1_art_size(this.handle)); }

  /** The lower-case hex SHA-256 that was promised, or null. */
  digest(): string | null {
    let n: i32;
    do n = v1_art_digest(this.handle, Hash.SHA256, roomAt(), roomSize()); while (!fits(n));
    return textOf("digest of " + this.name, n);
  }

  /** Fills p from offset and gives the count of bytes, 0 at the end. */
  read(offset: i64, p: Uint8Array): i32 {
    return <i32>note("read " + this.name, v1_art_read(this.handle, offset, p.dataStart, p.byteLength));
  }

  /** Frees the handle. */
  close(): i32 { return <i32>note("close " + this.name, v1_art_close(this.handle)); }
}

// --- target: by role. It reads or writes, never both ---

export class Target extends Content {
  /** Opens the target that the workflow bound to role, or gives null. What an
   * earlier call of install synced is still there. */
  static open(role: string, mode: Mode): Target | null {
    const b = new Bytes(role);
    const h = v1_tgt_open(b.at, b.size, mode);
    return note("target " + role, h) < 0 ? null : new Target(h, role);
  }

  /** Opens a file below a directory target, in its mode. Close it when done: a step has 32 handles. */
  entry(path: string, permissions: i32): Target | null {
    const b = new Bytes(path);
    const h = v1_tgt_entry(this.handle, b.at, b.size, permissions);
    const name = this.name + "/" + path;
    return note("entry " + name, h) < 0 ? null : new Target(h, name);
  }

  /** Writes all of p at offset. */
  write(offset: i64, p: Uint8Array): i32 { return this.said("write", v1_tgt_write(this.handle, offset, p.dataStart, p.byteLength)); }

  /** Fills p from offset and gives the count of bytes, 0 at the end. */
  read(offset: i64, p: Uint8Array): i32 { return this.said("read", v1_tgt_read(this.handle, offset, p.dataStart, p.byteLength)); }

  /** Cuts what was staged. */
  truncate(size: i64): i32 { return this.said("truncate", v1_tgt_truncate(this.handle, size)); }

  /** Makes durable what was written. */
  sync(): i32 { return this.said("sync", v1_tgt_sync(this.handle)); }

  /** The size in bytes: of what was staged, or of what is read. */
  size(): i64 { return note("size of " + this.name, v1_tgt_size(this.handle)); }

  /** Makes what was staged take hold, in the phase commit. */
  commit(): i32 { return this.said("commit", v1_tgt_commit(this.handle)); }

  /** Drops what was staged. */
  abort(): i32 { return this.said("abort", v1_tgt_abort(this.handle)); }

  /** Syncs and frees the handle; what was staged stays. */
  close(): i32 { return this.said("close", v1_tgt_close(this.handle)); }

  private said(what: string, n: i32): i32 { return <i32>note(what + " target " + this.name, n); }
}

// --- services: work of the host, the bytes never enter the module. Long ones
// make checkpoints on their own: a call after a power cut does not write again
// what is durable. Damaged bytes are Errno.BADDATA ---

/** Streams n bytes (-1: to the end) and gives their number, those of earlier calls included. */
export function copy(from: Artifact, to: Target, fromOffset: i64 = 0, toOffset: i64 = 0, n: i64 = -1): i64 {
  return note("copy " + from.name + " to " + to.name, v1_svc_copy(from.handle, fromOffset, to.handle, toOffset, n));
}

/** Writes the files of a tar or zip below a directory target and gives their number. */
export function unpack(from: Artifact, to: Target): i64 {
  return note("unpack " + from.name, v1_svc_unpack(from.handle, to.handle));
}

/** The lower-case hex digest of n bytes (-1: to the end) from offset, or null. */
export function hash(content: Content, algorithm: Hash = Hash.SHA256, offset: i64 = 0, n: i64 = -1): string | null {
  let size: i32;
  do size = v1_svc_hash(content.handle, offset, n, algorithm, roomAt(), roomSize()); while (!fits(size));
  return textOf("hash " + content.name, size);
}

/** Makes `to` from old (a target opened for reading, or an artifact with access: random) and a delta; gives its size. */
export function patch(old: Content, delta: Artifact, to: Target, format: Delta = Delta.Recognise): i64 {
  return note("patch " + old.name + " with " + delta.name, v1_svc_patch(format, old.handle, delta.handle, to.handle));
}

/** Writes the decompressed artifact and gives its size. */
export function inflate(from: Artifact, to: Target, format: Codec = Codec.Recognise): i64 {
  return note("inflate " + from.name, v1_svc_inflate(format, from.handle, to.handle));
}

/** Checks a minisign signature with a minisign public key, both as text: 0, or Errno.BADDATA. */
export function verify(content: Content, signature: string, key: string): i32 {
  const s = new Bytes(signature), k = new Bytes(key);
  return <i32>note("verify " + content.name, v1_svc_verify(content.handle, s.at, s.size, k.at, k.size));
}

// --- state: key-values that outlive the instance, 24 KiB with their keys ---

/** A value, null if there is none. */
export function get(key: string): Uint8Array | null {
  const k = new Bytes(key);
  let n: i32;
  do n = v1_kv_get(k.at, k.size, roomAt(), roomSize()); while (!fits(n));
  return bytesOf("get " + key, n);
}

/** Sets a value. It is durable after flush, mark, or the phase's good end. */
export function put(key: string, value: Uint8Array): i32 {
  const k = new Bytes(key);
  return <i32>note("put " + key, v1_kv_put(k.at, k.size, value.dataStart, value.byteLength));
}

/** Removes a key, or does nothing. */
export function remove(key: string): i32 {
  const k = new Bytes(key);
  return <i32>note("delete " + key, v1_kv_del(k.at, k.size));
}

/** The keys, sorted. */
export function keys(): string[] {
  let n: i32;
  do n = v1_kv_list(roomAt(), roomSize()); while (!fits(n));
  return namesOf("keys", n);
}

/** Makes key-values durable, with all that mark makes durable. */
export function flush(): i32 { return <i32>note("flush", v1_kv_flush()); }

// --- resume ---

/** Syncs every target, then makes the mark, the key-values and the positions in artifacts durable as one. */
export function mark(text: string): i32 {
  const b = new Bytes(text);
  return <i32>note("mark", v1_mark(b.at, b.size));
}

/** The last durable mark of this step, null if there is none. */
export function lastMark(): string | null {
  let n: i32;
  do n = v1_last_mark(roomAt(), roomSize()); while (!fits(n));
  return textOf("last mark", n);
}

/** Reports whether it is this text. */
export function marked(text: string): bool {
  const last = lastMark();
  return last !== null && last == text;
}

// --- time ---

/** Milliseconds since 1970, and since an arbitrary moment. */
export function nowMs(): i64 { return v1_now_ms(); }
export function monoMs(): i64 { return v1_mono_ms(); }
export function sleepMs(ms: i64): i32 { return <i32>note("sleep", v1_sleep_ms(ms)); }

/** Fills p, of at most 4 KiB. */
export function random(p: Uint8Array): i32 { return <i32>note("random", v1_random(p.dataStart, p.byteLength)); }

// --- http:HOST. Bodies of a phase, both ways, are at most 1 MiB ---

export class Response {
  /** The head of the answer as JSON: status, headers (names in lower case), size of the body or -1. */
  readonly head: string;
  readonly status: i32;

  constructor(private handle: i32) {
    let n: i32;
    do n = v1_http_answer(handle, roomAt(), roomSize()); while (!fits(n));
    const head = textOf("http answer", n);
    this.head = head === null ? "{}" : head;
    const status = jsonMember(this.head, "status");
    this.status = status === null ? 0 : <i32>jsonNumber(status);
  }

  /** Fills p with the next bytes of the body and gives their count, 0 at the end. */
  read(p: Uint8Array): i32 { return <i32>note("read http answer", v1_http_read(this.handle, p.dataStart, p.byteLength)); }

  /** Frees the handle. */
  close(): i32 { return <i32>note("close http answer", v1_http_close(this.handle)); }
}

/** Sends a request, as JSON: method, url, headers, timeoutMs. Null is no answer: see
 * lastError, Errno.CONN and Errno.TIMEDOUT. A status of 400 and more is an answer. */
export function http(request: string, body: Uint8Array = new Uint8Array(0)): Response | null {
  const r = new Bytes(request);
  const h = v1_http_do(r.at, r.size, body.dataStart, body.byteLength);
  return note("http", h) < 0 ? null : new Response(h);
}

// --- serial:PORT, exec:NAME, reboot ---

/** Sends bytes, then fills receive until it is full or ms are over, and gives the count received. */
export function serial(port: string, send: Uint8Array, receive: Uint8Array, ms: i32): i32 {
  const b = new Bytes(port);
  return <i32>note("serial " + port, v1_serial_xfer(b.at, b.size, send.dataStart, send.byteLength, receive.dataStart, receive.byteLength, ms));
}

/** Runs a command of the device file and gives its exit status; parameters is a
 * JSON object of texts that fill its template. */
export function exec(name: string, parameters: string = "{}"): i32 {
  const b = new Bytes(name), p = new Bytes(parameters);
  return <i32>note("exec " + name, v1_exec(b.at, b.size, p.at, p.size));
}

/** The last 64 KiB that the last exec printed. */
export function execOutput(): string {
  let n: i32;
  do n = v1_exec_output(roomAt(), roomSize()); while (!fits(n));
  const text = textOf("output of exec", n);
  return text === null ? "" : text;
}

/** Asks for a restart of the device once the step has ended well. */
export function reboot(reason: string): i32 {
  const b = new Bytes(reason);
  return <i32>note("reboot", v1_reboot_request(b.at, b.size));
}

// --- JSON, as far as settings and answers need it. The host wrote it, so it is well-formed ---

/** text as JSON has it, with its quotation marks. */
export function quote(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x20) out += "\\u" + (0x10000 + c).toString(16).slice(1);
    else if (c == 0x22 || c == 0x5c) out += "\\" + text.charAt(i);
    else out += text.charAt(i);
  }
  return out + '"';
}

function space(json: string, at: i32): i32 {
  while (at < json.length && json.charCodeAt(at) <= 0x20) at++;
  return at;
}

/** The index behind the value at `at`. */
function skip(json: string, at: i32): i32 {
  let depth = 0;
  for (at = space(json, at); at < json.length; at++) {
    const c = json.charCodeAt(at);
    if (c == 0x22) {
      for (at++; at < json.length && json.charCodeAt(at) != 0x22; at++) if (json.charCodeAt(at) == 0x5c) at++;
    } else if (c == 0x7b || c == 0x5b) depth++;
    else if (c == 0x7d || c == 0x5d) depth--;
    else if (depth == 0) {
      while (at < json.length && " \t\r\n,]}".indexOf(json.charAt(at)) < 0) at++;
      return at;
    }
    if (depth == 0) return at + 1;
  }
  return json.length;
}

/** The text that a JSON string stands for; null if json is none. */
export function jsonText(json: string): string | null {
  const end = skip(json, 0);
  let at = space(json, 0);
  if (at >= json.length || json.charCodeAt(at) != 0x22) return null;
  let out = "";
  for (at++; at < end - 1; at++) {
    if (json.charCodeAt(at) != 0x5c) { out += json.charAt(at); continue; }
    const escaped = json.charAt(++at);
    const i = "bfnrt".indexOf(escaped);
    if (escaped == "u") {
      out += String.fromCharCode(<i32>parseInt(json.slice(at + 1, at + 5), 16));
      at += 4;
    } else out += i < 0 ? escaped : "\b\f\n\r\t".charAt(i);
  }
  return out;
}

/** The JSON of each value of a list; null if json is none. */
export function jsonItems(json: string): string[] | null {
  let at = space(json, 0);
  if (at >= json.length || json.charCodeAt(at) != 0x5b) return null;
  const list = new Array<string>();
  at = space(json, at + 1);
  while (at < json.length && json.charCodeAt(at) != 0x5d) {
    const end = skip(json, at);
    list.push(json.slice(at, end));
    at = space(json, end);
    if (at < json.length && json.charCodeAt(at) == 0x2c) at = space(json, at + 1);
  }
  return list;
}

/** The JSON of an object's member; null if there is none of that name. */
export function jsonMember(json: string, name: string): string | null {
  let at = space(json, 0);
  if (at >= json.length || json.charCodeAt(at) != 0x7b) return null;
  at = space(json, at + 1);
  while (at < json.length && json.charCodeAt(at) == 0x22) {
    const colon = skip(json, at);
    const key = jsonText(json.slice(at, colon));
    const value = space(json, space(json, colon) + 1);
    const end = skip(json, value);
    if (key !== null && key == name) return json.slice(value, end);
    at = space(json, end);
    if (at < json.length && json.charCodeAt(at) == 0x2c) at = space(json, at + 1);
  }
  return null;
}

/** The number that JSON stands for; NaN if it is none. */
export function jsonNumber(json: string): f64 { return parseFloat(json); }

// --- phases ---

const served = new Array<(() => Class) | null>(Phase.Enumerate + 1);

/**
 * Sets the function that updraft calls for a phase; it stands at the end of
 * main.ts, behind the variables that the function uses. The manifest lists the
 * same phases.
 */
export function serve(phase: Phase, run: () => Class): void { served[phase] = run; }

/** The entry points; main.ts exports them again. */
export function updraft_abi_1_0(): void {}
export function updraft_phase(phase: i32): i32 {
  if (phase < Phase.Compat || phase > Phase.Enumerate) phase = 0; // nobody serves 0
  const run = served[phase];
  return run === null ? fail("the phase is not served") : run();
}

/** Takes the place of the abort that the language calls when something throws. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const text = (message === null ? "abort" : message) + " (" + (file === null ? "?" : file) + ":" + line.toString() + ":" + column.toString() + ")";
  log(Level.Error, text);
  report(text);
  unreachable();
}

//! What a vendor writes an install or compatibility step with, in Zig 0.16, as
//! a WebAssembly module for updraft.
//!
//! This file is the whole SDK; it lies beside the step:
//!
//! ```
//! const updraft = @import("updraft.zig");
//!
//! pub const phases: updraft.Phases = .{ .install = install, .commit = commit };
//! pub const panic = updraft.panic;
//! comptime {
//!     updraft.serve(phases);
//! }
//!
//! fn install(step: *updraft.Step) !void {
//!     const image = try step.artifact("image");
//!     _ = try step.copy(image, try step.target("out", .write));
//! }
//!
//! fn commit(step: *updraft.Step) !void {
//!     try (try step.target("out", .write)).commit();
//! }
//! ```
//!
//! Each function gets a `Step`, the only way to the device. Its errors are
//! those of the host, `Error`; a phase ends well by returning, and otherwise
//! with an error, of which those in `Verdict` have a meaning of their own. What
//! a function here gives back lives in `Step.arena` until the phase ends.
//!
//! The manifest `updraft.json` must declare the capability of everything that
//! the code reaches; each method says which. What is not reached is not
//! imported.
//!
//! Any phase may be called again from its start, in a new instance whose
//! memory is empty: whatever must survive is in targets, key-values and marks.
//! A panic ends the phase with its message in the log and in the report.
//!
//! On every target but wasm32 the same file has a `Double`, a device in memory
//! that `zig test` runs phases against.

const std = @import("std");
const builtin = @import("builtin");
const Allocator = std.mem.Allocator;

/// The version of the contract.
pub const abi = "1.0";

/// Why the host refused.
pub const Error = error{
    /// No such role, fact, setting, key or mark.
    NotFound,
    /// Not granted, or not in this phase.
    Denied,
    /// A length, offset, path or JSON text is not acceptable.
    Invalid,
    /// The host could not read or write; the phase fails whatever it returns.
    HostIo,
    /// A sequential artifact cannot go back.
    Sequence,
    /// More than the grant or a limit of the contract allows.
    Quota,
    /// The run is being cancelled.
    Cancelled,
    /// Too many handles are open.
    TooManyHandles,
    /// The size or digest is not known before the end.
    NotKnown,
    /// Bytes are damaged, hostile or not signed so.
    BadData,
    /// No answer in time.
    TimedOut,
    /// The other side cannot be reached.
    Unreachable,
    /// A number that this version of the contract does not have.
    Unexpected,
    OutOfMemory,
};

const Refusal = struct { err: Error, text: []const u8 };

/// The errnos of the contract: the first is -1, the next -2.
const refusals = [_]Refusal{
    .{ .err = error.NotFound, .text = "no such name" },
    .{ .err = error.Denied, .text = "not granted" },
    .{ .err = error.Invalid, .text = "not acceptable" },
    .{ .err = error.HostIo, .text = "host input or output error" },
    .{ .err = error.Sequence, .text = "a sequential artifact cannot go back" },
    .{ .err = error.Quota, .text = "over quota" },
    .{ .err = error.Cancelled, .text = "cancelled" },
    .{ .err = error.TooManyHandles, .text = "too many handles" },
    .{ .err = error.NotKnown, .text = "not known yet" },
    .{ .err = error.BadData, .text = "damaged or not signed so" },
    .{ .err = error.TimedOut, .text = "no answer in time" },
    .{ .err = error.Unreachable, .text = "not to be reached" },
};

fn refusal(code: i64) Refusal {
    if (code < 0 and code >= -@as(i64, refusals.len)) return refusals[@intCast(-1 - code)];
    return .{ .err = error.Unexpected, .text = "unknown errno" };
}

/// Errors of a phase that say more than that it failed. `Step.incompatible`,
/// `Step.retry` and `Step.fail` give them with a reason.
pub const Verdict = error{
    /// The device has it already: nothing is left to do.
    AlreadyDone,
    /// The phase succeeded and wants a restart.
    Restart,
    /// The update does not suit the device.
    Incompatible,
    /// The phase may succeed later.
    Retry,
    /// The phase failed.
    Failed,
};

/// What updraft calls a module for.
pub const Phase = enum(i32) {
    /// Judges, before anything is fetched and on any machine, whether the
    /// update suits. It is pure: facts, settings and artifact metadata.
    compat = 1,
    /// Finds out and reserves, without lasting effect.
    prepare,
    /// Stages the bytes; nothing takes hold.
    install,
    /// Makes what was staged take hold. Targets are opened again by role.
    commit,
    /// Undoes what this module did.
    rollback,
    /// Judges the new version after the restart.
    health,
    /// Removes what only served the update.
    cleanup,
    /// Lists components while facts are gathered.
    enumerate,
};

/// What a phase returns to the host.
pub const Class = enum(i32) { ok, ok_restart, already_done, incompatible, retry_later, failed, cancelled };

/// A function that serves a phase.
pub const Function = *const fn (*Step) anyerror!void;

/// The functions of a module, null for phases that it does not serve. The
/// manifest lists the same ones.
pub const Phases = struct {
    compat: ?Function = null,
    prepare: ?Function = null,
    install: ?Function = null,
    commit: ?Function = null,
    rollback: ?Function = null,
    health: ?Function = null,
    cleanup: ?Function = null,
    enumerate: ?Function = null,

    fn find(p: Phases, phase: i32) ?Function {
        inline for (@typeInfo(Phase).@"enum".fields) |field| {
            if (field.value == phase) return @field(p, field.name);
        }
        return null;
    }

    /// Runs a phase and leaves the reason of a failure where a report finds it.
    fn run(p: Phases, step: *Step, phase: i32) anyerror!void {
        const outcome = if (p.find(phase)) |function| function(step) else step.fail("phase {d} is not served", .{phase});
        outcome catch |err| switch (err) {
            error.AlreadyDone, error.Restart => {},
            else => if (!step.reported) step.report(.{ .details = step.reason(err) }) catch {},
        };
        return outcome;
    }
};

fn classOf(outcome: anyerror!void) Class {
    outcome catch |err| return switch (err) {
        error.AlreadyDone => .already_done,
        error.Restart => .ok_restart,
        error.Incompatible => .incompatible,
        error.Retry => .retry_later,
        error.Cancelled => .cancelled,
        else => .failed,
    };
    return .ok;
}

const on_host = builtin.target.cpu.arch.isWasm();

/// Exports what a host calls. It stands in a `comptime` block of the step and
/// does nothing on other targets.
pub fn serve(comptime phases: Phases) void {
    if (!on_host) return;
    const exported = struct {
        fn marker() callconv(.c) void {}
        fn phase(number: i32) callconv(.c) i32 {
            var step: Step = .{ .arena = std.heap.wasm_allocator };
            return @intFromEnum(classOf(phases.run(&step, number)));
        }
    };
    @export(&exported.marker, .{ .name = "updraft_abi_1_0" });
    @export(&exported.phase, .{ .name = "updraft_phase" });
}

/// What `pub const panic` of a step should be: the message goes to the log and
/// the report before the instance ends.
pub const panic = std.debug.FullPanic(struct {
    fn call(message: []const u8, address: ?usize) noreturn {
        if (!on_host) std.debug.defaultPanic(message, address);
        host.log(@intFromEnum(Level.@"error"), message.ptr, message.len);
        var step: Step = .{ .arena = std.heap.wasm_allocator };
        step.report(.{ .details = message }) catch {};
        @trap();
    }
}.call);

/// How much a line of the log matters.
pub const Level = enum(i32) { debug, info, warn, @"error" };

/// What a target is opened for. A handle writes or reads, never both.
pub const Mode = enum(i32) { read = 1, write = 2 };

/// A digest of `Step.hash`.
pub const Algorithm = enum(i32) { sha256 = 1, sha512, md5 };

/// A format of `Step.patch`; zstd is that of `zstd --patch-from`.
pub const Delta = enum(i32) { recognise, udelta, bsdiff, vcdiff, zstd };

/// A format of `Step.inflate`.
pub const Compression = enum(i32) { recognise, zstd, gzip, xz, lz4, bzip2 };

/// What a report carries of a step.
pub const Report = struct {
    code: i32 = 0,
    extended: i32 = 0,
    details: []const u8 = "",
    reboot: enum { none, required, immediate } = .none,
    restart_agent: bool = false,
    retryable: bool = false,
    /// The installed criteria, for clouds that ask for them.
    installed: []const u8 = "",
};

/// A report under the names of the contract.
const WireReport = struct {
    resultCode: i32 = 0,
    extendedResultCode: i32 = 0,
    details: []const u8 = "",
    reboot: []const u8 = "none",
    restartAgent: bool = false,
    retryable: bool = false,
    installedCriteria: []const u8 = "",
};

/// What `Step.info` tells.
pub const Info = struct {
    phase: []const u8 = "",
    run: []const u8 = "",
    /// The version of the contract that both sides speak.
    abi: []const u8 = "",
    /// Hex SHA-256 of the module.
    module: []const u8 = "",
    /// The roles that are bound.
    artifacts: []const []const u8 = &.{},
    targets: []const []const u8 = &.{},
    /// The granted capabilities that carry a name, and reboot.
    grants: []const []const u8 = &.{},
};

/// One header of a request or an answer.
pub const Header = struct { name: []const u8, value: []const u8 };

/// A request of `Step.http`.
pub const Request = struct {
    method: []const u8 = "GET",
    url: []const u8,
    headers: []const Header = &.{},
    body: []const u8 = "",
    /// 0 for 30 seconds.
    timeout_ms: u32 = 0,
};

/// One call of a phase and all that it may use.
pub const Step = struct {
    /// For whatever the phase needs; what it gives is never freed before the
    /// phase ends.
    arena: Allocator,
    reported: bool = false,
    why: []const u8 = "",
    why_of: anyerror = error.Failed, // the error that `why` explains

    // Core: no capability is needed.

    /// Writes one line of at most 1 KiB; a phase has 64 KiB.
    pub fn log(_: *Step, level: Level, line: []const u8) void {
        host.log(@intFromEnum(level), line.ptr, line.len);
    }

    /// Says how many of `total` units are done; a `total` of 0 is unknown.
    pub fn progress(_: *Step, done: u64, total: u64, text: []const u8) void {
        host.progress(wide(done), wide(total), text.ptr, text.len);
    }

    /// Whether the run is being cancelled; a phase then returns soon.
    pub fn cancelled(_: *Step) bool {
        return host.cancelled() != 0;
    }

    /// What is left of the fuel of this phase, null where it is not metered.
    pub fn fuelLeft(_: *Step) ?u64 {
        return std.math.cast(u64, host.fuel_left());
    }

    /// Leaves codes and details for the report, in place of the error's reason.
    pub fn report(step: *Step, r: Report) Error!void {
        const text = try std.json.Stringify.valueAlloc(step.arena, WireReport{
            .resultCode = r.code,
            .extendedResultCode = r.extended,
            // The host takes 16 KiB in all and an escaped byte has up to six.
            .details = try step.clean(r.details, 2048),
            .reboot = @tagName(r.reboot),
            .restartAgent = r.restart_agent,
            .retryable = r.retryable,
            .installedCriteria = try step.clean(r.installed, 256),
        }, .{});
        _ = try step.check("report", "", host.result_set(text.ptr, text.len));
        step.reported = true;
    }

    /// The phase, the run, the roles that are bound and what is granted by name.
    pub fn info(step: *Step) !Info {
        const text = try step.must("phase info", "", try step.grow(host.phase_info, .{}));
        return step.decode(Info, "phase", "info", text, true);
    }

    /// `return step.fail("want {d} slots", .{2});`
    pub fn fail(step: *Step, comptime format: []const u8, values: anytype) Verdict {
        return step.verdict(error.Failed, format, values);
    }

    /// The verdict that the update does not suit the device.
    pub fn incompatible(step: *Step, comptime format: []const u8, values: anytype) Verdict {
        return step.verdict(error.Incompatible, format, values);
    }

    /// The phase may succeed later.
    pub fn retry(step: *Step, comptime format: []const u8, values: anytype) Verdict {
        return step.verdict(error.Retry, format, values);
    }

    fn verdict(step: *Step, err: Verdict, comptime format: []const u8, values: anytype) Verdict {
        step.why = std.fmt.allocPrint(step.arena, format, values) catch "out of memory";
        step.why_of = err;
        return err;
    }

    fn reason(step: *Step, err: anyerror) []const u8 {
        return if (step.why_of == err and step.why.len > 0) step.why else @errorName(err);
    }

    // Capability facts.

    /// A fact of the device, null if there is none of that name.
    pub fn fact(step: *Step, name: []const u8) Error!?[]const u8 {
        return step.maybe("fact", name, try step.grow(host.prop_get, .{ name.ptr, name.len }));
    }

    /// The names of all facts.
    pub fn facts(step: *Step) Error![]const []const u8 {
        return step.list("facts", try step.grow(host.prop_list, .{}));
    }

    /// One field of the step's settings, null if it is not there. T is a bool,
    /// a number, `[]const u8` for text, a slice for a list, a struct for an
    /// object, or an optional of these for what may be null. A field of another
    /// type is an error that names it.
    pub fn setting(step: *Step, comptime T: type, name: []const u8) !?T {
        const text = try step.maybe("setting", name, try step.grow(host.config_get, .{ name.ptr, name.len }));
        return try step.decode(T, "setting", name, text orelse return null, false);
    }

    /// All settings of the step as a struct. A field that it lacks is an error,
    /// and so is one without a default that the settings lack.
    pub fn settings(step: *Step, comptime T: type) !T {
        const text = try step.must("settings", "", try step.grow(host.config_get, .{ "".ptr, 0 }));
        return step.decode(T, "settings", "as a whole", text, false);
    }

    fn decode(step: *Step, comptime T: type, op: []const u8, name: []const u8, text: []const u8, lenient: bool) (Verdict || Allocator.Error)!T {
        var reader: Reader = .{ .arena = step.arena, .text = text, .lenient = lenient };
        return reader.whole(T) catch |err| switch (err) {
            error.OutOfMemory => error.OutOfMemory,
            error.Wrong => step.fail("{s} {s}: byte {d}: want {s}", .{ op, name, reader.at, reader.want }),
        };
    }

    // Capabilities artifact and target.

    /// Opens the artifact that the workflow bound to `role`. Opening a role
    /// again gives the same stream. Capability: artifact.
    pub fn artifact(step: *Step, role: []const u8) Error!Artifact {
        const handle = try step.check("artifact", role, host.art_open(role.ptr, role.len));
        return .{ .step = step, .handle = @intCast(handle), .name = role };
    }

    /// Opens the target that the workflow bound to `role`. What an earlier call
    /// of install synced is still there. Capability: target.
    pub fn target(step: *Step, role: []const u8, mode: Mode) Error!Target {
        const handle = try step.check("target", role, host.tgt_open(role.ptr, role.len, @intFromEnum(mode)));
        return .{ .step = step, .handle = @intCast(handle), .name = role };
    }

    // Capability services, besides those of what they work on. The bytes never
    // enter the module, which is why these are quick.

    /// Streams a whole artifact to the start of a target. The host checkpoints
    /// on its own; when install is called again after a power cut, this goes on
    /// where it was. It gives the bytes copied, those of earlier calls included.
    pub fn copy(step: *Step, from: Artifact, to: Target) Error!u64 {
        return step.copyRange(from, 0, to, 0, null);
    }

    /// Copies `n` bytes, null for all there are, from an offset of the artifact
    /// to an offset of the target.
    pub fn copyRange(step: *Step, from: Artifact, at: u64, to: Target, to_at: u64, n: ?u64) Error!u64 {
        return step.check("copy", from.name, host.svc_copy(from.handle, wide(at), to.handle, wide(to_at), count(n)));
    }

    /// Unpacks an archive into a directory target and gives the count of files.
    pub fn unpack(step: *Step, archive: Artifact, to: Target) Error!u64 {
        return step.check("unpack", archive.name, host.svc_unpack(archive.handle, to.handle));
    }

    /// The lower-case hex digest of `n` bytes from `at`, null for all there
    /// are, of an `Artifact` or of a `Target` that was opened for reading.
    pub fn hash(step: *Step, of: anytype, at: u64, n: ?u64, algorithm: Algorithm) Error![]const u8 {
        return step.must("hash", of.name, try step.grow(host.svc_hash, .{ of.handle, wide(at), count(n), @intFromEnum(algorithm) }));
    }

    /// Writes to `to` what the patch makes of `old`, which is an `Artifact` or
    /// a `Target` that was opened for reading, and gives its size.
    pub fn patch(step: *Step, format: Delta, old: anytype, delta: Artifact, to: Target) Error!u64 {
        return step.check("patch", delta.name, host.svc_patch(@intFromEnum(format), old.handle, delta.handle, to.handle));
    }

    /// Writes to `to` what an artifact holds compressed, and gives its size.
    pub fn inflate(step: *Step, format: Compression, from: Artifact, to: Target) Error!u64 {
        return step.check("inflate", from.name, host.svc_inflate(@intFromEnum(format), from.handle, to.handle));
    }

    /// Checks a minisign signature of an `Artifact` or `Target` with a minisign
    /// public key, both as the texts of their files. What is not signed so is
    /// `error.BadData`.
    pub fn verify(step: *Step, of: anytype, signature: []const u8, key: []const u8) Error!void {
        _ = try step.check("verify", of.name, host.svc_verify(of.handle, signature.ptr, signature.len, key.ptr, key.len));
    }

    // Capability state: 24 KiB of keys and values that outlive an instance.

    /// The value of a key, null if there is none.
    pub fn get(step: *Step, key: []const u8) Error!?[]const u8 {
        return step.maybe("get", key, try step.grow(host.kv_get, .{ key.ptr, key.len }));
    }

    /// Sets a value. It is durable after flush, mark, or the phase's good end.
    pub fn put(step: *Step, key: []const u8, value: []const u8) Error!void {
        _ = try step.check("put", key, host.kv_put(key.ptr, key.len, value.ptr, value.len));
    }

    /// Removes a key, or does nothing.
    pub fn delete(step: *Step, key: []const u8) Error!void {
        _ = try step.check("delete", key, host.kv_del(key.ptr, key.len));
    }

    /// The keys, sorted.
    pub fn keys(step: *Step) Error![]const []const u8 {
        return step.list("keys", try step.grow(host.kv_list, .{}));
    }

    /// Makes key-values durable, with all that `mark` makes durable.
    pub fn flush(step: *Step) Error!void {
        _ = try step.check("flush", "", host.kv_flush());
    }

    // Capability resume.

    /// Syncs every target, then makes the mark of at most 4 KiB, the key-values
    /// and the positions in artifacts durable as one.
    pub fn mark(step: *Step, text: []const u8) Error!void {
        _ = try step.check("mark", "", host.mark(text.ptr, text.len));
    }

    /// The last durable mark of this step. Targets that install opens for
    /// writing are cut back to it.
    pub fn lastMark(step: *Step) Error!?[]const u8 {
        return step.maybe("last mark", "", try step.grow(host.last_mark, .{}));
    }

    /// Whether the last durable mark is `text`.
    pub fn marked(step: *Step, text: []const u8) Error!bool {
        return std.mem.eql(u8, try step.lastMark() orelse return false, text);
    }

    // Capability time.

    /// Milliseconds since 1970.
    pub fn now(_: *Step) i64 {
        return host.now_ms();
    }

    /// Milliseconds since an arbitrary moment.
    pub fn mono(_: *Step) i64 {
        return host.mono_ms();
    }

    /// Waits.
    pub fn sleep(step: *Step, milliseconds: u64) Error!void {
        _ = try step.check("sleep", "", host.sleep_ms(wide(milliseconds)));
    }

    /// Fills `p` with random bytes.
    pub fn random(step: *Step, p: []u8) Error!void {
        var rest = p;
        while (rest.len > 0) {
            const piece = rest[0..@min(rest.len, 4096)];
            _ = try step.check("random", "", host.random(piece.ptr, piece.len));
            rest = rest[piece.len..];
        }
    }

    // What reaches beyond the update. Capabilities http, serial, exec and
    // reboot, each granted by name.

    /// Asks a granted host. An answer of any status is no error.
    pub fn http(step: *Step, request: Request) !Response {
        const url = request.url[0 .. std.mem.indexOfAny(u8, request.url, "?#") orelse request.url.len]; // a query may hold secrets
        var headers: std.json.ArrayHashMap([]const u8) = .{};
        for (request.headers) |header| try headers.map.put(step.arena, header.name, header.value);
        const text = try std.json.Stringify.valueAlloc(step.arena, .{
            .method = request.method,
            .url = request.url,
            .headers = headers,
            .timeoutMs = request.timeout_ms,
        }, .{});
        const handle: i32 = @intCast(try step.check("http", url, host.http_do(text.ptr, text.len, request.body.ptr, request.body.len)));
        errdefer _ = host.http_close(handle);
        const Answer = struct { status: u16, headers: []const Header = &.{}, size: i64 };
        const answer = try step.decode(Answer, "http", url, try step.must("http", url, try step.grow(host.http_answer, .{handle})), true);
        return .{
            .step = step,
            .handle = handle,
            .url = url,
            .status = answer.status,
            .headers = answer.headers,
            .size = std.math.cast(u64, answer.size),
        };
    }

    /// Sends bytes to a granted serial port and fills `answer`, or as much of
    /// it as comes within `wait_ms`; it gives what came, which may be nothing. A
    /// port that is not there is `error.Unreachable`.
    pub fn serial(step: *Step, port: []const u8, send: []const u8, answer: []u8, wait_ms: u31) Error![]u8 {
        const n = try step.check("serial", port, host.serial_xfer(port.ptr, port.len, send.ptr, send.len, answer.ptr, answer.len, wait_ms));
        return answer[0..@min(n, answer.len)];
    }

    /// Runs a granted command of the device with the parameters of its
    /// template, a struct such as `.{ .unit = "app" }`, and gives its exit status.
    pub fn exec(step: *Step, name: []const u8, parameters: anytype) Error!u32 {
        const text = if (@typeInfo(@TypeOf(parameters)).@"struct".fields.len == 0) "{}" else try std.json.Stringify.valueAlloc(step.arena, parameters, .{});
        return @intCast(try step.check("exec", name, host.exec(name.ptr, name.len, text.ptr, text.len)));
    }

    /// What the last command wrote to both streams, the last 64 KiB of it.
    pub fn execOutput(step: *Step) Error![]const u8 {
        return step.must("exec output", "", try step.grow(host.exec_output, .{}));
    }

    /// Asks for a restart of the device after the step.
    pub fn reboot(step: *Step, why: []const u8) Error!void {
        _ = try step.check("reboot", "", host.reboot_request(why.ptr, why.len));
    }

    const Bytes = union(enum) { text: []u8, code: i64 };

    /// Asks again with a larger buffer until the answer fits. `function` takes
    /// `first` and then the buffer.
    fn grow(step: *Step, comptime function: anytype, first: anytype) Error!Bytes {
        var buffer = try step.arena.alloc(u8, 256);
        while (true) {
            const n: i32 = @call(.auto, function, first ++ .{ buffer.ptr, buffer.len });
            if (n < 0) return .{ .code = n };
            if (n <= buffer.len) return .{ .text = buffer[0..@intCast(n)] };
            buffer = try step.arena.alloc(u8, @intCast(n));
        }
    }

    fn check(step: *Step, op: []const u8, name: []const u8, answer: i64) Error!u64 {
        if (answer >= 0) return @intCast(answer);
        const r = refusal(answer);
        const space = if (name.len > 0) " " else "";
        step.why = std.mem.concat(step.arena, u8, &.{ op, space, name, ": ", r.text }) catch r.text;
        step.why_of = r.err;
        return r.err;
    }

    fn must(step: *Step, op: []const u8, name: []const u8, answer: Bytes) Error![]const u8 {
        switch (answer) {
            .text => |text| return text,
            .code => |code| _ = try step.check(op, name, code),
        }
        unreachable; // a code is negative
    }

    fn maybe(step: *Step, op: []const u8, name: []const u8, answer: Bytes) Error!?[]const u8 {
        if (answer == .code and refusal(answer.code).err == error.NotFound) return null;
        return try step.must(op, name, answer);
    }

    /// Names that each end in a zero byte.
    fn list(step: *Step, op: []const u8, answer: Bytes) Error![]const []const u8 {
        const text = try step.must(op, "", answer);
        const names = try step.arena.alloc([]const u8, std.mem.count(u8, text, "\x00"));
        var rest = std.mem.splitScalar(u8, text, 0);
        for (names) |*name| name.* = rest.next() orelse "";
        return names;
    }

    /// Text of at most `limit` bytes that JSON can hold.
    fn clean(step: *Step, text: []const u8, limit: usize) Error![]const u8 {
        var end = @min(text.len, limit);
        while (end < text.len and end > 0 and text[end] & 0xc0 == 0x80) end -= 1;
        if (std.unicode.utf8ValidateSlice(text[0..end])) return text[0..end];
        const copied = try step.arena.dupe(u8, text[0..end]);
        for (copied) |*byte| {
            if (byte.* >= 0x80) byte.* = '?';
        }
        return copied;
    }
};

/// An offset or size as the contract has it: one above i64 is refused by the
/// host as a negative one is.
fn wide(n: u64) i64 {
    return std.math.cast(i64, n) orelse -2;
}

/// A count, -1 for up to the end.
fn count(n: ?u64) i64 {
    return if (n) |some| wide(some) else -1;
}

/// An open artifact, or an entry of one that is an archive. Unless the manifest
/// says `access: random`, its bytes are read forwards only, from where the last
/// call ended or further on.
pub const Artifact = struct {
    step: *Step,
    handle: i32,
    name: []const u8,
    /// Where `read` goes on.
    at: u64 = 0,

    /// The size in bytes, null if it is not known before the end.
    pub fn size(a: Artifact) Error!?u64 {
        return a.step.check("size of artifact", a.name, host.art_size(a.handle)) catch |err|
            if (err == error.NotKnown) null else err;
    }

    /// The lower-case hex SHA-256 that was promised, null if none was.
    pub fn digest(a: Artifact) Error!?[]const u8 {
        const answer = try a.step.grow(host.art_digest, .{ a.handle, @intFromEnum(Algorithm.sha256) });
        return a.step.must("digest of artifact", a.name, answer) catch |err|
            if (err == error.NotKnown) null else err;
    }

    /// Reads on from `at` and gives the count, 0 at the end.
    pub fn read(a: *Artifact, p: []u8) Error!usize {
        const n = try a.step.check("read artifact", a.name, host.art_read(a.handle, wide(a.at), p.ptr, p.len));
        a.at += n;
        return @intCast(n);
    }

    /// Reads at `offset` and gives the count, less than asked for at the end.
    /// It may skip forwards; going back in a sequential artifact is
    /// `error.Sequence`.
    pub fn readAt(a: Artifact, p: []u8, offset: u64) Error!usize {
        var on = a;
        on.at = offset;
        return fill(&on, p);
    }

    /// Opens a file of an archive by its path in it. Close it when done: a step
    /// has 32 handles.
    pub fn entry(a: Artifact, path: []const u8) Error!Artifact {
        const name = try std.mem.concat(a.step.arena, u8, &.{ a.name, "/", path });
        const handle = try a.step.check("entry", name, host.art_entry(a.handle, path.ptr, path.len));
        return .{ .step = a.step, .handle = @intCast(handle), .name = name };
    }

    /// Frees the handle, for all values of it, and those of its entries.
    pub fn close(a: Artifact) void {
        _ = host.art_close(a.handle); // an error of the host fails the phase in any case
    }
};

/// Reads until `p` is full or nothing more comes.
fn fill(from: anytype, p: []u8) Error!usize {
    var done: usize = 0;
    while (done < p.len) {
        const n = try from.read(p[done..]);
        if (n == 0) break;
        done += n;
    }
    return done;
}

/// An open target, or a file below one that is a directory.
pub const Target = struct {
    step: *Step,
    handle: i32,
    name: []const u8,
    /// Where `read` goes on.
    at: u64 = 0,

    /// Opens a file below a directory target, in the mode of the target. The
    /// path is local and has slashes; `permissions` count when writing. Close
    /// it when done: a step has 32 handles.
    pub fn entry(t: Target, path: []const u8, permissions: u16) Error!Target {
        const name = try std.mem.concat(t.step.arena, u8, &.{ t.name, "/", path });
        const handle = try t.step.check("entry", name, host.tgt_entry(t.handle, path.ptr, path.len, permissions));
        return .{ .step = t.step, .handle = @intCast(handle), .name = name };
    }

    /// Writes all of `p` at `offset`.
    pub fn writeAt(t: Target, p: []const u8, offset: u64) Error!void {
        return t.check("write target", host.tgt_write(t.handle, wide(offset), p.ptr, p.len));
    }

    /// Reads on from `at` and gives the count, 0 at the end.
    pub fn read(t: *Target, p: []u8) Error!usize {
        const n = try t.step.check("read target", t.name, host.tgt_read(t.handle, wide(t.at), p.ptr, p.len));
        t.at += n;
        return @intCast(n);
    }

    /// Reads at `offset` and gives the count, less than asked for at the end.
    pub fn readAt(t: Target, p: []u8, offset: u64) Error!usize {
        var on = t;
        on.at = offset;
        return fill(&on, p);
    }

    /// The size in bytes: of what was staged, or of what is read.
    pub fn size(t: Target) Error!u64 {
        return t.step.check("size of target", t.name, host.tgt_size(t.handle));
    }

    /// Cuts what was staged to `bytes`.
    pub fn truncate(t: Target, bytes: u64) Error!void {
        return t.check("truncate target", host.tgt_truncate(t.handle, wide(bytes)));
    }

    /// Makes durable what was written.
    pub fn sync(t: Target) Error!void {
        return t.check("sync target", host.tgt_sync(t.handle));
    }

    /// Makes what was staged take hold, and frees the handle. Only the phase
    /// commit may call it.
    pub fn commit(t: Target) Error!void {
        return t.check("commit target", host.tgt_commit(t.handle));
    }

    /// Drops what was staged, and frees the handle and those of its entries.
    pub fn abort(t: Target) Error!void {
        return t.check("abort target", host.tgt_abort(t.handle));
    }

    /// Syncs and frees the handle, for all values of it. What was staged stays.
    pub fn close(t: Target) void {
        _ = host.tgt_close(t.handle); // an error of the host fails the phase in any case
    }

    fn check(t: Target, op: []const u8, answer: i32) Error!void {
        _ = try t.step.check(op, t.name, answer);
    }
};

/// An answer of `Step.http`. Close it when done.
pub const Response = struct {
    step: *Step,
    handle: i32,
    url: []const u8,
    status: u16,
    headers: []const Header,
    /// Bytes of the body, null if it is not known.
    size: ?u64,

    /// The value of a header by its name in lower case.
    pub fn header(r: Response, name: []const u8) ?[]const u8 {
        for (r.headers) |h| {
            if (std.mem.eql(u8, h.name, name)) return h.value;
        }
        return null;
    }

    /// Reads on in the body and gives the count, 0 at the end.
    pub fn read(r: Response, p: []u8) Error!usize {
        return @intCast(try r.step.check("read", r.url, host.http_read(r.handle, p.ptr, p.len)));
    }

    /// Frees the handle.
    pub fn close(r: Response) void {
        _ = host.http_close(r.handle);
    }
};

/// Reads JSON as a type, strictly. It has a few KiB of code in a module where
/// std.json has forty.
const Reader = struct {
    arena: Allocator,
    text: []const u8,
    lenient: bool, // fields that a struct lacks are passed over
    at: usize = 0,
    want: []const u8 = "", // what stood not at `at`

    const Failure = error{ Wrong, OutOfMemory };

    fn whole(r: *Reader, comptime T: type) Failure!T {
        const value = try r.read(T, 32);
        r.space();
        if (r.at < r.text.len) return r.wrong("the end");
        return value;
    }

    fn wrong(r: *Reader, want: []const u8) error{Wrong} {
        r.want = want;
        return error.Wrong;
    }

    fn peek(r: *Reader) u8 {
        return if (r.at < r.text.len) r.text[r.at] else 0;
    }

    fn space(r: *Reader) void {
        while (std.mem.indexOfScalar(u8, " \t\r\n", r.peek()) != null) r.at += 1;
    }

    /// Whether `word` stands here; it is then passed.
    fn take(r: *Reader, word: []const u8) bool {
        const here = std.mem.startsWith(u8, r.text[r.at..], word);
        if (here) r.at += word.len;
        return here;
    }

    fn read(r: *Reader, comptime T: type, levels: u8) Failure!T {
        r.space();
        if (T == []const u8) return r.string();
        if (T == []const Header) return r.headers(levels);
        switch (@typeInfo(T)) {
            .bool => {
                if (r.take("true")) return true;
                return if (r.take("false")) false else r.wrong("true or false");
            },
            .int, .float => {
                const from = r.at;
                const found = try r.number();
                const value = if (@typeInfo(T) == .int) std.fmt.parseInt(T, found, 10) else std.fmt.parseFloat(T, found);
                return value catch {
                    r.at = from;
                    return r.wrong("a number that is " ++ @typeName(T));
                };
            },
            .optional => |o| return if (r.take("null")) null else try r.read(o.child, levels),
            .pointer => |p| return r.list(p.child, levels),
            .@"struct" => return r.object(T, levels),
            else => @compileError("settings cannot be read as " ++ @typeName(T)),
        }
    }

    /// Begins a list or object; true if it is not empty.
    fn begin(r: *Reader, comptime open: []const u8, comptime close: []const u8, want: []const u8, levels: u8) Failure!bool {
        if (levels == 0) return r.wrong("at most 32 levels");
        if (!r.take(open)) return r.wrong(want);
        r.space();
        return !r.take(close);
    }

    /// Goes on behind a member; true if there is another.
    fn more(r: *Reader, comptime close: []const u8) Failure!bool {
        r.space();
        if (r.take(close)) return false;
        if (!r.take(",")) return r.wrong("a comma or " ++ close);
        r.space();
        return true;
    }

    fn list(r: *Reader, comptime T: type, levels: u8) Failure![]const T {
        var values: std.ArrayList(T) = .empty;
        var on = try r.begin("[", "]", "a list", levels);
        while (on) : (on = try r.more("]")) {
            const value = try r.read(T, levels - 1);
            try values.append(r.arena, value);
        }
        return values.items;
    }

    fn name(r: *Reader) Failure![]const u8 {
        const text = try r.string();
        r.space();
        return if (r.take(":")) text else r.wrong("a colon");
    }

    fn headers(r: *Reader, levels: u8) Failure![]const Header {
        var values: std.ArrayList(Header) = .empty;
        var on = try r.begin("{", "}", "an object", levels);
        while (on) : (on = try r.more("}")) {
            const key = try r.name();
            r.space();
            try values.append(r.arena, .{ .name = key, .value = try r.string() });
        }
        return values.items;
    }

    fn object(r: *Reader, comptime T: type, levels: u8) Failure!T {
        const fields = @typeInfo(T).@"struct".fields;
        var value: T = undefined;
        var seen: [fields.len]bool = @splat(false);
        var on = try r.begin("{", "}", "an object", levels);
        while (on) : (on = try r.more("}")) {
            const key = try r.name();
            inline for (fields, 0..) |field, i| {
                if (std.mem.eql(u8, key, field.name)) {
                    if (seen[i]) return r.wrong("no name twice");
                    seen[i] = true;
                    @field(value, field.name) = try r.read(field.type, levels - 1);
                    break;
                }
            } else {
                if (!r.lenient) return r.wrong("no field of this name");
                try r.skip(levels - 1);
            }
        }
        inline for (fields, 0..) |field, i| {
            if (!seen[i]) @field(value, field.name) = field.defaultValue() orelse return r.wrong("the field " ++ field.name);
        }
        return value;
    }

    fn skip(r: *Reader, levels: u8) Failure!void {
        r.space();
        switch (r.peek()) {
            '"' => _ = try r.string(),
            '[' => {
                var on = try r.begin("[", "]", "", levels);
                while (on) : (on = try r.more("]")) try r.skip(levels - 1);
            },
            '{' => {
                var on = try r.begin("{", "}", "", levels);
                while (on) : (on = try r.more("}")) {
                    _ = try r.name();
                    try r.skip(levels - 1);
                }
            },
            't', 'f' => _ = try r.read(bool, levels),
            'n' => if (!r.take("null")) return r.wrong("a value"),
            else => _ = try r.number(),
        }
    }

    fn digits(r: *Reader) Failure!void {
        if (!std.ascii.isDigit(r.peek())) return r.wrong("a number");
        while (std.ascii.isDigit(r.peek())) r.at += 1;
    }

    fn number(r: *Reader) Failure![]const u8 {
        const from = r.at;
        _ = r.take("-");
        if (!r.take("0")) try r.digits();
        if (r.take(".")) try r.digits();
        if (r.take("e") or r.take("E")) {
            _ = r.take("+") or r.take("-");
            try r.digits();
        }
        return r.text[from..r.at];
    }

    fn string(r: *Reader) Failure![]const u8 {
        if (!r.take("\"")) return r.wrong("text in quotes");
        var text: std.ArrayList(u8) = .empty;
        while (true) {
            const byte = r.peek();
            if (byte < ' ') return r.wrong("the end of the text in quotes");
            r.at += 1;
            switch (byte) {
                '"' => break,
                '\\' => {
                    var encoded: [4]u8 = undefined;
                    const n = std.unicode.utf8Encode(try r.escape(), &encoded) catch return r.wrong("a character");
                    try text.appendSlice(r.arena, encoded[0..n]);
                },
                else => try text.append(r.arena, byte),
            }
        }
        return if (std.unicode.utf8ValidateSlice(text.items)) text.items else r.wrong("UTF-8");
    }

    fn escape(r: *Reader) Failure!u21 {
        const byte = r.peek();
        r.at += 1;
        switch (byte) {
            '"', '\\', '/' => return byte,
            'b' => return 8,
            'f' => return 12,
            'n' => return '\n',
            'r' => return '\r',
            't' => return '\t',
            'u' => {},
            else => {
                r.at -= 1;
                return r.wrong("an escape");
            },
        }
        const high: u21 = try r.hex();
        if (high & 0xfc00 != 0xd800 or !r.take("\\u")) return high;
        const low: u21 = try r.hex();
        return if (low & 0xfc00 == 0xdc00) 0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff) else r.wrong("a character");
    }

    fn hex(r: *Reader) Failure!u16 {
        var value: u16 = 0;
        for (0..4) |_| {
            const digit = std.fmt.charToDigit(r.peek(), 16) catch return r.wrong("four hex digits");
            value = value << 4 | digit;
            r.at += 1;
        }
        return value;
    }
};

/// The functions of the contract, on a host or on a `Double`.
const host = if (on_host) imports else twin;

const imports = struct {
    const R = [*]const u8;
    const W = [*]u8;
    extern "updraft_v1" fn log(level: i32, p: R, n: usize) void;
    extern "updraft_v1" fn progress(done: i64, total: i64, p: R, n: usize) void;
    extern "updraft_v1" fn result_set(p: R, n: usize) i32;
    extern "updraft_v1" fn cancelled() i32;
    extern "updraft_v1" fn fuel_left() i64;
    extern "updraft_v1" fn phase_info(p: W, n: usize) i32;
    extern "updraft_v1" fn prop_get(k: R, kn: usize, p: W, n: usize) i32;
    extern "updraft_v1" fn prop_list(p: W, n: usize) i32;
    extern "updraft_v1" fn config_get(k: R, kn: usize, p: W, n: usize) i32;
    extern "updraft_v1" fn art_open(p: R, n: usize) i32;
    extern "updraft_v1" fn art_entry(h: i32, p: R, n: usize) i32;
    extern "updraft_v1" fn art_size(h: i32) i64;
    extern "updraft_v1" fn art_read(h: i32, at: i64, p: W, n: usize) i32;
    extern "updraft_v1" fn art_digest(h: i32, algorithm: i32, p: W, n: usize) i32;
    extern "updraft_v1" fn art_close(h: i32) i32;
    extern "updraft_v1" fn tgt_open(p: R, n: usize, mode: i32) i32;
    extern "updraft_v1" fn tgt_entry(h: i32, p: R, n: usize, permissions: i32) i32;
    extern "updraft_v1" fn tgt_write(h: i32, at: i64, p: R, n: usize) i32;
    extern "updraft_v1" fn tgt_read(h: i32, at: i64, p: W, n: usize) i32;
    extern "updraft_v1" fn tgt_truncate(h: i32, bytes: i64) i32;
    extern "updraft_v1" fn tgt_sync(h: i32) i32;
    extern "updraft_v1" fn tgt_size(h: i32) i64;
    extern "updraft_v1" fn tgt_commit(h: i32) i32;
    extern "updraft_v1" fn tgt_abort(h: i32) i32;
    extern "updraft_v1" fn tgt_close(h: i32) i32;
    extern "updraft_v1" fn svc_copy(from: i32, at: i64, to: i32, to_at: i64, n: i64) i64;
    extern "updraft_v1" fn svc_unpack(from: i32, to: i32) i64;
    extern "updraft_v1" fn svc_hash(h: i32, at: i64, bytes: i64, algorithm: i32, p: W, n: usize) i32;
    extern "updraft_v1" fn svc_patch(format: i32, old: i32, delta: i32, to: i32) i64;
    extern "updraft_v1" fn svc_inflate(format: i32, from: i32, to: i32) i64;
    extern "updraft_v1" fn svc_verify(h: i32, s: R, sn: usize, k: R, kn: usize) i32;
    extern "updraft_v1" fn kv_get(k: R, kn: usize, p: W, n: usize) i32;
    extern "updraft_v1" fn kv_put(k: R, kn: usize, p: R, n: usize) i32;
    extern "updraft_v1" fn kv_del(k: R, kn: usize) i32;
    extern "updraft_v1" fn kv_list(p: W, n: usize) i32;
    extern "updraft_v1" fn kv_flush() i32;
    extern "updraft_v1" fn mark(p: R, n: usize) i32;
    extern "updraft_v1" fn last_mark(p: W, n: usize) i32;
    extern "updraft_v1" fn now_ms() i64;
    extern "updraft_v1" fn mono_ms() i64;
    extern "updraft_v1" fn sleep_ms(ms: i64) i32;
    extern "updraft_v1" fn random(p: W, n: usize) i32;
    extern "updraft_v1" fn http_do(q: R, qn: usize, p: R, n: usize) i32;
    extern "updraft_v1" fn http_answer(h: i32, p: W, n: usize) i32;
    extern "updraft_v1" fn http_read(h: i32, p: W, n: usize) i32;
    extern "updraft_v1" fn http_close(h: i32) i32;
    extern "updraft_v1" fn serial_xfer(k: R, kn: usize, s: R, sn: usize, p: W, n: usize, ms: i32) i32;
    extern "updraft_v1" fn exec(k: R, kn: usize, p: R, n: usize) i32;
    extern "updraft_v1" fn exec_output(p: W, n: usize) i32;
    extern "updraft_v1" fn reboot_request(p: R, n: usize) i32;
};

/// Names and what stands under them, in the order in which they came.
pub const Table = struct {
    arena: Allocator,
    map: std.StringArrayHashMapUnmanaged([]const u8) = .empty,

    /// Sets a copy of `bytes` under a copy of `name`.
    pub fn put(t: *Table, name: []const u8, bytes: []const u8) Allocator.Error!void {
        try t.map.put(t.arena, try t.arena.dupe(u8, name), try t.arena.dupe(u8, bytes));
    }

    /// What stands under a name.
    pub fn get(t: Table, name: []const u8) ?[]const u8 {
        return t.map.get(name);
    }

    /// How many names there are.
    pub fn len(t: Table) usize {
        return t.map.count();
    }
};

/// A device in memory that unit tests run phases against, natively. Fill what a
/// phase needs, and look at it afterwards.
///
/// It grants whatever is in it: capabilities, quotas, the rules of which
/// function belongs to which phase, and power cuts are the real host's, which a
/// module is tested against as a whole. Like the real one it stops a module
/// that uses a handle it does not have; here that is a panic. Memory that runs
/// out is a panic too.
pub const Double = struct {
    arena: Allocator,
    facts: Table,
    /// A JSON object.
    settings: []const u8 = "{}",
    /// By role; an entry of an archive is a `role/path`.
    artifacts: Table,
    /// The manifest has `access: random`. Without it going back in an artifact
    /// is `error.Sequence`, as on a device.
    random: bool = false,
    /// By role, or `role/path` for entries: what reading finds, and what commit
    /// leaves.
    targets: Table,
    /// What was written and is not committed, by the same names.
    staged: Table,
    kv: Table,
    mark: ?[]const u8 = null,
    /// Makes `cancelled` true, and services stop.
    cancel: bool = false,
    /// What `now` and `mono` give; `sleep` moves it.
    clock_ms: i64 = 0,
    /// What the coming calls of `inflate` and `patch` make. One too many is
    /// `error.BadData`.
    made: []const []const u8 = &.{},
    /// The names of what `verify` finds well signed.
    signed: []const []const u8 = &.{},
    /// What the coming requests are answered. One too many is
    /// `error.Unreachable`.
    answers: []const Answer = &.{},
    /// What the coming serial transfers get. One too many gets nothing.
    serial: []const []const u8 = &.{},
    /// The commands that there are.
    commands: []const Command = &.{},

    /// What the module said.
    logged: std.ArrayList([]const u8) = .empty,
    report: ?Report = null,
    /// The error that the last phase returned.
    failed: ?anyerror = null,
    /// Requests, serial transfers and commands: "url body", "port bytes" and
    /// "name parameters".
    asked: std.ArrayList([]const u8) = .empty,
    reboot: ?[]const u8 = null,

    open: std.ArrayList(?Opened) = .empty, // a handle is the place here, plus one
    output: []const u8 = "",

    pub const Answer = struct { status: u16, headers: []const Header = &.{}, body: []const u8 = "" };
    pub const Command = struct { name: []const u8, status: u31 = 0, output: []const u8 = "" };
    const Opened = struct { kind: enum { artifact, reading, writing, response }, name: []const u8, at: usize = 0, answer: Answer = .{ .status = 0 } };

    /// A device without anything. It frees nothing: give it an arena.
    pub fn init(arena: Allocator) Double {
        const empty: Table = .{ .arena = arena };
        return .{ .arena = arena, .facts = empty, .artifacts = empty, .targets = empty, .staged = empty, .kv = empty };
    }

    /// Runs one phase as the host would, and gives its class.
    pub fn call(d: *Double, phases: Phases, phase: Phase) Class {
        d.open = .empty;
        current = d;
        defer current = null;
        var step: Step = .{ .arena = d.arena };
        const outcome = phases.run(&step, @intFromEnum(phase));
        d.failed = if (outcome) null else |err| err;
        return classOf(outcome);
    }

    fn add(d: *Double, opened: Opened) i32 {
        for (d.open.items, 1..) |o, handle| {
            const old = o orelse continue;
            if (opened.kind != .response and old.kind == opened.kind and std.mem.eql(u8, old.name, opened.name)) return @intCast(handle);
        }
        d.open.append(d.arena, opened) catch exhausted();
        return @intCast(d.open.items.len);
    }

    fn find(d: *Double, h: i32) *Opened {
        if (h > 0 and h <= d.open.items.len) {
            if (d.open.items[@intCast(h - 1)]) |*opened| return opened;
        }
        std.debug.panic("{d} is no open handle", .{h});
    }

    fn free(d: *Double, h: i32) i32 {
        _ = d.find(h);
        d.open.items[@intCast(h - 1)] = null;
        return 0;
    }

    /// The content of what services read.
    fn content(d: *Double, h: i32) []const u8 {
        const o = d.find(h);
        return switch (o.kind) {
            .artifact => d.artifacts.get(o.name),
            .reading => d.targets.get(o.name),
            .writing => d.staged.get(o.name),
            .response => o.answer.body,
        } orelse "";
    }

    fn write(d: *Double, h: i32, at: i64, p: []const u8) i32 {
        const o = d.find(h);
        if (o.kind != .writing) return code(error.Denied);
        if (at < 0) return code(error.Invalid);
        const old = d.staged.get(o.name) orelse "";
        const from: usize = @intCast(at);
        const new = d.arena.alloc(u8, @max(old.len, from + p.len)) catch exhausted();
        @memset(new, 0);
        @memcpy(new[0..old.len], old);
        @memcpy(new[from..][0..p.len], p);
        d.staged.put(o.name, new) catch exhausted();
        return @intCast(p.len);
    }

    /// Writes what a service made to the start of a target.
    fn make(d: *Double, to: i32) i64 {
        if (d.made.len == 0) return code(error.BadData);
        defer d.made = d.made[1..];
        return d.write(to, 0, d.made[0]);
    }

    /// Ends a target, its entries and their handles; what was staged goes to
    /// `kept`, if that is there.
    fn end(d: *Double, h: i32, kept: ?*Table) i32 {
        const role = d.find(h).name;
        var left: Table = .{ .arena = d.arena };
        for (d.staged.map.keys(), d.staged.map.values()) |name, bytes| {
            const into = if (within(name, role)) kept orelse continue else &left;
            into.put(name, bytes) catch exhausted();
        }
        d.staged = left;
        for (d.open.items) |*o| {
            if (o.*) |opened| {
                if (opened.kind == .writing and within(opened.name, role)) o.* = null;
            }
        }
        return 0;
    }

    fn note(d: *Double, name: []const u8, bytes: []const u8) void {
        d.asked.append(d.arena, std.mem.concat(d.arena, u8, &.{ name, " ", bytes }) catch exhausted()) catch exhausted();
    }

    fn within(name: []const u8, role: []const u8) bool {
        return std.mem.startsWith(u8, name, role) and (name.len == role.len or name[role.len] == '/');
    }

    fn there(d: *Double, role: []const u8) bool {
        for (d.targets.map.keys()) |name| {
            if (within(name, role)) return true;
        }
        return false;
    }

    fn exhausted() noreturn {
        @panic("the test is out of memory");
    }

    fn code(err: Error) i32 {
        for (refusals, 1..) |r, i| {
            if (r.err == err) return -@as(i32, @intCast(i));
        }
        unreachable; // the double gives no other
    }
};

/// The double that a phase runs on: an import has no receiver, so neither has
/// its twin.
threadlocal var current: ?*Double = null;

/// The same functions as the imports, on a double.
const twin = struct {
    const R = [*]const u8;
    const W = [*]u8;
    const code = Double.code;

    fn device() *Double {
        return current orelse @panic("a step is used outside of Double.call");
    }

    fn answer(p: W, n: usize, text: []const u8) i32 {
        if (text.len <= n) @memcpy(p[0..text.len], text);
        return @intCast(text.len);
    }

    fn names(p: W, n: usize, table: Table) i32 {
        const d = device();
        var sorted = table.map.clone(d.arena) catch Double.exhausted();
        const Order = struct {
            keys: []const []const u8,
            pub fn lessThan(o: @This(), a: usize, b: usize) bool {
                return std.mem.lessThan(u8, o.keys[a], o.keys[b]);
            }
        };
        sorted.sort(Order{ .keys = sorted.keys() });
        var text: std.ArrayList(u8) = .empty;
        for (sorted.keys()) |name| {
            text.appendSlice(d.arena, name) catch Double.exhausted();
            text.append(d.arena, 0) catch Double.exhausted();
        }
        return answer(p, n, text.items);
    }

    fn value(table: Table, name: []const u8, p: W, n: usize) i32 {
        return answer(p, n, table.get(name) orelse return code(error.NotFound));
    }

    fn take(from: []const u8, at: i64, p: W, n: usize) i32 {
        if (at < 0) return code(error.Invalid);
        const start: usize = @intCast(@min(at, @as(i64, @intCast(from.len))));
        const rest = from[start..];
        const some = @min(rest.len, n);
        @memcpy(p[0..some], rest[0..some]);
        return @intCast(some);
    }

    fn json(v: anytype) []const u8 {
        return std.json.Stringify.valueAlloc(device().arena, v, .{}) catch Double.exhausted();
    }

    fn log(level: i32, p: R, n: usize) void {
        const d = device();
        d.logged.append(d.arena, std.fmt.allocPrint(d.arena, "{d} {s}", .{ level, p[0..n] }) catch Double.exhausted()) catch Double.exhausted();
    }
    fn progress(_: i64, _: i64, _: R, _: usize) void {}
    fn result_set(p: R, n: usize) i32 {
        const d = device();
        const r = std.json.parseFromSliceLeaky(WireReport, d.arena, d.arena.dupe(u8, p[0..n]) catch Double.exhausted(), .{}) catch return code(error.Invalid);
        d.report = .{
            .code = r.resultCode,
            .extended = r.extendedResultCode,
            .details = r.details,
            .reboot = std.meta.stringToEnum(@FieldType(Report, "reboot"), r.reboot) orelse return code(error.Invalid),
            .restart_agent = r.restartAgent,
            .retryable = r.retryable,
            .installed = r.installedCriteria,
        };
        return 0;
    }
    fn cancelled() i32 {
        return @intFromBool(device().cancel);
    }
    fn fuel_left() i64 {
        return -1;
    }
    fn phase_info(p: W, n: usize) i32 {
        const d = device();
        return answer(p, n, json(.{ .run = "double", .abi = abi, .artifacts = roles(d.artifacts), .targets = roles(d.targets) }));
    }
    fn roles(table: Table) []const []const u8 {
        var list: std.ArrayList([]const u8) = .empty;
        for (table.map.keys()) |name| {
            if (std.mem.indexOfScalar(u8, name, '/') == null) list.append(table.arena, name) catch Double.exhausted();
        }
        return list.items;
    }

    fn prop_get(k: R, kn: usize, p: W, n: usize) i32 {
        return value(device().facts, k[0..kn], p, n);
    }
    fn prop_list(p: W, n: usize) i32 {
        return names(p, n, device().facts);
    }
    fn config_get(k: R, kn: usize, p: W, n: usize) i32 {
        const d = device();
        if (kn == 0) return answer(p, n, d.settings);
        const all = std.json.parseFromSliceLeaky(std.json.Value, d.arena, d.settings, .{}) catch @panic("the settings of the double are no JSON");
        return answer(p, n, json(all.object.get(k[0..kn]) orelse return code(error.NotFound)));
    }

    fn art_open(p: R, n: usize) i32 {
        const d = device();
        if (d.artifacts.get(p[0..n]) == null) return code(error.NotFound);
        return d.add(.{ .kind = .artifact, .name = d.arena.dupe(u8, p[0..n]) catch Double.exhausted() });
    }
    fn art_entry(h: i32, p: R, n: usize) i32 {
        const d = device();
        const name = std.mem.concat(d.arena, u8, &.{ d.find(h).name, "/", p[0..n] }) catch Double.exhausted();
        return art_open(name.ptr, name.len);
    }
    fn art_size(h: i32) i64 {
        return @intCast(device().content(h).len);
    }
    fn art_read(h: i32, at: i64, p: W, n: usize) i32 {
        const d = device();
        const o = d.find(h);
        if (!d.random and at >= 0 and at < o.at) return code(error.Sequence);
        const some = take(d.content(h), at, p, n);
        if (some >= 0) o.at = @intCast(at + some);
        return some;
    }
    fn art_digest(h: i32, _: i32, p: W, n: usize) i32 {
        return svc_hash(h, 0, -1, @intFromEnum(Algorithm.sha256), p, n);
    }
    fn art_close(h: i32) i32 {
        const d = device();
        const archive = d.find(h).name;
        for (d.open.items) |*o| {
            if (o.*) |opened| {
                if (opened.kind == .artifact and Double.within(opened.name, archive)) o.* = null;
            }
        }
        return 0;
    }

    fn tgt_open(p: R, n: usize, mode: i32) i32 {
        const d = device();
        if (mode == @intFromEnum(Mode.read) and !d.there(p[0..n])) return code(error.NotFound);
        return d.add(.{ .kind = if (mode == 1) .reading else .writing, .name = d.arena.dupe(u8, p[0..n]) catch Double.exhausted() });
    }
    fn tgt_entry(h: i32, p: R, n: usize, _: i32) i32 {
        const d = device();
        const o = d.find(h).*;
        const name = std.mem.concat(d.arena, u8, &.{ o.name, "/", p[0..n] }) catch Double.exhausted();
        if (o.kind == .reading and d.targets.get(name) == null) return code(error.NotFound);
        return d.add(.{ .kind = o.kind, .name = name });
    }
    fn tgt_write(h: i32, at: i64, p: R, n: usize) i32 {
        return device().write(h, at, p[0..n]);
    }
    fn tgt_read(h: i32, at: i64, p: W, n: usize) i32 {
        if (device().find(h).kind != .reading) return code(error.Denied);
        return take(device().content(h), at, p, n);
    }
    fn tgt_truncate(h: i32, bytes: i64) i32 {
        const d = device();
        const old = d.content(h);
        if (bytes < 0 or bytes > old.len) return code(error.Invalid);
        d.staged.put(d.find(h).name, old[0..@intCast(bytes)]) catch Double.exhausted();
        return 0;
    }
    fn tgt_sync(h: i32) i32 {
        _ = device().find(h);
        return 0;
    }
    fn tgt_size(h: i32) i64 {
        return @intCast(device().content(h).len);
    }
    fn tgt_commit(h: i32) i32 {
        return device().end(h, &device().targets);
    }
    fn tgt_abort(h: i32) i32 {
        return device().end(h, null);
    }
    fn tgt_close(h: i32) i32 {
        return device().free(h);
    }

    fn svc_copy(from: i32, at: i64, to: i32, to_at: i64, n: i64) i64 {
        const d = device();
        if (at < 0 or to_at < 0 or n < -1) return code(error.Invalid);
        if (d.cancel) return code(error.Cancelled);
        const whole = d.content(from);
        const rest = whole.len - @min(whole.len, @as(usize, @intCast(at)));
        const piece = d.arena.alloc(u8, if (n < 0) rest else @min(rest, @as(usize, @intCast(n)))) catch Double.exhausted();
        const some = art_read(from, at, piece.ptr, piece.len);
        return if (some < 0) some else d.write(to, to_at, piece);
    }
    fn svc_unpack(from: i32, to: i32) i64 {
        const d = device();
        const archive = d.find(from).name;
        var files: i64 = 0;
        for (d.artifacts.map.keys(), d.artifacts.map.values()) |name, bytes| {
            if (name.len == archive.len or !Double.within(name, archive)) continue;
            d.staged.put(std.mem.concat(d.arena, u8, &.{ d.find(to).name, name[archive.len..] }) catch Double.exhausted(), bytes) catch Double.exhausted();
            files += 1;
        }
        return files;
    }
    fn svc_hash(h: i32, at: i64, bytes: i64, algorithm: i32, p: W, n: usize) i32 {
        if (at < 0 or bytes < -1) return code(error.Invalid);
        const whole = device().content(h);
        const rest = whole[@min(whole.len, @as(usize, @intCast(at)))..];
        const part = if (bytes < 0) rest else rest[0..@min(rest.len, @as(usize, @intCast(bytes)))];
        return switch (@as(Algorithm, @enumFromInt(algorithm))) {
            .sha256 => hex(std.crypto.hash.sha2.Sha256, part, p, n),
            .sha512 => hex(std.crypto.hash.sha2.Sha512, part, p, n),
            .md5 => hex(std.crypto.hash.Md5, part, p, n),
        };
    }
    fn hex(comptime Hash: type, part: []const u8, p: W, n: usize) i32 {
        var sum: [Hash.digest_length]u8 = undefined;
        Hash.hash(part, &sum, .{});
        return answer(p, n, &std.fmt.bytesToHex(sum, .lower));
    }
    fn svc_patch(_: i32, old: i32, delta: i32, to: i32) i64 {
        _ = device().find(old);
        _ = device().find(delta);
        return device().make(to);
    }
    fn svc_inflate(_: i32, from: i32, to: i32) i64 {
        _ = device().find(from);
        return device().make(to);
    }
    fn svc_verify(h: i32, _: R, _: usize, _: R, _: usize) i32 {
        for (device().signed) |name| {
            if (std.mem.eql(u8, name, device().find(h).name)) return 0;
        }
        return code(error.BadData);
    }

    fn kv_get(k: R, kn: usize, p: W, n: usize) i32 {
        return value(device().kv, k[0..kn], p, n);
    }
    fn kv_put(k: R, kn: usize, p: R, n: usize) i32 {
        device().kv.put(k[0..kn], p[0..n]) catch Double.exhausted();
        return 0;
    }
    fn kv_del(k: R, kn: usize) i32 {
        _ = device().kv.map.orderedRemove(k[0..kn]);
        return 0;
    }
    fn kv_list(p: W, n: usize) i32 {
        return names(p, n, device().kv);
    }
    fn kv_flush() i32 {
        return 0;
    }
    fn mark(p: R, n: usize) i32 {
        device().mark = device().arena.dupe(u8, p[0..n]) catch Double.exhausted();
        return 0;
    }
    fn last_mark(p: W, n: usize) i32 {
        return answer(p, n, device().mark orelse return code(error.NotFound));
    }
    fn now_ms() i64 {
        return device().clock_ms;
    }
    fn mono_ms() i64 {
        return device().clock_ms;
    }
    fn sleep_ms(ms: i64) i32 {
        device().clock_ms += ms;
        return 0;
    }
    /// The bytes repeat, so that a test does.
    fn random(p: W, n: usize) i32 {
        for (p[0..n], 0..) |*byte, i| byte.* = @truncate(i);
        return @intCast(n);
    }

    fn http_do(q: R, qn: usize, p: R, n: usize) i32 {
        const d = device();
        const request = std.json.parseFromSliceLeaky(std.json.Value, d.arena, d.arena.dupe(u8, q[0..qn]) catch Double.exhausted(), .{}) catch return code(error.Invalid);
        d.note(request.object.get("url").?.string, p[0..n]);
        if (d.answers.len == 0) return code(error.Unreachable);
        defer d.answers = d.answers[1..];
        return d.add(.{ .kind = .response, .name = "response", .answer = d.answers[0] });
    }
    fn http_answer(h: i32, p: W, n: usize) i32 {
        const d = device();
        const a = d.find(h).answer;
        var headers: std.json.ArrayHashMap([]const u8) = .{};
        for (a.headers) |header| headers.map.put(d.arena, header.name, header.value) catch Double.exhausted();
        return answer(p, n, json(.{ .status = a.status, .headers = headers, .size = a.body.len }));
    }
    fn http_read(h: i32, p: W, n: usize) i32 {
        const o = device().find(h);
        const some = take(o.answer.body, @intCast(o.at), p, n);
        o.at += @intCast(some);
        return some;
    }
    fn http_close(h: i32) i32 {
        return device().free(h);
    }
    fn serial_xfer(k: R, kn: usize, s: R, sn: usize, p: W, n: usize, _: i32) i32 {
        const d = device();
        d.note(k[0..kn], s[0..sn]);
        if (d.serial.len == 0) return 0;
        defer d.serial = d.serial[1..];
        return take(d.serial[0], 0, p, n);
    }
    fn exec(k: R, kn: usize, p: R, n: usize) i32 {
        const d = device();
        for (d.commands) |command| {
            if (!std.mem.eql(u8, command.name, k[0..kn])) continue;
            d.note(k[0..kn], p[0..n]);
            d.output = command.output;
            return command.status;
        }
        return code(error.NotFound);
    }
    fn exec_output(p: W, n: usize) i32 {
        return answer(p, n, device().output);
    }
    fn reboot_request(p: R, n: usize) i32 {
        device().reboot = device().arena.dupe(u8, p[0..n]) catch Double.exhausted();
        return 0;
    }
};

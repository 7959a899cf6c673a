//! A module for tests that reaches every function of the contract, and that
//! checks what it is given; see the device in its test.
const std = @import("std");
const updraft = @import("updraft.zig");
const Step = updraft.Step;

pub const phases: updraft.Phases = .{ .install = install, .commit = commit, .health = health, .cleanup = effects };
pub const panic = updraft.panic;
comptime {
    updraft.serve(phases);
}

fn want(step: *Step, what: []const u8, good: bool) !void {
    if (!good) return step.fail("{s} is not as it should be", .{what});
}

fn text(step: *Step, wanted: []const u8, got: []const u8) !void {
    if (!std.mem.eql(u8, wanted, got)) return step.fail("got \"{s}\", want \"{s}\"", .{ got, wanted });
}

fn refused(step: *Step, err: updraft.Error, answer: anytype) !void {
    if (answer) |_| return step.fail("no {s}", .{@errorName(err)}) else |got| {
        if (got != err) return step.fail("{s}, want {s}", .{ @errorName(got), @errorName(err) });
    }
}

fn install(step: *Step) !void {
    step.log(.info, "begin");
    step.progress(1, 2, "half");
    try want(step, "cancel flag", !step.cancelled());
    if (step.fuelLeft() == 0) return step.retry("no fuel", .{});
    const info = try step.info();
    try text(step, "image", info.artifacts[0]);
    try text(step, "gw", try step.fact("model") orelse "");
    try want(step, "no fact", try step.fact("none") == null);
    try text(step, "model,serial", try std.mem.join(step.arena, ",", try step.facts()));
    try text(step, "b", try step.setting([]const u8, "slot") orelse "");
    try want(step, "no setting", try step.setting(bool, "none") == null);
    try text(step, "b", (try step.settings(struct { slot: []const u8 })).slot);
    try files(step);
    try entries(step);
    try services(step);
    try state(step);
    const mono = step.mono();
    const now = step.now();
    try step.sleep(1000);
    try want(step, "clock", step.mono() - mono >= 1000 and step.now() > now);
    var bytes: [5000]u8 = undefined;
    try step.random(&bytes);
    try step.report(.{ .code = 7, .reboot = .required });
}

fn files(step: *Step) !void {
    var image = try step.artifact("image");
    try want(step, "size", try image.size() == 10);
    try want(step, "digest", (try image.digest()).?.len == 64);
    var half: [5]u8 = undefined;
    try want(step, "count", try image.read(&half) == 5);
    try text(step, "01234", &half);
    try refused(step, error.NotFound, step.artifact("none"));
    const out = try step.target("out", .write);
    try want(step, "copied", try step.copyRange(image, 5, out, 2, null) == 5);
    try refused(step, error.Sequence, image.readAt(&half, 0));
    try refused(step, error.Sequence, image.read(&half));
    try want(step, "the end", try image.readAt(&half, 10) == 0);
    try out.writeAt("ab", 0);
    try out.truncate(6);
    try out.sync();
    try refused(step, error.Denied, out.readAt(&half, 0));
    try want(step, "size staged", try out.size() == 6);
}

fn entries(step: *Step) !void {
    const tree = try step.target("tree", .write);
    const tool = try tree.entry("bin/tool", 0o755);
    try tool.writeAt("tool", 0);
    tool.close();
    try tree.abort();
    const image = try step.artifact("image");
    const app = try image.entry("etc/app");
    defer app.close();
    var all: [8]u8 = undefined;
    try text(step, "app", all[0..try app.readAt(&all, 0)]);
}

fn services(step: *Step) !void {
    const image = try step.artifact("image");
    const tree = try step.target("tree", .write);
    try want(step, "unpacked", try step.unpack(image, tree) == 1);
    try want(step, "hash", (try step.hash(image, 0, null, .sha256)).len == 64);
    try step.verify(image, "signature", "key");
    const old = try step.target("old", .read);
    try refused(step, error.BadData, step.verify(old, "signature", "key"));
    const file = try tree.entry("made", 0o644);
    defer file.close();
    try want(step, "patched", try step.patch(.udelta, old, image, file) == 3);
    try want(step, "inflated", try step.inflate(.recognise, image, file) == 4);
}

fn state(step: *Step) !void {
    const long = "v" ** 1000;
    try step.put("b", long);
    try step.put("a", "");
    try step.put("c", "");
    try step.delete("c");
    try step.flush();
    try step.mark("m1");
    try text(step, long, try step.get("b") orelse "");
    try want(step, "no value", try step.get("c") == null);
    try text(step, "a,b", try std.mem.join(step.arena, ",", try step.keys()));
    try want(step, "mark", try step.marked("m1") and !try step.marked("m2"));
}

fn commit(step: *Step) !void {
    try (try step.target("out", .write)).commit();
    try (try step.target("tree", .write)).commit();
}

/// Reads back what commit left.
fn health(step: *Step) !void {
    var out = try step.target("out", .read);
    var back: [8]u8 = undefined;
    try text(step, "ab5678", back[0..try out.read(&back)]);
    try want(step, "size", try out.size() == 6);
    const tree = try step.target("tree", .read);
    const made = try tree.entry("made", 0);
    defer made.close();
    try text(step, "full", back[0..try made.readAt(&back, 0)]);
    try refused(step, error.NotFound, tree.entry("none", 0));
}

/// What reaches beyond the update.
fn effects(step: *Step) !void {
    const request: updraft.Request = .{
        .method = "POST",
        .url = "https://example.com/ask?token=1",
        .headers = &.{.{ .name = "accept", .value = "text/plain" }},
        .body = "body",
    };
    const response = try step.http(request);
    defer response.close();
    try want(step, "status", response.status == 404 and response.size == 4);
    try text(step, "\"1\"", response.header("x-a") orelse "");
    var bytes: [8]u8 = undefined;
    try text(step, "none", bytes[0..try response.read(&bytes)]);
    try refused(step, error.Unreachable, step.http(request));
    try text(step, "http https://example.com/ask: not to be reached", step.why);
    try text(step, "pong", try step.serial("mcu1", "ping", &bytes, 100));
    try want(step, "exit status", try step.exec("reload", .{ .unit = "a \"b\"" }) == 3);
    try text(step, "done", try step.execOutput());
    try step.reboot("new firmware");
}

test {
    _ = @import("main_test.zig");
}

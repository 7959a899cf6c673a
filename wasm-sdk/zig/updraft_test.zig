//! Unit tests of the SDK itself: `zig test updraft_test.zig`.
const std = @import("std");
const updraft = @import("updraft.zig");
const Step = updraft.Step;
const t = std.testing;

/// Runs one function as the phase health.
fn health(d: *updraft.Double, function: updraft.Function) updraft.Class {
    return d.call(.{ .health = function }, .health);
}

fn details(d: updraft.Double) []const u8 {
    return if (d.report) |report| report.details else "";
}

const cases = struct {
    fn ok(_: *Step) !void {}
    fn restart(_: *Step) !void {
        return error.Restart;
    }
    fn done(_: *Step) !void {
        return error.AlreadyDone;
    }
    fn old(step: *Step) !void {
        return step.incompatible("version {d} is too old", .{1});
    }
    fn busy(step: *Step) !void {
        return step.retry("busy", .{});
    }
    fn none(step: *Step) !void {
        _ = try step.artifact("none");
    }
    fn handled(step: *Step) !void {
        _ = step.artifact("none") catch return error.Damaged;
    }
    fn quoted(step: *Step) !void {
        return step.fail("a \"quoted\"\tpath\\ \x00 ä", .{});
    }
    fn raw(step: *Step) !void {
        return step.fail("bytes \xff", .{});
    }
    fn long(step: *Step) !void {
        return step.fail("{s}", .{"ä" ** 5000});
    }
    fn reported(step: *Step) !void {
        try step.report(.{ .code = -3, .extended = 9, .details = "x", .reboot = .immediate, .restart_agent = true, .retryable = true, .installed = "2.0" });
        return step.fail("later", .{});
    }
};

test "what a phase returns becomes class and details" {
    const Case = struct { function: updraft.Function, class: updraft.Class, details: []const u8 };
    for ([_]Case{
        .{ .function = cases.ok, .class = .ok, .details = "" },
        .{ .function = cases.restart, .class = .ok_restart, .details = "" },
        .{ .function = cases.done, .class = .already_done, .details = "" },
        .{ .function = cases.old, .class = .incompatible, .details = "version 1 is too old" },
        .{ .function = cases.busy, .class = .retry_later, .details = "busy" },
        .{ .function = cases.none, .class = .failed, .details = "artifact none: no such name" },
        .{ .function = cases.handled, .class = .failed, .details = "Damaged" },
        .{ .function = cases.quoted, .class = .failed, .details = "a \"quoted\"\tpath\\ \x00 ä" },
        .{ .function = cases.raw, .class = .failed, .details = "bytes ?" },
        .{ .function = cases.long, .class = .failed, .details = "ä" ** 1024 },
    }) |case| {
        var arena: std.heap.ArenaAllocator = .init(t.allocator);
        defer arena.deinit();
        var d: updraft.Double = .init(arena.allocator());
        try t.expectEqual(case.class, health(&d, case.function));
        try t.expectEqualStrings(case.details, details(d));
    }
}

test "a phase that is not served fails" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d: updraft.Double = .init(arena.allocator());
    try t.expectEqual(.failed, d.call(.{}, .commit));
    try t.expectEqualStrings("phase 4 is not served", details(d));
}

test "a report of the phase is not replaced" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d: updraft.Double = .init(arena.allocator());
    try t.expectEqual(.failed, health(&d, cases.reported));
    const r = d.report.?;
    try t.expect(r.code == -3 and r.extended == 9 and r.reboot == .immediate and r.restart_agent and r.retryable);
    try t.expectEqualStrings("x", r.details);
    try t.expectEqualStrings("2.0", r.installed);
}

const Settings = struct {
    list: []const []const u8 = &.{},
    n: i64 = 0,
    big: u64 = 0,
    x: f64 = 0,
    yes: bool = false,
    none: ?[]const u8 = "something",
    inner: struct { a: u8 } = .{ .a = 1 },
};

var parsed: Settings = undefined;

fn readAll(step: *Step) !void {
    parsed = try step.settings(Settings);
}

test "settings as a struct" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d: updraft.Double = .init(arena.allocator());
    d.settings =
        \\ {"list": ["a", "\u00e4\ud83d\ude00\n\/\\\"", ""], "n": -12, "big": 5000000000,
        \\  "x": 1.5e1, "yes": true, "none": null, "inner": {"a": 7}}
    ;
    try t.expectEqual(.ok, health(&d, readAll));
    try t.expectEqual(3, parsed.list.len);
    try t.expectEqualStrings("ä😀\n/\\\"", parsed.list[1]);
    try t.expect(parsed.n == -12 and parsed.big == 5_000_000_000 and parsed.x == 15 and parsed.yes and parsed.none == null);
    try t.expectEqual(7, parsed.inner.a);
}

test "settings are read strictly" {
    const Case = struct { text: []const u8, want: []const u8 };
    for ([_]Case{
        .{ .text = "", .want = "byte 0: want an object" },
        .{ .text = "[]", .want = "byte 0: want an object" },
        .{ .text = "{} x", .want = "byte 3: want the end" },
        .{ .text = "{\"n\":1,}", .want = "byte 7: want text in quotes" },
        .{ .text = "{\"n\" 1}", .want = "byte 5: want a colon" },
        .{ .text = "{\"n\":1 \"big\":2}", .want = "byte 7: want a comma or }" },
        .{ .text = "{\"n\":1,\"n\":2}", .want = "byte 11: want no name twice" },
        .{ .text = "{\"m\":1}", .want = "byte 5: want no field of this name" },
        .{ .text = "{\"n\":01}", .want = "byte 6: want a comma or }" },
        .{ .text = "{\"n\":1.5}", .want = "byte 5: want a number that is i64" },
        .{ .text = "{\"n\":-}", .want = "byte 6: want a number" },
        .{ .text = "{\"big\":-1}", .want = "byte 7: want a number that is u64" },
        .{ .text = "{\"x\":1e+}", .want = "byte 8: want a number" },
        .{ .text = "{\"yes\":tru}", .want = "byte 7: want true or false" },
        .{ .text = "{\"inner\":{}}", .want = "byte 11: want the field a" },
        .{ .text = "{\"list\":[1]}", .want = "byte 9: want text in quotes" },
        .{ .text = "{\"list\":[\"a\",]}", .want = "byte 13: want text in quotes" },
        .{ .text = "{\"list\":[\"a", .want = "byte 11: want the end of the text in quotes" },
        .{ .text = "{\"list\":[\"\n\"]}", .want = "byte 10: want the end of the text in quotes" },
        .{ .text = "{\"list\":[\"\\x\"]}", .want = "byte 11: want an escape" },
        .{ .text = "{\"list\":[\"\\u12g4\"]}", .want = "byte 14: want four hex digits" },
        .{ .text = "{\"list\":[\"\\ud800\"]}", .want = "byte 16: want a character" },
        .{ .text = "{\"list\":[\"\\ud800\\u0041\"]}", .want = "byte 22: want a character" },
        .{ .text = "{\"list\":[\"\\udc00\"]}", .want = "byte 16: want a character" },
        .{ .text = "{\"list\":[\"\xff\"]}", .want = "byte 12: want UTF-8" },
    }) |case| {
        var arena: std.heap.ArenaAllocator = .init(t.allocator);
        defer arena.deinit();
        var d: updraft.Double = .init(arena.allocator());
        d.settings = case.text;
        try t.expectEqual(.failed, health(&d, readAll));
        const wanted = try std.fmt.allocPrint(arena.allocator(), "settings as a whole: {s}", .{case.want});
        try t.expectEqualStrings(wanted, details(d));
    }
}

test "no settings make the reader panic" {
    // Every text of a small alphabet, up to four characters long.
    const alphabet = "[]{},:\"\\u0d-.e1t";
    var buffer: [1 << 16]u8 = undefined;
    var good: usize = 0;
    for (1..5) |length| {
        var at: [4]usize = @splat(0);
        counting: while (true) {
            var text: [4]u8 = undefined;
            for (0..length) |i| text[i] = alphabet[at[i]];
            var fixed: std.heap.FixedBufferAllocator = .init(&buffer);
            var d: updraft.Double = .init(fixed.allocator());
            d.settings = text[0..length];
            good += @intFromBool(health(&d, readAll) == .ok);
            var i: usize = 0;
            while (at[i] == alphabet.len - 1) : (i += 1) {
                at[i] = 0;
                if (i + 1 == length) break :counting;
            }
            at[i] += 1;
        }
    }
    try t.expectEqual(1, good); // {}
}

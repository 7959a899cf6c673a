const std = @import("std");
const updraft = @import("updraft.zig");
const phases = @import("main.zig").phases;
const t = std.testing;

test "every method on the double" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d: updraft.Double = .init(arena.allocator());
    try d.facts.put("serial", "1");
    try d.facts.put("model", "gw");
    d.settings = "{\"slot\": \"b\"}";
    try d.artifacts.put("image", "0123456789");
    try d.artifacts.put("image/etc/app", "app");
    try d.targets.put("old", "old");
    d.signed = &.{"image"};
    d.made = &.{ "new", "full" };
    d.answers = &.{.{ .status = 404, .headers = &.{.{ .name = "x-a", .value = "\"1\"" }}, .body = "none" }};
    d.serial = &.{"pong"};
    d.commands = &.{.{ .name = "reload", .status = 3, .output = "done" }};
    for ([_]updraft.Phase{ .install, .commit, .health, .cleanup }) |phase| {
        const class = d.call(phases, phase);
        if (class != .ok) std.debug.print("{t}: {s}\n", .{ phase, if (d.report) |r| r.details else "" });
        try t.expectEqual(.ok, class);
    }
    try t.expectEqualStrings("ab5678", d.targets.get("out").?);
    try t.expectEqualStrings("app", d.targets.get("tree/etc/app").?);
    try t.expectEqual(0, d.staged.len());
    try t.expectEqual(7, d.report.?.code);
    try t.expectEqual(.required, d.report.?.reboot);
    try t.expectEqualStrings("1 begin", d.logged.items[0]);
    for ([_][]const u8{
        "https://example.com/ask?token=1 body", "https://example.com/ask?token=1 body", "mcu1 ping", "reload {\"unit\":\"a \\\"b\\\"\"}",
    }, d.asked.items) |wanted, got| try t.expectEqualStrings(wanted, got);
    try t.expectEqualStrings("new firmware", d.reboot.?);
}

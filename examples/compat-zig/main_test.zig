//! The check is tested natively, against a device in memory.
const std = @import("std");
const updraft = @import("updraft.zig");
const phases = @import("main.zig").phases;
const t = std.testing;

fn judge(settings: []const u8, model: ?[]const u8, class: updraft.Class, details: []const u8) !void {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d: updraft.Double = .init(arena.allocator());
    d.settings = settings;
    if (model) |name| try d.facts.put("model", name);
    try t.expectEqual(class, d.call(phases, .compat));
    try t.expectEqualStrings(details, if (d.report) |report| report.details else "");
}

test "one of the models" {
    try judge(
        \\{"models": ["gw-100", "gw-200"]}
    , "gw-200", .ok, "");
}

test "another model" {
    try judge(
        \\{"models": ["gw-100"]}
    , "gw-200", .incompatible, "model gw-200 is not one of gw-100");
}

test "no models" {
    try judge("{}", "gw-200", .incompatible, "model gw-200 is not one of ");
}

test "no fact" {
    try judge(
        \\{"models": ["gw-100"]}
    , null, .incompatible, "the device has no fact model");
}

test "settings of another type" {
    try judge(
        \\{"models": 1}
    , "gw-200", .failed, "setting models: byte 0: want a list");
}

//! The step is tested natively, against a device in memory.
const std = @import("std");
const updraft = @import("updraft.zig");
const phases = @import("main.zig").phases;
const t = std.testing;

/// A device with an image to install.
fn device(arena: std.mem.Allocator) !updraft.Double {
    var d: updraft.Double = .init(arena);
    try d.artifacts.put("image", "new system");
    return d;
}

test "install, then commit" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d = try device(arena.allocator());
    try t.expectEqual(.ok, d.call(phases, .install));
    try t.expectEqualStrings("new system", d.staged.get("out").?);
    try t.expectEqualStrings("copied", d.mark.?);
    try t.expectEqual(.ok, d.call(phases, .commit));
    try t.expectEqualStrings("new system", d.targets.get("out").?);
    try t.expectEqual(0, d.staged.len());
}

test "a second install copies nothing" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d = try device(arena.allocator());
    d.mark = "copied";
    try t.expectEqual(.ok, d.call(phases, .install));
    try t.expectEqual(0, d.staged.len());
}

test "rollback drops the image and the mark" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d = try device(arena.allocator());
    try t.expectEqual(.ok, d.call(phases, .install));
    try t.expectEqual(.ok, d.call(phases, .rollback));
    try t.expectEqual(0, d.staged.len());
    try t.expectEqual(.ok, d.call(phases, .install));
    try t.expectEqualStrings("new system", d.staged.get("out").?);
}

test "a cancelled copy ends the phase as cancelled" {
    var arena: std.heap.ArenaAllocator = .init(t.allocator);
    defer arena.deinit();
    var d = try device(arena.allocator());
    d.cancel = true;
    try t.expectEqual(.cancelled, d.call(phases, .install));
    try t.expectEqualStrings("copy image: cancelled", d.report.?.details);
}

//! A compatibility check that lets an update pass on some models alone.
const std = @import("std");
const updraft = @import("updraft.zig");

pub const phases: updraft.Phases = .{ .compat = compat };
pub const panic = updraft.panic;
comptime {
    updraft.serve(phases);
}

/// Compares the fact model with the models in the step's settings.
fn compat(step: *updraft.Step) !void {
    const models = try step.setting([]const []const u8, "models") orelse &.{};
    const model = try step.fact("model") orelse return step.incompatible("the device has no fact model", .{});
    for (models) |one| {
        if (std.mem.eql(u8, one, model)) return;
    }
    return step.incompatible("model {s} is not one of {s}", .{ model, try std.mem.join(step.arena, ", ", models) });
}

test {
    _ = @import("main_test.zig");
}

//! A module for tests that panics.
const updraft = @import("updraft.zig");

pub const panic = updraft.panic;
comptime {
    updraft.serve(.{ .health = health });
}

fn health(step: *updraft.Step) !void {
    const info = try step.info();
    if (info.grants.len == 0) @panic("nothing is granted");
}

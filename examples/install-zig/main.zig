//! A step that writes an image to the inactive slot of an A/B device.
const updraft = @import("updraft.zig");

pub const phases: updraft.Phases = .{ .install = install, .commit = commit, .rollback = rollback };
pub const panic = updraft.panic;
comptime {
    updraft.serve(phases);
}

/// Stages the image. After a power cut it is called again: `copy` goes on
/// where the last checkpoint was, and the mark says that it was done.
fn install(step: *updraft.Step) !void {
    if (try step.marked("copied")) return;
    const image = try step.artifact("image");
    const out = try step.target("out", .write);
    _ = try step.copy(image, out);
    try step.mark("copied");
}

/// Makes the slot choosable, once every byte of the image was verified.
fn commit(step: *updraft.Step) !void {
    const out = try step.target("out", .write);
    try out.commit();
}

/// Drops what install staged, and the mark that says so.
fn rollback(step: *updraft.Step) !void {
    const out = try step.target("out", .write);
    try out.abort();
    try step.mark("");
}

test {
    _ = @import("main_test.zig");
}

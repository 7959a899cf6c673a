//! A step that writes an image to the inactive slot of an A/B device.
#[cfg(test)]
mod main_test;
mod updraft;
use updraft::{Mode, Result, Step};

updraft::phases! { install, commit, rollback }

/// Stages the image. After a power cut it is called again: `copy` goes on
/// where the last checkpoint was, and the mark says that it was done.
fn install(step: &Step) -> Result {
    if step.last_mark()?.as_deref() == Some(b"copied") {
        return Ok(());
    }
    let image = step.artifact("image")?;
    let out = step.target("out", Mode::Write)?;
    step.copy(&image, &out)?;
    step.mark(b"copied")
}

/// Makes the slot choosable, once every byte of the image was verified.
fn commit(step: &Step) -> Result {
    step.target("out", Mode::Write)?.commit()
}

/// Drops what install staged, and the mark that says so.
fn rollback(step: &Step) -> Result {
    step.target("out", Mode::Write)?.abort()?;
    step.mark(b"")
}

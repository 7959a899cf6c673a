//! A module for tests that panics.
mod updraft;

updraft::phases! { health }

fn health(step: &updraft::Step) -> updraft::Result {
    let grants = step.info()?.grants;
    let none: &String = &grants[7];
    Err(none.as_str().into())
}

//! A compatibility check that lets an update pass on some models alone.
#[cfg(test)]
mod main_test;
mod updraft;
use updraft::{Error, Result, Step};

updraft::phases! { compat }

/// Compares the fact model with the models in the step's settings.
fn compat(step: &Step) -> Result {
    let models: Vec<String> = step.setting("models")?.unwrap_or_default();
    match step.fact("model")? {
        None => Err(Error::Incompatible("the device has no fact model".into())),
        Some(model) if models.contains(&model) => Ok(()),
        Some(model) => Err(Error::Incompatible(format!("model {} is not one of {}", model, models.join(", ")))),
    }
}

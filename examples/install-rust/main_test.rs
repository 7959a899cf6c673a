//! The step is tested natively, against a device in memory.
use crate::updraft::{Class, Double, Phase};
use crate::PHASES;

fn device() -> Double {
    let mut device = Double::default();
    device.artifacts.insert("image".into(), b"new system".to_vec());
    device
}

#[test]
fn install_then_commit() {
    let mut device = device();
    assert_eq!(device.call(&PHASES, Phase::Install), (Class::Ok, Ok(())));
    assert_eq!(device.staged["out"], b"new system");
    assert_eq!(device.mark.as_deref(), Some(&b"copied"[..]));
    assert_eq!(device.call(&PHASES, Phase::Commit), (Class::Ok, Ok(())));
    assert_eq!(device.targets["out"], b"new system");
    assert!(device.staged.is_empty());
}

#[test]
fn a_second_install_copies_nothing() {
    let mut device = device();
    device.mark = Some(b"copied".to_vec());
    assert_eq!(device.call(&PHASES, Phase::Install), (Class::Ok, Ok(())));
    assert!(device.staged.is_empty());
}

#[test]
fn rollback_drops_the_image_and_the_mark() {
    let mut device = device();
    for phase in [Phase::Install, Phase::Rollback] {
        assert_eq!(device.call(&PHASES, phase), (Class::Ok, Ok(())));
    }
    assert!(device.staged.is_empty() && device.targets.is_empty());
    assert_eq!(device.call(&PHASES, Phase::Install), (Class::Ok, Ok(())));
    assert_eq!(device.staged["out"], b"new system");
}

#[test]
fn a_cancelled_copy_ends_the_phase_as_cancelled() {
    let mut device = device();
    device.cancel = true;
    let (class, outcome) = device.call(&PHASES, Phase::Install);
    assert_eq!(class, Class::Cancelled);
    assert_eq!(outcome.unwrap_err().to_string(), "copy image: cancelled");
    assert_eq!(device.report.unwrap().details, "copy image: cancelled");
}

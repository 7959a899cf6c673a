//! The check is tested natively, against a device in memory.
use crate::updraft::{Class, Double, Phase};
use crate::PHASES;

#[test]
fn verdicts() {
    for (name, settings, model, class, details) in [
        ("one of them", r#"{"models": ["gw-100", "gw-200"]}"#, Some("gw-200"), Class::Ok, ""),
        ("another one", r#"{"models": ["gw-100"]}"#, Some("gw-200"), Class::Incompatible, "model gw-200 is not one of gw-100"),
        ("no models", "{}", Some("gw-200"), Class::Incompatible, "model gw-200 is not one of "),
        ("no fact", r#"{"models": ["gw-100"]}"#, None, Class::Incompatible, "the device has no fact model"),
        ("settings of another type", r#"{"models": 1}"#, Some("gw-200"), Class::Failed, "setting models: want a list"),
    ] {
        let mut device = Double { settings: settings.into(), ..Double::default() };
        device.facts.extend(model.map(|model| ("model".into(), model.into())));
        assert_eq!(device.call(&PHASES, Phase::Compat).0, class, "{}", name);
        assert_eq!(device.report.map_or(String::new(), |report| report.details), details, "{}", name);
    }
}

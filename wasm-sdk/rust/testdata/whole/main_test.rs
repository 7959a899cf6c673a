use crate::updraft::{Answer, Class, Double, Phase, Reboot};
use crate::PHASES;
use std::time::Duration;

#[test]
fn every_method_on_the_double() {
    let mut d = Double { settings: r#"{"slot": "b"}"#.into(), clock: Duration::from_secs(1000), ..Double::default() };
    for (name, value) in [("model", "gw"), ("serial", "1")] {
        d.facts.insert(name.into(), value.into());
    }
    d.artifacts.insert("image".into(), b"0123456789".to_vec());
    d.artifacts.insert("image/etc/app".into(), b"app".to_vec());
    d.targets.insert("old".into(), b"old".to_vec());
    d.digests.insert("image".into(), "0".repeat(64));
    d.signed.push("image".into());
    d.made.extend([b"new".to_vec(), b"full".to_vec()]);
    d.answers.push_back(Answer { status: 404, headers: vec![("x-a".into(), "\"1\"".into())], body: b"none".to_vec() });
    d.serial.push_back(b"pong".to_vec());
    d.commands.insert("reload".into(), (3, b"done".to_vec()));
    for phase in [Phase::Install, Phase::Commit, Phase::Health, Phase::Cleanup] {
        assert_eq!(d.call(&PHASES, phase), (Class::Ok, Ok(())), "{:?}", phase);
    }
    assert_eq!((&d.targets["out"][..], &d.targets["tree/etc/app"][..]), (&b"ab5678"[..], &b"app"[..]));
    assert!(d.staged.is_empty());
    let report = d.report.unwrap();
    assert_eq!((report.code, report.reboot), (7, Reboot::Required));
    assert_eq!(d.logged, [(1, "begin".to_string())]);
    let request = r#"{"url":"https://example.com/ask?token=1","method":"POST","headers":{"accept":"text/plain"}}"#;
    assert_eq!(d.asked[0], (request.to_string(), b"body".to_vec()));
    assert_eq!(d.sent, [("mcu1".to_string(), b"ping".to_vec())]);
    assert_eq!(d.ran, [("reload".to_string(), r#"{"unit":"a \"b\""}"#.to_string())]);
    assert_eq!(d.reboot.as_deref(), Some("new firmware"));
}

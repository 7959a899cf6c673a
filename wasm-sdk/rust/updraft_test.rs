//! Unit tests of the SDK itself: `rustc --edition 2021 --test updraft_test.rs`.
mod updraft;

use std::io::{self, Read};
use updraft::{Class, Double, Errno, Error, Json, Mode, Phase, Phases, Reboot, Report, Result, Step};

/// Runs one function as the phase health.
fn health(device: &mut Double, function: fn(&Step) -> Result) -> (Class, Result) {
    device.call(&Phases { health: Some(function), ..Phases::NONE }, Phase::Health)
}

#[test]
fn what_a_phase_returns_becomes_class_and_details() {
    let cases: [(fn(&Step) -> Result, Class, &str); 8] = [
        (|_| Ok(()), Class::Ok, ""),
        (|_| Err(Error::Restart), Class::OkRestart, ""),
        (|_| Err(Error::AlreadyDone), Class::AlreadyDone, ""),
        (|_| Err(Error::Incompatible("too old".into())), Class::Incompatible, "too old"),
        (|_| Err(Error::Retry("busy".into())), Class::RetryLater, "busy"),
        (|s| s.artifact("none").map(drop), Class::Failed, "artifact none: no such name"),
        (|_| Err("a \"quoted\"\tpath\\ \0 ä".into()), Class::Failed, "a \"quoted\"\tpath\\ \0 ä"),
        (|_| Err(io::Error::new(io::ErrorKind::Other, "disk").into()), Class::Failed, "disk"),
    ];
    for (function, class, details) in cases {
        let mut d = Double::default();
        assert_eq!(health(&mut d, function).0, class, "{}", details);
        assert_eq!(d.report.map_or(String::new(), |r| r.details), details);
    }
    let mut d = Double::default();
    assert_eq!(d.call(&Phases::NONE, Phase::Commit).0, Class::Failed);
    assert_eq!(d.report.unwrap().details, "phase 4 is not served");
}

#[test]
fn a_report_of_the_phase_is_not_replaced() {
    let mut d = Double::default();
    let (class, _) = health(&mut d, |s| {
        let reboot = Reboot::Immediate;
        s.report(&Report { code: -3, extended: 9, details: "x".into(), reboot, restart_agent: true, retryable: true, installed: "2.0".into() })?;
        Err("later".into())
    });
    let got = d.report.unwrap();
    assert_eq!((class, got.code, got.extended, got.reboot, got.details.as_str()), (Class::Failed, -3, 9, Reboot::Immediate, "x"));
    assert!(got.restart_agent && got.retryable && got.installed == "2.0");
}

#[test]
fn long_details_are_cut_between_characters() {
    let mut d = Double::default();
    let _ = health(&mut d, |_| Err("ä".repeat(5000).into()));
    assert_eq!(d.report.unwrap().details, "ä".repeat(1024));
}

#[test]
fn errnos_have_the_numbers_of_the_contract() {
    assert_eq!(Errno::NotFound.code(), -1);
    assert_eq!(Errno::Io.code(), -4);
    assert_eq!(Errno::Unreachable.code(), -12);
    assert_eq!(Errno::Other(-40).code(), -40);
    assert_eq!(Errno::Other(-40).to_string(), "errno -40");
}

#[test]
fn a_host_error_keeps_its_errno_through_io() {
    let mut d = Double::default();
    d.artifacts.insert("a".into(), b"0123".to_vec());
    let (class, outcome) = health(&mut d, |s| {
        let mut one = s.artifact("a")?;
        one.read_to_end(&mut Vec::new())?;
        let mut two = s.artifact("a")?;
        two.read_to_end(&mut Vec::new())?;
        Ok(())
    });
    assert_eq!(class, Class::Failed);
    assert_eq!(outcome, Err(Error::Host { op: "read artifact a".into(), errno: Errno::Sequence }));
}

#[test]
fn entries_are_closed_with_their_last_value_and_roles_are_not() {
    let mut d = Double::default();
    d.artifacts.insert("a".into(), b"0123".to_vec());
    for i in 0..100 {
        d.artifacts.insert(format!("a/{}", i), b"x".to_vec());
    }
    let (class, outcome) = health(&mut d, |s| {
        let tree = s.target("tree", Mode::Write)?;
        for i in 0..100 {
            let mut text = String::new();
            s.artifact("a")?.entry(&i.to_string())?.read_to_string(&mut text)?;
            tree.entry(&i.to_string(), 0o644)?.write_at(text.as_bytes(), 0)?;
        }
        let mut four = [0; 4];
        assert_eq!(s.artifact("a")?.read_at(&mut four[..2], 0), Ok(2));
        assert_eq!(s.artifact("a")?.read_at(&mut four, 0).unwrap_err().errno(), Some(Errno::Sequence));
        let one = s.target("out", Mode::Write)?;
        let two = s.target("out", Mode::Write)?;
        one.commit()?;
        assert_eq!(two.size().unwrap_err().errno(), Some(Errno::Invalid));
        two.close().map_err(|err| Error::Retry(err.to_string()))
    });
    assert_eq!((class, outcome), (Class::RetryLater, Err(Error::Retry("use out after its end: not acceptable".into()))));
    assert_eq!(d.staged.len(), 100);
}

#[test]
fn json_is_read_strictly() {
    for (text, want) in [
        ("", "byte 0: want a value"),
        ("[1,]", "byte 3: want a value"),
        ("[1 2]", "byte 3: want a comma or ]"),
        ("{\"a\" 1}", "byte 5: want a colon"),
        ("{\"a\":1,}", "byte 7: want text in quotes"),
        ("{\"a\":1 \"b\":2}", "byte 7: want a comma or }"),
        ("{\"a\":1,\"a\":2}", "byte 10: want no name twice"),
        ("1 2", "byte 2: want the end"),
        ("01", "byte 1: want the end"),
        ("-", "byte 1: want a digit"),
        ("1.", "byte 2: want a digit"),
        ("1e+", "byte 3: want a digit"),
        ("tru", "byte 0: want a value"),
        ("\"a", "byte 2: want the end of the text in quotes"),
        ("\"a\nb\"", "byte 2: want the end of the text in quotes"),
        (r#""\x""#, "byte 2: want an escape"),
        (r#""\"#, "byte 2: want an escape"),
        (r#""\u12"#, "byte 3: want four hex digits"),
        (r#""\u12g4""#, "byte 3: want four hex digits"),
        (r#""\ud800""#, "byte 7: want a character"),
        (r#""\ud800\u0041""#, "byte 13: want a character"),
        (r#""\udc00""#, "byte 7: want a character"),
    ] {
        let got = Json::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(got, format!("JSON: {}", want), "{:?}", text);
    }
    assert_eq!(Json::parse(b"\"\xff\"").unwrap_err().to_string(), "JSON: byte 3: want UTF-8");
    assert!(Json::parse("[".repeat(65).as_bytes()).unwrap_err().to_string().ends_with("want at most 64 levels"));
    assert!(Json::parse(("[".repeat(64) + &"]".repeat(64)).as_bytes()).is_ok());
}

#[test]
fn json_values_and_their_types() {
    let json = Json::parse(br#" {"list": ["a", "\u00e4\ud83d\ude00\n\/\\\"", ""], "n": -12, "big": 5000000000, "x": 1.5e1, "yes": true, "none": null, "o": {}} "#).unwrap();
    assert_eq!(json.field::<Vec<String>>("list"), Ok(Some(vec!["a".into(), "ä😀\n/\\\"".into(), "".into()])));
    assert_eq!(json.field::<i64>("n"), Ok(Some(-12)));
    assert_eq!(json.field::<u64>("big"), Ok(Some(5_000_000_000)));
    assert_eq!(json.field::<f64>("x"), Ok(Some(15.0)));
    assert_eq!(json.field::<bool>("yes"), Ok(Some(true)));
    assert_eq!(json.field::<Option<String>>("none"), Ok(Some(None)));
    assert_eq!(json.field::<String>("missing"), Ok(None));
    assert_eq!(json.get("o"), Some(&Json::Object(vec![])));
    assert_eq!(json.field::<i32>("big").unwrap_err().to_string(), "want a number that a i32 holds");
    assert_eq!(json.field::<String>("n").unwrap_err().to_string(), "want text");
    assert_eq!(json.field::<Vec<bool>>("list").unwrap_err().to_string(), "want true or false");
}

#[test]
fn no_json_text_makes_the_reader_panic() {
    // Every text of a small alphabet, up to four characters long.
    let alphabet = b"[]{},:\"\\u0d-.e1t";
    let mut count = 0u32;
    for length in 1..=4 {
        let mut at = vec![0; length];
        loop {
            let text: Vec<u8> = at.iter().map(|i| alphabet[*i]).collect();
            count += Json::parse(&text).is_ok() as u32;
            let mut i = 0;
            while i < length && at[i] == alphabet.len() - 1 {
                at[i] = 0;
                i += 1;
            }
            if i == length {
                break;
            }
            at[i] += 1;
        }
    }
    assert!(count > 100, "{} of them are JSON", count);
}

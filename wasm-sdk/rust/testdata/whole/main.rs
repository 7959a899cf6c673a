//! A module for tests that reaches every function of the contract, and that
//! checks what it is given; see the device in its test.
#[cfg(test)]
mod main_test;
mod updraft;

use std::io::{Read, Write};
use std::time::Duration;
use updraft::{Algorithm, Compression, Delta, Errno, Error, Info, Level, Mode, Reboot, Report, Request, Result, Step};

updraft::phases! { install, commit, health, cleanup = effects }

/// Fails with what was found if it is not what was wanted.
fn want<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result {
    if got != want {
        return Err(format!("{} is {:?}, want {:?}", what, got, want).into());
    }
    Ok(())
}

fn refused<T>(what: &str, answer: Result<T>, errno: Errno) -> Result {
    want(what, answer.err().and_then(|err| err.errno()), Some(errno))
}

fn install(step: &Step) -> Result {
    step.log(Level::Info, "begin");
    step.progress(1, 2, "half");
    want("cancelled", step.cancelled(), false)?;
    if step.fuel_left() == Some(0) {
        return Err(Error::Retry("no fuel".into()));
    }
    let info: Info = step.info()?;
    want("artifacts", info.artifacts, vec!["image".to_string()])?;
    want("fact", step.fact("model")?, Some("gw".to_string()))?;
    want("no fact", step.fact("none")?, None)?;
    want("facts", step.facts()?, vec!["model".to_string(), "serial".to_string()])?;
    want("slot", step.setting("slot")?, Some("b".to_string()))?;
    want("no setting", step.setting::<bool>("none")?, None)?;
    want("settings", step.settings()?.field("slot")?, Some("b".to_string()))?;
    files(step)?;
    entries(step)?;
    services(step)?;
    state(step)?;
    let (mono, now) = (step.mono(), step.now());
    step.sleep(Duration::from_secs(1))?;
    want("slept", step.mono() - mono >= Duration::from_secs(1) && step.now() > now, true)?;
    step.random(&mut [0; 5000])?;
    step.report(&Report { code: 7, reboot: Reboot::Required, ..Report::default() })
}

fn files(step: &Step) -> Result {
    let mut image = step.artifact("image")?;
    want("size", image.size()?, Some(10))?;
    want("digest", image.digest()?.map(|digest| digest.len()), Some(64))?;
    let mut half = [0; 5];
    image.read_exact(&mut half)?;
    want("half", &half, b"01234")?;
    refused("no artifact", step.artifact("none"), Errno::NotFound)?;
    let mut out = step.target("out", Mode::Write)?;
    want("copied", step.copy_range(&image, 5, &out, 2, None)?, 5)?;
    refused("back", image.read_at(&mut half, 0), Errno::Sequence)?;
    want("back by this value", Error::from(image.read(&mut half).unwrap_err()).errno(), Some(Errno::Sequence))?;
    want("the end", image.read_at(&mut half, 10)?, 0)?;
    out.write_all(b"ab")?;
    out.truncate(6)?;
    out.sync()?;
    refused("read what is written", out.read_at(&mut half, 0), Errno::Denied)?;
    want("size staged", out.size()?, 6)
}

fn entries(step: &Step) -> Result {
    let tree = step.target("tree", Mode::Write)?;
    let tool = tree.entry("bin/tool", 0o755)?;
    tool.write_at(b"tool", 0)?;
    let same = tree.entry("bin/tool", 0o755)?;
    drop(tool); // the other value still has the handle
    same.write_at(b"TOOL", 0)?;
    same.close()?;
    let left = tree.entry("left", 0o644)?;
    tree.abort()?;
    refused("an entry after abort", left.size(), Errno::Invalid)?;
    let image = step.artifact("image")?;
    let mut text = String::new();
    image.entry("etc/app")?.read_to_string(&mut text)?;
    want("entry", text.as_str(), "app")?;
    let app = image.entry("etc/app")?;
    image.close()?;
    refused("an entry after its archive", app.size(), Errno::Invalid)
}

fn services(step: &Step) -> Result {
    let image = step.artifact("image")?;
    let tree = step.target("tree", Mode::Write)?;
    want("unpacked", step.unpack(&image, &tree)?, 1)?;
    want("hash", step.hash(&image, 0, None, Algorithm::Sha256)?.len(), 64)?;
    step.verify(&image, b"signature", b"key")?;
    let old = step.target("old", Mode::Read)?;
    refused("another signature", step.verify(&old, b"signature", b"key"), Errno::BadData)?;
    let file = tree.entry("made", 0o644)?;
    want("patched", step.patch(Delta::Udelta, &old, &image, &file)?, 3)?;
    want("inflated", step.inflate(Compression::Recognise, &image, &file)?, 4)
}

fn state(step: &Step) -> Result {
    let long = vec![b'v'; 1000];
    step.put("b", &long)?;
    step.put("a", b"")?;
    step.put("c", b"")?;
    step.delete("c")?;
    step.flush()?;
    step.mark(b"m1")?;
    want("long value", step.get("b")?, Some(long))?;
    want("no value", step.get("c")?, None)?;
    want("keys", step.keys()?, vec!["a".to_string(), "b".to_string()])?;
    want("mark", step.last_mark()?, Some(b"m1".to_vec()))
}

fn commit(step: &Step) -> Result {
    step.target("out", Mode::Write)?.commit()?;
    step.target("tree", Mode::Write)?.commit()
}

/// Reads back what commit left.
fn health(step: &Step) -> Result {
    let mut out = step.target("out", Mode::Read)?;
    let mut back = String::new();
    out.read_to_string(&mut back)?;
    want("back", (back.as_str(), out.size()?), ("ab5678", 6))?;
    let made = step.target("tree", Mode::Read)?.entry("made", 0)?;
    let mut four = [0; 4];
    want("made", (made.read_at(&mut four, 0)?, &four), (4, b"full"))?;
    refused("no entry", step.target("tree", Mode::Read)?.entry("none", 0), Errno::NotFound)
}

/// What reaches beyond the update.
fn effects(step: &Step) -> Result {
    let request = Request::post("https://example.com/ask?token=1", b"body").header("accept", "text/plain");
    let mut response = step.http(&request)?;
    want("status", (response.status, response.size, response.header("x-a")), (404, Some(4), Some("\"1\"")))?;
    let mut body = String::new();
    response.read_to_string(&mut body)?;
    want("body", body.as_str(), "none")?;
    want("no answer", step.http(&request).unwrap_err().to_string().as_str(), "http https://example.com/ask: not to be reached")?;
    let mut answer = [0; 8];
    want("serial", step.serial("mcu1", b"ping", &mut answer, Duration::from_millis(100))?, 4)?;
    want("pong", &answer[..4], b"pong")?;
    want("status", step.exec("reload", &[("unit", "a \"b\"")])?, 3)?;
    want("output", step.exec_output()?, b"done".to_vec())?;
    step.reboot("new firmware")
}

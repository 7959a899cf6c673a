//! What a vendor writes an install or compatibility step with, in Rust, as a
//! WebAssembly module for updraft.
//!
//! This file is the whole SDK. It lies beside the step, whose source says
//! `mod updraft;` in its root, needs Rust 1.63 and nothing but `std`:
//!
//! ```ignore
//! mod updraft;
//! use updraft::{Mode, Result, Step};
//!
//! updraft::phases! { install, commit }
//!
//! fn install(step: &Step) -> Result {
//!     step.copy(&step.artifact("image")?, &step.target("out", Mode::Write)?)?;
//!     Ok(())
//! }
//!
//! fn commit(step: &Step) -> Result {
//!     step.target("out", Mode::Write)?.commit()
//! }
//! ```
//!
//! `phases!` names the functions that updraft calls; each gets a [`Step`],
//! the only way to the device, and returns `Ok(())` or an [`Error`], some of
//! which have a meaning of their own. The manifest `updraft.json` must declare
//! the capability of everything that the code reaches; each method here says
//! which. The linker drops what is not reached, so a module imports exactly
//! what it uses.
//!
//! Any phase may be called again from its start, in a new instance whose
//! memory is empty: whatever must survive is in targets, key-values and marks.
//! A panic ends the phase with its message in the log and in the report.
//!
//! On every platform but wasm32 the same file has a [`Double`], a device in
//! memory that unit tests run phases against with `rustc --test`.

#![allow(dead_code)] // a step uses a part of it

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// The version of the contract.
pub const ABI: &str = "1.0";

/// What most functions here give back.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Why the host refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// No such role, fact, setting, key or mark.
    NotFound,
    /// Not granted, or not in this phase.
    Denied,
    /// A length, offset, path or JSON text is not acceptable.
    Invalid,
    /// The host could not read or write; the phase fails whatever it returns.
    Io,
    /// A sequential artifact cannot go back.
    Sequence,
    /// More than the grant or a limit of the contract allows.
    Quota,
    /// The run is being cancelled.
    Cancelled,
    /// Too many handles are open.
    TooManyHandles,
    /// The size or digest is not known before the end.
    Unknown,
    /// Bytes are damaged, hostile or not signed so.
    BadData,
    /// No answer in time.
    TimedOut,
    /// The other side cannot be reached.
    Unreachable,
    /// A number that this version of the contract does not have.
    Other(i32),
}

const ERRNOS: [(Errno, &str); 12] = [
    (Errno::NotFound, "no such name"),
    (Errno::Denied, "not granted"),
    (Errno::Invalid, "not acceptable"),
    (Errno::Io, "host input or output error"),
    (Errno::Sequence, "a sequential artifact cannot go back"),
    (Errno::Quota, "over quota"),
    (Errno::Cancelled, "cancelled"),
    (Errno::TooManyHandles, "too many handles"),
    (Errno::Unknown, "not known yet"),
    (Errno::BadData, "damaged or not signed so"),
    (Errno::TimedOut, "no answer in time"),
    (Errno::Unreachable, "not to be reached"),
];

impl Errno {
    fn from(code: i64) -> Errno {
        match ERRNOS.get((-1 - code) as usize) {
            Some((errno, _)) => *errno,
            None => Errno::Other(code as i32),
        }
    }

    /// The number of the contract, as a host answers it.
    pub fn code(self) -> i32 {
        if let Errno::Other(code) = self {
            return code;
        }
        ERRNOS.iter().position(|(errno, _)| *errno == self).map_or(0, |i| -1 - i as i32)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match ERRNOS.iter().find(|(errno, _)| errno == self) {
            Some((_, text)) => f.write_str(text),
            None => write!(f, "errno {}", self.code()),
        }
    }
}

/// Why a phase did not simply succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The host refused; `op` says what was asked, with the name. A phase that
    /// ends with [`Errno::Cancelled`] counts as cancelled, not as failed.
    Host { op: String, errno: Errno },
    /// The phase failed.
    Failed(String),
    /// The update does not suit the device.
    Incompatible(String),
    /// The phase may succeed later.
    Retry(String),
    /// The device has it already: nothing is left to do.
    AlreadyDone,
    /// The phase succeeded and wants a restart.
    Restart,
}

impl Error {
    /// The host's reason, if it was the host that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Host { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    fn host(op: &str, name: &str, code: i64) -> Error {
        let op = if name.is_empty() { op.to_string() } else { [op, " ", name].concat() };
        Error::Host { op, errno: Errno::from(code) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Host { op, errno } => write!(f, "{}: {}", op, errno),
            Error::Failed(text) | Error::Incompatible(text) | Error::Retry(text) => f.write_str(text),
            Error::AlreadyDone => f.write_str("already done"),
            Error::Restart => f.write_str("restart wanted"),
        }
    }
}

impl std::error::Error for Error {}

impl From<&str> for Error {
    fn from(text: &str) -> Error {
        Error::Failed(text.to_string())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error::Failed(text)
    }
}

/// An error that went through `std::io` comes out as it went in.
impl From<io::Error> for Error {
    fn from(err: io::Error) -> Error {
        match err.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => inner.clone(),
            None => Error::Failed(err.to_string()),
        }
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> io::Error {
        io::Error::new(io::ErrorKind::Other, err)
    }
}

/// What updraft calls a module for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Judges, before anything is fetched and on any machine, whether the
    /// update suits. It is pure: facts, settings and artifact metadata.
    Compat = 1,
    /// Finds out and reserves, without lasting effect.
    Prepare = 2,
    /// Stages the bytes; nothing takes hold.
    Install = 3,
    /// Makes what was staged take hold. Targets are opened again by role.
    Commit = 4,
    /// Undoes what this module did.
    Rollback = 5,
    /// Judges the new version after the restart.
    Health = 6,
    /// Removes what only served the update.
    Cleanup = 7,
    /// Lists components while facts are gathered.
    Enumerate = 8,
}

/// What a phase returns to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Ok = 0,
    OkRestart = 1,
    AlreadyDone = 2,
    Incompatible = 3,
    RetryLater = 4,
    Failed = 5,
    Cancelled = 6,
}

/// A function that serves a phase.
pub type Function = fn(&Step) -> Result;

/// The functions of a module, `None` for phases that it does not serve. The
/// manifest lists the same ones. `phases!` makes the one of a module.
#[derive(Clone, Copy)]
pub struct Phases {
    pub compat: Option<Function>,
    pub prepare: Option<Function>,
    pub install: Option<Function>,
    pub commit: Option<Function>,
    pub rollback: Option<Function>,
    pub health: Option<Function>,
    pub cleanup: Option<Function>,
    pub enumerate: Option<Function>,
}

impl Phases {
    /// No phase at all.
    pub const NONE: Phases = Phases {
        compat: None, prepare: None, install: None, commit: None, rollback: None, health: None, cleanup: None, enumerate: None,
    };

    fn find(&self, phase: i32) -> Option<Function> {
        match phase {
            1 => self.compat,
            2 => self.prepare,
            3 => self.install,
            4 => self.commit,
            5 => self.rollback,
            6 => self.health,
            7 => self.cleanup,
            8 => self.enumerate,
            _ => None,
        }
    }

    /// Runs a phase and turns what it returned into the class for the host,
    /// with the reason where a report finds it.
    fn run(&self, step: &Step, phase: i32) -> (Class, Result) {
        let outcome = match self.find(phase) {
            Some(function) => function(step),
            None => Err(Error::Failed(["phase ", &phase.to_string(), " is not served"].concat())),
        };
        let class = match &outcome {
            Ok(()) => Class::Ok,
            Err(Error::AlreadyDone) => Class::AlreadyDone,
            Err(Error::Restart) => Class::OkRestart,
            Err(Error::Incompatible(_)) => Class::Incompatible,
            Err(Error::Retry(_)) => Class::RetryLater,
            Err(Error::Host { errno: Errno::Cancelled, .. }) => Class::Cancelled,
            Err(_) => Class::Failed,
        };
        if class as i32 > Class::AlreadyDone as i32 && !step.reported.get() {
            if let Err(err) = &outcome {
                let report = Report { details: err.to_string(), ..Report::default() };
                step.host.result_set(report.encode().as_bytes());
            }
        }
        (class, outcome)
    }
}

/// Names the functions that updraft calls, each by its phase, once in the root
/// of the crate. It also defines `PHASES` of type [`Phases`], for unit tests.
///
/// `updraft::phases! { install, commit, rollback = undo }`
#[allow(unused_macros)]
macro_rules! phases {
    (@function $phase:ident) => { $phase };
    (@function $phase:ident $function:path) => { $function };
    ($($phase:ident $(= $function:path)?),+ $(,)?) => {
        /// The phases that this module serves.
        #[allow(dead_code)]
        pub const PHASES: $crate::updraft::Phases = $crate::updraft::Phases {
            $($phase: Some($crate::updraft::phases!(@function $phase $($function)?)),)+
            ..$crate::updraft::Phases::NONE
        };

        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn updraft_abi_1_0() {}

        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn updraft_phase(phase: i32) -> i32 {
            $crate::updraft::serve(&PHASES, phase)
        }
    };
}
#[allow(unused_imports)]
pub(crate) use phases;

/// What the exported function of [`phases!`] calls.
#[cfg(target_arch = "wasm32")]
pub fn serve(phases: &Phases, phase: i32) -> i32 {
    // Nothing unwinds on this platform: after the hook the instance is over.
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        Host.log(Level::Error as i32, &text);
        Host.result_set(Report { details: text, ..Report::default() }.encode().as_bytes());
    }));
    phases.run(&Step::new(Host), phase).0 as i32
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// What a target is opened for. A handle writes or reads, never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read = 1,
    Write = 2,
}

/// A digest of [`Step::hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256 = 1,
    Sha512 = 2,
    Md5 = 3,
}

/// A format of [`Step::patch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    Recognise = 0,
    Udelta = 1,
    Bsdiff = 2,
    Vcdiff = 3,
    /// `zstd --patch-from`.
    Zstd = 4,
}

/// A format of [`Step::inflate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Recognise = 0,
    Zstd = 1,
    Gzip = 2,
    Xz = 3,
    Lz4 = 4,
    Bzip2 = 5,
}

/// What a restart means for the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    None,
    Required,
    Immediate,
}

/// What a report carries of a step, see [`Step::report`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub code: i32,
    pub extended: i32,
    pub details: String,
    pub reboot: Reboot,
    pub restart_agent: bool,
    pub retryable: bool,
    /// The installed criteria, for clouds that ask for them.
    pub installed: String,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            code: 0, extended: 0, details: String::new(), reboot: Reboot::None, restart_agent: false, retryable: false,
            installed: String::new(),
        }
    }
}

impl Report {
    fn encode(&self) -> String {
        let mut out = String::from("{");
        let mut number = |name: &str, n: i32| {
            if n != 0 {
                out.extend(["\"", name, "\":", &n.to_string(), ","]);
            }
        };
        number("resultCode", self.code);
        number("extendedResultCode", self.extended);
        match self.reboot {
            Reboot::None => {}
            Reboot::Required => out.push_str("\"reboot\":\"required\","),
            Reboot::Immediate => out.push_str("\"reboot\":\"immediate\","),
        }
        if self.restart_agent {
            out.push_str("\"restartAgent\":true,");
        }
        if self.retryable {
            out.push_str("\"retryable\":true,");
        }
        if !self.installed.is_empty() {
            out.push_str("\"installedCriteria\":");
            quote(&mut out, &self.installed);
            out.push(',');
        }
        out.push_str("\"details\":");
        // The host takes 16 KiB in all and an escaped byte has up to six.
        quote(&mut out, cut(&self.details, 2048));
        out.push('}');
        out
    }
}

/// Text up to a limit in bytes, without half a character.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

/// What [`Step::info`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pub phase: String,
    pub run: String,
    /// The version of the contract that both sides speak.
    pub abi: String,
    /// Hex SHA-256 of the module.
    pub module: String,
    /// The roles that are bound.
    pub artifacts: Vec<String>,
    pub targets: Vec<String>,
    /// The granted capabilities that carry a name, and reboot.
    pub grants: Vec<String>,
}

/// One call of a phase and all that it may use.
pub struct Step {
    host: Host,
    reported: Cell<bool>,
    open: Rc<RefCell<Vec<Weak<Handle>>>>,
}

/// Asks again with a larger buffer until the answer fits.
fn grow(mut ask: impl FnMut(&mut [u8]) -> i32) -> std::result::Result<Vec<u8>, i32> {
    let mut buffer = vec![0; 256];
    loop {
        let n = ask(&mut buffer);
        if n < 0 {
            return Err(n);
        }
        if n as usize <= buffer.len() {
            buffer.truncate(n as usize);
            return Ok(buffer);
        }
        buffer = vec![0; n as usize];
    }
}

/// None for a name that is not there.
fn found<T>(op: &str, name: &str, answer: std::result::Result<T, i32>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(code) if Errno::from(code.into()) == Errno::NotFound => Ok(None),
        Err(code) => Err(Error::host(op, name, code.into())),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn names(op: &str, answer: std::result::Result<Vec<u8>, i32>) -> Result<Vec<String>> {
    let list = answer.map_err(|code| Error::host(op, "", code.into()))?;
    Ok(list.split(|b| *b == 0).filter(|name| !name.is_empty()).map(|name| text(name.to_vec())).collect())
}

fn check(op: &str, name: &str, answer: i64) -> Result<u64> {
    if answer < 0 {
        return Err(Error::host(op, name, answer));
    }
    Ok(answer as u64)
}

/// An offset or size as the contract has it: one above i64 is refused by the
/// host as a negative one is.
fn wide(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(-2)
}

/// A count, -1 for up to the end.
fn count(n: Option<u64>) -> i64 {
    n.map_or(-1, wide)
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Core: no capability is needed.
impl Step {
    fn new(host: Host) -> Step {
        Step { host, reported: Cell::new(false), open: Rc::default() }
    }

    /// Writes one line of at most 1 KiB; a phase has 64 KiB.
    pub fn log(&self, level: Level, line: &str) {
        self.host.log(level as i32, line);
    }

    /// Says how many of `total` units are done; a `total` of 0 is unknown.
    pub fn progress(&self, done: u64, total: u64, text: &str) {
        self.host.progress(wide(done), wide(total), text);
    }

    /// Whether the run is being cancelled; a phase then returns soon.
    pub fn cancelled(&self) -> bool {
        self.host.cancelled() != 0
    }

    /// What is left of the fuel of this phase, `None` where it is not metered.
    pub fn fuel_left(&self) -> Option<u64> {
        u64::try_from(self.host.fuel_left()).ok()
    }

    /// Leaves codes and details for the report, in place of the error's text.
    pub fn report(&self, report: &Report) -> Result {
        check("report", "", self.host.result_set(report.encode().as_bytes()).into())?;
        self.reported.set(true);
        Ok(())
    }

    /// The phase, the run, the roles that are bound and what is granted by name.
    pub fn info(&self) -> Result<Info> {
        let bytes = grow(|p| self.host.phase_info(p)).map_err(|code| Error::host("phase info", "", code.into()))?;
        let json = Json::parse(&bytes)?;
        let get = |name: &str| json.field::<String>(name).map(Option::unwrap_or_default);
        let list = |name: &str| json.field::<Vec<String>>(name).map(Option::unwrap_or_default);
        Ok(Info {
            phase: get("phase")?, run: get("run")?, abi: get("abi")?, module: get("module")?,
            artifacts: list("artifacts")?, targets: list("targets")?, grants: list("grants")?,
        })
    }
}

/// Capability `facts`.
impl Step {
    /// A fact of the device, `None` if there is none of that name.
    pub fn fact(&self, name: &str) -> Result<Option<String>> {
        Ok(found("fact", name, grow(|p| self.host.prop_get(name, p)))?.map(text))
    }

    /// The names of all facts.
    pub fn facts(&self) -> Result<Vec<String>> {
        names("facts", grow(|p| self.host.prop_list(p)))
    }

    /// One field of the step's settings, `None` if it is not there. A field of
    /// another type is an error that names it.
    pub fn setting<T: FromJson>(&self, name: &str) -> Result<Option<T>> {
        let wrong = |err| match err {
            Error::Failed(text) => Error::Failed(["setting ", name, ": ", &text].concat()),
            other => other,
        };
        match found("setting", name, grow(|p| self.host.config_get(name, p)))? {
            Some(bytes) => Json::parse(&bytes).and_then(|json| T::from_json(&json)).map(Some).map_err(wrong),
            None => Ok(None),
        }
    }

    /// All settings of the step, an object.
    pub fn settings(&self) -> Result<Json> {
        let bytes = grow(|p| self.host.config_get("", p)).map_err(|code| Error::host("settings", "", code.into()))?;
        Json::parse(&bytes)
    }
}

/// Capabilities `artifact` and `target`.
impl Step {
    /// Opens the artifact that the workflow bound to `role`. Opening a role
    /// again gives the same stream. Capability: artifact.
    pub fn artifact(&self, role: &str) -> Result<Artifact> {
        let id = self.host.art_open(role);
        check("artifact", role, id.into())?;
        Ok(Artifact { handle: Handle::adopt(&self.open, &self.host, id, role.to_string(), None), at: 0 })
    }

    /// Opens the target that the workflow bound to `role`. What an earlier
    /// call of install synced is still there. Capability: target.
    pub fn target(&self, role: &str, mode: Mode) -> Result<Target> {
        let id = self.host.tgt_open(role, mode as i32);
        check("target", role, id.into())?;
        Ok(Target { handle: Handle::adopt(&self.open, &self.host, id, role.to_string(), None), mode, at: 0 })
    }
}

/// Host services: the bytes never enter the module, which is why they are
/// quick. Capability `services`, besides those of what they work on.
impl Step {
    /// Streams a whole artifact to the start of a target. The host checkpoints
    /// on its own; when install is called again after a power cut, this goes on
    /// where it was. It gives the bytes copied, those of earlier calls included.
    pub fn copy(&self, from: &Artifact, to: &Target) -> Result<u64> {
        self.copy_range(from, 0, to, 0, None)
    }

    /// Copies `n` bytes, `None` for all there are, from an offset of the
    /// artifact to an offset of the target.
    pub fn copy_range(&self, from: &Artifact, at: u64, to: &Target, to_at: u64, n: Option<u64>) -> Result<u64> {
        let done = self.host.svc_copy(from.handle.id()?, wide(at), to.handle.id()?, wide(to_at), count(n));
        check("copy", &from.handle.name, done)
    }

    /// Unpacks an archive into a directory target and gives the count of files.
    pub fn unpack(&self, archive: &Artifact, to: &Target) -> Result<u64> {
        check("unpack", &archive.handle.name, self.host.svc_unpack(archive.handle.id()?, to.handle.id()?))
    }

    /// The lower-case hex digest of `n` bytes from `at`, `None` for all there are.
    pub fn hash(&self, of: &impl Readable, at: u64, n: Option<u64>, algorithm: Algorithm) -> Result<String> {
        let handle = of.handle();
        let id = handle.id()?;
        let digest = grow(|p| self.host.svc_hash(id, wide(at), count(n), algorithm as i32, p));
        digest.map(text).map_err(|code| Error::host("hash", &handle.name, code.into()))
    }

    /// Writes to `to` what the patch makes of `old`, and gives its size.
    pub fn patch(&self, format: Delta, old: &impl Readable, patch: &Artifact, to: &Target) -> Result<u64> {
        let done = self.host.svc_patch(format as i32, old.handle().id()?, patch.handle.id()?, to.handle.id()?);
        check("patch", &patch.handle.name, done)
    }

    /// Writes to `to` what an artifact holds compressed, and gives its size.
    pub fn inflate(&self, format: Compression, from: &Artifact, to: &Target) -> Result<u64> {
        check("inflate", &from.handle.name, self.host.svc_inflate(format as i32, from.handle.id()?, to.handle.id()?))
    }

    /// Checks a minisign signature with a minisign public key, both as the
    /// texts of their files. What is not signed so is [`Errno::BadData`].
    pub fn verify(&self, of: &impl Readable, signature: &[u8], key: &[u8]) -> Result {
        check("verify", &of.handle().name, self.host.svc_verify(of.handle().id()?, signature, key).into()).map(drop)
    }
}

/// Capability `state`: 24 KiB of keys and values that outlive an instance.
impl Step {
    /// The value of a key, `None` if there is none.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        found("get", key, grow(|p| self.host.kv_get(key, p)))
    }

    /// Sets a value. It is durable after flush, mark, or the phase's good end.
    pub fn put(&self, key: &str, value: &[u8]) -> Result {
        check("put", key, self.host.kv_put(key, value).into()).map(drop)
    }

    /// Removes a key, or does nothing.
    pub fn delete(&self, key: &str) -> Result {
        check("delete", key, self.host.kv_del(key).into()).map(drop)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> Result<Vec<String>> {
        names("keys", grow(|p| self.host.kv_list(p)))
    }

    /// Makes key-values durable, with all that [`Step::mark`] makes durable.
    pub fn flush(&self) -> Result {
        check("flush", "", self.host.kv_flush().into()).map(drop)
    }
}

/// Capability `resume`.
impl Step {
    /// Syncs every target, then makes the mark of at most 4 KiB, the
    /// key-values and the positions in artifacts durable as one.
    pub fn mark(&self, mark: &[u8]) -> Result {
        check("mark", "", self.host.mark(mark).into()).map(drop)
    }

    /// The last durable mark of this step. Targets that install opens for
    /// writing are cut back to it.
    pub fn last_mark(&self) -> Result<Option<Vec<u8>>> {
        found("last mark", "", grow(|p| self.host.last_mark(p)))
    }
}

/// Capability `time`.
impl Step {
    /// The time since 1970, in whole milliseconds.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.host.now_ms().max(0) as u64)
    }

    /// The time since an arbitrary moment, in whole milliseconds.
    pub fn mono(&self) -> Duration {
        Duration::from_millis(self.host.mono_ms().max(0) as u64)
    }

    /// Waits, in whole milliseconds.
    pub fn sleep(&self, d: Duration) -> Result {
        check("sleep", "", self.host.sleep_ms(millis(d)).into()).map(drop)
    }

    /// Fills `p` with random bytes.
    pub fn random(&self, p: &mut [u8]) -> Result {
        for piece in p.chunks_mut(4096) {
            check("random", "", self.host.random(piece).into())?;
        }
        Ok(())
    }
}

/// A request of [`Step::http`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// GET if empty.
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Zero for 30 seconds.
    pub timeout: Duration,
}

impl Request {
    /// A GET of `url`.
    pub fn get(url: &str) -> Request {
        Request { url: url.to_string(), ..Request::default() }
    }

    /// A POST of `body` to `url`.
    pub fn post(url: &str, body: &[u8]) -> Request {
        Request { method: "POST".to_string(), url: url.to_string(), body: body.to_vec(), ..Request::default() }
    }

    /// The request with one header more.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    fn encode(&self) -> String {
        let mut out = String::from("{\"url\":");
        quote(&mut out, &self.url);
        if !self.method.is_empty() {
            out.push_str(",\"method\":");
            quote(&mut out, &self.method);
        }
        if !self.headers.is_empty() {
            out.push_str(",\"headers\":");
            object(&mut out, &self.headers);
        }
        if self.timeout > Duration::ZERO {
            out.extend([",\"timeoutMs\":", &millis(self.timeout).to_string()]);
        }
        out.push('}');
        out
    }
}

/// An answer of [`Step::http`]. Its body is read through [`io::Read`]; when it
/// goes out of scope its handle is freed.
pub struct Response {
    host: Host,
    id: i32,
    url: String,
    pub status: u16,
    /// Names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body, `None` if it is not known.
    pub size: Option<u64>,
}

impl Response {
    /// The value of a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Response({} of {})", self.status, self.url)
    }
}

impl io::Read for Response {
    fn read(&mut self, p: &mut [u8]) -> io::Result<usize> {
        Ok(check("read", &self.url, self.host.http_read(self.id, p).into())? as usize)
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        self.host.http_close(self.id);
    }
}

/// What reaches beyond the update. Capabilities `http`, `serial`, `exec` and
/// `reboot`, each granted by name.
impl Step {
    /// Asks a granted host. An answer of any status is no error.
    pub fn http(&self, request: &Request) -> Result<Response> {
        let url = request.url.split(&['?', '#'][..]).next().unwrap_or("").to_string(); // a query may hold secrets
        let id = self.host.http_do(request.encode().as_bytes(), &request.body);
        check("http", &url, id.into())?;
        let mut response = Response { host: self.host.clone(), id, url, status: 0, headers: Vec::new(), size: None };
        let answer = grow(|p| self.host.http_answer(id, p)).map_err(|code| Error::host("http", &response.url, code.into()))?;
        let json = Json::parse(&answer)?;
        response.status = json.field("status")?.unwrap_or(0);
        response.size = json.field::<i64>("size")?.and_then(|n| u64::try_from(n).ok());
        if let Some(Json::Object(fields)) = json.get("headers") {
            for (name, value) in fields {
                response.headers.push((name.clone(), String::from_json(value)?));
            }
        }
        Ok(response)
    }

    /// Sends bytes to a granted serial port and fills `answer`, or as much of
    /// it as comes within `wait`. It gives the count, 0 if nothing came. A port
    /// that is not there is [`Errno::Unreachable`].
    pub fn serial(&self, port: &str, send: &[u8], answer: &mut [u8], wait: Duration) -> Result<usize> {
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        check("serial", port, self.host.serial_xfer(port, send, answer, wait).into()).map(|n| n as usize)
    }

    /// Runs a granted command of the device with the parameters of its
    /// template, and gives its exit status.
    pub fn exec(&self, name: &str, parameters: &[(&str, &str)]) -> Result<i32> {
        let mut json = String::new();
        object(&mut json, parameters);
        check("exec", name, self.host.exec(name, json.as_bytes()).into()).map(|status| status as i32)
    }

    /// What the last command wrote to both streams, the last 64 KiB of it.
    pub fn exec_output(&self) -> Result<Vec<u8>> {
        grow(|p| self.host.exec_output(p)).map_err(|code| Error::host("exec output", "", code.into()))
    }

    /// Asks for a restart of the device after the step.
    pub fn reboot(&self, reason: &str) -> Result {
        check("reboot", "", self.host.reboot_request(reason).into()).map(drop)
    }
}

/// A handle of the host. The host gives the same one for what is open already,
/// so all values of one share it.
///
/// Entries are many and are closed with their last value. Roles are few, and
/// stay open until the phase's end: opening one again must go on, not begin.
pub struct Handle {
    host: Host,
    open: Rc<RefCell<Vec<Weak<Handle>>>>,
    id: i32,
    name: String,
    live: Cell<bool>,
    /// The host freed this one, and with it its entries.
    ended: Cell<bool>,
    entry: Option<Entry>,
}

struct Entry {
    of: Rc<Handle>,
    /// How the last value closes it. It is given by whoever opens one, so that
    /// a module imports no function that it does not reach.
    close: fn(&Host, i32) -> i32,
}

impl Handle {
    fn usable(&self) -> bool {
        self.live.get() && !self.gone()
    }

    fn gone(&self) -> bool {
        self.ended.get() || self.entry.as_ref().map_or(false, |entry| entry.of.gone())
    }

    /// The host traps on a handle that was closed; this is an error instead.
    fn id(&self) -> Result<i32> {
        if !self.usable() {
            return Err(Error::Host { op: ["use ", &self.name, " after its end"].concat(), errno: Errno::Invalid });
        }
        Ok(self.id)
    }

    fn close(&self, how: fn(&Host, i32) -> i32) -> Result {
        let id = self.id()?;
        self.live.set(false);
        check("close", &self.name, how(&self.host, id).into()).map(drop)
    }

    fn end(&self) {
        self.live.set(false);
        self.ended.set(true);
    }

    /// The handle of a role, or of an entry, as one value with those before.
    fn adopt(open: &Rc<RefCell<Vec<Weak<Handle>>>>, host: &Host, id: i32, name: String, entry: Option<Entry>) -> Rc<Handle> {
        let mut list = open.borrow_mut();
        list.retain(|weak| weak.strong_count() > 0);
        if let Some(old) = list.iter().filter_map(Weak::upgrade).find(|h| h.id == id && h.usable()) {
            return old;
        }
        let (live, ended) = (Cell::new(true), Cell::new(false));
        let handle = Rc::new(Handle { host: host.clone(), open: open.clone(), id, name, live, ended, entry });
        list.push(Rc::downgrade(&handle));
        handle
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let (true, Some(entry)) = (self.usable(), &self.entry) {
            (entry.close)(&self.host, self.id); // an error of the host fails the phase in any case
        }
    }
}

/// What services read: an [`Artifact`], or a [`Target`] opened for reading.
pub trait Readable {
    /// The handle that the host knows it by.
    fn handle(&self) -> &Handle;
}

impl Readable for Artifact {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Readable for Target {
    fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// An open artifact, or an entry of one that is an archive. Unless the
/// manifest says `access: random`, its bytes are read forwards only, from
/// where the last call ended or further on.
pub struct Artifact {
    handle: Rc<Handle>,
    at: u64,
}

impl Artifact {
    /// The size in bytes, `None` if it is not known before the end.
    pub fn size(&self) -> Result<Option<u64>> {
        match self.handle.host.art_size(self.handle.id()?) {
            n if n < 0 && Errno::from(n) == Errno::Unknown => Ok(None),
            n => check("size of artifact", &self.handle.name, n).map(Some),
        }
    }

    /// The lower-case hex SHA-256 that was promised, `None` if none was.
    pub fn digest(&self) -> Result<Option<String>> {
        let id = self.handle.id()?;
        match grow(|p| self.handle.host.art_digest(id, Algorithm::Sha256 as i32, p)) {
            Ok(digest) => Ok(Some(text(digest))),
            Err(code) if Errno::from(code.into()) == Errno::Unknown => Ok(None),
            Err(code) => Err(Error::host("digest of artifact", &self.handle.name, code.into())),
        }
    }

    /// Reads at `offset` and gives the count, less than asked for at the end.
    /// It may skip forwards; going back in a sequential artifact is
    /// [`Errno::Sequence`].
    pub fn read_at(&self, p: &mut [u8], offset: u64) -> Result<usize> {
        let id = self.handle.id()?;
        fill(p, offset, |piece, at| check("read artifact", &self.handle.name, self.handle.host.art_read(id, at, piece).into()))
    }

    /// Opens a file of an archive by its path in it.
    pub fn entry(&self, path: &str) -> Result<Artifact> {
        let h = &self.handle;
        let name = [&h.name, "/", path].concat();
        let id = h.host.art_entry(h.id()?, path);
        check("entry", &name, id.into())?;
        let entry = Entry { of: h.clone(), close: Host::art_close };
        Ok(Artifact { handle: Handle::adopt(&h.open, &h.host, id, name, Some(entry)), at: 0 })
    }

    /// Frees the handle, for all values of it, and those of its entries.
    pub fn close(self) -> Result {
        self.handle.close(Host::art_close)?;
        self.handle.end();
        Ok(())
    }
}

fn fill(p: &mut [u8], offset: u64, mut read: impl FnMut(&mut [u8], i64) -> Result<u64>) -> Result<usize> {
    let mut done = 0;
    while done < p.len() {
        let n = read(&mut p[done..], wide(offset.saturating_add(done as u64)))? as usize;
        if n == 0 {
            break;
        }
        done += n;
    }
    Ok(done)
}

/// Reads on from where the last read of this value ended.
impl io::Read for Artifact {
    fn read(&mut self, p: &mut [u8]) -> io::Result<usize> {
        let n = self.handle.host.art_read(self.handle.id()?, wide(self.at), p);
        let n = check("read artifact", &self.handle.name, n.into())?;
        self.at += n;
        Ok(n as usize)
    }
}

/// An open target, or a file below one that is a directory.
pub struct Target {
    handle: Rc<Handle>,
    mode: Mode,
    at: u64,
}

impl Target {
    /// Opens a file below a directory target, in the mode of the target. The
    /// path is local and has slashes; `permissions` count when writing.
    pub fn entry(&self, path: &str, permissions: u32) -> Result<Target> {
        let h = &self.handle;
        let name = [&h.name, "/", path].concat();
        let id = h.host.tgt_entry(h.id()?, path, permissions as i32);
        check("entry", &name, id.into())?;
        let entry = Entry { of: h.clone(), close: Host::tgt_close };
        Ok(Target { handle: Handle::adopt(&h.open, &h.host, id, name, Some(entry)), mode: self.mode, at: 0 })
    }

    /// Writes all of `p` at `offset`.
    pub fn write_at(&self, p: &[u8], offset: u64) -> Result {
        self.check("write", |host, id| host.tgt_write(id, wide(offset), p))
    }

    /// Reads at `offset` and gives the count, less than asked for at the end.
    pub fn read_at(&self, p: &mut [u8], offset: u64) -> Result<usize> {
        let id = self.handle.id()?;
        fill(p, offset, |piece, at| check("read target", &self.handle.name, self.handle.host.tgt_read(id, at, piece).into()))
    }

    /// The size in bytes: of what was staged, or of what is read.
    pub fn size(&self) -> Result<u64> {
        check("size of target", &self.handle.name, self.handle.host.tgt_size(self.handle.id()?))
    }

    /// Cuts what was staged to `size` bytes.
    pub fn truncate(&self, size: u64) -> Result {
        self.check("truncate", |host, id| host.tgt_truncate(id, wide(size)))
    }

    /// Makes durable what was written.
    pub fn sync(&self) -> Result {
        self.check("sync", |host, id| host.tgt_sync(id))
    }

    /// Makes what was staged take hold. Only the phase commit may call it.
    pub fn commit(self) -> Result {
        self.check("commit", |host, id| host.tgt_commit(id))?;
        self.handle.end();
        Ok(())
    }

    /// Drops what was staged, with every entry that is open.
    pub fn abort(self) -> Result {
        self.check("abort", |host, id| host.tgt_abort(id))?;
        self.handle.end();
        Ok(())
    }

    /// Syncs and frees the handle, for all values of it. What was staged stays.
    pub fn close(self) -> Result {
        self.handle.close(Host::tgt_close)
    }

    fn check(&self, op: &str, ask: impl FnOnce(&Host, i32) -> i32) -> Result {
        let answer = ask(&self.handle.host, self.handle.id()?);
        check(op, &self.handle.name, answer.into()).map(drop)
    }
}

/// Reads on from where the last read or write of this value ended.
impl io::Read for Target {
    fn read(&mut self, p: &mut [u8]) -> io::Result<usize> {
        let n = self.handle.host.tgt_read(self.handle.id()?, wide(self.at), p);
        let n = check("read target", &self.handle.name, n.into())?;
        self.at += n;
        Ok(n as usize)
    }
}

/// Writes on from where the last read or write of this value ended.
impl io::Write for Target {
    fn write(&mut self, p: &[u8]) -> io::Result<usize> {
        self.write_at(p, self.at)?;
        self.at += p.len() as u64;
        Ok(p.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.sync()?)
    }
}

/// A JSON value, as settings hold them.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number as it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// The fields in their order, no name twice.
    Object(Vec<(String, Json)>),
}

/// Types that a setting can be read as.
pub trait FromJson: Sized {
    /// The value, or an error that says what was wanted.
    fn from_json(json: &Json) -> Result<Self>;
}

impl FromJson for Json {
    fn from_json(json: &Json) -> Result<Json> {
        Ok(json.clone())
    }
}

impl FromJson for bool {
    fn from_json(json: &Json) -> Result<bool> {
        match json {
            Json::Bool(value) => Ok(*value),
            _ => Err("want true or false".into()),
        }
    }
}

impl FromJson for String {
    fn from_json(json: &Json) -> Result<String> {
        match json {
            Json::Text(value) => Ok(value.clone()),
            _ => Err("want text".into()),
        }
    }
}

macro_rules! numbers {
    ($($type:ident),+) => {$(
        impl FromJson for $type {
            fn from_json(json: &Json) -> Result<$type> {
                if let Json::Number(digits) = json {
                    if let Ok(value) = digits.parse() {
                        return Ok(value);
                    }
                }
                Err(concat!("want a number that a ", stringify!($type), " holds").into())
            }
        }
    )+};
}
numbers!(i32, i64, u16, u32, u64, f64);

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: &Json) -> Result<Vec<T>> {
        match json {
            Json::List(list) => list.iter().map(T::from_json).collect(),
            _ => Err("want a list".into()),
        }
    }
}

/// Null is `None`.
impl<T: FromJson> FromJson for Option<T> {
    fn from_json(json: &Json) -> Result<Option<T>> {
        match json {
            Json::Null => Ok(None),
            value => T::from_json(value).map(Some),
        }
    }
}

impl Json {
    /// Reads one value of at most 64 levels; anything behind it, a field that
    /// stands there twice and every other deviation is an error with its byte.
    pub fn parse(bytes: &[u8]) -> Result<Json> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value(64)?;
        reader.space();
        if reader.at < bytes.len() {
            return Err(reader.wrong("the end"));
        }
        Ok(value)
    }

    /// A field of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(n, _)| n == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A field of an object as a type, `None` if it is not there.
    pub fn field<T: FromJson>(&self, name: &str) -> Result<Option<T>> {
        self.get(name).map(T::from_json).transpose()
    }
}

/// It works on bytes, since slices of `str` bring along what prints them.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, want: &str) -> Error {
        Error::Failed(["JSON: byte ", &self.at.to_string(), ": want ", want].concat())
    }

    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Whether `word` stands here; it is then passed.
    fn take(&mut self, word: &str) -> bool {
        let here = self.bytes.get(self.at..).unwrap_or(&[]).starts_with(word.as_bytes());
        if here {
            self.at += word.len();
        }
        here
    }

    fn value(&mut self, levels: u32) -> Result<Json> {
        self.space();
        match self.peek() {
            b'[' | b'{' if levels == 0 => Err(self.wrong("at most 64 levels")),
            b'{' => self.object(levels - 1),
            b'[' => self.list(levels - 1),
            b'"' => self.string().map(Json::Text),
            b'-' | b'0'..=b'9' => self.number(),
            _ if self.take("true") => Ok(Json::Bool(true)),
            _ if self.take("false") => Ok(Json::Bool(false)),
            _ if self.take("null") => Ok(Json::Null),
            _ => Err(self.wrong("a value")),
        }
    }

    fn list(&mut self, levels: u32) -> Result<Json> {
        let mut list = Vec::new();
        self.at += 1;
        self.space();
        if self.take("]") {
            return Ok(Json::List(list));
        }
        loop {
            list.push(self.value(levels)?);
            self.space();
            if self.take("]") {
                return Ok(Json::List(list));
            }
            if !self.take(",") {
                return Err(self.wrong("a comma or ]"));
            }
        }
    }

    fn object(&mut self, levels: u32) -> Result<Json> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        self.at += 1;
        self.space();
        if self.take("}") {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = self.string()?;
            if fields.iter().any(|(n, _)| *n == name) {
                return Err(self.wrong("no name twice"));
            }
            self.space();
            if !self.take(":") {
                return Err(self.wrong("a colon"));
            }
            fields.push((name, self.value(levels)?));
            self.space();
            if self.take("}") {
                return Ok(Json::Object(fields));
            }
            if !self.take(",") {
                return Err(self.wrong("a comma or }"));
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        if !self.take("\"") {
            return Err(self.wrong("text in quotes"));
        }
        let mut out = Vec::new();
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return String::from_utf8(out).map_err(|_| self.wrong("UTF-8"));
                }
                b'\\' => out.extend_from_slice(self.escape()?.encode_utf8(&mut [0; 4]).as_bytes()),
                0..=0x1f => return Err(self.wrong("the end of the text in quotes")),
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        self.at += 2;
        Ok(match self.bytes.get(self.at - 1) {
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(&c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'u') => {
                let high = self.hex()?;
                let low = if (0xd800..0xdc00).contains(&high) && self.take("\\u") { self.hex()? } else { 0 };
                let code = match low {
                    0 => high,
                    0xdc00..=0xdfff => 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                    _ => 0xd800, // no character
                };
                char::from_u32(code).ok_or_else(|| self.wrong("a character"))?
            }
            _ => {
                self.at -= 1;
                return Err(self.wrong("an escape"));
            }
        })
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or(b"");
        let mut code = 0;
        for digit in digits {
            code = code << 4 | (*digit as char).to_digit(16).ok_or_else(|| self.wrong("four hex digits"))?;
        }
        if digits.is_empty() {
            return Err(self.wrong("four hex digits"));
        }
        self.at += 4;
        Ok(code)
    }

    fn digits(&mut self) -> Result {
        if !self.peek().is_ascii_digit() {
            return Err(self.wrong("a digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json> {
        let from = self.at;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            self.digits()?;
        }
        Ok(Json::Number(text(self.bytes.get(from..self.at).unwrap_or(b"").to_vec())))
    }
}

/// Writes text as JSON.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\0'..='\x1f' => {
                out.push_str("\\u00");
                out.push(if c < '\x10' { '0' } else { '1' });
                out.extend(char::from_digit(c as u32 & 15, 16));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn object(out: &mut String, fields: &[(impl AsRef<str>, impl AsRef<str>)]) {
    out.push('{');
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        quote(out, name.as_ref());
        out.push(':');
        quote(out, value.as_ref());
    }
    out.push('}');
}

#[cfg(target_arch = "wasm32")]
use wasm::Host;

/// The host that runs this module.
#[cfg(target_arch = "wasm32")]
mod wasm {
    /// The functions of the contract, of which there is one set in a module.
    #[derive(Clone, Copy)]
    pub struct Host;

    /// Makes a method of Host for each import: text and bytes become a pointer
    /// and a length.
    ///
    /// Every call is sound: the host reads or fills no more than the length of
    /// a live slice, and keeps no pointer after its return.
    macro_rules! imports {
        ($($name:ident($($arg:ident: $kind:tt),*) $(-> $answer:ty)?;)+) => {
            impl Host {
                $(pub fn $name(&self $(, $arg: imports!(@type $kind))*) $(-> $answer)? {
                    imports!(@call $name [] [] [$($arg $kind)*] $($answer)?)
                })+
            }
        };
        (@type text) => { &str };
        (@type bytes) => { &[u8] };
        (@type buffer) => { &mut [u8] };
        (@type $number:tt) => { $number };
        (@call $name:ident [$($type:ty,)*] [$($value:expr,)*] [] $($answer:ty)?) => {{
            #[link(wasm_import_module = "updraft_v1")]
            extern "C" {
                fn $name($(_: $type),*) $(-> $answer)?;
            }
            unsafe { $name($($value),*) }
        }};
        (@call $name:ident [$($t:tt)*] [$($v:tt)*] [$arg:ident text $($rest:tt)*] $($answer:ty)?) => {
            imports!(@call $name [$($t)* *const u8, usize,] [$($v)* $arg.as_ptr(), $arg.len(),] [$($rest)*] $($answer)?)
        };
        (@call $name:ident [$($t:tt)*] [$($v:tt)*] [$arg:ident bytes $($rest:tt)*] $($answer:ty)?) => {
            imports!(@call $name [$($t)* *const u8, usize,] [$($v)* $arg.as_ptr(), $arg.len(),] [$($rest)*] $($answer)?)
        };
        (@call $name:ident [$($t:tt)*] [$($v:tt)*] [$arg:ident buffer $($rest:tt)*] $($answer:ty)?) => {
            imports!(@call $name [$($t)* *mut u8, usize,] [$($v)* $arg.as_mut_ptr(), $arg.len(),] [$($rest)*] $($answer)?)
        };
        (@call $name:ident [$($t:tt)*] [$($v:tt)*] [$arg:ident $number:tt $($rest:tt)*] $($answer:ty)?) => {
            imports!(@call $name [$($t)* $number,] [$($v)* $arg,] [$($rest)*] $($answer)?)
        };
    }

    imports! {
        log(level: i32, line: text);
        progress(done: i64, total: i64, text: text);
        result_set(report: bytes) -> i32;
        cancelled() -> i32;
        fuel_left() -> i64;
        phase_info(p: buffer) -> i32;
        prop_get(name: text, p: buffer) -> i32;
        prop_list(p: buffer) -> i32;
        config_get(name: text, p: buffer) -> i32;
        art_open(role: text) -> i32;
        art_entry(h: i32, path: text) -> i32;
        art_size(h: i32) -> i64;
        art_read(h: i32, at: i64, p: buffer) -> i32;
        art_digest(h: i32, algorithm: i32, p: buffer) -> i32;
        art_close(h: i32) -> i32;
        tgt_open(role: text, mode: i32) -> i32;
        tgt_entry(h: i32, path: text, permissions: i32) -> i32;
        tgt_write(h: i32, at: i64, p: bytes) -> i32;
        tgt_read(h: i32, at: i64, p: buffer) -> i32;
        tgt_truncate(h: i32, size: i64) -> i32;
        tgt_sync(h: i32) -> i32;
        tgt_size(h: i32) -> i64;
        tgt_commit(h: i32) -> i32;
        tgt_abort(h: i32) -> i32;
        tgt_close(h: i32) -> i32;
        svc_copy(from: i32, at: i64, to: i32, to_at: i64, n: i64) -> i64;
        svc_unpack(from: i32, to: i32) -> i64;
        svc_hash(h: i32, at: i64, n: i64, algorithm: i32, p: buffer) -> i32;
        svc_patch(format: i32, old: i32, patch: i32, to: i32) -> i64;
        svc_inflate(format: i32, from: i32, to: i32) -> i64;
        svc_verify(h: i32, signature: bytes, key: bytes) -> i32;
        kv_get(key: text, p: buffer) -> i32;
        kv_put(key: text, value: bytes) -> i32;
        kv_del(key: text) -> i32;
        kv_list(p: buffer) -> i32;
        kv_flush() -> i32;
        mark(p: bytes) -> i32;
        last_mark(p: buffer) -> i32;
        now_ms() -> i64;
        mono_ms() -> i64;
        sleep_ms(ms: i64) -> i32;
        random(p: buffer) -> i32;
        http_do(request: bytes, body: bytes) -> i32;
        http_answer(h: i32, p: buffer) -> i32;
        http_read(h: i32, p: buffer) -> i32;
        http_close(h: i32) -> i32;
        serial_xfer(port: text, send: bytes, p: buffer, ms: i32) -> i32;
        exec(name: text, parameters: bytes) -> i32;
        exec_output(p: buffer) -> i32;
        reboot_request(reason: text) -> i32;
    }
}

#[cfg(not(target_arch = "wasm32"))]
use double::Host;
#[cfg(not(target_arch = "wasm32"))]
#[allow(unused_imports)]
pub use double::{Answer, Double};

/// The twin of the host for unit tests.
#[cfg(not(target_arch = "wasm32"))]
mod double {
    use super::*;
    use std::collections::{BTreeMap, VecDeque};

    /// What a [`Double`] answers to a request.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Answer {
        pub status: u16,
        pub headers: Vec<(String, String)>,
        pub body: Vec<u8>,
    }

    /// A device in memory that unit tests run phases against, natively. The
    /// default has nothing; fill the fields that a phase needs, and look at
    /// them afterwards.
    ///
    /// It grants whatever is in it: capabilities, quotas, the rules of which
    /// function belongs to which phase, and power cuts are the real host's,
    /// which a module is tested against as a whole. Like the real one it stops
    /// a module that uses a handle it does not have; here that is a panic.
    #[derive(Debug, Default)]
    pub struct Double {
        pub facts: BTreeMap<String, String>,
        /// A JSON object, "" for an empty one.
        pub settings: String,
        /// By role; an entry of an archive is a `role/path`.
        pub artifacts: BTreeMap<String, Vec<u8>>,
        /// The manifest has `access: random`. Without it going back in an
        /// artifact is [`Errno::Sequence`], as on a device.
        pub random: bool,
        /// By role, or `role/path` for entries: what reading finds, and what
        /// commit leaves.
        pub targets: BTreeMap<String, Vec<u8>>,
        /// What was written and is not committed, by the same names.
        pub staged: BTreeMap<String, Vec<u8>>,
        pub kv: BTreeMap<String, Vec<u8>>,
        pub mark: Option<Vec<u8>>,
        /// Makes `cancelled` true, and services stop.
        pub cancel: bool,
        /// What `now` and `mono` give; `sleep` moves it.
        pub clock: Duration,
        /// Hex digests of artifacts and targets, by name. Nothing is computed:
        /// one that is not here is [`Errno::Unknown`].
        pub digests: BTreeMap<String, String>,
        /// What the coming calls of `inflate` and `patch` make. One too many
        /// is [`Errno::BadData`].
        pub made: VecDeque<Vec<u8>>,
        /// The names of what `verify` finds well signed.
        pub signed: Vec<String>,
        /// What the coming requests are answered. One too many is
        /// [`Errno::Unreachable`].
        pub answers: VecDeque<Answer>,
        /// What the coming serial transfers get. One too many gets nothing.
        pub serial: VecDeque<Vec<u8>>,
        /// Exit status and output of the commands that there are.
        pub commands: BTreeMap<String, (i32, Vec<u8>)>,

        /// What the module said.
        pub logged: Vec<(i32, String)>,
        pub report: Option<Report>,
        /// The requests as JSON, each with its body.
        pub asked: Vec<(String, Vec<u8>)>,
        /// What was sent, each with its port.
        pub sent: Vec<(String, Vec<u8>)>,
        /// The commands that ran, each with its parameters as JSON.
        pub ran: Vec<(String, String)>,
        pub reboot: Option<String>,

        /// What the double notes for itself during a phase.
        #[doc(hidden)]
        pub notes: Notes,
    }

    #[derive(Debug, Default)]
    pub struct Notes {
        open: Vec<Option<Opened>>,   // a handle is the place here, plus one
        at: BTreeMap<String, usize>, // how far artifacts were read
        output: Vec<u8>,             // of the last command
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Opened {
        Artifact(String),
        Target(String, i32),
        Response(Answer, usize),
    }

    impl Double {
        /// Runs one phase as the host would, and gives its class with what the
        /// function returned.
        pub fn call(&mut self, phases: &Phases, phase: Phase) -> (Class, Result) {
            self.notes = Notes::default();
            let host = Host(Rc::new(RefCell::new(std::mem::take(self))));
            let outcome = phases.run(&Step::new(host.clone()), phase as i32);
            *self = host.0.take();
            outcome
        }

        fn add(&mut self, opened: Opened) -> i32 {
            // What is open already has one handle, but for responses.
            if let Some(i) = self.notes.open.iter().position(|o| o.as_ref() == Some(&opened) && !matches!(opened, Opened::Response(..))) {
                return i as i32 + 1;
            }
            self.notes.open.push(Some(opened));
            self.notes.open.len() as i32
        }

        fn opened(&self, h: i32) -> &Opened {
            let found = self.notes.open.get((h as usize).wrapping_sub(1)).and_then(Option::as_ref);
            found.unwrap_or_else(|| panic!("{} is no open handle", h))
        }

        fn free(&mut self, h: i32) -> i32 {
            self.opened(h);
            self.notes.open[h as usize - 1] = None;
            0
        }

        fn artifact(&self, h: i32) -> String {
            match self.opened(h) {
                Opened::Artifact(name) => name.clone(),
                other => panic!("{:?} is no artifact", other),
            }
        }

        fn target(&self, h: i32) -> (String, i32) {
            match self.opened(h) {
                Opened::Target(name, mode) => (name.clone(), *mode),
                other => panic!("{:?} is no target", other),
            }
        }

        /// The name and content of what services read.
        fn readable(&self, h: i32) -> (String, &[u8]) {
            let (name, list) = match self.opened(h) {
                Opened::Artifact(name) => (name, &self.artifacts),
                Opened::Target(name, 1) => (name, &self.targets),
                other => panic!("{:?} is not readable", other),
            };
            (name.clone(), list.get(name).map_or(&[], Vec::as_slice))
        }

        fn write(&mut self, h: i32, at: i64, p: &[u8]) -> i32 {
            let (name, mode) = self.target(h);
            if mode != Mode::Write as i32 {
                return Errno::Denied.code();
            }
            if at < 0 {
                return Errno::Invalid.code();
            }
            let content = self.staged.entry(name).or_default();
            let (at, end) = (at as usize, at as usize + p.len());
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(p);
            p.len() as i32
        }

        /// Writes what a service made to the start of a target.
        fn make(&mut self, to: i32) -> i64 {
            match self.made.pop_front() {
                Some(content) => self.write(to, 0, &content).into(),
                None => Errno::BadData.code().into(),
            }
        }

        /// Ends a target, its entries and their handles; gives what was staged.
        fn end(&mut self, h: i32) -> BTreeMap<String, Vec<u8>> {
            let (role, _) = self.target(h);
            let below = format!("{}/", role);
            let within = |name: &str| name == role || name.starts_with(&below);
            for o in self.notes.open.iter_mut() {
                if matches!(o, Some(Opened::Target(name, 2)) if within(name)) {
                    *o = None;
                }
            }
            let (ended, kept) = std::mem::take(&mut self.staged).into_iter().partition(|(name, _)| within(name));
            self.staged = kept;
            ended
        }
    }

    fn answer(p: &mut [u8], text: &[u8]) -> i32 {
        if text.len() <= p.len() {
            p[..text.len()].copy_from_slice(text);
        }
        text.len() as i32
    }

    fn value<T: AsRef<[u8]>>(list: &BTreeMap<String, T>, name: &str, p: &mut [u8]) -> i32 {
        list.get(name).map_or(Errno::NotFound.code(), |value| answer(p, value.as_ref()))
    }

    fn keys<T>(list: &BTreeMap<String, T>, p: &mut [u8]) -> i32 {
        answer(p, list.keys().flat_map(|name| [name, "\0"]).collect::<String>().as_bytes())
    }

    fn copy(from: &[u8], at: usize, p: &mut [u8]) -> i32 {
        let rest = from.get(at..).unwrap_or(&[]);
        let n = rest.len().min(p.len());
        p[..n].copy_from_slice(&rest[..n]);
        n as i32
    }

    fn roles(list: &BTreeMap<String, Vec<u8>>) -> String {
        let mut out = String::new();
        for role in list.keys().filter(|name| !name.contains('/')) {
            out.push_str(if out.is_empty() { "" } else { "," });
            quote(&mut out, role);
        }
        out
    }

    fn decode(text: &[u8]) -> Result<Report> {
        let json = Json::parse(text)?;
        let flag = |name: &str| json.field::<bool>(name).map(Option::unwrap_or_default);
        Ok(Report {
            code: json.field("resultCode")?.unwrap_or(0),
            extended: json.field("extendedResultCode")?.unwrap_or(0),
            details: json.field("details")?.unwrap_or_default(),
            reboot: match json.field::<String>("reboot")?.as_deref() {
                Some("required") => Reboot::Required,
                Some("immediate") => Reboot::Immediate,
                _ => Reboot::None,
            },
            restart_agent: flag("restartAgent")?,
            retryable: flag("retryable")?,
            installed: json.field("installedCriteria")?.unwrap_or_default(),
        })
    }

    /// The same methods as the real host has, on a double.
    #[derive(Clone)]
    pub struct Host(Rc<RefCell<Double>>);

    impl Host {
        fn with<T>(&self, f: impl FnOnce(&mut Double) -> T) -> T {
            f(&mut self.0.borrow_mut())
        }

        pub fn log(&self, level: i32, line: &str) {
            self.with(|d| d.logged.push((level, line.to_string())))
        }
        pub fn progress(&self, _done: i64, _total: i64, _text: &str) {}
        pub fn result_set(&self, report: &[u8]) -> i32 {
            match decode(report) {
                Ok(report) => self.with(|d| d.report = Some(report)),
                Err(_) => return Errno::Invalid.code(),
            }
            0
        }
        pub fn cancelled(&self) -> i32 {
            self.with(|d| d.cancel as i32)
        }
        pub fn fuel_left(&self) -> i64 {
            -1
        }
        pub fn phase_info(&self, p: &mut [u8]) -> i32 {
            self.with(|d| {
                let (artifacts, targets) = (roles(&d.artifacts), roles(&d.targets));
                let info = format!(r#"{{"run":"double","abi":"{}","artifacts":[{}],"targets":[{}]}}"#, ABI, artifacts, targets);
                answer(p, info.as_bytes())
            })
        }

        pub fn prop_get(&self, name: &str, p: &mut [u8]) -> i32 {
            self.with(|d| value(&d.facts, name, p))
        }
        pub fn prop_list(&self, p: &mut [u8]) -> i32 {
            self.with(|d| keys(&d.facts, p))
        }
        pub fn config_get(&self, name: &str, p: &mut [u8]) -> i32 {
            self.with(|d| {
                let settings = if d.settings.is_empty() { "{}" } else { &d.settings };
                if name.is_empty() {
                    return answer(p, settings.as_bytes());
                }
                match Json::parse(settings.as_bytes()) {
                    Ok(json) => json.get(name).map_or(Errno::NotFound.code(), |field| answer(p, write(field).as_bytes())),
                    Err(err) => panic!("the settings of the double: {}", err),
                }
            })
        }

        pub fn art_open(&self, role: &str) -> i32 {
            self.with(|d| match d.artifacts.contains_key(role) {
                true => d.add(Opened::Artifact(role.to_string())),
                false => Errno::NotFound.code(),
            })
        }
        pub fn art_entry(&self, h: i32, path: &str) -> i32 {
            let name = self.with(|d| d.artifact(h));
            self.art_open(&format!("{}/{}", name, path))
        }
        pub fn art_size(&self, h: i32) -> i64 {
            self.with(|d| d.readable(h).1.len() as i64)
        }
        pub fn art_digest(&self, h: i32, _algorithm: i32, p: &mut [u8]) -> i32 {
            self.with(|d| d.digests.get(&d.artifact(h)).map_or(Errno::Unknown.code(), |digest| answer(p, digest.as_bytes())))
        }
        pub fn art_read(&self, h: i32, at: i64, p: &mut [u8]) -> i32 {
            if at < 0 {
                return Errno::Invalid.code();
            }
            self.with(|d| {
                let name = d.artifact(h);
                if !d.random && (at as usize) < *d.notes.at.get(&name).unwrap_or(&0) {
                    return Errno::Sequence.code();
                }
                let n = copy(d.readable(h).1, at as usize, p);
                d.notes.at.insert(name, at as usize + n as usize);
                n
            })
        }
        pub fn art_close(&self, h: i32) -> i32 {
            self.with(|d| {
                let below = format!("{}/", d.artifact(h));
                for o in d.notes.open.iter_mut() {
                    if matches!(o, Some(Opened::Artifact(name)) if name.starts_with(&below)) {
                        *o = None;
                    }
                }
                d.free(h)
            })
        }

        pub fn tgt_open(&self, role: &str, mode: i32) -> i32 {
            self.with(|d| {
                let below = format!("{}/", role);
                let there = d.targets.keys().any(|name| name == role || name.starts_with(&below));
                if mode == Mode::Read as i32 && !there {
                    return Errno::NotFound.code();
                }
                d.add(Opened::Target(role.to_string(), mode))
            })
        }
        pub fn tgt_entry(&self, h: i32, path: &str, _permissions: i32) -> i32 {
            self.with(|d| {
                let (role, mode) = d.target(h);
                let name = format!("{}/{}", role, path);
                if mode == Mode::Read as i32 && !d.targets.contains_key(&name) {
                    return Errno::NotFound.code();
                }
                d.add(Opened::Target(name, mode))
            })
        }
        pub fn tgt_write(&self, h: i32, at: i64, p: &[u8]) -> i32 {
            self.with(|d| d.write(h, at, p))
        }
        pub fn tgt_read(&self, h: i32, at: i64, p: &mut [u8]) -> i32 {
            self.with(|d| match (d.target(h), at) {
                ((_, 2), _) => Errno::Denied.code(),
                (_, at) if at < 0 => Errno::Invalid.code(),
                _ => copy(d.readable(h).1, at as usize, p),
            })
        }
        pub fn tgt_truncate(&self, h: i32, size: i64) -> i32 {
            self.with(|d| {
                let content = d.staged.entry(d.target(h).0).or_default();
                if size < 0 || size as usize > content.len() {
                    return Errno::Invalid.code();
                }
                content.truncate(size as usize);
                0
            })
        }
        pub fn tgt_sync(&self, h: i32) -> i32 {
            self.with(|d| d.target(h));
            0
        }
        pub fn tgt_size(&self, h: i32) -> i64 {
            self.with(|d| match d.target(h) {
                (name, 2) => d.staged.get(&name).map_or(0, |content| content.len() as i64),
                _ => d.readable(h).1.len() as i64,
            })
        }
        pub fn tgt_commit(&self, h: i32) -> i32 {
            self.with(|d| {
                let mut ended = d.end(h);
                d.targets.append(&mut ended);
            });
            0
        }
        pub fn tgt_abort(&self, h: i32) -> i32 {
            self.with(|d| d.end(h));
            0
        }
        pub fn tgt_close(&self, h: i32) -> i32 {
            self.with(|d| d.free(h))
        }

        pub fn svc_copy(&self, from: i32, at: i64, to: i32, to_at: i64, n: i64) -> i64 {
            if at < 0 || to_at < 0 || n < -1 {
                return Errno::Invalid.code().into();
            }
            if self.cancelled() != 0 {
                return Errno::Cancelled.code().into();
            }
            let rest = self.with(|d| d.readable(from).1.len()).saturating_sub(at as usize);
            let mut piece = vec![0; if n < 0 { rest } else { rest.min(n as usize) }];
            match self.art_read(from, at, &mut piece) {
                code if code < 0 => code.into(),
                _ => self.tgt_write(to, to_at, &piece).into(),
            }
        }
        pub fn svc_unpack(&self, from: i32, to: i32) -> i64 {
            self.with(|d| {
                let (below, (role, _)) = (format!("{}/", d.artifact(from)), d.target(to));
                let files = d.artifacts.iter().filter_map(|(name, content)| Some((name.strip_prefix(&below)?, content)));
                let files: Vec<_> = files.map(|(path, content)| (format!("{}/{}", role, path), content.clone())).collect();
                let n = files.len() as i64;
                d.staged.extend(files);
                n
            })
        }
        pub fn svc_hash(&self, h: i32, _at: i64, _n: i64, _algorithm: i32, p: &mut [u8]) -> i32 {
            self.with(|d| d.digests.get(&d.readable(h).0).map_or(Errno::Unknown.code(), |digest| answer(p, digest.as_bytes())))
        }
        pub fn svc_patch(&self, _format: i32, old: i32, patch: i32, to: i32) -> i64 {
            self.with(|d| {
                d.readable(old);
                d.artifact(patch);
                d.make(to)
            })
        }
        pub fn svc_inflate(&self, _format: i32, from: i32, to: i32) -> i64 {
            self.with(|d| {
                d.artifact(from);
                d.make(to)
            })
        }
        pub fn svc_verify(&self, h: i32, _signature: &[u8], _key: &[u8]) -> i32 {
            self.with(|d| match d.signed.contains(&d.readable(h).0) {
                true => 0,
                false => Errno::BadData.code(),
            })
        }

        pub fn kv_get(&self, key: &str, p: &mut [u8]) -> i32 {
            self.with(|d| value(&d.kv, key, p))
        }
        pub fn kv_put(&self, key: &str, value: &[u8]) -> i32 {
            self.with(|d| d.kv.insert(key.to_string(), value.to_vec()));
            0
        }
        pub fn kv_del(&self, key: &str) -> i32 {
            self.with(|d| d.kv.remove(key));
            0
        }
        pub fn kv_list(&self, p: &mut [u8]) -> i32 {
            self.with(|d| keys(&d.kv, p))
        }
        pub fn kv_flush(&self) -> i32 {
            0
        }
        pub fn mark(&self, p: &[u8]) -> i32 {
            self.with(|d| d.mark = Some(p.to_vec()));
            0
        }
        pub fn last_mark(&self, p: &mut [u8]) -> i32 {
            self.with(|d| d.mark.as_ref().map_or(Errno::NotFound.code(), |mark| answer(p, mark)))
        }

        pub fn now_ms(&self) -> i64 {
            self.with(|d| millis(d.clock))
        }
        pub fn mono_ms(&self) -> i64 {
            self.now_ms()
        }
        pub fn sleep_ms(&self, ms: i64) -> i32 {
            self.with(|d| d.clock += Duration::from_millis(ms as u64));
            0
        }
        /// The bytes repeat, so that a test does.
        pub fn random(&self, p: &mut [u8]) -> i32 {
            p.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
            p.len() as i32
        }

        pub fn http_do(&self, request: &[u8], body: &[u8]) -> i32 {
            self.with(|d| {
                d.asked.push((text(request.to_vec()), body.to_vec()));
                match d.answers.pop_front() {
                    Some(answer) => d.add(Opened::Response(answer, 0)),
                    None => Errno::Unreachable.code(),
                }
            })
        }
        pub fn http_answer(&self, h: i32, p: &mut [u8]) -> i32 {
            self.with(|d| match d.opened(h) {
                Opened::Response(a, _) => {
                    let mut headers = String::new();
                    object(&mut headers, &a.headers);
                    let json = format!(r#"{{"status":{},"headers":{},"size":{}}}"#, a.status, headers, a.body.len());
                    answer(p, json.as_bytes())
                }
                other => panic!("{:?} is no response", other),
            })
        }
        pub fn http_read(&self, h: i32, p: &mut [u8]) -> i32 {
            self.with(|d| {
                d.opened(h);
                match &mut d.notes.open[h as usize - 1] {
                    Some(Opened::Response(a, at)) => {
                        let n = copy(&a.body, *at, p);
                        *at += n as usize;
                        n
                    }
                    other => panic!("{:?} is no response", other),
                }
            })
        }
        pub fn http_close(&self, h: i32) -> i32 {
            self.with(|d| d.free(h))
        }
        pub fn serial_xfer(&self, port: &str, send: &[u8], p: &mut [u8], _ms: i32) -> i32 {
            self.with(|d| {
                d.sent.push((port.to_string(), send.to_vec()));
                copy(&d.serial.pop_front().unwrap_or_default(), 0, p)
            })
        }
        pub fn exec(&self, name: &str, parameters: &[u8]) -> i32 {
            self.with(|d| match d.commands.get(name).cloned() {
                Some((status, output)) => {
                    d.ran.push((name.to_string(), text(parameters.to_vec())));
                    d.notes.output = output;
                    status
                }
                None => Errno::NotFound.code(),
            })
        }
        pub fn exec_output(&self, p: &mut [u8]) -> i32 {
            self.with(|d| answer(p, &d.notes.output))
        }
        pub fn reboot_request(&self, reason: &str) -> i32 {
            self.with(|d| d.reboot = Some(reason.to_string()));
            0
        }
    }

    /// A value as JSON.
    fn write(json: &Json) -> String {
        let mut out = String::new();
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(&value.to_string()),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(value) => quote(&mut out, value),
            Json::List(list) => {
                let items: Vec<String> = list.iter().map(write).collect();
                out.extend(["[", &items.join(","), "]"]);
            }
            Json::Object(fields) => {
                let field = |(name, value): &(String, Json)| {
                    let mut out = String::new();
                    quote(&mut out, name);
                    out + ":" + &write(value)
                };
                let fields: Vec<String> = fields.iter().map(field).collect();
                out.extend(["{", &fields.join(","), "}"]);
            }
        }
        out
    }
}

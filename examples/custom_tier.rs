//! A tier of one's own, in four steps: what a store must know, what it must answer, the check, and its place below a cache.
//!
//! ```text
//! cargo run --example custom_tier
//! ```
//!
//! The store here is a log: a file to whose end every write is appended. It is read once, when it is opened, to learn where the
//! last record of each key lies. Nothing is ever removed from the file, so this is no store for production; it is one of a hundred
//! lines that keeps every promise of the contract, and it is checked, at the end, by the same kit as the tiers that come with nanotier.
//!
//! A crate with a tier of its own depends on `nanotier-tier` alone: the contract, without the cache.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nanotier::{Cache, Json};
use nanotier_tier::conformance::{Subject, run_all};
use nanotier_tier::record::Framing;
use nanotier_tier::rules::{Held, judge};
use nanotier_tier::{
    Attachment, Bytes, Capabilities, Cleared, Clock, Context, Durability, Effect, Entry, Error, ErrorKind,
    Found, Inline, Intent, Path, Record, Result, Scope, Store, Timestamp, Update, Updated, Version, Write,
    Wrote, apply,
};

// ---------------------------------------------------------------------------------------------------------------------
// Step 1. What a store must know.
//
// Of each path: the record, or the tombstone of a delete, and its version. A store that forgot a delete at once could be filled
// again with what somebody had read before it. So versions are kept, for at least the horizon; a log keeps everything.
//
// Of each namespace: the version of its last clearing, the floor. Whatever is older does not count any more.

/// A store of records in one file that only grows.
#[derive(Debug)]
struct LogStore {
    path: PathBuf,
    /// The clock of the cache above. A store asks nobody else for the time, so a test can move it.
    attachment: Attachment,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once closed.
    file: Option<File>,
    /// How much of it is whole lines.
    len: u64,
    /// By the bytes of their paths, in which a namespace is a prefix.
    entries: BTreeMap<Vec<u8>, Entry>,
    /// By the prefix of their namespace.
    floors: BTreeMap<Vec<u8>, Version>,
}

impl State {
    /// What counts when a write to this path is judged.
    fn held(&self, path: &Path<'_>) -> Held {
        let version = self.entries.get(&path.to_bytes()).and_then(Entry::version);
        Held { version, floor: self.floors.get(&Path::prefix(path.namespace())).copied() }
    }

    /// What a reader is told. Where there is nothing above the floor, the clearing has removed whatever was there.
    fn entry(&self, path: &Path<'_>) -> Entry {
        let held = self.held(path);
        match self.entries.get(&path.to_bytes()) {
            Some(entry) if held.version > held.floor => entry.clone(),
            _ => held.floor.map_or(Entry::Absent, Entry::Removed),
        }
    }

    /// Keeps a record, or a tombstone where there is none: on disk first, then here.
    fn set(
        &mut self,
        path: &Path<'_>,
        record: Option<&Record>,
        version: Version,
        now: Timestamp,
    ) -> Result<()> {
        // The framing writes all that belongs to a record: value, deadlines, version, tags, and a checksum over them.
        let framed = framing().encode(path, record, version, now)?;
        self.append(Kind::Entry, &path.to_bytes(), &framed)?;
        let entry = record.map_or(Entry::Removed(version), |record| Entry::Present(record.clone()));
        self.entries.insert(path.to_bytes(), entry);
        Ok(())
    }

    fn raise_floor(&mut self, namespace: Vec<u8>, version: Version) {
        self.entries.retain(|path, _| !path.starts_with(&namespace));
        self.floors.insert(namespace, version);
    }

    /// Appends a line: what it is, two lengths, what it is about, and what it says of that.
    fn append(&mut self, kind: Kind, about: &[u8], said: &[u8]) -> Result<()> {
        let file = self.file.as_mut().ok_or_else(|| error(ErrorKind::Closed, "write"))?;
        let len = |part: &[u8]| u32::try_from(part.len()).map_err(|_| error(ErrorKind::TooLarge, "write"));
        let line =
            [&[kind as u8][..], &len(about)?.to_le_bytes(), &len(said)?.to_le_bytes(), about, said].concat();
        match file.write_all(&line).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.len += line.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Half a line would hide all that follows it. If it cannot be taken back, nothing may follow.
                if file.set_len(self.len).is_err() {
                    self.file = None;
                }
                Err(io_error("write", source))
            }
        }
    }

    /// Takes up a line that was read.
    fn replay(&mut self, line: &Line) {
        match line.kind {
            Kind::Entry => {
                // What is damaged or belongs to another path is refused by the framing: a miss, never a wrong value.
                let path = Path::from_bytes(&line.about);
                if let Some(Ok((entry, _))) = path.map(|path| framing().decode(&path, &line.said)) {
                    self.entries.insert(line.about.to_vec(), entry);
                }
            }
            Kind::Floor => {
                if let Ok(version) = line.said[..].try_into() {
                    self.raise_floor(line.about.to_vec(), Version::from_bytes(version));
                }
            }
        }
    }
}

impl LogStore {
    /// Opens the log and reads it to its end, or to where a crash left half a line.
    fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut state = State { file: None, len: 0, entries: BTreeMap::new(), floors: BTreeMap::new() };
        let mut log = Vec::new();
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = file.map_err(|source| io_error("open", source))?;
        file.read_to_end(&mut log).map_err(|source| io_error("open", source))?;
        let mut log = Bytes::from(log);
        while let Some(line) = Line::take(&mut log) {
            state.replay(&line);
            state.len += line.len;
        }
        file.set_len(state.len).map_err(|source| io_error("open", source))?;
        state.file = Some(file);
        Ok(Self { path, attachment: Attachment::default(), state: Mutex::new(state) })
    }

    /// The state, for as long as the store is open.
    fn state(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        // Whoever panicked with the lock left the state as it was between two writes.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.file.is_none() { Err(error(ErrorKind::Closed, operation)) } else { Ok(state) }
    }

    fn now(&self) -> Timestamp {
        self.attachment.clock().wall()
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 2. What a store must answer.
//
// `Store` is for stores that block; one that talks over a network implements `Tier`, which has the same methods with `async`
// before them. The decisions are not yours to make: `judge` says whether a write is taken, `apply` what an atomic change comes
// to. Call both under your lock or in your transaction, so that nobody comes between the look and the deed.

impl Store for LogStore {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What it is good for. The cache believes this, and the kit checks what is claimed.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(Scope::Process);
        capabilities.durability = Durability::Sync;
        capabilities.horizon = HORIZON;
        capabilities.updates = true;
        capabilities.embedded = true;
        capabilities.value_len_max = VALUE_LEN_MAX;
        capabilities
    }

    fn attach(&self, context: &Context) {
        self.attachment.attach(context);
    }

    /// An answer for each path, in their order. Expired records too: whoever reads them judges their age.
    fn read(&self, paths: &[Path<'_>], _: Intent) -> Result<Vec<Result<Found>>> {
        let (now, state) = (self.now(), self.state("read")?);
        // `seen` is what a loader comes back with: "fill this, if it is still as I saw it".
        Ok(paths.iter().map(|path| Ok(Found::new(state.entry(path), state.held(path).seen(), now))).collect())
    }

    /// Puts, removes, fills and copies are all writes. `Wrote::Done` only once it is on disk.
    fn write(&self, writes: &[Write<'_>]) -> Result<Vec<Result<Wrote>>> {
        let (now, mut state) = (self.now(), self.state("write")?);
        let mut write = |write: &Write<'_>| {
            let verdict = judge(state.held(&write.path), write, now, HORIZON);
            if verdict == Wrote::Done {
                state.set(&write.path, write.record.as_deref(), write.version, now)?;
            }
            Ok(verdict)
        };
        Ok(writes.iter().map(&mut write).collect())
    }

    /// Optional: what counters, locks and one-time tokens are made of.
    fn update(&self, update: &Update<'_>) -> Result<Updated> {
        let (now, mut state) = (self.now(), self.state("update")?);
        let (held, entry) = (state.held(&update.path), state.entry(&update.path));
        let (effect, updated) = apply(held, entry.record(), update, now, HORIZON)?;
        match effect {
            Effect::Keep => {}
            Effect::Put(record) => state.set(&update.path, Some(&record), record.version, now)?,
            Effect::Bury(version) => state.set(&update.path, None, version, now)?,
        }
        Ok(updated)
    }

    /// Empties a namespace by raising its floor.
    fn clear(&self, cleared: &Cleared<'_>) -> Result<Wrote> {
        let (now, mut state) = (self.now(), self.state("clear")?);
        if cleared.as_of < now.minus(HORIZON) {
            return Ok(Wrote::TooLate);
        }
        let namespace = Path::prefix(cleared.namespace);
        let inside = state.entries.iter().filter(|(path, _)| path.starts_with(&namespace));
        let newest =
            inside.filter_map(|(_, entry)| entry.version()).max().max(state.floors.get(&namespace).copied());
        match newest {
            Some(newest) if newest >= cleared.version => Ok(Wrote::Older(newest)),
            _ => {
                state.append(Kind::Floor, &namespace, &cleared.version.to_bytes())?;
                state.raise_floor(namespace, cleared.version);
                Ok(Wrote::Done)
            }
        }
    }

    fn ready(&self) -> Result<()> {
        self.state("ready").map(drop)
    }

    /// Every write is on disk already: there is only the file to let go of. Closing twice is closing once.
    fn close(&self) -> Result<()> {
        if let Ok(mut state) = self.state("close") {
            state.file = None;
        }
        Ok(())
    }
}

/// A line of the log.
struct Line {
    kind: Kind,
    /// A path, or the prefix of a namespace.
    about: Bytes,
    /// A framed record, or a version.
    said: Bytes,
    len: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Entry = 1,
    Floor = 2,
}

impl Line {
    /// Takes a line off the front; `None` at the end, and where the rest is no whole line.
    fn take(log: &mut Bytes) -> Option<Self> {
        let kind = match log.first()? {
            1 => Kind::Entry,
            2 => Kind::Floor,
            _ => return None,
        };
        let len = |at: usize| Some(u32::from_le_bytes(log.get(at..at + 4)?.try_into().ok()?) as usize);
        let (about_end, said_len) = (HEAD_LEN.checked_add(len(1)?)?, len(5)?);
        let end = about_end.checked_add(said_len).filter(|end| *end <= log.len())?;
        let line = log.split_to(end);
        Some(Self {
            kind,
            about: line.slice(HEAD_LEN..about_end),
            said: line.slice(about_end..),
            len: end as u64,
        })
    }
}

/// A limit on everything: checked before anything is written, and before anything is believed that was read.
fn framing() -> Framing {
    Framing::default().with_value_len_max(VALUE_LEN_MAX)
}

fn error(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, NAME, operation)
}

fn io_error(operation: &'static str, source: std::io::Error) -> Error {
    error(ErrorKind::Storage, operation).with_source(source)
}

const NAME: &str = "log";
/// What it is, and two lengths.
const HEAD_LEN: usize = 9;
const VALUE_LEN_MAX: usize = 1024 * 1024;
/// How old a write may be when it arrives. Tombstones are to be kept for so long; a log keeps them for ever.
const HORIZON: Duration = Duration::from_secs(600);

// ---------------------------------------------------------------------------------------------------------------------
// Step 3. The check.
//
// In a crate of your own this is a `#[test]`, and the kit is the feature `conformance` of `nanotier-tier`. It panics with
// the names of the promises that are broken. To see that it can: let `write` take whatever comes, with
// `let verdict = Wrote::Done;`.

fn check(folder: PathBuf) {
    // A clock moved by hand: what takes ten minutes is checked in no time.
    let (clock, hands) = Clock::manual();
    let opened = AtomicU32::new(0);
    // Each promise is checked with a store of its own, ...
    let fresh = move || {
        let number = opened.fetch_add(1, Ordering::Relaxed);
        Inline(LogStore::open(folder.join(format!("kit-{number}.log"))).expect("a log in a new file"))
    };
    // ... and since this one says that it keeps what it holds, it is asked to prove it.
    let reopen =
        |Inline(closed): Inline<LogStore>| Inline(LogStore::open(closed.path).expect("the same log"));
    let report = run_all(&Subject::new(clock, fresh).with_hands(hands).with_reopen(reopen));
    println!("\n{} promises kept, {} do not apply", report.kept.len(), report.skipped.len());
}

// ---------------------------------------------------------------------------------------------------------------------
// Step 4. Its place below a cache.
//
// `Inline` has it work on the caller's thread; `Offload` on threads of its own, for an asynchronous service. It could as well be
// the near tier of a chain: `Inline(log).over(far)`.

fn cache(path: PathBuf) -> Result<Cache<String, u64>> {
    Cache::builder().tiers(Inline(LogStore::open(path)?)).namespace("born").codec(Json::default()).build()
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|source| io_error("open", source))?;
    let path = folder.path().join("born.log");

    let born = cache(path.clone())?;
    born.insert("Ada".to_string(), 1815).wait()?;
    born.insert("Grace".to_string(), 1906).wait()?;
    born.remove("Ada").wait()?;
    born.close().wait()?;

    // Another cache on the same log, with nothing in memory: the insert is there, and so is the delete.
    let born = cache(path)?;
    let grace = born.get("Grace").detailed().wait()?;
    println!("Grace: {:?}, from {:?}", grace.value, grace.source);
    println!("Ada:   {:?}\n", born.get("Ada").wait()?);
    assert_eq!((grace.value, born.get("Ada").wait()?), (Some(1906), None));

    check(folder.path().to_path_buf());
    Ok(())
}

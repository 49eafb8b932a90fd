//! Kills a writer with SIGKILL again and again and checks what is left: an acknowledged write is there, what was deleted stays
//! deleted, nothing is torn.
//!
//! ```sh
//! cargo run --release -p nanotier-redb --example kill_loop -- --cycles 60 [--seed N] [--sabotage ack-early]
//! ```
//!
//! The writer is a process of its own. It tells through a pipe what it is about to do before each call and that it is done
//! after; what it has told survives it. We kill it at a random moment, open its database and compare. Every tenth time
//! we also kill whoever recovers the database, and every tenth time whoever creates a new one.
//!
//! `--sabotage ack-early` has the writer say that it is done before it has begun. That must be noticed: it shows
//! that this program can.

use std::error::Error;
use std::io::{Read, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nanotier_redb::RedbStore;
use nanotier_tier::{
    Bytes, Cleared, Clock, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Timestamp,
    Version, Write, Wrote,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Writers in the child, each with a namespace of its own, so that each one's operations have an order.
const THREADS: usize = 4;
/// Keys of each of them.
const KEYS: usize = 250;
/// How far behind the clocks of two processes may be.
const CLOCK_SLACK: Duration = Duration::from_millis(100);
/// Opening after a kill must not take longer.
const OPEN_MAX: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("child-that-writes") => write_until_killed(&arguments),
        Some("child-that-opens") => open_until_killed(&arguments),
        _ => kill_and_check(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kill_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

// ---- the journal, which both sides know

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Put,
    Remove,
    Clear,
}

/// What the child tells: that it is about to do something, or that it was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    is_done: bool,
    operation: Operation,
    thread: u8,
    key: u16,
    version: u64,
}

impl Note {
    const LEN: usize = 16;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = u8::from(self.is_done);
        bytes[1] = match self.operation {
            Operation::Put => 0,
            Operation::Remove => 1,
            Operation::Clear => 2,
        };
        bytes[2] = self.thread;
        bytes[4..6].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; Self::LEN]) -> Result<Self> {
        let [is_done, operation, thread, _, key_low, key_high, _, _, version @ ..] = bytes;
        Ok(Self {
            is_done: is_done == 1,
            operation: match operation {
                0 => Operation::Put,
                1 => Operation::Remove,
                2 => Operation::Clear,
                other => return Err(format!("no operation has number {other}").into()),
            },
            thread,
            key: u16::from_le_bytes([key_low, key_high]),
            version: u64::from_le_bytes(version),
        })
    }
}

fn namespace(thread: usize) -> Namespace {
    Namespace::new(format!("writer-{thread}")).expect("a good name")
}

fn key_bytes(key: usize) -> Vec<u8> {
    format!("key {key:04}").into_bytes()
}

/// The value that this version of this key has: known to whoever knows its version.
fn value(thread: usize, key: usize, version: u64) -> Vec<u8> {
    let mut random = Random(version ^ (thread as u64) << 56 ^ (key as u64) << 40);
    let len = random.below(1_500);
    std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(len).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}

// ---- the child

fn write_until_killed(arguments: &[String]) -> Result<bool> {
    let [_, file, seed, first_version, is_sabotaged] = arguments else { return Err("five arguments".into()) };
    let (seed, first_version, is_sabotaged) =
        (seed.parse::<u64>()?, first_version.parse::<u64>()?, is_sabotaged == "true");
    let store = RedbStore::open(file)?;
    let versions = AtomicU64::new(first_version);
    let clock = Clock::ticking();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, versions, clock) = (&store, &versions, &clock);
            let random = Random(seed ^ (thread as u64 + 1));
            scope.spawn(move || writer(store, versions, clock, thread, random, is_sabotaged));
        }
    });
    Ok(true)
}

fn writer(
    store: &RedbStore,
    versions: &AtomicU64,
    clock: &Clock,
    thread: usize,
    mut random: Random,
    is_sabotaged: bool,
) {
    let space = namespace(thread);
    loop {
        let key = random.below(KEYS);
        let operation = match random.below(200) {
            0 => Operation::Clear,
            1..60 => Operation::Remove,
            _ => Operation::Put,
        };
        let version = versions.fetch_add(1, Relaxed);
        let (number, key_number) = (u8::try_from(thread).expect("few"), u16::try_from(key).expect("few"));
        let note = Note { is_done: false, operation, thread: number, key: key_number, version };
        tell(note);
        if is_sabotaged {
            tell(Note { is_done: true, ..note });
        }
        let (now, drawn) = (clock.wall(), Version::from_parts(version, 1));
        let path = Path::new(&space, key_bytes(key));
        let wrote = match operation {
            Operation::Put => {
                let value =
                    Encoded { bytes: value(thread, key, version).into(), fingerprint: Fingerprint(1) };
                let record = Record { version: drawn, ..Record::new(value, now) };
                store.write(&[Write::put(path, &record)]).and_then(|mut wrote| wrote.remove(0))
            }
            Operation::Remove => {
                store.write(&[Write::remove(path, drawn, now)]).and_then(|mut wrote| wrote.remove(0))
            }
            Operation::Clear => store.clear(&Cleared { namespace: &space, version: drawn, as_of: now }),
        };
        assert!(matches!(wrote, Ok(Wrote::Done)), "refused: {wrote:?}");
        if !is_sabotaged {
            tell(Note { is_done: true, ..note });
        }
    }
}

/// One write to the pipe, so that a note is told whole or not at all. Without a reader there is nothing left to live for.
fn tell(note: Note) {
    let mut pipe = std::io::stdout().lock();
    if pipe.write_all(&note.to_bytes()).and_then(|()| pipe.flush()).is_err() {
        std::process::exit(0);
    }
}

fn open_until_killed(arguments: &[String]) -> Result<bool> {
    let [_, file] = arguments else { return Err("two arguments".into()) };
    loop {
        RedbStore::open(file)?.close()?;
    }
}

// ---- the parent

/// What is known of a key: the version of the last operation on it, and whether that left a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct State {
    version: u64,
    is_live: bool,
}

/// What must be in the database: what was acknowledged, and for each writer what it was about to do.
struct Model {
    keys: Vec<Vec<State>>,
    about: Vec<Option<Note>>,
    next_version: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            keys: vec![vec![State::default(); KEYS]; THREADS],
            about: vec![None; THREADS],
            next_version: 1,
        }
    }

    fn note(&mut self, note: Note) -> Result<()> {
        let thread = usize::from(note.thread);
        self.next_version = self.next_version.max(note.version + 1);
        if !note.is_done {
            self.about[thread] = Some(note);
            return Ok(());
        }
        if self.about[thread].take().map(|about| about.version) != Some(note.version) {
            return Err("the journal says done to what it was not about to do".into());
        }
        for key in 0..KEYS {
            if let Some(state) = after(note, key) {
                self.keys[thread][key] = state;
            }
        }
        Ok(())
    }
}

/// What an operation makes of a key; `None` if it does not concern it.
fn after(note: Note, key: usize) -> Option<State> {
    let concerns = note.operation == Operation::Clear || usize::from(note.key) == key;
    concerns.then_some(State { version: note.version, is_live: note.operation == Operation::Put })
}

#[derive(Default)]
struct Counts {
    kills: u64,
    kills_inside_commit: u64,
    kills_of_recovery: u64,
    acknowledged: u64,
    lost: u64,
    torn: u64,
    resurrected: u64,
    unnoticed: u64,
    slowest_open: Duration,
}

struct Options {
    cycles: u64,
    seed: u64,
    is_sabotaged: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let seed = u64::from(std::process::id()) ^ Clock::coarse().wall().as_millis();
        let mut options = Self { cycles: 60, seed, is_sabotaged: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or(format!("{argument} wants a value"))?;
            match (argument.as_str(), value.as_str()) {
                ("--cycles", cycles) => options.cycles = cycles.parse()?,
                ("--seed", seed) => options.seed = seed.parse()?,
                ("--sabotage", "ack-early") => options.is_sabotaged = true,
                _ => return Err(format!("{argument} {value} is not understood").into()),
            }
        }
        Ok(options)
    }
}

fn kill_and_check(arguments: &[String]) -> Result<bool> {
    let options = Options::parse(arguments)?;
    println!("seed {}", options.seed);
    let mut random = Random(options.seed);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("killed.redb");
    let (mut model, mut counts) = (Model::new(), Counts::default());
    for cycle in 1..=options.cycles {
        let creates = cycle % 10 == 5;
        if creates {
            std::fs::remove_file(&file)?;
            model = Model::new();
        }
        let mut child = spawn_writer(&file, &mut random, model.next_version, options.is_sabotaged)?;
        let told = if creates {
            kill_early(&mut child, &mut model, &mut random, &mut counts)?
        } else {
            kill_in_full_swing(&mut child, &mut model, &mut random, &mut counts)?
        };
        // Whoever told of a write had opened the store, and did not close it.
        let killed_at = told.then(|| Clock::coarse().wall().minus(CLOCK_SLACK));
        if cycle % 10 == 0 {
            for _ in 0..3 {
                kill_recovery(&file, &mut random)?;
                counts.kills += 1;
                counts.kills_of_recovery += 1;
            }
        }
        check(&file, &mut model, killed_at, &mut counts)
            .map_err(|error| format!("in cycle {cycle}: {error}"))?;
    }
    Ok(report(&counts, &options))
}

fn spawn_writer(
    file: &FilePath,
    random: &mut Random,
    first_version: u64,
    is_sabotaged: bool,
) -> Result<Child> {
    let (seed, version) = (random.next().to_string(), first_version.to_string());
    Ok(this_program()?
        .arg("child-that-writes")
        .arg(file)
        .args([&seed, &version, &is_sabotaged.to_string()])
        .stdout(Stdio::piped())
        .spawn()?)
}

fn this_program() -> Result<Command> {
    static PROGRAM: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let path = match PROGRAM.get() {
        Some(path) => path.clone(),
        None => PROGRAM.get_or_init(|| std::env::current_exe().unwrap_or_default()).clone(),
    };
    Ok(Command::new(path))
}

/// Lets the child do something from a handful to some hundreds of operations, then kills it right after it was about to do another
/// one: within the time that a commit takes. True if it told of anything.
fn kill_in_full_swing(
    child: &mut Child,
    model: &mut Model,
    random: &mut Random,
    counts: &mut Counts,
) -> Result<bool> {
    let mut notes_left = 1 + random.below(600);
    let delay = Duration::from_micros(random.below(150) as u64);
    let mut pipe = child.stdout.take().ok_or("the pipe")?;
    let mut noted = false;
    let mut is_killed = false;
    while let Some(note) = next_note(&mut pipe)? {
        model.note(note)?;
        counts.acknowledged += u64::from(note.is_done);
        noted = true;
        notes_left = notes_left.saturating_sub(1);
        if notes_left == 0 && !note.is_done && !is_killed {
            spin(delay);
            child.kill()?;
            is_killed = true;
        }
    }
    settle(child, is_killed, model, counts)?;
    Ok(noted)
}

/// Kills the child at some moment of its first milliseconds, in which it creates the database.
fn kill_early(
    child: &mut Child,
    model: &mut Model,
    random: &mut Random,
    counts: &mut Counts,
) -> Result<bool> {
    std::thread::sleep(Duration::from_micros(random.below(6_000) as u64));
    child.kill()?;
    let mut pipe = child.stdout.take().ok_or("the pipe")?;
    let mut noted = false;
    while let Some(note) = next_note(&mut pipe)? {
        model.note(note)?;
        counts.acknowledged += u64::from(note.is_done);
        noted = true;
    }
    settle(child, true, model, counts)?;
    Ok(noted)
}

fn settle(child: &mut Child, is_killed: bool, model: &Model, counts: &mut Counts) -> Result<()> {
    let status = child.wait()?;
    if !is_killed || status.code().is_some() {
        return Err(format!("the writer ended by itself: {status}").into());
    }
    counts.kills += 1;
    counts.kills_inside_commit += u64::from(model.about.iter().any(Option::is_some));
    Ok(())
}

fn kill_recovery(file: &FilePath, random: &mut Random) -> Result<()> {
    let mut child = this_program()?.arg("child-that-opens").arg(file).spawn()?;
    std::thread::sleep(Duration::from_micros(random.below(8_000) as u64));
    child.kill()?;
    let status = child.wait()?;
    if status.code().is_some() { Err(format!("opening ended by itself: {status}").into()) } else { Ok(()) }
}

fn next_note(pipe: &mut impl Read) -> Result<Option<Note>> {
    let mut bytes = [0; Note::LEN];
    match pipe.read_exact(&mut bytes) {
        Ok(()) => Note::from_bytes(bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sleeping would take longer than what is waited for.
fn spin(delay: Duration) {
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}

/// Opens the database and compares each key with what it may be. Then what is there is what is known.
fn check(
    file: &FilePath,
    model: &mut Model,
    killed_at: Option<Timestamp>,
    counts: &mut Counts,
) -> Result<()> {
    let start = Instant::now();
    let store = RedbStore::open(file)?;
    let took = start.elapsed();
    counts.slowest_open = counts.slowest_open.max(took);
    counts.unnoticed += u64::from(killed_at.is_some_and(|killed_at| store.believed_since() < killed_at));
    for thread in 0..THREADS {
        let space = namespace(thread);
        let (mut as_acknowledged, mut as_about) = (0, 0);
        let about = model.about[thread].take();
        for key in 0..KEYS {
            let path = Path::new(&space, key_bytes(key));
            let entry = store.read(&[path], Intent::Look)?.remove(0)?.entry;
            let Some(seen) = state_of(&entry, thread, key) else {
                counts.torn += 1;
                continue;
            };
            let acknowledged = model.keys[thread][key];
            let may_be = about.and_then(|about| after(about, key));
            if seen == acknowledged {
                as_acknowledged += 1;
            } else if Some(seen) == may_be {
                as_about += 1;
            } else if seen.is_live && !acknowledged.is_live && seen.version < acknowledged.version {
                counts.resurrected += 1;
            } else {
                counts.lost += 1;
            }
            model.keys[thread][key] = seen;
        }
        // A clearing is done to all keys or to none.
        let is_clearing = about.is_some_and(|about| about.operation == Operation::Clear);
        counts.torn += u64::from(is_clearing && as_acknowledged > 0 && as_about > 0);
    }
    store.close()?;
    Ok(())
}

/// What an entry says; `None` if it is not what anybody wrote.
fn state_of(entry: &Entry, thread: usize, key: usize) -> Option<State> {
    match entry {
        Entry::Absent => Some(State::default()),
        Entry::Removed(version) => Some(State { version: version.parts().0, is_live: false }),
        Entry::Present(record) => {
            let version = record.version.parts().0;
            let written = Bytes::from(value(thread, key, version));
            (record.value.bytes == written).then_some(State { version, is_live: true })
        }
    }
}

fn report(counts: &Counts, options: &Options) -> bool {
    println!("COUNT kills {}", counts.kills);
    println!("COUNT kills-inside-commit {}", counts.kills_inside_commit);
    println!("COUNT kills-of-recovery {}", counts.kills_of_recovery);
    println!("COUNT acknowledged {}", counts.acknowledged);
    println!("COUNT lost {}", counts.lost);
    println!("COUNT torn {}", counts.torn);
    println!("COUNT resurrected {}", counts.resurrected);
    println!("slowest opening after a kill: {:.1} ms", counts.slowest_open.as_secs_f64() * 1e3);
    let mut is_good = true;
    let mut want = |holds: bool, sentence: &str| {
        if !holds {
            is_good = false;
            println!("FAILED: {sentence}; repeat with --seed {}", options.seed);
        }
    };
    want(counts.lost == 0, "an acknowledged write is gone");
    want(counts.torn == 0, "something is there that nobody wrote");
    want(counts.resurrected == 0, "something deleted is there again");
    want(counts.unnoticed == 0, "the store took itself for properly closed");
    want(counts.slowest_open < OPEN_MAX, "opening took too long");
    want(counts.kills_inside_commit * 2 >= counts.kills, "fewer than half of the kills were inside a commit");
    is_good
}

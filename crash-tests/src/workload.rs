//! What the writers do, in a process that is made to end while they do it.

use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nanotier_tier::{
    Change, Cleared, Clock, Context, Encoded, Fingerprint, Namespace, Path, Record, Renewal, Store,
    Timestamp, Update, Updated, Version, Write, Wrote,
};

use crate::Result;
use crate::kind::{Kind, OnDamage, Opened};
use crate::note::{BATCH, KEYS, Note, Operation, THREADS, VALUES, VERSIONS, micros};
use crate::random::Random;

pub(crate) fn namespace(thread: usize) -> Namespace {
    Namespace::new(format!("writer-{thread}")).expect("a good name")
}

pub(crate) fn path(space: &Namespace, key: usize) -> Path<'_> {
    Path::new(space, format!("key {key:04}").into_bytes())
}

/// The value that this version of this key has: known to whoever knows its version.
pub(crate) fn value(thread: usize, key: usize, version: u64) -> Vec<u8> {
    let mut random = Random(version ^ (thread as u64) << 56 ^ (key as u64) << 40);
    let longest = if random.below(40) == 0 { 20_000 } else { 1_500 };
    let len = 2 + random.below(longest);
    std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(len).collect()
}

/// Writes until somebody ends it. Returns only if the store refuses.
pub(crate) fn write_until_killed(kind: Kind, folder: &FilePath, seed: u64, first_version: u64) -> Result<()> {
    let store = kind.open(folder, OnDamage::Error)?;
    let clock = Clock::ticking();
    store.attach(&Context::new(clock.clone(), 1));
    let versions = AtomicU64::new(first_version);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let random = Random(seed ^ (thread as u64 + 1));
            let (store, versions, clock) = (&store, &versions, &clock);
            scope.spawn(move || {
                let space = namespace(thread);
                let error = Writer { store, versions, clock, thread, space, random }.write_until_refused();
                // All of them: a store that failed acknowledges nothing more.
                eprintln!("a writer was refused: {error}");
                std::process::exit(REFUSED);
            });
        }
    });
    Ok(())
}

/// The exit status of a process whose store refused to go on.
pub(crate) const REFUSED: i32 = 3;

struct Writer<'a> {
    store: &'a Opened,
    versions: &'a AtomicU64,
    clock: &'a Clock,
    thread: usize,
    space: Namespace,
    random: Random,
}

impl Writer<'_> {
    fn write_until_refused(mut self) -> crate::Error {
        loop {
            let (operation, key) = self.choose();
            let version = self.versions.fetch_add(VERSIONS, Relaxed);
            let thread = u8::try_from(self.thread).expect("few");
            let key_number = u16::try_from(key).expect("few");
            let note =
                Note { is_done: false, operation, thread, key: key_number, answer: 0, version, at: micros() };
            note.tell();
            match self.perform(operation, key, version) {
                Ok(answer) => Note { is_done: true, answer, at: micros(), ..note }.tell(),
                Err(error) => return error,
            }
        }
    }

    fn choose(&mut self) -> (Operation, usize) {
        let operation = match self.random.below(200) {
            0 => Operation::Clear,
            1..30 => Operation::Remove,
            30..50 => Operation::Take,
            50..70 => Operation::Add,
            70..90 => Operation::Count,
            90..105 => Operation::Batch,
            _ => Operation::Put,
        };
        let key = match operation {
            Operation::Count => VALUES + self.random.below(KEYS - VALUES),
            // Some keys are written again and again.
            _ if self.random.below(3) == 0 => self.random.below(8),
            _ => self.random.below(VALUES),
        };
        (operation, key)
    }

    /// What the store answered: see [`Note::answer`].
    fn perform(&self, operation: Operation, key: usize, version: u64) -> Result<u32> {
        let (now, drawn) = (self.clock.wall(), Version::from_parts(version, 1));
        let path = || path(&self.space, key);
        match operation {
            Operation::Put => self.written(&[Write::put(path(), &self.record(key, version, now))]),
            Operation::Batch => {
                let records: Vec<(usize, Record)> = (0..BATCH)
                    .zip(version..)
                    .map(|(next, version)| ((key + next) % VALUES, version))
                    .map(|(key, version)| (key, self.record(key, version, now)))
                    .collect();
                let writes = records
                    .iter()
                    .map(|(key, record)| Write::put(crate::workload::path(&self.space, *key), record));
                self.written(&writes.collect::<Vec<_>>())
            }
            Operation::Remove => self.written(&[Write::remove(path(), drawn, now)]),
            Operation::Clear => {
                let wrote =
                    self.store.clear(&Cleared { namespace: &self.space, version: drawn, as_of: now })?;
                expect_done(wrote)
            }
            Operation::Add => self.updated(path(), Change::Add(self.record(key, version, now)), drawn, now),
            Operation::Take => self.updated(path(), Change::Take, drawn, now),
            Operation::Count => {
                let change = Change::Increment { by: 1, lifetime: Renewal::Fixed(None) };
                self.updated(path(), change, drawn, now)
            }
        }
    }

    fn record(&self, key: usize, version: u64, now: Timestamp) -> Record {
        let bytes = value(self.thread, key, version);
        let record = Record::new(Encoded::new(bytes, Fingerprint(1)), now);
        Record { version: Version::from_parts(version, 1), ..record }
    }

    fn written(&self, writes: &[Write<'_>]) -> Result<u32> {
        for wrote in self.store.write(writes)? {
            expect_done(wrote?)?;
        }
        Ok(1)
    }

    fn updated(&self, path: Path<'_>, change: Change, version: Version, now: Timestamp) -> Result<u32> {
        match self.store.update(&Update { path, change, version, as_of: now })? {
            Updated::Done(drawn) if drawn == version => Ok(1),
            Updated::Refused | Updated::Taken(None) => Ok(0),
            Updated::Taken(Some(_)) => Ok(1),
            Updated::Counted { value, .. } => Ok(u32::try_from(value)?),
            other => Err(format!("an update was answered by {other:?}").into()),
        }
    }
}

fn expect_done(wrote: Wrote) -> Result<u32> {
    if wrote == Wrote::Done { Ok(1) } else { Err(format!("a write was answered by {wrote:?}").into()) }
}

//! What is put on disk and taken from it again, and the loops that do it.

use std::hint::black_box;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nanotier::tier::embedded::Stats;
use nanotier::tier::{Encoded, Entry, Fingerprint, Intent, Path, Record, Store, Version, Write, Wrote};
use nanotier::{Bytes, Clock, Namespace, Timestamp};
use tempfile::TempDir;

use crate::bench::Bench;
use crate::contender::Role;
use crate::crew::Turn;
use crate::judge::Figure;
use crate::race::{Hits, Race, Racer};
use crate::rows::tiers::slow;

/// How many entries there are.
pub(super) const ENTRIES: u64 = 100_000;
const KEY_LEN: usize = 32;
const VALUE_LEN: usize = 256;
/// How many share a transaction where batches are measured.
const BATCH: u64 = 100;
/// How many write at the same time where group commit is measured.
const WRITERS: u64 = 16;

/// Something with numbered entries on disk: a tier of ours, or the engine beneath it.
pub(super) trait Shelf: Send + Sync + 'static {
    /// Puts this entry, durably.
    fn put(&self, number: u64);
    /// Puts these entries in one commit, durably.
    fn put_all(&self, numbers: &mut dyn Iterator<Item = u64>);
    /// True if this entry was there; it is copied.
    fn get(&self, number: u64) -> bool;
}

/// A folder on the disk that is measured. `NANOTIER_BENCH_DIR` says which; else that of temporary files.
pub(super) fn folder() -> TempDir {
    let made = match std::env::var_os("NANOTIER_BENCH_DIR") {
        Some(place) => TempDir::new_in(place),
        None => TempDir::new(),
    };
    made.expect("a folder to write to")
}

/// The key with this number: 32 bytes, far from its neighbours.
pub(super) fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = *b"user:0000000000000000:profile:v1";
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (nth, digit) in key[5..21].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(mixed >> (4 * nth)) as usize & 15];
    }
    key
}

/// A value that was never written before: some engines write nothing where nothing changes.
pub(super) fn value(number: u64) -> [u8; VALUE_LEN] {
    static WRITTEN: AtomicU64 = AtomicU64::new(1);
    let mut value = [number as u8; VALUE_LEN];
    value[..8].copy_from_slice(&WRITTEN.fetch_add(1, Relaxed).to_le_bytes());
    value
}

/// A store of ours.
pub(super) struct Ours<S> {
    store: S,
    namespace: Namespace,
    now: Timestamp,
    versions: AtomicU64,
    _folder: TempDir,
}

impl<S: Store> Ours<S> {
    pub(super) fn open(open: impl FnOnce(&FilePath) -> S) -> Arc<Self> {
        let folder = folder();
        let now = Clock::coarse().wall();
        let shelf = Self {
            store: open(folder.path()),
            namespace: Namespace::new("bench").expect("a name"),
            now,
            versions: AtomicU64::new(now.as_millis() << 16),
            _folder: folder,
        };
        let shelf = Arc::new(shelf);
        fill(&*shelf);
        shelf
    }

    fn record(&self, number: u64) -> Record {
        let value = Encoded::new(Bytes::copy_from_slice(&value(number)), Fingerprint(1));
        let version = Version::from_parts(self.versions.fetch_add(1, Relaxed), 1);
        Record { version, ..Record::new(value, self.now) }
    }
}

impl<S: Store> Shelf for Ours<S> {
    fn put(&self, number: u64) {
        let key = key(number);
        let record = self.record(number);
        let wrote = self.store.write(&[Write::put(Path::new(&self.namespace, &key[..]), &record)]);
        assert!(matches!(wrote.expect("the disk takes it")[..], [Ok(Wrote::Done)]));
    }

    fn put_all(&self, numbers: &mut dyn Iterator<Item = u64>) {
        let made: Vec<_> = numbers.map(|number| (key(number), self.record(number))).collect();
        let writes: Vec<_> = made
            .iter()
            .map(|(key, record)| Write::put(Path::new(&self.namespace, &key[..]), record))
            .collect();
        let wrote = self.store.write(&writes).expect("the disk takes it");
        assert!(wrote.iter().all(|wrote| matches!(wrote, Ok(Wrote::Done))));
    }

    fn get(&self, number: u64) -> bool {
        let key = key(number);
        let found = self.store.read(&[Path::new(&self.namespace, &key[..])], Intent::Look);
        let found = found.expect("the disk answers").pop();
        let is_there = matches!(&found, Some(Ok(found)) if matches!(found.entry, Entry::Present(_)));
        black_box(found);
        is_there
    }
}

/// Puts all entries.
pub(super) fn fill(shelf: &impl Shelf) {
    let mut numbers = 0..ENTRIES;
    while !numbers.is_empty() {
        shelf.put_all(&mut numbers.by_ref().take(1000));
    }
}

/// Some number, another one for each operation, everywhere in the table.
fn scattered(operation: u64) -> u64 {
    operation.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) % ENTRIES
}

pub(super) fn getting(shelf: &Arc<impl Shelf>) -> Racer {
    let shelf = shelf.clone();
    Racer::bare("nanotier", move |turn: Turn| {
        (turn.start..turn.start + turn.ops).map(|operation| u64::from(shelf.get(scattered(operation)))).sum()
    })
}

pub(super) fn putting(shelf: &Arc<impl Shelf>) -> Racer {
    let shelf = shelf.clone();
    Racer::bare("nanotier", move |turn: Turn| {
        (turn.start..turn.start + turn.ops).for_each(|operation| shelf.put(scattered(operation)));
        turn.ops
    })
}

/// Sixteen threads, each of which waits until its put is on disk before it makes the next.
fn putting_together(shelf: &Arc<impl Shelf>) -> Racer {
    let shelf = shelf.clone();
    let lap = move |turn: Turn| {
        let each = turn.ops.div_ceil(WRITERS);
        std::thread::scope(|scope| {
            for thread in 0..WRITERS {
                let (shelf, start) = (&shelf, turn.start + thread * each);
                scope.spawn(move || {
                    (start..start + each).for_each(|operation| shelf.put(scattered(operation)))
                });
            }
        });
        turn.ops
    };
    Racer::bare(TOGETHER, lap)
}

/// The names that goals know contenders by.
const TOGETHER: &str = "nanotier, 16 writers";
const COMMITS: &str = "nanotier, commits";
const BATCHED: &str = "nanotier, batches";
const ONE_BY_ONE: &str = "nanotier, one by one";

/// Batches, counted by their entries.
fn batching(shelf: &Arc<impl Shelf>) -> Racer {
    let shelf = shelf.clone();
    Racer::bare("nanotier", move |turn: Turn| {
        let mut numbers = (turn.start..turn.start + turn.ops).map(scattered);
        for _ in 0..turn.ops.div_ceil(BATCH) {
            shelf.put_all(&mut numbers.by_ref().take(BATCH as usize));
        }
        turn.ops
    })
}

/// A race for the disk as it is, and one with a slower one.
pub(super) fn on_both_disks(
    bench: &mut Bench,
    id: &'static str,
    ops: u64,
    slow_ops: u64,
    enter: impl Fn(&mut Race<'_>),
) {
    let mut race = Race::new(bench, id, ops).by_wall();
    enter(&mut race);
    race.run();
    let Some(slowed) = slow::down() else { return };
    let mut race = Race::new(bench, id, slow_ops).variant(slow::VARIANT).by_wall();
    enter(&mut race);
    race.run();
    drop(slowed);
}

/// What two databases are asked alike: ours over one, and that one by itself.
pub(super) struct Rows<S, T> {
    pub(super) ours: fn() -> Arc<Ours<S>>,
    pub(super) theirs: fn() -> Arc<T>,
    /// Of theirs.
    pub(super) name: &'static str,
    pub(super) stats: fn(&S) -> Stats,
}

impl<S: Store, T: Shelf> Rows<S, T> {
    pub(super) fn put_sync(&self, bench: &mut Bench, id: &'static str) {
        let (ours, theirs) = ((self.ours)(), (self.theirs)());
        on_both_disks(bench, id, 200, 30, |race| {
            race.enter(putting(&ours));
            race.enter(putting(&theirs).named(self.name).bound());
        });
    }

    /// Ours is measured by sixteen threads, theirs by one: what group commit gains.
    pub(super) fn put_sync_16(&self, bench: &mut Bench, id: &'static str) {
        let (ours, theirs) = ((self.ours)(), (self.theirs)());
        let before = (self.stats)(&ours.store);
        on_both_disks(bench, id, 1600, 320, |race| {
            race.enter(putting_together(&ours));
            race.enter(putting(&theirs).named(self.name).bound());
        });
        let after = (self.stats)(&ours.store);
        let per_commit = (after.writes - before.writes) as f64 / (after.commits - before.commits) as f64;
        let value = Some(WRITERS as f64 / per_commit);
        let note = "commits for 16 writes, both disks";
        let figure = Figure { name: COMMITS, role: Role::Ours, value, residents: None, note };
        bench.figures(id, "commits", &[figure]);
    }

    /// A hundred in a commit: against theirs, and against our own one by one.
    pub(super) fn batch_100(&self, bench: &mut Bench, id: &'static str) {
        let (ours, theirs) = ((self.ours)(), (self.theirs)());
        on_both_disks(bench, id, 2000, 2000, |race| {
            race.enter(batching(&ours));
            race.enter(batching(&theirs).named(self.name).bound());
        });
        on_both_disks(bench, id, 400, 100, |race| {
            race.enter(batching(&ours).named(BATCHED));
            race.enter(putting(&ours).named(ONE_BY_ONE).bound());
        });
    }
}

pub(super) fn get(bench: &mut Bench, id: &'static str, racers: Vec<Racer>) {
    let mut race = Race::new(bench, id, 20_000).hits(Hits::All);
    racers.into_iter().for_each(|racer| race.enter(racer));
    race.run();
}

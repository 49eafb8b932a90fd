//! What the store costs beside SQLite used well by hand, in the same run and in turns: a get, a durable put alone, by 4 and by 16
//! threads, and a batch of 100.
//!
//! `cargo run --release -p nanotier-sqlite --example against_raw [-- ROUNDS [FOLDER]]`. Ratios are medians of the rounds'.
#![allow(clippy::cast_precision_loss, reason = "counts are small")]

use std::error::Error;
use std::hint::black_box;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nanotier_sqlite::SqliteStore;
use nanotier_tier::{
    Bytes, Encoded, Fingerprint, Intent, Namespace, Path, Record, Store, Version, Write, Wrote,
};
use rusqlite::{Connection, OptionalExtension as _, params};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROWS: u64 = 100_000;
const BATCH: u64 = 100;
const VALUE_LEN: usize = 256;
/// What a record adds to its value.
const FRAME_LEN: usize = 100;
const CACHE_KIB: usize = 8 * 1024;
/// Per case and round: so few that what else the machine does meets all cases alike.
const GETS: u64 = 2_000;
const PUTS: u64 = 100;
const BATCHES: u64 = 3;
const THREADS: [u64; 2] = [4, 16];

/// Never the same bytes twice: SQLite writes nothing where nothing changes.
static COUNT: AtomicU64 = AtomicU64::new(1 << 40);

fn key(n: u64) -> [u8; 32] {
    let mut key = *b"user:000000000000000000000000000";
    let digits = format!("{:020}", n * 7_919 % ROWS);
    key[12..].copy_from_slice(digits.as_bytes());
    key
}

fn value(len: usize) -> Vec<u8> {
    let mut value = COUNT.fetch_add(1, Relaxed).to_le_bytes().to_vec();
    value.resize(len, 7);
    value
}

/// SQLite by hand.
trait Raw {
    const CREATE: &'static str;
    const GET: &'static str;
    const PUT: &'static str;
    fn get(connection: &Connection, key: &[u8]) -> Option<Vec<u8>>;
    fn put(connection: &Connection, key: &[u8], value: &[u8]);
}

/// The key is the table's.
struct ByKey;
/// Rows under a hash of their key, the key beside and compared.
struct ByHash;

impl Raw for ByKey {
    const CREATE: &'static str = "CREATE TABLE raw (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
    const GET: &'static str = "SELECT value FROM raw WHERE key = ?1";
    const PUT: &'static str =
        "INSERT INTO raw VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

    fn get(connection: &Connection, key: &[u8]) -> Option<Vec<u8>> {
        let mut get = connection.prepare_cached(Self::GET).expect("prepared");
        get.query_row([key], |row| row.get(0)).optional().expect("read")
    }

    fn put(connection: &Connection, key: &[u8], value: &[u8]) {
        connection
            .prepare_cached(Self::PUT)
            .and_then(|mut put| put.execute(params![key, value]))
            .expect("put");
    }
}

impl ByHash {
    fn id(key: &[u8]) -> i64 {
        let bytes = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        i64::from_ne_bytes(bytes.to_ne_bytes())
    }
}

impl Raw for ByHash {
    const CREATE: &'static str =
        "CREATE TABLE raw (id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL)";
    const GET: &'static str = "SELECT key, value FROM raw WHERE id = ?1";
    const PUT: &'static str =
        "INSERT INTO raw VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET value = excluded.value";

    fn get(connection: &Connection, key: &[u8]) -> Option<Vec<u8>> {
        let mut get = connection.prepare_cached(Self::GET).expect("prepared");
        let mut rows = get.query([Self::id(key)]).expect("read");
        let row = rows.next().expect("read")?;
        let same = row.get_ref(0).expect("a key").as_blob().expect("a blob") == key;
        same.then(|| row.get_ref(1).expect("a value").as_blob().expect("a blob").to_vec())
    }

    fn put(connection: &Connection, key: &[u8], value: &[u8]) {
        let mut put = connection.prepare_cached(Self::PUT).expect("prepared");
        put.execute(params![Self::id(key), key, value]).expect("put");
    }
}

fn open_raw<R: Raw>(folder: &FilePath, name: &str) -> Result<Connection> {
    let connection = Connection::open(folder.join(name))?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB}; {}",
        R::CREATE
    ))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    (0..ROWS).for_each(|n| R::put(&connection, &key(n), &value(VALUE_LEN + FRAME_LEN)));
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(connection)
}

struct Ours {
    store: SqliteStore,
    namespace: Namespace,
}

impl Ours {
    fn open(folder: &FilePath) -> Result<Self> {
        let store = SqliteStore::builder(folder.join("ours")).cache_size(CACHE_KIB * 1024).build()?;
        let ours = Self { store, namespace: Namespace::new("bench")? };
        (0..ROWS / 1_000).for_each(|nth| ours.put(nth * 1_000, 1_000));
        Ok(ours)
    }

    fn path(&self, n: u64) -> Path<'_> {
        Path::new(&self.namespace, key(n).to_vec())
    }

    fn get(&self, n: u64) {
        let found = self.store.read(&[self.path(n)], Intent::Look).expect("read").remove(0).expect("read");
        assert!(black_box(found.entry.record()).is_some());
    }

    fn put(&self, from: u64, count: u64) {
        let now = nanotier_tier::Clock::coarse().wall();
        let record = |_| {
            let value = Encoded::new(Bytes::from(value(VALUE_LEN)), Fingerprint(1));
            Record { version: Version::from_parts(COUNT.fetch_add(1, Relaxed), 7), ..Record::new(value, now) }
        };
        let records: Vec<Record> = (0..count).map(record).collect();
        let writes: Vec<Write<'_>> =
            (from..).zip(&records).map(|(n, record)| Write::put(self.path(n), record)).collect();
        for wrote in self.store.write(&writes).expect("the disk takes it") {
            assert_eq!(wrote.ok(), Some(Wrote::Done));
        }
    }

    /// Microseconds per put, all together.
    fn put_by(&self, threads: u64) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || (0..PUTS / 2).for_each(|n| self.put(thread * 7_919 + n, 1)));
            }
        });
        micros(start, threads * (PUTS / 2))
    }
}

fn micros(start: Instant, count: u64) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / count as f64
}

/// Microseconds for each, by the clock on the wall and by that of this thread, which what else the machine does leaves alone.
fn each(count: u64, mut of: impl FnMut(u64)) -> Took {
    let thread_time = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    };
    let (start, began) = (Instant::now(), thread_time());
    (0..count).for_each(&mut of);
    Took { cpu: (thread_time() - began) / count as f64, wall: micros(start, count) }
}

#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

impl Took {
    fn by(self, part: u64) -> Self {
        Self { wall: self.wall / part as f64, cpu: self.cpu / part as f64 }
    }
}

fn raw_batch<R: Raw>(connection: &Connection, from: u64) {
    connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).expect("begun");
    (from..from + BATCH).for_each(|n| R::put(connection, &key(n), &value(VALUE_LEN + FRAME_LEN)));
    connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).expect("committed");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(61), |rounds| rounds.parse::<u64>())?;
    let folder = match arguments.next() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let by_key = open_raw::<ByKey>(folder.path(), "by-key")?;
    let by_hash = open_raw::<ByHash>(folder.path(), "by-hash")?;
    let ours = Ours::open(folder.path())?;
    std::thread::sleep(Duration::from_millis(200));

    // Per case: raw by key, raw by hash, ours; per key.
    let mut taken: [Vec<[Took; 3]>; 4] = Default::default();
    let mut threads_taken: Vec<[f64; 2]> = Vec::new();
    for at in (0..rounds).map(|round| round * 100_003) {
        taken[0].push([
            each(GETS, |n| assert!(black_box(ByKey::get(&by_key, &key(at + n))).is_some())),
            each(GETS, |n| assert!(black_box(ByHash::get(&by_hash, &key(at + n))).is_some())),
            each(GETS, |n| ours.get(at + n)),
        ]);
        let missing = |n: u64| key(n).map(|byte| byte ^ 1);
        taken[1].push([
            each(GETS, |n| assert!(black_box(ByKey::get(&by_key, &missing(at + n))).is_none())),
            each(GETS, |n| assert!(black_box(ByHash::get(&by_hash, &missing(at + n))).is_none())),
            each(GETS, |n| {
                let path = Path::new(&ours.namespace, missing(at + n).to_vec());
                black_box(ours.store.read(&[path], Intent::Look).expect("read"));
            }),
        ]);
    }
    // Apart from reading: whoever writes keeps its pages cached, and makes others read theirs anew.
    for at in (0..rounds).map(|round| round * 100_003) {
        let len = VALUE_LEN + FRAME_LEN;
        taken[2].push([
            each(PUTS, |n| ByKey::put(&by_key, &key(at + n), &value(len))),
            each(PUTS, |n| ByHash::put(&by_hash, &key(at + n), &value(len))),
            each(PUTS, |n| ours.put(at + n, 1)),
        ]);
        threads_taken.push(THREADS.map(|threads| ours.put_by(threads)));
        taken[3].push([
            each(BATCHES, |n| raw_batch::<ByKey>(&by_key, at + n * BATCH)).by(BATCH),
            each(BATCHES, |n| raw_batch::<ByHash>(&by_hash, at + n * BATCH)).by(BATCH),
            each(BATCHES, |n| ours.put(at + n * BATCH, BATCH)).by(BATCH),
        ]);
    }
    report("the wall", &taken, |took| took.wall);
    report("the thread", &taken, |took| took.cpu);
    let alone =
        |nth: usize| threads_taken.iter().zip(&taken[2]).map(move |(by, alone)| alone[2].wall / by[nth]);
    println!(
        "puts per second against our own single ones: {:.2} x by 4, {:.2} x by 16 threads",
        median(alone(0)),
        median(alone(1))
    );
    let batch =
        |nth: usize| median(taken[2].iter().zip(&taken[3]).map(|(one, many)| one[nth].wall / many[nth].wall));
    println!(
        "batches of 100 against single ones: {:.2} x (by hand: {:.2} x by key, {:.2} x by hash)",
        batch(2),
        batch(0),
        batch(1)
    );
    Ok(())
}

fn report(clock: &str, taken: &[Vec<[Took; 3]>; 4], of: impl Fn(&Took) -> f64) {
    println!(
        "us per key by {clock:10} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "by key", "by hash", "ours", "/ by key", "/ by hash"
    );
    for (name, rounds) in ["get", "get, missing", "put", "put, in batches of 100"].iter().zip(taken) {
        let [by_key, by_hash, ours] = [0, 1, 2].map(|nth| median(rounds.iter().map(|round| of(&round[nth]))));
        let [to_key, to_hash] =
            [0, 1].map(|nth| median(rounds.iter().map(|round| of(&round[2]) / of(&round[nth]))));
        println!("{name:24} {by_key:10.2} {by_hash:10.2} {ours:10.2} {to_key:12.2} {to_hash:12.2}");
    }
}

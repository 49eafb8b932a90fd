//! What the store costs against the cheapest correct use of plain files, in turn, in one run.
//!
//! ```sh
//! cargo run --release -p nanotier-file --example measure -- [FOLDER]
//! ```
//!
//! Each line is the median over rounds, and the ratio is the median of the rounds' ratios. Time is real time: what is measured
//! is the disk's and the system's.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use nanotier_file::{Durability, FileStore};
use nanotier_tier::{
    Clock, Encoded, Entry, Fingerprint, Intent, Namespace, Path, Record, Store, Version, Write, Wrote,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ENTRIES: usize = 100_000;
const VALUE_LEN: usize = 256;
const ROUNDS: usize = 15;
/// What a record of that length takes in a batch of its own: header, head, key, frame.
const BATCH_LEN: usize = 40 + 28 + 38 + 100 + VALUE_LEN;

fn main() -> Result<()> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let place = folder.path();
    gets(place)?;
    puts(place)?;
    many_writers(place)?;
    Ok(())
}

fn key(n: usize) -> Vec<u8> {
    format!("user:{n:027}").into_bytes()
}

fn record(n: u64) -> Record {
    let bytes: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(VALUE_LEN).collect();
    let value = Encoded::new(bytes, Fingerprint(1));
    Record { version: Version::from_parts(n, 1), ..Record::new(value, Clock::coarse().wall()) }
}

fn put(store: &FileStore, space: &Namespace, key: Vec<u8>, n: u64) -> Result<()> {
    let wrote = store.write(&[Write::put(Path::new(space, key), &record(n))])?.remove(0)?;
    (wrote == Wrote::Done).then_some(()).ok_or_else(|| "refused".into())
}

/// Medians of both, per operation, and of the ratio.
fn compare(
    what: &str,
    times: usize,
    mut ours: impl FnMut() -> Result<()>,
    mut raw: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut took = [Duration::ZERO; 2];
        for (took, work) in took.iter_mut().zip([&mut ours as &mut dyn FnMut() -> Result<()>, &mut raw]) {
            let start = Instant::now();
            work()?;
            *took = start.elapsed();
        }
        let each = took.map(|took| took.as_secs_f64() * 1e6 / times as f64);
        rounds.push((each[0], each[1], each[0] / each[1]));
    }
    let median = |of: fn(&(f64, f64, f64)) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "{what:44} {:9.2} us  raw {:9.2} us  ratio {:.3}",
        median(|r| r.0),
        median(|r| r.1),
        median(|r| r.2)
    );
    Ok(())
}

fn gets(place: &FilePath) -> Result<()> {
    let space = Namespace::new("users")?;
    let folder = place.join("gets");
    let store = FileStore::builder(&folder)
        .durability(Durability::Async { loss_window: Duration::from_secs(1) })
        .build()?;
    let names: Vec<PathBuf> =
        (0..ENTRIES).map(|n| place.join(format!("f/{:02x}/{n:032x}", n % 256))).collect();
    for n in 0..256 {
        std::fs::create_dir_all(place.join(format!("f/{n:02x}")))?;
    }
    for (n, name) in names.iter().enumerate() {
        put(&store, &space, key(n), 1)?;
        std::fs::write(name, vec![7; 100 + 38 + VALUE_LEN])?;
    }
    store.close()?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let store = FileStore::open(&folder)?;
        times.push(start.elapsed());
        drop(store);
    }
    times.sort();
    println!("open, {ENTRIES} entries: {:?}", times[2]);
    let store = FileStore::open(&folder)?;
    println!("{:?}", store.usage()?);
    const EACH: usize = 20_000;
    let (mut one, mut other) = (1_u64, 1_u64);
    let next = |seed: &mut u64| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).expect("31 bits") % ENTRIES
    };
    compare(
        "get, of 100 000, uniform",
        EACH,
        || {
            for _ in 0..EACH {
                let key = key(next(&mut one));
                let found = store.read(&[Path::new(&space, key)], Intent::Look)?.remove(0)?;
                let Entry::Present(record) = found.entry else { return Err("lost".into()) };
                std::hint::black_box(record);
            }
            Ok(())
        },
        || {
            let mut bytes = [0; 512];
            for _ in 0..EACH {
                let file = File::open(&names[next(&mut other)])?;
                std::hint::black_box(file.read_at(&mut bytes, 0)?);
            }
            Ok(())
        },
    )?;
    let another = FileStore::open(&folder)?;
    let keys: Vec<Vec<u8>> = (0..100).map(key).collect();
    let mut n = 10;
    let start = Instant::now();
    for _ in 0..200 {
        n += 1;
        put(&another, &space, key(5), n)?;
        let paths: Vec<Path<'_>> = keys.iter().map(|key| Path::new(&space, key.as_slice())).collect();
        store.read(&paths, Intent::Look)?;
    }
    println!("put by another handle, then a batch of 100 gets: {:?}", start.elapsed() / 200);
    Ok(())
}

fn raw_file(path: PathBuf) -> Result<File> {
    Ok(OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?)
}

fn puts(place: &FilePath) -> Result<()> {
    let space = Namespace::new("users")?;
    for (durability, times) in
        [(Durability::Sync, 300), (Durability::Async { loss_window: Duration::from_secs(3600) }, 5_000)]
    {
        let store = FileStore::builder(place.join(format!("puts {times}"))).durability(durability).build()?;
        let raw = raw_file(place.join(format!("raw {times}")))?;
        let bytes = vec![7; BATCH_LEN];
        let (mut n, mut end) = (0, 0);
        compare(
            &format!("put, {durability:?}"),
            times,
            || {
                (0..times).try_for_each(|_| {
                    n += 1;
                    put(&store, &space, key(usize::try_from(n).expect("small") % 1000), n)
                })
            },
            || {
                for _ in 0..times {
                    raw.write_all_at(&bytes, end)?;
                    end += bytes.len() as u64;
                    if durability == Durability::Sync {
                        raw.sync_data()?;
                    }
                }
                Ok(())
            },
        )?;
        println!("{:?}", store.usage()?);
    }
    Ok(())
}

fn many_writers(place: &FilePath) -> Result<()> {
    let space = Namespace::new("users")?;
    let store = FileStore::open(place.join("many"))?;
    let raw = raw_file(place.join("raw many"))?;
    const EACH: u64 = 100;
    for threads in [1, 4, 16] {
        let (mut base, mut end) = (0, 0);
        let total = usize::try_from(threads * EACH)?;
        compare(
            &format!("put, Sync, {threads} threads, against one raw thread"),
            total,
            || {
                base += EACH;
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (store, space) = (&store, &space);
                        scope.spawn(move || {
                            for n in 0..EACH {
                                let key = key(usize::try_from(thread * 1000 + n).expect("small"));
                                put(store, space, key, base + 1_000_000 * threads).expect("put");
                            }
                        });
                    }
                });
                Ok(())
            },
            || {
                for _ in 0..total {
                    raw.write_all_at(&vec![7; BATCH_LEN], end)?;
                    end += BATCH_LEN as u64;
                    raw.sync_data()?;
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

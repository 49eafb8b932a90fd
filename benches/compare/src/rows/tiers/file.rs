//! The file tier against files.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier::Durability;
use nanotier_file::FileStore;
use tempfile::TempDir;

use super::shelf::{self, ENTRIES, Ours, Shelf, folder, getting, key, on_both_disks, putting, value};
use crate::bench::Bench;
use crate::race::{Race, Racer};

/// A file per entry: what a service without a database does. Read only.
struct Files {
    folder: TempDir,
}

impl Files {
    fn open() -> Arc<Self> {
        let folder = folder();
        for number in 0..ENTRIES {
            std::fs::write(folder.path().join(name(number)), value(number)).expect("the disk takes it");
        }
        Arc::new(Self { folder })
    }
}

fn name(number: u64) -> String {
    String::from_utf8_lossy(&key(number)).replace(':', "-")
}

impl Shelf for Files {
    fn put(&self, _: u64) {
        unreachable!("only read")
    }

    fn put_all(&self, _: &mut dyn Iterator<Item = u64>) {
        unreachable!("only read")
    }

    fn get(&self, number: u64) -> bool {
        let Ok(file) = File::open(self.folder.path().join(name(number))) else { return false };
        let mut bytes = vec![0; 512];
        let read = file.read_at(&mut bytes, 0).expect("the disk answers");
        bytes.truncate(read);
        std::hint::black_box(&bytes).len() == value(0).len()
    }
}

/// A file that is written to at its end: the cheapest there is.
struct Log {
    file: File,
    end: AtomicU64,
    is_flushed: bool,
    _folder: TempDir,
}

impl Log {
    fn open(is_flushed: bool) -> Arc<Self> {
        let folder = folder();
        let file = OpenOptions::new().create_new(true).write(true).open(folder.path().join("raw.log"));
        Arc::new(Self {
            file: file.expect("a new file"),
            end: AtomicU64::new(0),
            is_flushed,
            _folder: folder,
        })
    }
}

impl Shelf for Log {
    fn put(&self, number: u64) {
        let (key, value) = (key(number), value(number));
        let bytes = [&key[..], &value[..]].concat();
        let at = self.end.fetch_add(bytes.len() as u64, Relaxed);
        self.file.write_all_at(&bytes, at).expect("the disk takes it");
        if self.is_flushed {
            self.file.sync_data().expect("the disk takes it");
        }
    }

    fn put_all(&self, numbers: &mut dyn Iterator<Item = u64>) {
        numbers.for_each(|number| self.put(number));
    }

    fn get(&self, _: u64) -> bool {
        unreachable!("only written")
    }
}

fn ours(durability: Durability) -> Arc<Ours<FileStore>> {
    Ours::open(|folder| {
        let builder = FileStore::builder(folder.join("ours")).durability(durability);
        builder.build().expect("a new store")
    })
}

const LATER: Durability = Durability::Async { loss_window: Duration::from_secs(1) };

fn log(racer: Racer) -> Racer {
    racer.named("append").bound()
}

pub(super) fn get(bench: &mut Bench) {
    let theirs = getting(&Files::open()).named("file per entry").bound();
    shelf::get(bench, "file-get", vec![getting(&ours(LATER)), theirs]);
}

pub(super) fn put_sync(bench: &mut Bench) {
    let (ours, theirs) = (ours(Durability::Sync), Log::open(true));
    on_both_disks(bench, "file-put-sync", 200, 30, |race| {
        race.enter(putting(&ours));
        race.enter(log(putting(&theirs)));
    });
}

pub(super) fn put_async(bench: &mut Bench) {
    let mut race = Race::new(bench, "file-put-async", 5_000).by_wall();
    race.enter(putting(&ours(LATER)));
    race.enter(log(putting(&Log::open(false))));
    race.run();
}

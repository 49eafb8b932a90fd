//! The redb tier against redb.

use std::sync::Arc;

use nanotier_redb::RedbStore;
use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::TempDir;

use super::shelf::{
    self, BATCHED, COMMITS, ONE_BY_ONE, Ours, Shelf, batching, fill, folder, getting, key, on_both_disks,
    putting, putting_together, value,
};
use crate::bench::Bench;
use crate::judge::{self, Figure};
use crate::race::Racer;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// redb by itself: a transaction per call, durable when it returns.
struct Raw {
    database: Database,
    _folder: TempDir,
}

impl Raw {
    fn open() -> Arc<Self> {
        let folder = folder();
        let database = Database::create(folder.path().join("raw.redb")).expect("a new database");
        let raw = Arc::new(Self { database, _folder: folder });
        fill(&*raw);
        raw
    }
}

impl Shelf for Raw {
    fn put(&self, number: u64) {
        self.put_all(&mut std::iter::once(number));
    }

    fn put_all(&self, numbers: &mut dyn Iterator<Item = u64>) {
        let transaction = self.database.begin_write().expect("redb begins");
        {
            let mut table = transaction.open_table(TABLE).expect("redb opens a table");
            for number in numbers {
                table.insert(&key(number)[..], &value(number)[..]).expect("redb inserts");
            }
        }
        transaction.commit().expect("redb commits");
    }

    fn get(&self, number: u64) -> bool {
        let transaction = self.database.begin_read().expect("redb begins");
        let table = transaction.open_table(TABLE).expect("redb opens a table");
        let found = table.get(&key(number)[..]).expect("redb reads").map(|found| found.value().to_vec());
        std::hint::black_box(&found).is_some()
    }
}

fn raw(racer: Racer) -> Racer {
    racer.named("redb").bound()
}

fn ours() -> Arc<Ours<RedbStore>> {
    Ours::open(|folder| RedbStore::open(folder.join("ours.redb")).expect("a new store"))
}

pub(super) fn get(bench: &mut Bench) {
    shelf::get(bench, "redb-get", vec![getting(&ours()), raw(getting(&Raw::open()))]);
}

pub(super) fn put_sync(bench: &mut Bench) {
    let (ours, theirs) = (ours(), Raw::open());
    on_both_disks(bench, "redb-put-sync", 200, 30, |race| {
        race.enter(putting(&ours));
        race.enter(raw(putting(&theirs)));
    });
}

pub(super) fn put_sync_16(bench: &mut Bench) {
    let (ours, theirs) = (ours(), Raw::open());
    let before = ours.store().stats();
    on_both_disks(bench, "redb-put-sync-16", 1600, 320, |race| {
        race.enter(putting_together(&ours));
        race.enter(raw(putting(&theirs)));
        // The others measure group commit against one thread; this one, against as many.
        race.enter(putting_together(&theirs).named("redb, 16 writers").bound());
    });
    let after = ours.store().stats();
    let per_commit = (after.writes - before.writes) as f64 / (after.commits - before.commits) as f64;
    let value = Some(shelf::WRITERS as f64 / per_commit);
    let (name, role, note) = (COMMITS, crate::contender::Role::Ours, "commits for 16 writes, both disks");
    let figure = Figure { name, role, value, residents: None, note };
    bench.rows.extend(judge::figures("redb-put-sync-16", "commits", &[figure]));
}

pub(super) fn batch_100(bench: &mut Bench) {
    let (ours, theirs) = (ours(), Raw::open());
    on_both_disks(bench, "redb-batch-100", 2000, 2000, |race| {
        race.enter(batching(&ours));
        race.enter(raw(batching(&theirs)));
    });
    let ours = self::ours();
    on_both_disks(bench, "redb-batch-100", 400, 100, |race| {
        race.enter(batching(&ours).named(BATCHED));
        race.enter(putting(&ours).named(ONE_BY_ONE).bound());
    });
}

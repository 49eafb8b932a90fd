//! The redb tier against redb.

use std::sync::Arc;

use nanotier_redb::RedbStore;
use redb::{Database, ReadableDatabase, TableDefinition};
use tempfile::TempDir;

use super::shelf::{self, Ours, Rows, Shelf, fill, folder, getting, key, value};
use crate::bench::Bench;

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

fn ours() -> Arc<Ours<RedbStore>> {
    Ours::open(|folder| RedbStore::open(folder.join("ours.redb")).expect("a new store"))
}

const ROWS: Rows<RedbStore, Raw> =
    Rows { ours, theirs: Raw::open, name: "redb", stats: |store| store.stats() };

pub(super) fn get(bench: &mut Bench) {
    shelf::get(bench, "redb-get", vec![getting(&ours()), getting(&Raw::open()).named("redb").bound()]);
}

pub(super) fn put_sync(bench: &mut Bench) {
    ROWS.put_sync(bench, "redb-put-sync");
}

pub(super) fn put_sync_16(bench: &mut Bench) {
    ROWS.put_sync_16(bench, "redb-put-sync-16");
}

pub(super) fn batch_100(bench: &mut Bench) {
    ROWS.batch_100(bench, "redb-batch-100");
}

//! The SQLite tier against SQLite.

use std::sync::Arc;

use nanotier_sqlite::SqliteStore;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};
use tempfile::TempDir;

use super::shelf::{self, Ours, Rows, Shelf, fill, folder, getting, key, value};
use crate::bench::Bench;

/// SQLite by itself: a table under the key, statements kept, durable when a transaction ends.
struct Raw {
    connection: Mutex<Connection>,
    _folder: TempDir,
}

impl Raw {
    fn open() -> Arc<Self> {
        let folder = folder();
        let connection = Connection::open(folder.path().join("raw.db")).expect("a new database");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8192;
                 CREATE TABLE raw (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
            )
            .expect("SQLite takes it");
        let raw = Arc::new(Self { connection: Mutex::new(connection), _folder: folder });
        fill(&*raw);
        raw
    }

    fn put_into(connection: &Connection, number: u64) {
        let put = "INSERT INTO raw VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let put = connection.prepare_cached(put);
        let put = put.and_then(|mut put| put.execute(params![&key(number)[..], &value(number)[..]]));
        put.expect("SQLite inserts");
    }
}

impl Shelf for Raw {
    fn put(&self, number: u64) {
        Self::put_into(&self.connection.lock(), number);
    }

    fn put_all(&self, numbers: &mut dyn Iterator<Item = u64>) {
        let connection = self.connection.lock();
        connection.execute_batch("BEGIN IMMEDIATE").expect("SQLite begins");
        numbers.for_each(|number| Self::put_into(&connection, number));
        connection.execute_batch("COMMIT").expect("SQLite commits");
    }

    fn get(&self, number: u64) -> bool {
        let connection = self.connection.lock();
        let mut get =
            connection.prepare_cached("SELECT value FROM raw WHERE key = ?1").expect("SQLite prepares");
        let found: Option<Vec<u8>> =
            get.query_row([&key(number)[..]], |row| row.get(0)).optional().expect("SQLite reads");
        std::hint::black_box(found).is_some()
    }
}

fn ours() -> Arc<Ours<SqliteStore>> {
    Ours::open(|folder| {
        let builder = SqliteStore::builder(folder.join("ours.db")).cache_size(8 << 20);
        builder.build().expect("a new store")
    })
}

const ROWS: Rows<SqliteStore, Raw> =
    Rows { ours, theirs: Raw::open, name: "SQLite", stats: |store| store.stats() };

pub(super) fn get(bench: &mut Bench) {
    shelf::get(bench, "sqlite-get", vec![getting(&ours()), getting(&Raw::open()).named("SQLite").bound()]);
}

pub(super) fn put_sync(bench: &mut Bench) {
    ROWS.put_sync(bench, "sqlite-put-sync");
}

pub(super) fn put_sync_16(bench: &mut Bench) {
    ROWS.put_sync_16(bench, "sqlite-put-sync-16");
}

pub(super) fn batch_100(bench: &mut Bench) {
    ROWS.batch_100(bench, "sqlite-batch-100");
}

//! How this store is opened in tests; the rest is [common to durable stores](nanotier_tier::conformance::durable).
#![allow(unused_imports, dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use nanotier_sqlite::{Builder, SqliteStore};
use nanotier_tier::conformance::durable::Fixture;
pub use nanotier_tier::conformance::durable::{
    MINUTE, entry, fill, found, is_whole, key, space, use_everything, v, value, value_in, value_of, write,
};

pub type Place = nanotier_tier::conformance::durable::Place<Sqlite>;

pub struct Sqlite;

impl Fixture for Sqlite {
    nanotier_tier::durable_fixture!(SqliteStore, Builder, "cache.db");
    type Folder = tempfile::TempDir;

    fn folder() -> Self::Folder {
        tempfile::tempdir().unwrap()
    }

    /// By another process: closing a handle of the database in this one would let go of its locks.
    fn copy(from: &Path, to: &Path) {
        for suffix in ["", "-wal"] {
            let (from, to) = (with_suffix(from, suffix), with_suffix(to, suffix));
            if from.exists() {
                assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
            }
        }
    }
}

/// The file that SQLite keeps beside the database.
fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub trait Database {
    /// The file that SQLite keeps beside the database.
    fn beside(&self, suffix: &str) -> PathBuf;
    /// The database as any other program opens it.
    fn by_hand(&self) -> rusqlite::Connection;
}

impl Database for Place {
    fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.file(), suffix)
    }

    fn by_hand(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).unwrap()
    }
}

//! A database of another version of SQLite's own format.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use nanotier_sqlite::SqliteStore;
use nanotier_tier::{ErrorKind, Store as _};

#[test]
fn a_database_that_only_a_newer_sqlite_may_write_is_unsupported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    SqliteStore::open(&path).unwrap().close().unwrap();
    // The version of the format that a writer has to know.
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[3], 18).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    assert!(refused.to_string().contains("newer SQLite"), "{refused}");
}

//! How this store is opened in tests; the rest is [common to durable stores](nanotier_tier::conformance::durable).
#![allow(unused_imports, dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::Path;

use nanotier_redb::{Builder, RedbStore};
use nanotier_tier::conformance::durable::Fixture;
pub use nanotier_tier::conformance::durable::{
    MINUTE, entry, fill, found, is_whole, key, space, use_everything, v, value, value_in, value_of, write,
};

pub type Place = nanotier_tier::conformance::durable::Place<Redb>;

pub struct Redb;

impl Fixture for Redb {
    nanotier_tier::durable_fixture!(RedbStore, Builder, "cache.redb");
    type Folder = tempfile::TempDir;

    fn folder() -> Self::Folder {
        tempfile::tempdir().unwrap()
    }

    /// Nothing that is still in memory is in the file.
    fn copy(from: &Path, to: &Path) {
        std::fs::copy(from, to).unwrap();
    }
}

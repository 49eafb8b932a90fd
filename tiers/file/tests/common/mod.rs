//! How this store is opened in tests; the rest is [common to durable stores](nanotier_tier::conformance::durable).
#![allow(unused_imports, dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};

use nanotier_file::{Builder, FileStore};
use nanotier_tier::conformance::durable::Fixture;
pub use nanotier_tier::conformance::durable::{
    MINUTE, entry, fill, found, is_whole, key, space, use_everything, v, value, value_in, value_of, write,
};

pub type Place = nanotier_tier::conformance::durable::Place<Files>;

pub struct Files;

impl Fixture for Files {
    nanotier_tier::durable_fixture!(FileStore, Builder, "cache");
    type Folder = tempfile::TempDir;

    /// In memory, where there is such a place: what is tested does not need a disk that takes its time to flush.
    fn folder() -> Self::Folder {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

pub trait Segments {
    /// The path of a segment.
    fn segment(&self, number: u64) -> PathBuf;
}

impl Segments for Place {
    fn segment(&self, number: u64) -> PathBuf {
        self.file().join(format!("nanotier-{number:016x}.log"))
    }
}

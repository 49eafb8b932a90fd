//! Which tiers there are, and the ways their values are shaped. **A tier is added here, by one line, and nowhere else.**

use std::path::Path;
use std::time::Duration;

use nanotier::shaping::{self, Compression, KeyId, KeyRing, Secret};
use nanotier::tier::Store;
use nanotier::{AnyTier, Durability, Inline, MemoryStore, NullStore, Result, Tier};
use nanotier_redb::RedbStore;

/// The tiers that run in every build. One that cannot be opened fails the run: it is not left out.
#[rustfmt::skip]
pub(crate) const TIERS: &[Candidate] = &[
    Candidate { name: "null", keeps: Keeps::Nothing, only: ALL, open: |_| inline(NullStore::new()) },
    Candidate { name: "memory", keeps: Keeps::UntilClosed, only: ALL, open: |_| inline(MemoryStore::new()) },
    Candidate { name: "file", keeps: Keeps::Files, only: ALL, open: |folder| inline(file(folder).build()?) },
    Candidate { name: "redb", keeps: Keeps::Files, only: ALL, open: |folder| inline(redb(folder).build()?) },
    Candidate { name: "redb, 16 bytes", keeps: Keeps::Files, only: LIMIT, open: |folder| inline(redb(folder).value_len_max(16).build()?) },
    #[cfg(feature = "sqlite")]
    Candidate { name: "sqlite", keeps: Keeps::Files, only: ALL, open: |folder| inline(sqlite(folder).build()?) },
];

/// The ways values are shaped on their way into a tier, beginning with as they are.
#[rustfmt::skip]
pub(crate) const SHAPINGS: &[Shaping] = &[
    Shaping { name: "plain", only: ALL, wrap: |tier| tier },
    Shaping { name: "lz4", only: ALL, wrap: |tier| shaped(tier, |shape| shape.compress(Compression::Lz4)) },
    Shaping { name: "encrypted", only: ALL, wrap: |tier| shaped(tier, |shape| shape.encrypt(key_ring())) },
    Shaping { name: "lz4, encrypted", only: ALL, wrap: |tier| shaped(tier, |shape| shape.compress(Compression::Lz4).encrypt(key_ring())) },
    Shaping { name: "16 bytes", only: LIMIT, wrap: |tier| shaped(tier, |shape| shape.value_len_max(16)) },
];

/// All promises are checked.
const ALL: &[&str] = &[];
/// Those that are left where hardly a value fits.
const LIMIT: &[&str] = &["a_large_value_comes_back_and_a_larger_one_is_refused"];

fn file(folder: &Path) -> nanotier_file::Builder {
    let durability = Durability::Async { loss_window: Duration::from_millis(50) };
    nanotier_file::FileStore::builder(folder.join("cache")).durability(durability)
}

fn redb(folder: &Path) -> nanotier_redb::Builder {
    // The kit holds the other durabilities to the contract in the tier's own tests: here nobody waits for the disk.
    let durability = Durability::Async { loss_window: Duration::from_millis(50) };
    RedbStore::builder(folder.join("cache.redb")).durability(durability)
}

#[cfg(feature = "sqlite")]
fn sqlite(folder: &Path) -> nanotier::sqlite::Builder {
    let durability = Durability::Async { loss_window: Duration::from_millis(50) };
    nanotier::sqlite::SqliteStore::builder(folder.join("cache.db")).durability(durability)
}

fn shaped(tier: AnyTier, options: impl FnOnce(shaping::Builder) -> shaping::Builder) -> AnyTier {
    tier.shaped(options(shaping::Shaping::builder()).build().expect("options that work")).erase()
}

fn key_ring() -> KeyRing {
    KeyRing::new(KeyId(1), &Secret::new([1; 32])).expect("a key")
}

/// A tier to be checked.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) keeps: Keeps,
    /// The promises to be checked; all if none is named.
    pub(crate) only: &'static [&'static str],
    /// Opens what lies in the folder, or makes it there.
    pub(crate) open: fn(&Path) -> Result<AnyTier>,
}

/// How long it keeps what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nothing,
    UntilClosed,
    /// In files: it is also closed and opened again.
    Files,
}

/// A way to shape values.
pub(crate) struct Shaping {
    pub(crate) name: &'static str,
    /// The promises to be checked with it; all if none is named.
    pub(crate) only: &'static [&'static str],
    pub(crate) wrap: fn(AnyTier) -> AnyTier,
}

#[expect(clippy::unnecessary_wraps, reason = "every line opens in the same way, and most can fail")]
fn inline(store: impl Store) -> Result<AnyTier> {
    Ok(Inline(store).erase())
}

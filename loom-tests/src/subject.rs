//! Engines with chosen hashes, and values that notice when they are read after their time.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use nanotier_engine::{Engine, Lifecycle, Options, Plain};

/// An engine whose keys are their own hashes.
pub type Subject<L = Plain> = Engine<u64, Value, L, Straight>;

/// One shard with room for `capacity` entries.
#[must_use]
pub fn subject(capacity: u64) -> Arc<Subject> {
    subject_with(Options::new(capacity), Plain)
}

/// One shard.
///
/// # Panics
///
/// If the options contradict themselves.
#[must_use]
pub fn subject_with<L: Lifecycle<u64, Value>>(options: Options, lifecycle: L) -> Arc<Subject<L>> {
    let engine = Engine::with_hasher(options.shards(1), lifecycle, Straight(0));
    Arc::new(engine.expect("options that agree"))
}

/// A key, and so a hash: `part` of 256 chooses the bucket, and `tag` tells it from others there.
#[must_use]
pub const fn key(part: u8, tag: u8) -> u64 {
    (part as u64) << 56 | tag as u64
}

/// Leaves a number as it is.
// Not without size: the engine would mix what such a hasher makes.
#[derive(Debug, Clone, Copy)]
pub struct Straight(u8);

impl BuildHasher for Straight {
    type Hasher = Same;

    fn build_hasher(&self) -> Same {
        Same(u64::from(self.0))
    }
}

/// The hasher of [`Straight`].
#[derive(Debug)]
pub struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// A value that knows its key. The checker sees each look at it, and its drop, as those of plain memory.
#[derive(Debug)]
pub struct Value {
    /// Of which it is.
    pub key: u64,
    /// Which of that key's values.
    pub version: u64,
    memory: UnsafeCell<()>,
    living: Option<Census>,
}

/// How many values there are. Not modelled.
#[derive(Debug, Clone, Default)]
pub struct Census(Arc<AtomicUsize>);

impl Census {
    /// How many there are.
    #[must_use]
    pub fn living(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Value {
    /// A value for `key`.
    #[must_use]
    pub fn new(key: u64, version: u64) -> Self {
        Self::noted(key, version, None)
    }

    /// The same, counted.
    #[must_use]
    pub fn counted(key: u64, version: u64, census: &Census) -> Self {
        census.0.fetch_add(1, Relaxed);
        Self::noted(key, version, Some(census.clone()))
    }

    fn noted(key: u64, version: u64, living: Option<Census>) -> Self {
        Self { key, version, memory: UnsafeCell::new(()), living }
    }

    /// Its version, if it is this key's, as it must be.
    ///
    /// # Panics
    ///
    /// If it is another key's.
    #[must_use]
    pub fn of(&self, key: u64) -> u64 {
        self.memory.with(|_| ());
        assert_eq!(self.key, key, "a value of another key was found");
        self.version
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.memory.with_mut(|_| ());
        if let Some(census) = &self.living {
            census.0.fetch_sub(1, Relaxed);
        }
    }
}

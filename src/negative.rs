//! What loaders said of keys that have no value: that there is none, or an error.

use std::hash::Hash;

use nanotier_engine::{Engine, Equivalent, Lifecycle, Options, OwnedFrom};
use nanotier_tier::{Clock, Error, ErrorKind, Moment, Result};

use crate::load_error::Failure;

/// Remembered for a short time, in memory only, and apart from values: it takes no room of theirs.
pub(crate) struct Negatives<K>(Engine<K, Negative, Ends>);

#[derive(Clone)]
struct Negative {
    failure: Failure,
    until: Moment,
}

#[derive(Debug)]
struct Ends {
    clock: Clock,
}

impl<K> Lifecycle<K, Negative> for Ends {
    const LISTENS: bool = false;
    const WEIGHS: bool = false;

    fn is_dead(&self, _: &K, negative: &Negative) -> bool {
        self.clock.now() >= negative.until
    }
}

/// The latest are remembered.
const CAPACITY: u64 = 10_000;

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Negatives<K> {
    pub(crate) fn new(clock: Clock) -> Result<Self> {
        Engine::with(Options::new(CAPACITY), Ends { clock })
            .map(Self)
            .map_err(|error| Error::new(ErrorKind::Config, "cache", "build").with_source(error))
    }

    /// What is remembered of a key.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<Failure>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.0.get(key).map(|negative| negative.failure)
    }

    /// Remembers it if `stands` says so: in one step with the insertion, so that a write that comes after has it removed.
    pub(crate) fn insert(&self, key: K, failure: Failure, until: Moment, stands: impl FnOnce() -> bool) {
        self.0.insert_if(key, Negative { failure, until }, |_| stands());
    }

    pub(crate) fn remove<Q>(&self, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: OwnedFrom<Q>,
    {
        self.0.remove(key);
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }
}

//! Who takes part, and what a row may ask of them.
//!
//! Each is called in the way its documentation shows, and what stands between it and the loop is always inlined, so
//! that each call costs what it does where a user writes it. All hash with `ahash`, which is also what nanotier does
//! by default; those that let nobody choose use it by themselves.

mod bounds;
mod ours;
mod rivals;

use std::borrow::Borrow;
use std::hash::Hash;

use nanotier_engine::OwnedFrom;

pub(crate) use bounds::{DashMap, HashBrown, Papaya};
pub(crate) use ours::{Facade, FacadeDefault, FacadeLru, Nanotier, NanotierLru};
pub(crate) use rivals::{
    Cached, Fibre, Foyer, FoyerLfu, FoyerS3Fifo, FoyerSieve, MiniMoka, Moka, MutexLru, QuickCache,
    SccHashCache, TinyUfoCache,
};

/// A key, and what it is looked up by.
pub(crate) trait Key:
    Hash + Eq + Clone + Send + Sync + 'static + Borrow<Self::Lent> + OwnedFrom<Self::Lent>
{
    type Lent: ?Sized + Hash + Eq + ToOwned<Owned = Self> + 'static;
}

impl Key for u64 {
    type Lent = u64;
}

impl Key for String {
    type Lent = str;
}

pub(crate) trait Value: Clone + Send + Sync + 'static {}

impl<V: Clone + Send + Sync + 'static> Value for V {}

/// What a contender is to the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    Rival,
    /// A map that evicts nothing, or that only one thread may use: what is possible, not a competitor.
    Bound,
}

/// Filled once, then read.
pub(crate) trait Reads<K: Key, V: Value>: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const ROLE: Role = Role::Rival;
    /// What a reader of the table should know about it.
    const NOTE: &'static str = "";

    fn filled(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> Self;
    fn get(&self, key: &K::Lent) -> Option<V>;
    /// How many entries it holds, once work that it has put off is done. `None` where it does not tell.
    fn residents(&self) -> Option<usize>;
}

/// Bounded, and written by shared reference.
pub(crate) trait Evicts<K: Key, V: Value>: Reads<K, V> {
    fn empty(capacity: usize) -> Self;
    fn insert(&self, key: K, value: V);
}

/// Shows a value in place.
pub(crate) trait Lends<K: Key, V: Value>: Reads<K, V> {
    fn read<R>(&self, key: &K::Lent, f: impl FnOnce(&V) -> R) -> Option<R>;
}

/// Runs one loader per key.
pub(crate) trait Loads<K: Key, V: Value>: Evicts<K, V> {
    fn get_or_load(&self, key: &K::Lent, load: impl FnOnce() -> V) -> V;
}

/// `filled` for those that can be written by shared reference.
fn filled<K: Key, V: Value, C: Evicts<K, V>>(capacity: usize, entries: impl Iterator<Item = (K, V)>) -> C {
    let cache = C::empty(capacity);
    for (key, value) in entries {
        cache.insert(key, value);
    }
    cache
}

//! The right to bring something into memory, and the duty to say when it is over.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::{Record, Version};

use crate::cache::Inner;
use crate::expiry::{Resident, State};
use crate::options::{Options, Spent};

/// A flight's right to admit what it brings, and its duty to leave.
pub(crate) struct Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) inner: Arc<Inner<K, V>>,
    pub(crate) key: K,
    /// The flight; `None` for a writer.
    pub(crate) flight: Option<u64>,
    /// What the call says that began it.
    pub(crate) options: Arc<Options<K, V>>,
}

impl<K, V> Drop for Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.inner.inflight.leave(&self.key, self.flight);
    }
}

impl<K, V> Ticket<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The ticket of a flight. The flight's start has counted it already.
    pub(crate) fn of_flight(
        inner: &Arc<Inner<K, V>>,
        key: &K,
        flight: u64,
        options: &Arc<Options<K, V>>,
    ) -> Self {
        Self { inner: inner.clone(), key: key.clone(), flight: Some(flight), options: options.clone() }
    }

    /// What memory is to hold of a record whose value took so long to load.
    pub(crate) fn resident(&self, value: V, record: &Record, load_cost: Duration) -> Resident<V> {
        let fresh_until = record.deadlines.fresh_until;
        let lifetime = (!fresh_until.is_never()).then(|| fresh_until.since(record.written_at));
        let clock = self.inner.clock();
        let entry = Resident::admitted(value, record.deadlines, record.written_at, record.version, clock);
        self.dress(entry, Spent { lifetime, load_cost })
    }

    /// What memory needs to know of an entry besides its end.
    pub(crate) fn dress(&self, entry: Resident<V>, spent: Spent) -> Resident<V> {
        self.options.dress(entry, spent, self.inner.clock().now(), &self.inner.dice)
    }

    /// True as long as nobody has written the key since the flight began, and the flight has not been ended.
    pub(crate) fn stands(&self) -> bool {
        !is_on(Rule::O5) || self.inner.inflight.is_linked(&self.key, self.flight)
    }

    /// Puts an entry into memory unless a newer write forbids it. The check and the insert are one step.
    pub(crate) fn admit(&self, entry: Resident<V>) -> bool {
        let (inner, version) = (&*self.inner, entry.version());
        let now = inner.clock().now();
        let admitted = inner.memory.insert_if(self.key.clone(), entry, |resident| {
            let stands = resident.is_some_and(|resident| match self.flight {
                // Where memory is the truth there are no versions, but whoever loads found nothing fresh: what is fresh
                // now was written meanwhile. One for which a new value is wanted was there before.
                Some(_) if version == Version::ZERO => resident.state(now, &self.options) == State::Fresh,
                _ => resident.version() > version,
            });
            !stands && inner.inflight.admits(&self.key, self.flight, version)
        });
        admitted.is_some()
    }
}

//! The same for many keys at once: memory answers what it has, and the tiers are asked for the rest in one
//! batch.

use std::collections::HashMap;
use std::hash::Hash;

use nanotier_engine::{Equivalent, OwnedFrom};
use nanotier_tier::{Intent, Path, Record, Result, Tier, Version};

use crate::cache::{Cache, Inner};
use crate::look::take_in_batch;
use crate::lookup::{Detailed, Lookup};
use crate::ticket::Ticket;
use crate::ttl::Ttl;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The values of many keys, in their order. What memory does not hold fresh or stale is asked of the
    /// tiers in one batch, and of each farther tier only what the nearer ones lack. A key may occur
    /// twice.
    ///
    /// Ready at once if memory has them all.
    ///
    /// # Errors
    ///
    /// Inside, per key: its tiers failed and nothing usable was anywhere.
    pub fn get_many<'a, Q>(&'a self, keys: impl IntoIterator<Item = &'a Q>) -> Lookup<Vec<Result<Option<V>>>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
    {
        let mut values = Vec::new();
        let mut missing: Vec<(usize, K)> = Vec::new();
        for (index, key) in keys.into_iter().enumerate() {
            let resident = self.resident(key).map(|(value, _)| value);
            if resident.is_none() {
                missing.push((index, K::owned_from(key)));
            }
            values.push(Ok(resident));
        }
        if missing.is_empty() || self.0.below.is_none() {
            return Lookup::ready(Detailed::nowhere(values));
        }
        let inner = self.0.clone();
        Lookup::below(async move {
            let (indices, keys): (Vec<usize>, Vec<K>) = missing.into_iter().unzip();
            let found = inner.look_many(keys).await?;
            indices.into_iter().zip(found).for_each(|(index, value)| values[index] = value);
            Ok(Detailed::nowhere(values))
        })
    }

    /// Stores many values in one batch, for as long as the cache says. Each is a write of its own: some may
    /// fail and others not.
    ///
    /// Of a key that occurs twice the last value stays.
    ///
    /// # Errors
    ///
    /// Inside, per entry in order, as [`insert`](Cache::insert).
    pub fn insert_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Lookup<Vec<Result<()>>> {
        let Some(below) = &self.0.below else {
            let stored = entries.into_iter().map(|(key, value)| {
                self.0.insert_in_memory(key, value, Ttl::Default);
                Ok(())
            });
            return Lookup::ready(Detailed::nowhere(stored.collect()));
        };
        self.0.clock().catch_up();
        let now = self.0.clock().wall();
        let deadlines = self.0.lifetimes.deadlines(Ttl::Default, now);
        let items = entries.into_iter().map(|(key, value)| {
            below.path(&key)?;
            let record = below.record(&value, deadlines, Version::ZERO, now)?;
            Ok((key, Some((value, record))))
        });
        self.write_many(items.collect())
    }

    /// Removes many keys in one batch.
    ///
    /// # Errors
    ///
    /// Inside, per key in order, as [`remove`](Cache::remove).
    pub fn remove_many<'a, Q>(&'a self, keys: impl IntoIterator<Item = &'a Q>) -> Lookup<Vec<Result<()>>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
    {
        let Some(below) = &self.0.below else {
            let removed = keys.into_iter().map(|key| {
                let key = K::owned_from(key);
                self.0.in_memory(&key, || self.0.memory.remove(&key));
                Ok(())
            });
            return Lookup::ready(Detailed::nowhere(removed.collect()));
        };
        self.0.clock().catch_up();
        let items = keys.into_iter().map(|key| {
            let key = K::owned_from(key);
            below.path(&key)?;
            Ok((key, None))
        });
        self.write_many(items.collect())
    }

    fn write_many(&self, items: Vec<Result<Item<K, V>>>) -> Lookup<Vec<Result<()>>> {
        let mut results: Vec<Result<()>> =
            items.iter().map(|item| item.as_ref().map(drop).map_err(Clone::clone)).collect();
        // Of a key that occurs twice only the last write is done, and answers for all: one after the other they
        // might end in another order.
        let mut last: HashMap<K, usize> = HashMap::new();
        let mut answered_by: Vec<Option<usize>> = Vec::with_capacity(items.len());
        let mut begun = Vec::new();
        for item in items.into_iter().rev() {
            answered_by.push(item.ok().map(|(key, value)| match last.get(&key) {
                Some(&position) => position,
                None => {
                    last.insert(key.clone(), begun.len());
                    begun.push((key, value));
                    begun.len() - 1
                }
            }));
        }
        answered_by.reverse();
        let begun: Vec<_> = begun.into_iter().map(|(key, value)| self.0.begin(key, value)).collect();
        let inner = self.0.clone();
        self.finish(|attended| async move {
            let settled = inner.settle_all(begun, &attended).await;
            for (result, position) in results.iter_mut().zip(answered_by) {
                if let Some(answer) = position.and_then(|position| settled.get(position)) {
                    result.clone_from(answer);
                }
            }
            Ok(Detailed::nowhere(results))
        })
    }
}

/// A key, and what is to be stored under it; nothing removes it.
type Item<K, V> = (K, Option<(V, Record)>);

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    async fn look_many(self: std::sync::Arc<Self>, keys: Vec<K>) -> Result<Vec<Result<Option<V>>>> {
        let below = self.below()?;
        // In flight from before the read: a write that comes between keeps what is read out of memory.
        let tickets: Vec<Ticket<K, V>> = keys
            .into_iter()
            .map(|key| {
                self.inflight.enter(&key);
                Ticket { inner: self.clone(), key, flight: None }
            })
            .collect();
        let (mut values, mut asked, mut paths) = (Vec::new(), Vec::new(), Vec::<Path<'_>>::new());
        for (index, ticket) in tickets.iter().enumerate() {
            match below.path(&ticket.key) {
                Ok(path) => {
                    asked.push(index);
                    paths.push(path);
                    values.push(Ok(None));
                }
                Err(error) => values.push(Err(error)),
            }
        }
        let found = match below.tier.read(&paths, Intent::Look).await {
            Ok(found) => found,
            Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
        };
        for (index, found) in asked.into_iter().zip(found) {
            values[index] = match found {
                Ok(found) => Ok(take_in_batch(&tickets[index], below, &found)),
                Err(error) => match self.fallback(&tickets[index].key) {
                    Some(stale) => Ok(Some(stale.value)),
                    None => Err(error),
                },
            };
        }
        Ok(values)
    }
}

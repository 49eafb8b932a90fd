//! The same for many keys at once: memory answers what it has, and the tiers are asked for the rest in one
//! batch.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use nanotier_engine::{Equivalent, OwnedFrom};
use nanotier_tier::{Intent, Operation, Outcome, Path, Record, Result, Tier, Version};

use crate::cache::{Cache, Inner};
use crate::expiry::Good;
use crate::look::{Taken, take_in};
use crate::lookup::{Detailed, Lookup};
use crate::ticket::Ticket;
use crate::ttl::Ttl;
use crate::watch::End;

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The values of many keys, in their order. What memory does not hold fresh or stale is asked of the
    /// tiers in one batch, and of each farther tier only what the nearer ones lack. A key may occur
    /// twice. For what is stale in memory a fresher value is looked for behind, in one batch too.
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
        let mut asked = 0;
        let found = self.find_many(keys.into_iter().inspect(|_| asked += 1));
        found.told(&self.0.watch, Operation::GetMany, asked, None, |found| {
            let has_all = || found.iter().all(|value| !matches!(value, Ok(None)));
            End::of_all(found, || if has_all() { Outcome::Hit } else { Outcome::Miss })
        })
    }

    fn find_many<'a, Q>(&self, keys: impl Iterator<Item = &'a Q>) -> Lookup<Vec<Result<Option<V>>>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
    {
        let mut values = Vec::new();
        let mut missing: Vec<(usize, K)> = Vec::new();
        let mut stale: Vec<K> = Vec::new();
        for (index, key) in keys.enumerate() {
            let resident = self.near(key);
            match resident {
                None => missing.push((index, K::owned_from(key))),
                Some((_, Good::Stale)) if self.0.below.is_some() => stale.push(K::owned_from(key)),
                Some(_) => {}
            }
            values.push(Ok(resident.map(|(value, _)| value)));
        }
        self.0.look_many_behind(stale);
        if missing.is_empty() || self.0.below.is_none() || self.1.options.bypass {
            return Lookup::ready(Detailed::nowhere(values));
        }
        let inner = self.0.clone();
        Lookup::below(async move {
            let (indices, keys): (Vec<usize>, Vec<K>) = missing.into_iter().unzip();
            let found = inner.look_many(inner.enter_all(keys)).await?;
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
        let mut asked = 0;
        let begun = self.begin_insert_many(entries.into_iter().inspect(|_| asked += 1));
        begun.told(&self.0.watch, Operation::InsertMany, asked, None, |written| all_done(written))
    }

    fn begin_insert_many(&self, entries: impl Iterator<Item = (K, V)>) -> Lookup<Vec<Result<()>>> {
        let Some(below) = &self.0.below else {
            let stored = entries
                .map(|(key, value)| self.0.while_open(|| self.insert_in_memory(key, value, Ttl::Default)));
            return Lookup::ready(Detailed::nowhere(stored.collect()));
        };
        self.0.clock().catch_up();
        let now = self.0.clock().wall();
        let options = &self.1.options;
        let items = entries.map(|(key, value)| {
            below.path(&key)?;
            let deadlines =
                options.deadlines(options.lifetime(&key, &value, Ttl::Default, &self.0.dice), now);
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
        let mut asked = 0;
        let begun = self.begin_remove_many(keys.into_iter().inspect(|_| asked += 1));
        begun.told(&self.0.watch, Operation::RemoveMany, asked, None, |written| all_done(written))
    }

    fn begin_remove_many<'a, Q>(&self, keys: impl Iterator<Item = &'a Q>) -> Lookup<Vec<Result<()>>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'a,
        K: OwnedFrom<Q>,
    {
        let Some(below) = &self.0.below else {
            let removed = keys.map(|key| {
                let key = K::owned_from(key);
                self.0.while_open(|| self.0.in_memory(&key, || self.0.memory.remove(&key))).map(drop)
            });
            return Lookup::ready(Detailed::nowhere(removed.collect()));
        };
        self.0.clock().catch_up();
        let items = keys.map(|key| {
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
        let begun: Vec<_> =
            begun.into_iter().map(|(key, value)| self.0.begin(key, value, &self.1.options)).collect();
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

fn all_done(written: &[Result<()>]) -> End {
    End::of_all(written, || Outcome::Done)
}

/// A key, and what is to be stored under it; nothing removes it.
type Item<K, V> = (K, Option<(V, Record)>);

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Tickets from before the read: a write that comes between keeps what is read out of memory.
    fn enter_all(self: &Arc<Self>, keys: Vec<K>) -> Vec<Ticket<K, V>> {
        let enter = |key| {
            self.inflight.enter(&key);
            Ticket { inner: self.clone(), key, flight: None, options: self.options.clone() }
        };
        keys.into_iter().map(enter).collect()
    }

    /// Looks for many keys that nobody waits for, but for those on which anything is under way.
    fn look_many_behind(self: &Arc<Self>, mut keys: Vec<K>) {
        keys.retain(|key| !self.inflight.is_busy(key));
        if keys.is_empty() {
            return;
        }
        let (inner, tickets) = (self.clone(), self.enter_all(keys));
        let call = self.watch.begin_many(Operation::Refresh, tickets.len(), None);
        // Who asked has an answer; what fails is looked for again by the next one.
        self.context.spawn(Box::pin(async move {
            let looked = inner.look_many(tickets).await;
            call.end(|| match &looked {
                Ok(found) => End::of_all(found, || Outcome::Refreshed),
                Err(error) => End::failed(error.kind()),
            });
        }));
    }

    async fn look_many(self: &Arc<Self>, tickets: Vec<Ticket<K, V>>) -> Result<Vec<Result<Option<V>>>> {
        let below = self.below()?;
        let asked_at = self.context.versions.draw();
        let mut values: Vec<Result<Option<V>>> = tickets.iter().map(|_| Ok(None)).collect();
        let mut asked: Vec<usize> = (0..tickets.len()).collect();
        let mut intent = Intent::Look;
        // Copies that cannot be read are passed over by a second batch, which asks the truth.
        while !asked.is_empty() {
            let mut paths: Vec<Path<'_>> = Vec::with_capacity(asked.len());
            asked.retain(|&index| match below.path(&tickets[index].key) {
                Ok(path) => {
                    paths.push(path);
                    true
                }
                Err(error) => {
                    values[index] = Err(error);
                    false
                }
            });
            let found = match below.tier.read(&paths, intent).await {
                Ok(found) => found,
                Err(error) => paths.iter().map(|_| Err(error.clone())).collect(),
            };
            let mut unread = Vec::new();
            for (index, found) in asked.into_iter().zip(found) {
                let key = &tickets[index].key;
                values[index] = match found {
                    Ok(found) => match take_in(&tickets[index], below, &found) {
                        Taken::Usable(found) => Ok(Some(found.detailed.value)),
                        Taken::Spare(_) => Ok(None),
                        Taken::Unreadable { in_truth: false, .. } if !intent.asks_truth() => {
                            unread.push(index);
                            continue;
                        }
                        // What the truth holds unreadable is left to the next single read to mend.
                        Taken::Nothing | Taken::Unreadable { .. } => {
                            self.heed(key, &found, asked_at);
                            Ok(None)
                        }
                    },
                    Err(error) => match self.fallback(key) {
                        Some(stale) => Ok(Some(stale.value)),
                        None => Err(error),
                    },
                };
            }
            (asked, intent) = (unread, Intent::Confirm);
        }
        Ok(values)
    }
}

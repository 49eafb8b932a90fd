//! What a loader brought goes to the truth, and only if that took it, to memory.

use std::hash::Hash;
use std::time::Duration;

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{Deadlines, Event, Record, Result, Seen, Tier, Timestamp, Version, Write, Wrote};

use crate::below::Below;
use crate::expiry::Resident;
use crate::options::Spent;
use crate::ticket::Ticket;
use crate::ttl::Ttl;

/// A value on its way in, and what has to be known of the load that brought it.
pub(crate) struct Filling<'l, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) ticket: &'l Ticket<K, V>,
    pub(crate) value: &'l V,
    pub(crate) version: Version,
    /// What the truth showed before; `None` if it could not be asked.
    pub(crate) seen: Option<Seen>,
    pub(crate) read_at: Timestamp,
    pub(crate) load_cost: Duration,
}

/// In one batch. A truth that is down leaves values in memory for a short time.
pub(crate) async fn fill<K, V>(fillings: &[Filling<'_, K, V>])
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let Some(inner) = fillings.first().map(|filling| &filling.ticket.inner) else { return };
    let now = inner.clock().wall();
    let lived = fillings.iter().map(|filling| (filling, filling.lifetime()));
    let Some(below) = &inner.below else {
        lived.for_each(|(filling, lifetime)| filling.admit(filling.deadlines(lifetime, now), lifetime, now));
        return;
    };
    let mut written = Vec::with_capacity(fillings.len());
    for (filling, lifetime) in lived {
        match filling.record(below, lifetime, now) {
            Some((record, seen)) => written.push((filling, lifetime, record, seen)),
            None => filling.admit_degraded(lifetime, now),
        }
    }
    let writes: Result<Vec<Write<'_>>> =
        written.iter().map(|(filling, _, record, seen)| filling.write(below, record, *seen)).collect();
    let answers = match writes {
        Ok(writes) if writes.is_empty() => return,
        Ok(writes) => below.tier.write(&writes).await,
        Err(error) => Err(error),
    };
    schedule_point();
    let answers = answers.unwrap_or_else(|error| written.iter().map(|_| Err(error.clone())).collect());
    for ((filling, lifetime, record, _), answer) in written.into_iter().zip(answers) {
        match answer {
            Ok(Wrote::Done) => filling.admit(record.deadlines, lifetime, now),
            // Somebody wrote meanwhile: who waited gets the value once, and it is kept nowhere (O3).
            Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate) => {
                if !is_on(Rule::O3) {
                    filling.admit(record.deadlines, lifetime, now);
                }
            }
            Err(error) => {
                inner.context.tell(&Event::FillFailed { tier: error.tier(), at: below.truth() });
                filling.admit_degraded(lifetime, now);
            }
        }
    }
}

impl<K, V> Filling<'_, K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn lifetime(&self) -> Option<Duration> {
        let Ticket { inner, key, options, .. } = self.ticket;
        options.lifetime(key, self.value, Ttl::Default, &inner.dice)
    }

    fn deadlines(&self, lifetime: Option<Duration>, now: Timestamp) -> Deadlines {
        self.ticket.options.deadlines(lifetime, now)
    }

    /// What the truth is to hold, and what it showed before; `None` if it could not be asked, or the value has no encoding: it is an answer all the same,
    /// and worth keeping for a moment.
    fn record(
        &self,
        below: &Below<K, V>,
        lifetime: Option<Duration>,
        now: Timestamp,
    ) -> Option<(Record, Seen)> {
        let seen = self.seen?;
        let record = below.record(self.value, self.deadlines(lifetime, now), self.version, now).ok()?;
        Some((Record { confirmed_at: self.read_at, load_cost: self.load_cost, ..record }, seen))
    }

    fn write<'w>(&'w self, below: &'w Below<K, V>, record: &'w Record, seen: Seen) -> Result<Write<'w>> {
        let path = below.path(&self.ticket.key)?;
        Ok(Write::fill(path, record, seen, self.read_at))
    }

    fn admit(&self, deadlines: Deadlines, lifetime: Option<Duration>, now: Timestamp) {
        let inner = &self.ticket.inner;
        let entry = Resident::admitted(self.value.clone(), deadlines, now, self.version, inner.clock());
        let entry = self.ticket.dress(entry, Spent { lifetime, load_cost: self.load_cost });
        self.ticket.admit(match inner.below {
            Some(_) => entry.rechecked(self.read_at, inner.context.recheck, inner.clock()),
            None => entry,
        });
    }

    fn admit_degraded(&self, lifetime: Option<Duration>, now: Timestamp) {
        let full = self.deadlines(lifetime, now);
        self.admit(self.ticket.options.degraded(full, now), lifetime, now);
    }
}

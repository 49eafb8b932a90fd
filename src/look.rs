//! The order of steps of a miss: tiers near to far, decode, memory, then the nearer tiers.

use std::hash::Hash;
use std::sync::Arc;

use nanotier_tier::rules::{Rule, is_on};
use nanotier_tier::sync::schedule_point;
use nanotier_tier::{
    Deadlines, Entry, Error, Event, Found, Freshness, Guard, Intent, Path, Record, Result, Seen, Tier,
    Timestamp, Version, Write,
};

use crate::below::Below;
use crate::cache::Inner;
use crate::expiry::{Resident, State};
use crate::flight::{self, Flight, Orphan, Outcome};
use crate::load_error::Failure;
use crate::lookup::{Detailed, Source};
use crate::ticket::Ticket;

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Looks below memory, together with whoever else looks for the same key.
    pub(crate) async fn look(self: Arc<Self>, key: K, joined: &mut bool) -> Outcome<Option<V>> {
        loop {
            let flight = self.look_flight(&key);
            schedule_point();
            match flight.join(&self.context) {
                Some(waiter) => {
                    *joined = !waiter.is_first();
                    return waiter.await;
                }
                None => self.inflight.forget(&key, flight.id()),
            }
        }
    }

    fn look_flight(self: &Arc<Self>, key: &K) -> Arc<Flight<Option<V>>> {
        self.inflight.look(key, || {
            let id = flight::next_id();
            let ticket = Ticket::of_flight(self, key, id, &self.options);
            Flight::new(id, Orphan::IsDropped, Box::pin(look_flight(ticket)))
        })
    }

    /// Starts a look that nobody waits for, unless one is under way.
    pub(crate) fn look_behind(self: &Arc<Self>, key: &K) {
        if self.inflight.is_looking(key) {
            return;
        }
        self.look_flight(key).go_on(&self.context, self.begin_refresh(key));
    }

    /// What memory holds fresh: a flight that was linked after another one had ended finds what that one brought.
    /// Not counted: the caller's own look was.
    pub(crate) fn fresh(&self, key: &K) -> Option<Detailed<V>> {
        let value = self.peek_in(key, |state| state == State::Fresh)?;
        Some(Detailed { value, freshness: Freshness::Fresh, source: Source::Memory })
    }

    /// What memory still has that is better than an error: usable, though the truth could not confirm it.
    pub(crate) fn fallback(&self, key: &K) -> Option<Detailed<V>> {
        let value = self.held(key)?;
        Some(Detailed { value, freshness: Freshness::Stale, source: Source::Memory })
    }

    /// What memory still has, however old.
    pub(crate) fn held(&self, key: &K) -> Option<V> {
        self.peek_in(key, |state| state != State::Gone)
    }

    fn peek_in(&self, key: &K, is_wanted: impl FnOnce(State) -> bool) -> Option<V> {
        let now = self.clock().now();
        self.memory
            .peek_if(key, |entry| is_wanted(entry.state(now, &self.options)).then(|| entry.value.clone()))
    }

    /// What memory holds is let go of if this answer of the tiers outdates it: a tombstone kills every copy that it meets
    /// (O8), and so does something newer that cannot be read. What was asked at `asked_at` and is nowhere outdates all
    /// that is older, if the truth itself said so.
    pub(crate) fn heed(&self, key: &K, found: &Found, asked_at: Version) {
        let outdated = match (&found.entry, found.seen) {
            (Entry::Present(record), _) if found.usable(found.read_at).is_some() => record.version,
            (_, Some(_)) => asked_at,
            (Entry::Removed(version), None) => version.next(),
            (Entry::Absent | Entry::Present(_), None) => return,
        };
        if is_on(Rule::O8) {
            self.memory.remove_if(key, |entry| entry.version() < outdated);
        }
    }

    /// The same value, found anew, is left alone by loaders for as long as it was before.
    fn still_claimed(&self, key: &K, entry: Resident<V>) -> Resident<V> {
        let version = entry.version();
        let held = self
            .memory
            .peek_if(key, |held| if held.version() == version { held.claim().cloned() } else { None });
        match held {
            Some(claim) => entry.claimed(claim),
            None => entry,
        }
    }

    /// What the tiers have that can be used and read, without moving it, and whether it is to be trusted. A copy that
    /// cannot be read is passed over.
    pub(crate) async fn peek_below(&self, key: &K) -> Result<Option<(Deadlines, bool)>> {
        let below = self.below()?;
        let path = below.path(key)?;
        let asked_at = self.context.versions.draw();
        let mut intent = Intent::Look;
        loop {
            let found = below.tier.read_one(&path, intent).await?;
            let usable = found.usable(self.clock().wall());
            if let Some(record) = usable.filter(|record| below.decode(record).is_ok()) {
                let is_served = self.is_within_grace(record, self.clock().wall());
                return Ok(is_served.then_some((record.deadlines, found.trusted)));
            }
            if usable.is_none() || intent.asks_truth() || below.is_truth(found.from) {
                self.heed(key, &found, asked_at);
                return Ok(None);
            }
            intent = Intent::Confirm;
        }
    }

    /// False for a record that is kept only for the case that no new value can be had.
    fn is_within_grace(&self, record: &Record, now: Timestamp) -> bool {
        let fresh_until = record.deadlines.fresh_until;
        now < fresh_until || now < fresh_until.plus(self.options.stale_for)
    }

    /// Removes a record that is unreadable or has no successor, if it is still the one that was read.
    pub(crate) async fn bury(
        &self,
        below: &Below<K, V>,
        path: &Path<'_>,
        seen: Option<Seen>,
        read_at: Timestamp,
    ) {
        let Some(seen) = seen else { return };
        let version = self.context.versions.draw();
        let guard = Guard::Unchanged(seen);
        let write = Write { guard, ..Write::remove(path.borrowed(), version, read_at) };
        // Whatever it answers: the reader has a miss, and the next one tries again.
        let _ = below.tier.write_one(&write).await;
    }
}

/// What a look below memory came to.
pub(crate) enum Looked<V> {
    Usable(Usable<V>),
    /// Kept only for the case that no new value can be had.
    Spare {
        value: V,
        seen: Option<Seen>,
        read_at: Timestamp,
    },
    Nothing {
        seen: Option<Seen>,
        read_at: Timestamp,
    },
    Failed(Error),
}

async fn look_flight<K, V>(ticket: Ticket<K, V>) -> Outcome<Option<V>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if let Some(fresh) = ticket.inner.fresh(&ticket.key) {
        return Ok(fresh.map(Some));
    }
    match look_below(&ticket, Intent::Look).await {
        Looked::Usable(found) => Ok(found.detailed.map(Some)),
        Looked::Nothing { .. } | Looked::Spare { .. } => Ok(Detailed::nowhere(None)),
        Looked::Failed(error) => match ticket.inner.fallback(&ticket.key) {
            Some(detailed) => Ok(detailed.map(Some)),
            None => Err(Failure::Cache(error)),
        },
    }
}

/// Asks the tiers, admits what they have to memory, and has it promoted.
pub(crate) async fn look_below<K, V>(ticket: &Ticket<K, V>, intent: Intent) -> Looked<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    let read_at = inner.clock().wall();
    let Some(below) = &inner.below else { return Looked::Nothing { seen: None, read_at } };
    let path = match below.path(&ticket.key) {
        Ok(path) => path,
        Err(error) => return Looked::Failed(error),
    };
    // Whatever memory holds that was written before this is outdated if the truth has nothing.
    let asked_at = inner.context.versions.draw();
    let mut intent = intent;
    loop {
        let found = match below.tier.read_one(&path, intent).await {
            Ok(found) => found,
            Err(error) => return Looked::Failed(error),
        };
        schedule_point();
        let (seen, read_at) = (found.seen, found.read_at);
        match take_in(ticket, below, &found) {
            Taken::Usable(found) => return Looked::Usable(found),
            Taken::Spare(value) => return Looked::Spare { value, seen, read_at },
            Taken::Nothing => {
                inner.heed(&ticket.key, &found, asked_at);
                return Looked::Nothing { seen, read_at };
            }
            Taken::Unreadable { in_truth: false, .. } if !intent.asks_truth() => {
                intent = if intent.may_load() { Intent::Refresh } else { Intent::Confirm };
            }
            Taken::Unreadable { ours, .. } => {
                inner.heed(&ticket.key, &found, asked_at);
                // A loader fills over it. Without one it is removed if unchanged, so that the next reader need not
                // meet it; but what another build wrote is left to that build.
                if ours && !intent.may_load() {
                    inner.bury(below, &path, seen, read_at).await;
                }
                return Looked::Nothing { seen, read_at };
            }
        }
    }
}

/// What became of an answer of the tiers.
pub(crate) enum Taken<V> {
    Usable(Usable<V>),
    /// Kept only for the case that no new value can be had.
    Spare(V),
    Nothing,
    Unreadable {
        /// The truth holds it, not only a copy.
        in_truth: bool,
        /// This codec and schema wrote it: it is damaged, not foreign.
        ours: bool,
    },
}

/// A value of the tiers that is served, and whether a new one is wanted.
pub(crate) struct Usable<V> {
    pub(crate) detailed: Detailed<V>,
    pub(crate) is_due: bool,
}

/// Decodes what was found, admits it, then has it promoted: what does not decode goes nowhere.
pub(crate) fn take_in<K, V>(ticket: &Ticket<K, V>, below: &Below<K, V>, found: &Found) -> Taken<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if !is_on(Rule::DecodeBeforePromote) && found.usable(ticket.inner.clock().wall()).is_some() {
        promote(ticket, found);
    }
    let taken = admit_found(ticket, below, found);
    if is_on(Rule::DecodeBeforePromote) && matches!(taken, Taken::Usable(_) | Taken::Spare(_)) {
        promote(ticket, found);
    }
    taken
}

/// Decodes what was found and admits it: to memory, and nowhere else.
pub(crate) fn admit_found<K, V>(ticket: &Ticket<K, V>, below: &Below<K, V>, found: &Found) -> Taken<V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let inner = &ticket.inner;
    if let Some(version) = found.entry.version() {
        inner.context.versions.saw(version);
    }
    let now = inner.clock().wall();
    let Some(record) = found.usable(now) else { return Taken::Nothing };
    let Ok(value) = below.decode(record) else {
        let tier = inner.context.meters().name_at(found.from);
        inner.context.tell(&Event::RecordUnreadable { tier, at: found.from });
        return Taken::Unreadable { in_truth: below.is_truth(found.from), ours: below.is_ours(record) };
    };
    let trusted = found.trusted || !is_on(Rule::O7);
    let freshness = if trusted { record.freshness(now) } else { Freshness::Stale };
    let entry = ticket.resident(value.clone(), record, record.load_cost);
    let entry = inner.still_claimed(&ticket.key, entry);
    let is_due = entry.state(inner.clock().now(), &ticket.options) != State::Fresh;
    let entry = entry.rechecked(confirmed_at(found, record), inner.context.recheck, inner.clock());
    // An untrusted copy is answered but not kept: the next reader asks again.
    if trusted {
        ticket.admit(entry);
    }
    if !inner.is_within_grace(record, now) {
        return Taken::Spare(value);
    }
    let is_due = is_due || freshness == Freshness::Stale;
    Taken::Usable(Usable {
        detailed: Detailed { value, freshness, source: Source::Tier(found.from) },
        is_due,
    })
}

/// Since when a record counts as confirmed: just now, if the truth itself answered.
fn confirmed_at(found: &Found, record: &Record) -> Timestamp {
    if found.seen.is_some() { found.read_at } else { record.confirmed_at }
}

/// Copies a record found further out into the nearer tiers, off the reader's path.
fn promote<K, V>(ticket: &Ticket<K, V>, found: &Found)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    if found.from.0 == 0 {
        return;
    }
    let (inner, key, found) = (ticket.inner.clone(), ticket.key.clone(), found.clone());
    ticket.inner.context.spawn(Box::pin(async move {
        let Some(below) = &inner.below else { return };
        if let Ok(path) = below.path(&key) {
            // A copy that failed costs a slower next read, nothing else.
            let _ = below.tier.promote(&path, &found).await;
        }
    }));
}

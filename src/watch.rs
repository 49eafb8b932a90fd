//! What is told and counted of a cache's calls: one end for each beginning, whatever comes between.
//!
//! What a call has come to is an [`End`]. A call that memory alone answers is told after the fact, by [`Watch::answered`].
//! Any other one is an [`Ongoing`] from its beginning to its end, or to where its future is dropped or a panic goes through
//! it. [`Lookup::told`] chooses between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier_tier::measure::{Histogram, Striped};
use nanotier_tier::{Call, Context, Error, ErrorKind, Freshness, Operation, Outcome, Result, contained};

use crate::flight::Outcome as Settled;
use crate::load_error::Failure;
use crate::lookup::{Lookup, Source};
use crate::metrics::{CallMetrics, LoadMetrics};

/// Makes a text of a key, for who observes.
pub(crate) type KeyText<K> = Arc<dyn Fn(&K) -> String + Send + Sync>;

/// Who is told of calls, and what is counted of them.
pub(crate) struct Watch<K> {
    /// `None` where nobody observes and nothing is counted.
    seen: Option<Arc<Seen>>,
    key_text: Option<KeyText<K>>,
}

struct Seen {
    context: Context,
    counts: Option<Counts>,
}

/// Counted of calls that memory did not answer with something fresh: hits and misses are counted by the engine.
#[derive(Default)]
struct Counts {
    outcomes: Striped<[AtomicU64; Outcome::ALL.len()]>,
    refreshes: Striped<[AtomicU64; Outcome::ALL.len()]>,
    loads: Histogram,
    loads_failed: Striped<AtomicU64>,
}

impl<K> Watch<K> {
    /// Counts if `counts`, tells the observer of `context` if that has one, and shows it keys as `key_text` says.
    pub(crate) fn new(context: &Context, counts: bool, key_text: Option<KeyText<K>>) -> Self {
        let is_wanted = counts || context.is_observed();
        let seen = || Arc::new(Seen { context: context.clone(), counts: counts.then(Counts::default) });
        let key_text = key_text.filter(|_| context.is_observed());
        Self { seen: is_wanted.then(seen), key_text }
    }

    /// True if somebody is told, so that a hit has to say that it was one.
    pub(crate) fn is_observed(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.context.is_observed())
    }

    /// The text of a key, where an observer is to be shown keys: else the key is not even made.
    pub(crate) fn shown(&self, key: impl FnOnce() -> K) -> Option<String> {
        let key_text = self.key_text.as_ref()?;
        // It is the user's code, and no reason for a call to fail.
        let mut text = None;
        contained(|| text = Some(key_text(&key())));
        text
    }

    /// A call that memory has answered alone: nobody timed it.
    pub(crate) fn answered(&self, operation: Operation, shown: Option<&str>, end: End) {
        self.tell(operation, 1, shown, end);
    }

    fn tell(&self, operation: Operation, keys: usize, shown: Option<&str>, end: End) {
        if let Some(seen) = &self.seen {
            seen.tell(operation, keys, shown, None, end);
        }
    }

    /// The same of a batch.
    pub(crate) fn answered_many(&self, operation: Operation, keys: usize, outcome: Outcome) {
        self.tell(operation, keys, None, End::of(outcome));
    }

    /// A call about one key begins that memory cannot answer.
    pub(crate) fn begin(&self, operation: Operation, shown: Option<String>) -> Ongoing {
        self.begin_many(operation, 1, shown)
    }

    /// The same about many keys, or with 0 about all.
    pub(crate) fn begin_many(&self, operation: Operation, keys: usize, shown: Option<String>) -> Ongoing {
        Ongoing(self.seen.as_ref().map(|seen| Begun {
            begun: seen.context.clock.precise(),
            seen: seen.clone(),
            operation,
            keys,
            shown,
            hands_on: false,
        }))
    }

    /// A loader begins to run.
    pub(crate) fn begin_load(&self) -> Loading {
        let seen = self.seen.as_ref().filter(|seen| seen.counts.is_some());
        Loading(seen.map(|seen| (seen.clone(), seen.context.clock.precise())))
    }

    pub(crate) fn calls(&self) -> CallMetrics {
        let Some(counts) = self.counted() else { return CallMetrics::default() };
        let sum = |outcome: Outcome| sum_of(&counts.outcomes, outcome);
        CallMetrics {
            stale: sum(Outcome::Stale),
            joined: sum(Outcome::Joined),
            computed: sum(Outcome::Computed),
            rejected: sum(Outcome::Rejected),
            failed: sum(Outcome::Error),
            dropped: sum(Outcome::Dropped),
            refreshed: sum_of(&counts.refreshes, Outcome::Refreshed),
            refreshed_in_vain: IN_VAIN.iter().map(|outcome| sum_of(&counts.refreshes, *outcome)).sum(),
        }
    }

    pub(crate) fn loads(&self) -> LoadMetrics {
        let Some(counts) = self.counted() else { return LoadMetrics::default() };
        let failed = counts.loads_failed.all().map(|count| count.load(Relaxed)).sum();
        LoadMetrics { failed, took: counts.loads.latencies() }
    }

    /// True if calls and loads are counted.
    pub(crate) fn counts(&self) -> bool {
        self.counted().is_some()
    }

    fn counted(&self) -> Option<&Counts> {
        self.seen.as_ref()?.counts.as_ref()
    }
}

/// What a refresh comes to that brings no new value.
const IN_VAIN: [Outcome; 5] =
    [Outcome::Hit, Outcome::Stale, Outcome::Miss, Outcome::Rejected, Outcome::Error];

fn sum_of(counts: &Striped<[AtomicU64; Outcome::ALL.len()]>, outcome: Outcome) -> u64 {
    counts.all().map(|counts| counts[outcome as usize].load(Relaxed)).sum()
}

impl Seen {
    fn tell(
        &self,
        operation: Operation,
        keys: usize,
        key: Option<&str>,
        duration: Option<Duration>,
        end: End,
    ) {
        if let Some(counts) = &self.counts {
            let counts = if operation == Operation::Refresh { &counts.refreshes } else { &counts.outcomes };
            counts.own()[end.outcome as usize].fetch_add(1, Relaxed);
        }
        let mut call = Call::new(operation, end.outcome);
        (call.source, call.error) = (end.source, end.error);
        (call.keys, call.key, call.duration) = (keys, key, duration);
        self.context.tell_call(&call);
    }
}

/// What a call has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    outcome: Outcome,
    source: Source,
    error: Option<ErrorKind>,
}

impl End {
    /// Without a value that could have come from anywhere.
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self { outcome, source: Source::Nowhere, error: None }
    }

    pub(crate) fn hit_or_miss(is_there: bool) -> Self {
        Self::of(if is_there { Outcome::Hit } else { Outcome::Miss })
    }

    /// A value from memory.
    pub(crate) fn in_memory(freshness: Freshness) -> Self {
        let outcome = if freshness == Freshness::Fresh { Outcome::Hit } else { Outcome::Stale };
        Self { outcome, source: Source::Memory, error: None }
    }

    pub(crate) fn failed(kind: ErrorKind) -> Self {
        Self { error: Some(kind), ..Self::of(Outcome::of_error(kind)) }
    }

    /// What a look or a load came to; `joined` if another call had begun it. `has_value` is false for an answer that there is
    /// none.
    pub(crate) fn found<T>(answer: &Settled<T>, joined: bool, has_value: fn(&T) -> bool) -> Self {
        let detailed = match answer {
            Ok(detailed) => detailed,
            Err(Failure::Nothing) => return Self::of(Outcome::Miss),
            Err(failure) => return Self::failed(failure.kind()),
        };
        let outcome = match (has_value(&detailed.value), detailed.freshness, detailed.source) {
            (false, ..) => return Self::of(Outcome::Miss),
            (true, Freshness::Stale, _) => Outcome::Stale,
            (true, _, _) if joined => Outcome::Joined,
            (true, _, Source::Loader) => Outcome::Computed,
            (true, ..) => Outcome::Hit,
        };
        Self { outcome, source: detailed.source, error: None }
    }

    /// What was known of a load before it was tried: an old value, or what a loader has said before.
    pub(crate) fn known<T>(answer: &Settled<T>) -> Self {
        match answer {
            Err(failure) if !matches!(failure, Failure::Nothing) => {
                Self { error: Some(failure.kind()), ..Self::of(Outcome::Rejected) }
            }
            answer => Self::found(answer, false, |_| true),
        }
    }

    /// What a refresh behind came to.
    fn refreshed<T>(answer: &Settled<T>) -> Self {
        match answer {
            Ok(detailed) => {
                let outcome = match (detailed.freshness, detailed.source) {
                    (_, Source::Nowhere) => Outcome::Miss,
                    (Freshness::Stale, _) => Outcome::Stale,
                    (_, Source::Memory) => Outcome::Hit,
                    _ => Outcome::Refreshed,
                };
                Self { outcome, source: detailed.source, error: None }
            }
            Err(Failure::Nothing) => Self::of(Outcome::Miss),
            Err(failure) => Self::failed(failure.kind()),
        }
    }

    /// Of a batch, its first error counts, if there is any.
    pub(crate) fn of_all<T>(answers: &[Result<T>], outcome: impl FnOnce() -> Outcome) -> Self {
        match answers.iter().find_map(|answer| answer.as_ref().err()) {
            Some(error) => Self::failed(error.kind()),
            None => Self::of(outcome()),
        }
    }
}

/// A call that has begun. Told when it ends, or when it is dropped before that. Nothing where nobody looks.
#[must_use = "a call that is dropped at once is told as dropped"]
pub(crate) struct Ongoing(Option<Begun>);

struct Begun {
    seen: Arc<Seen>,
    operation: Operation,
    begun: Duration,
    keys: usize,
    shown: Option<String>,
    /// If it finds an old value in a tier, another refresh has begun, which is told.
    hands_on: bool,
}

impl Ongoing {
    /// Nobody is told: it was told already.
    pub(crate) const fn untold() -> Self {
        Self(None)
    }

    pub(crate) fn end(mut self, end: impl FnOnce() -> End) {
        if self.0.is_some() {
            self.tell(end());
        }
    }

    /// The same, but for a look into tiers that another refresh goes on from: that one is told for both.
    pub(crate) fn handing_on(mut self) -> Self {
        if let Some(begun) = &mut self.0 {
            begun.hands_on = true;
        }
        self
    }

    /// A refresh ends.
    pub(crate) fn refreshed<T>(mut self, answer: &Settled<T>) {
        let Some(begun) = &self.0 else { return };
        let end = End::refreshed(answer);
        if begun.hands_on && matches!((end.outcome, end.source), (Outcome::Stale, Source::Tier(_))) {
            self.0 = None;
        }
        self.tell(end);
    }

    fn tell(&mut self, end: End) {
        let Some(begun) = self.0.take() else { return };
        let took = begun.seen.context.clock.precise().saturating_sub(begun.begun);
        begun.seen.tell(begun.operation, begun.keys, begun.shown.as_deref(), Some(took), end);
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(End::failed(ErrorKind::LoaderPanicked));
        } else {
            self.tell(End::of(Outcome::Dropped));
        }
    }
}

impl<T: Send + 'static> Lookup<T> {
    /// The same, told when it is answered: at once if it is already, and then not timed. `shown` is its key.
    pub(crate) fn told<K>(
        self,
        watch: &Watch<K>,
        operation: Operation,
        keys: usize,
        shown: Option<String>,
        end: impl FnOnce(&T) -> End + Send + 'static,
    ) -> Self {
        if watch.seen.is_none() {
            return self;
        }
        let end_of = |answer: Result<&T, &Error>| answer.map_or_else(|error| End::failed(error.kind()), end);
        match self.known_or_future() {
            Ok(known) => {
                watch.tell(operation, keys, shown.as_deref(), end_of(known.known_value()));
                known
            }
            Err(future) => {
                let call = watch.begin_many(operation, keys, shown);
                Self::below(async move {
                    let answer = future.await;
                    call.end(|| end_of(answer.as_ref().map(|detailed| &detailed.value)));
                    answer
                })
            }
        }
    }
}

/// A loader that runs. One that is dropped before its end has failed.
#[must_use = "a load that is dropped at once counts as failed"]
pub(crate) struct Loading(Option<(Arc<Seen>, Duration)>);

impl Loading {
    pub(crate) fn end(mut self, is_ok: bool) {
        self.count(is_ok);
    }

    fn count(&mut self, is_ok: bool) {
        let Some((seen, begun)) = self.0.take() else { return };
        let Some(counts) = &seen.counts else { return };
        counts.loads.count(seen.context.clock.precise().saturating_sub(begun));
        if !is_ok {
            counts.loads_failed.own().fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.count(false);
    }
}

//! What the tiers of one cache were asked and answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{Histogram, Latencies};
use super::striped::Striped;
use crate::entry::{Entry, Found, TierIndex, Wrote};
use crate::error::Result;
use crate::guarded::{GuardState, WeakHealth};
use crate::sync::Mutex;

/// The tiers of one cache: they sign up when they are attached. Counts only if it was made to.
#[derive(Debug, Default)]
pub struct Meters {
    counts: bool,
    tiers: Mutex<Vec<Arc<TierMeter>>>,
    guards: Mutex<Vec<(TierIndex, WeakHealth)>>,
}

/// What one tier was asked and answered, up to now. All zero unless counting was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierMetrics {
    /// Its name, which all tiers of a kind have.
    pub name: &'static str,
    /// Its place, counted from 0 at the near end.
    pub at: TierIndex,
    /// How its guard is doing; `None` for a tier that is not guarded.
    pub guard: Option<GuardState>,
    /// What was read.
    pub reads: ReadMetrics,
    /// What was written: puts, removals, atomic changes, clearings.
    pub writes: WriteMetrics,
}

/// What was read of a tier. The three counts are of keys, the times of calls: a batch is one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadMetrics {
    /// The tier had a record, whatever its age.
    pub found: u64,
    /// It had none.
    pub missed: u64,
    /// It did not answer.
    pub failed: u64,
    /// How long calls took, those that failed included. One whose caller left is not counted.
    pub took: Latencies,
}

/// What was written to a tier. The three counts are of writes, the times of calls: a batch is one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteMetrics {
    /// The tier took it.
    pub done: u64,
    /// It refused: it holds something newer, or something else than expected.
    pub refused: u64,
    /// It did not answer, or could not.
    pub failed: u64,
    /// How long calls took, those that failed included. One whose caller left is not counted.
    pub took: Latencies,
}

impl Meters {
    /// Counts and times from now on if `counts`; else it only knows the tiers' names and places.
    #[must_use]
    pub fn new(counts: bool) -> Self {
        Self { counts, ..Self::default() }
    }

    /// True if tiers are counted.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// One for each tier, near to far. Costs some microseconds a tier.
    #[must_use]
    pub fn tiers(&self) -> Vec<TierMetrics> {
        let tiers = self.tiers.lock().clone();
        let mut metrics: Vec<TierMetrics> =
            tiers.iter().map(|tier| tier.metrics(self.guard_at(tier.at))).collect();
        metrics.sort_by_key(|tier| tier.at);
        metrics
    }

    /// The name of the tier at a place; `"tier"` if none has signed up there.
    #[must_use]
    pub fn name_at(&self, at: TierIndex) -> &'static str {
        self.tiers.lock().iter().find(|tier| tier.at == at).map_or("tier", |tier| tier.name)
    }

    fn guard_at(&self, at: TierIndex) -> Option<GuardState> {
        let guard = self.guards.lock().iter().find(|(place, _)| *place == at)?.1.clone();
        guard.state()
    }

    /// A tier signs up, once.
    pub(crate) fn enter(&self, tier: &Arc<TierMeter>) {
        let mut tiers = self.tiers.lock();
        if !tiers.iter().any(|known| Arc::ptr_eq(known, tier)) {
            tiers.push(tier.clone());
        }
    }

    /// So does a guard. The outermost one of a place is the one that is shown.
    pub(crate) fn watch(&self, at: TierIndex, health: WeakHealth) {
        let mut guards = self.guards.lock();
        if !guards.iter().any(|(known, _)| *known == at) {
            guards.push((at, health));
        }
    }
}

/// The counters of one tier.
#[derive(Debug)]
pub(crate) struct TierMeter {
    pub(crate) name: &'static str,
    pub(crate) at: TierIndex,
    counts: Striped<Counts>,
    reads: Histogram,
    writes: Histogram,
}

#[derive(Debug, Default)]
struct Counts {
    found: AtomicU64,
    missed: AtomicU64,
    read_failed: AtomicU64,
    done: AtomicU64,
    refused: AtomicU64,
    write_failed: AtomicU64,
}

/// What a write came to, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written {
    Done,
    Refused,
    Failed,
}

impl From<&Result<Wrote>> for Written {
    fn from(answer: &Result<Wrote>) -> Self {
        match answer {
            Ok(Wrote::Done) => Self::Done,
            Ok(Wrote::Older(_) | Wrote::Changed | Wrote::TooLate) => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

impl TierMeter {
    pub(crate) fn new(name: &'static str, at: TierIndex) -> Self {
        Self { name, at, counts: Striped::new(), reads: Histogram::new(), writes: Histogram::new() }
    }

    /// A call that read `asked` paths.
    pub(crate) fn read(&self, asked: usize, answers: &Result<Vec<Result<Found>>>, took: Duration) {
        self.reads.count(took);
        let counts = self.counts.own();
        let Ok(answers) = answers else {
            counts.read_failed.fetch_add(asked as u64, Relaxed);
            return;
        };
        for answer in answers {
            let count = match answer {
                Ok(found) if matches!(found.entry, Entry::Present(_)) => &counts.found,
                Ok(_) => &counts.missed,
                Err(_) => &counts.read_failed,
            };
            count.fetch_add(1, Relaxed);
        }
    }

    /// A call that wrote.
    pub(crate) fn wrote(&self, answers: impl IntoIterator<Item = Written>, took: Duration) {
        self.writes.count(took);
        let counts = self.counts.own();
        for answer in answers {
            let count = match answer {
                Written::Done => &counts.done,
                Written::Refused => &counts.refused,
                Written::Failed => &counts.write_failed,
            };
            count.fetch_add(1, Relaxed);
        }
    }

    fn metrics(&self, guard: Option<GuardState>) -> TierMetrics {
        let sum = |which: fn(&Counts) -> &AtomicU64| {
            self.counts.all().map(|counts| which(counts).load(Relaxed)).sum::<u64>()
        };
        TierMetrics {
            name: self.name,
            at: self.at,
            guard,
            reads: ReadMetrics {
                found: sum(|counts| &counts.found),
                missed: sum(|counts| &counts.missed),
                failed: sum(|counts| &counts.read_failed),
                took: self.reads.latencies(),
            },
            writes: WriteMetrics {
                done: sum(|counts| &counts.done),
                refused: sum(|counts| &counts.refused),
                failed: sum(|counts| &counts.write_failed),
                took: self.writes.latencies(),
            },
        }
    }
}

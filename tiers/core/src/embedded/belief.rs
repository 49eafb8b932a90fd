//! Since when a store is believed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use nanotier_clock::Timestamp;

/// The moment since which a store is believed, shared by its handle and its backend.
///
/// After an unclean opening that is the moment of opening; but the clock comes with
/// [`attach`](crate::Store::attach), so it is the first moment anyone asks.
#[derive(Clone, Debug)]
pub struct Belief(Arc<AtomicU64>);

/// In place of a moment: the moment somebody first asks.
const SINCE_ASKED: u64 = u64::MAX;

impl Belief {
    /// Believed since then; `None` after an unclean opening.
    #[must_use]
    pub fn new(since: Option<Timestamp>) -> Self {
        Self(Arc::new(AtomicU64::new(since.map_or(SINCE_ASKED, Timestamp::as_millis))))
    }

    /// What was acknowledged may be lost: believed since the moment somebody asks next.
    pub fn lose(&self) {
        self.0.store(SINCE_ASKED, Relaxed);
    }

    /// The moment, where it is `now`.
    #[must_use]
    pub fn since(&self, now: impl FnOnce() -> Timestamp) -> Timestamp {
        if self.0.load(Relaxed) == SINCE_ASKED {
            // Who comes second finds the moment set.
            let _ = self.0.compare_exchange(SINCE_ASKED, now().as_millis(), Relaxed, Relaxed);
        }
        Timestamp::from_millis(self.0.load(Relaxed))
    }

    /// As [`doubt`](Self::doubt), told by another process: where the moment is not fixed yet, it will be no earlier anyway.
    pub fn heard(&self, until: Timestamp) {
        let raise = |since| (since < until.as_millis()).then_some(until.as_millis());
        let _ = self.0.fetch_update(Relaxed, Relaxed, raise);
    }

    /// The moment, if anyone has asked for it since it was lost.
    #[must_use]
    pub fn known(&self) -> Option<Timestamp> {
        Some(self.0.load(Relaxed)).filter(|since| *since != SINCE_ASKED).map(Timestamp::from_millis)
    }

    /// What was given until `until` may have missed a write.
    pub fn doubt(&self, until: Timestamp, now: impl FnOnce() -> Timestamp) {
        let _ = self.since(now);
        self.0.fetch_max(until.as_millis(), Relaxed);
    }
}

//! How long entries live: said in words, never by the sign of a number.

use std::time::Duration;

use nanotier_tier::{Deadlines, Timestamp};

/// How long an entry is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As the cache says.
    #[default]
    Default,
    /// This long; rounded up to a millisecond.
    For(Duration),
    /// For ever: until removed or evicted.
    Forever,
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::For(ttl)
    }
}

/// How long an entry has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLeft {
    /// This long until it is no longer fresh.
    Fresh(Duration),
    /// It is stale, and usable for this long.
    Stale(Duration),
    /// It has no end.
    Forever,
}

/// What a cache says of lifetimes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// `None` for ever.
    pub(crate) ttl: Option<Duration>,
    /// How long an entry is usable after it was fresh.
    pub(crate) stale_for: Duration,
    /// How long what could not be written to the truth is kept in memory.
    pub(crate) degraded_ttl: Duration,
}

impl Lifetimes {
    /// How long what was fresh for `ttl` is usable afterwards: what was never fresh is gone at once.
    pub(crate) fn grace(&self, ttl: Duration) -> Duration {
        if ttl == Duration::ZERO { Duration::ZERO } else { self.stale_for }
    }

    /// The deadlines of an entry written at `now`.
    pub(crate) fn deadlines(&self, ttl: Ttl, now: Timestamp) -> Deadlines {
        let ttl = match ttl {
            Ttl::Default => self.ttl,
            Ttl::For(ttl) => Some(ttl),
            Ttl::Forever => None,
        };
        ttl.map_or(Deadlines::NEVER, |ttl| Deadlines::after(now, ttl, self.grace(ttl)))
    }

    /// The deadlines of a loaded value that the truth does not have: short, so that the truth is asked again
    /// soon.
    pub(crate) fn degraded(&self, ttl: Ttl, now: Timestamp) -> Deadlines {
        let full = self.deadlines(ttl, now);
        let short = now.plus(self.degraded_ttl);
        Deadlines { fresh_until: full.fresh_until.min(short), usable_until: full.usable_until.min(short) }
    }
}

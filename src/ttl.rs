//! How long entries live: said in words, never by the sign of a number.

use std::time::Duration;

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

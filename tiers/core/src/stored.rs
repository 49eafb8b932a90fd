//! What is kept under a key: a value and what a cache must know about it.

use std::time::Duration;

use bytes::Bytes;
use nanotier_clock::Timestamp;

use crate::version::Version;

/// Until when a value is good, and until when it is better than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadlines {
    /// Served as it is before this moment.
    pub fresh_until: Timestamp,
    /// Served as stale before this moment; at or after it the value does not exist. Never before
    /// `fresh_until`.
    pub usable_until: Timestamp,
}

/// How good a value is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Freshness {
    /// As good as new.
    Fresh,
    /// Past its time, within its grace: served while a new one is fetched, or when no new one can be had.
    Stale,
    /// Gone.
    Expired,
}

impl Deadlines {
    /// Fresh for ever.
    pub const NEVER: Self = Self { fresh_until: Timestamp::NEVER, usable_until: Timestamp::NEVER };

    /// Fresh for `ttl` from `now`, then stale for `stale_for`. Sums saturate.
    #[must_use]
    pub fn after(now: Timestamp, ttl: Duration, stale_for: Duration) -> Self {
        let fresh_until = now.plus(ttl);
        Self { fresh_until, usable_until: fresh_until.plus(stale_for) }
    }

    /// How good the value is at `now`.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        if self.fresh_until.is_never() || now < self.fresh_until {
            Freshness::Fresh
        } else if self.usable_until.is_never() || now < self.usable_until {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }
}

/// The tags of a record, sorted and without repetition. Empty tags take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Box<[Box<str>]>>);

impl Tags {
    /// The most tags a record carries.
    pub const COUNT_MAX: usize = 64;
    /// The longest tag, in bytes.
    pub const LEN_MAX: usize = 255;

    /// No tags.
    pub const NONE: Self = Self(None);

    /// Tags from names. `None` if there are more than [`COUNT_MAX`](Self::COUNT_MAX), or one is empty or
    /// longer than [`LEN_MAX`](Self::LEN_MAX).
    #[must_use]
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut tags: Vec<Box<str>> = names.into_iter().map(|name| name.as_ref().into()).collect();
        tags.sort();
        tags.dedup();
        if tags.len() > Self::COUNT_MAX || tags.iter().any(|tag| tag.is_empty() || tag.len() > Self::LEN_MAX)
        {
            return None;
        }
        Some(Self(if tags.is_empty() { None } else { Some(tags.into()) }))
    }

    /// The tags in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.as_deref().unwrap_or_default().iter().map(AsRef::as_ref)
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Which codec and which shape of type wrote a value. Bytes of another fingerprint are a miss, never a
/// misread value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(pub u64);

/// What was done to a value's bytes on their way to a tier; see [`shaping`](crate::shaping). By default nothing.
///
/// The record's header says it: nobody has to guess it from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    /// They were compressed.
    pub compressed: bool,
    /// They were encrypted, after they had been compressed.
    pub encrypted: bool,
}

impl Shape {
    /// As the codec wrote them.
    pub const PLAIN: Self = Self { compressed: false, encrypted: false };

    /// True if the bytes are as the codec wrote them.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self == Self::PLAIN
    }
}

/// A value as bytes, and what can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub bytes: Bytes,
    /// Who can read them.
    pub fingerprint: Fingerprint,
    /// What was done to them since. Only [`Shape::PLAIN`] bytes are for a codec.
    pub shape: Shape,
}

impl Encoded {
    /// Bytes as a codec of this fingerprint wrote them.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>, fingerprint: Fingerprint) -> Self {
        Self { bytes: bytes.into(), fingerprint, shape: Shape::PLAIN }
    }
}

/// A value and all that travels with it. One per key, the same in every tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<V> {
    /// The value.
    pub value: V,
    /// Until when it is fresh and usable.
    pub deadlines: Deadlines,
    /// When it was written, by the writer's wall clock.
    pub written_at: Timestamp,
    /// When the truth last vouched for it, by the wall clock of who asked. A copy that has not been vouched
    /// for since something may have been missed is not trusted.
    pub confirmed_at: Timestamp,
    /// Its place in the order of writes.
    pub version: Version,
    /// How long it took to load; zero if it was given.
    pub load_cost: Duration,
    /// What it belongs to.
    pub tags: Tags,
}

/// What tiers store.
pub type Record = Stored<Encoded>;

impl<V> Stored<V> {
    /// Another value with the same deadlines, version and all else: a promotion can neither lose nor stretch
    /// a lifetime.
    ///
    /// # Errors
    ///
    /// Whatever `change` answers.
    pub fn try_map<U, E>(self, change: impl FnOnce(V) -> Result<U, E>) -> Result<Stored<U>, E> {
        let Self { value, deadlines, written_at, confirmed_at, version, load_cost, tags } = self;
        Ok(Stored { value: change(value)?, deadlines, written_at, confirmed_at, version, load_cost, tags })
    }

    /// How good it is at `now`: a value written more than [`AHEAD_MAX`] ahead of our clock is at most stale,
    /// since its deadlines cannot be trusted.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Freshness {
        let by_deadlines = self.deadlines.freshness(now);
        if self.written_at > now.plus(AHEAD_MAX) { by_deadlines.max(Freshness::Stale) } else { by_deadlines }
    }
}

/// How far ahead of ours another writer's clock may be before what it wrote is doubted.
pub const AHEAD_MAX: Duration = Duration::from_secs(300);

impl Record {
    /// A record of `value`, written at `now`, fresh for ever, at [`Version::ZERO`]: give it deadlines and a
    /// version.
    #[must_use]
    pub fn new(value: Encoded, now: Timestamp) -> Self {
        Self {
            value,
            deadlines: Deadlines::NEVER,
            written_at: now,
            confirmed_at: now,
            version: Version::ZERO,
            load_cost: Duration::ZERO,
            tags: Tags::NONE,
        }
    }

    /// A place taken by `version` with nothing in it: expired from the start.
    ///
    /// It is put over copies when the outcome of a write further out is unknown. Unlike a tombstone it does
    /// not say that the truth holds nothing: it hides nothing fresher, yet nothing older can come back.
    #[must_use]
    pub fn blank(version: Version, now: Timestamp) -> Self {
        let value = Encoded::new(Bytes::new(), Fingerprint(0));
        let deadlines = Deadlines { fresh_until: Timestamp::ZERO, usable_until: Timestamp::ZERO };
        Self { deadlines, version, ..Self::new(value, now) }
    }

    /// True for what [`blank`](Self::blank) makes.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.value.bytes.is_empty()
            && self.value.fingerprint == Fingerprint(0)
            && self.deadlines.usable_until == Timestamp::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_changes_exactly_at_the_deadlines() {
        let at = Timestamp::from_millis;
        let deadlines = Deadlines { fresh_until: at(10), usable_until: at(20) };
        let expected =
            [(9, Freshness::Fresh), (10, Freshness::Stale), (19, Freshness::Stale), (20, Freshness::Expired)];
        for (ms, freshness) in expected {
            assert_eq!(deadlines.freshness(at(ms)), freshness, "at {ms} ms");
        }
        assert_eq!(Deadlines::NEVER.freshness(at(u64::MAX - 1)), Freshness::Fresh);
        let for_ever_stale = Deadlines { fresh_until: at(1), usable_until: Timestamp::NEVER };
        assert_eq!(for_ever_stale.freshness(at(u64::MAX - 1)), Freshness::Stale);
    }

    #[test]
    fn a_record_from_the_future_is_at_most_stale() {
        let now = Timestamp::from_millis(1_000_000);
        let value = Encoded::new(Bytes::new(), Fingerprint(1));
        let near = Record::new(value.clone(), now.plus(AHEAD_MAX));
        let far = Record::new(value, now.plus(AHEAD_MAX).plus(Duration::from_millis(1)));
        assert_eq!(near.freshness(now), Freshness::Fresh);
        assert_eq!(far.freshness(now), Freshness::Stale);
    }

    #[test]
    fn tags_are_a_set_with_limits() {
        let tags = Tags::new(["b", "a", "b"]).unwrap();
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(Tags::new(Vec::<String>::new()).unwrap().is_empty());
        assert!(Tags::new([""]).is_none());
        assert!(Tags::new(["x".repeat(256)]).is_none());
        assert!(Tags::new((0..65).map(|n| n.to_string())).is_none());
        assert!(Tags::new((0..64).map(|n| n.to_string())).is_some());
    }
}

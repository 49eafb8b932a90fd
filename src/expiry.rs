//! What memory holds: a value, and the moments on its way out.

use std::time::Duration;

use nanotier_engine::Lifecycle;
use nanotier_tier::{Clock, Deadlines, Freshness, Moment, Timestamp, Version};

/// An entry in memory. Its times are moments of the steady clock: setting the wall clock does not move them.
#[derive(Clone, Debug)]
pub(crate) struct Resident<V> {
    pub(crate) value: V,
    pub(crate) fresh_until: Moment,
    pub(crate) usable_until: Moment,
    /// When the truth has to be asked again, because others may have written it.
    pub(crate) recheck_at: Moment,
    /// Its place in the order of writes; zero in a cache without tiers, where memory is the truth.
    pub(crate) version: Version,
}

/// How good an entry in memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Stale,
    /// Usable, but the truth must be asked first.
    Overdue,
    Gone,
}

impl<V> Resident<V> {
    /// An entry as a record's deadlines say, admitted now. It lives at most as long after its admission as
    /// its writer gave it: a writer whose clock is ahead cannot stretch its life.
    pub(crate) fn admitted(
        value: V,
        deadlines: Deadlines,
        written_at: Timestamp,
        version: Version,
        clock: &Clock,
    ) -> Self {
        let now = clock.now();
        let moment = |deadline: Timestamp| {
            if deadline.is_never() {
                return Moment::NEVER;
            }
            clock.moment_of(deadline).min(now.plus(deadline.since(written_at)))
        };
        Self {
            value,
            fresh_until: moment(deadlines.fresh_until),
            usable_until: moment(deadlines.usable_until),
            recheck_at: Moment::NEVER,
            version,
        }
    }

    /// The same, to be checked again `recheck` after it was confirmed.
    pub(crate) fn rechecked(self, confirmed_at: Timestamp, recheck: Duration, clock: &Clock) -> Self {
        let recheck_at = clock.moment_of(confirmed_at).min(clock.now()).plus(recheck);
        Self { recheck_at, ..self }
    }

    #[inline]
    pub(crate) fn state(&self, now: Moment) -> State {
        if now < self.fresh_until.min(self.recheck_at) {
            State::Fresh
        } else if now >= self.usable_until {
            // Both are NEVER at once only where the line above has answered.
            State::Gone
        } else if now >= self.recheck_at {
            State::Overdue
        } else {
            State::Stale
        }
    }

    /// How good it is, if it may be served without asking further.
    #[inline]
    pub(crate) fn freshness(&self, now: Moment) -> Option<Freshness> {
        match self.state(now) {
            State::Fresh => Some(Freshness::Fresh),
            State::Stale => Some(Freshness::Stale),
            State::Overdue | State::Gone => None,
        }
    }
}

/// Tells the engine what is dead.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) clock: Clock,
}

impl<K, V: Send + Sync + 'static> Lifecycle<K, Resident<V>> for Expiry {
    const LISTENS: bool = false;
    const WEIGHS: bool = false;

    #[inline]
    fn is_dead(&self, _: &K, entry: &Resident<V>) -> bool {
        !entry.usable_until.is_never() && self.clock.now() >= entry.usable_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_change_exactly_at_their_moments() {
        let at = Moment::from_millis;
        let entry = Resident {
            value: (),
            fresh_until: at(10),
            usable_until: at(20),
            recheck_at: at(15),
            version: Version::ZERO,
        };
        let expected = [
            (9, State::Fresh),
            (10, State::Stale),
            (14, State::Stale),
            (15, State::Overdue),
            (19, State::Overdue),
            (20, State::Gone),
        ];
        for (ms, state) in expected {
            assert_eq!(entry.state(at(ms)), state, "at {ms} ms");
        }
        let for_ever = Resident { fresh_until: Moment::NEVER, usable_until: Moment::NEVER, ..entry };
        assert_eq!(for_ever.state(at(14)), State::Fresh);
        assert_eq!(for_ever.state(at(15)), State::Overdue);
        let private = Resident { recheck_at: Moment::NEVER, ..for_ever };
        assert_eq!(private.state(at(u64::MAX - 1)), State::Fresh);
    }

    #[test]
    fn a_writer_ahead_of_us_cannot_stretch_a_life() {
        let (clock, _hands) = Clock::manual();
        let written_at = clock.wall().plus(Duration::from_secs(100));
        let deadlines = Deadlines::after(written_at, Duration::from_secs(10), Duration::ZERO);
        let entry = Resident::admitted((), deadlines, written_at, Version::ZERO, &clock);
        assert_eq!(entry.fresh_until.since(clock.now()), Duration::from_secs(10));
    }
}

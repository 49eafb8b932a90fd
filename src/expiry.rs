//! What memory holds: a value, and the moments on its way out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier_engine::Lifecycle;
use nanotier_tier::{Clock, Deadlines, Freshness, Moment, Timestamp, Version};

use crate::claim::Claim;
use crate::options::Options;

/// An entry in memory. Its times are moments of the steady clock: setting the wall clock does not move them.
#[derive(Clone, Debug)]
pub(crate) struct Resident<V> {
    pub(crate) value: V,
    /// Before this a hit needs to know nothing else: the earliest of the end of freshness, of the next check with the truth,
    /// and of the moment from which a load ahead of time is wanted.
    due: Moment,
    fresh_until: Moment,
    usable_until: Moment,
    /// What an entry without tiers, grace and refresh has no need of.
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Debug)]
struct Extra {
    /// Its place in the order of writes; zero in a cache without tiers, where memory is the truth.
    version: Version,
    /// When the truth has to be asked again, because others may have written it.
    recheck_at: Moment,
    /// Who loads a new value next, and not before when.
    claim: Claim,
    /// How long it may rest without being read, and when it was read last, in milliseconds. Never, if it may rest for ever.
    idle_max: Option<Duration>,
    used_at: Used,
}

/// When an entry was last read.
#[derive(Debug, Default)]
struct Used(AtomicU64);

impl Clone for Used {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
}

impl Extra {
    fn none() -> Self {
        Self {
            version: Version::ZERO,
            recheck_at: Moment::NEVER,
            claim: Claim::new(),
            idle_max: None,
            used_at: Used::default(),
        }
    }
}

/// How good an entry in memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    /// Fresh, and a new value is wanted ahead of time.
    Due,
    Stale,
    /// Past its grace: served only when no new value can be had.
    Spare,
    /// Usable, but the truth must be asked first.
    Overdue,
    Gone,
}

impl State {
    /// What it is good for, if it may be served without asking further.
    #[inline]
    pub(crate) fn good(self) -> Option<Good> {
        match self {
            Self::Fresh => Some(Good::Fresh),
            Self::Due => Some(Good::Due),
            Self::Stale => Some(Good::Stale),
            Self::Spare | Self::Overdue | Self::Gone => None,
        }
    }
}

/// What an entry that is served is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Good {
    Fresh,
    /// Fresh, and a new value is wanted.
    Due,
    /// Stale, and a new value is wanted.
    Stale,
    /// Fresh, and somebody is to be told that it was.
    Told,
}

impl Good {
    pub(crate) fn freshness(self) -> Freshness {
        match self {
            Self::Fresh | Self::Told | Self::Due => Freshness::Fresh,
            Self::Stale => Freshness::Stale,
        }
    }

    /// Whether a new value is wanted.
    pub(crate) fn is_due(self) -> bool {
        matches!(self, Self::Due | Self::Stale)
    }
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
        let entry = Self::until(value, moment(deadlines.fresh_until), moment(deadlines.usable_until));
        if version == Version::ZERO { entry } else { entry.with(|extra| extra.version = version) }
    }

    /// An entry that never leaves memory.
    pub(crate) fn until(value: V, fresh_until: Moment, usable_until: Moment) -> Self {
        Self { value, due: fresh_until, fresh_until, usable_until, extra: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Extra)) -> Self {
        change(self.extra.get_or_insert_with(|| Box::new(Extra::none())));
        self
    }

    /// The same, to be checked again `recheck` after it was confirmed.
    pub(crate) fn rechecked(self, confirmed_at: Timestamp, recheck: Duration, clock: &Clock) -> Self {
        self.recheck_at(clock.moment_of(confirmed_at).min(clock.now()).plus(recheck))
    }

    /// The same, to be checked again at `moment`.
    pub(crate) fn recheck_at(self, moment: Moment) -> Self {
        let due = self.due.min(moment);
        Self { due, ..self.with(|extra| extra.recheck_at = moment) }
    }

    /// The same, for which a new value is wanted from `moment` on, if that is before its end.
    pub(crate) fn due_at(self, moment: Moment) -> Self {
        let due = self.due.min(moment);
        Self { due, ..self.with(|_| {}) }
    }

    /// The same, of which callers agree who loads the next value.
    pub(crate) fn claimable(self) -> Self {
        self.with(|_| {})
    }

    /// The same, claimed as another one was.
    pub(crate) fn claimed(self, claim: Claim) -> Self {
        self.with(|extra| extra.claim = claim)
    }

    /// The same, gone once nobody has read it for so long.
    pub(crate) fn idle_after(self, idle_max: Duration, now: Moment) -> Self {
        self.with(|extra| {
            extra.idle_max = Some(idle_max);
            extra.used_at = Used(AtomicU64::new(now.as_millis()));
        })
    }

    /// The same with another life, read just now.
    pub(crate) fn living(self, fresh_until: Moment, usable_until: Moment) -> Self {
        let due = fresh_until.min(self.checked_at());
        Self { due, fresh_until, usable_until, ..self }
    }

    #[cfg(test)]
    pub(crate) fn due(&self) -> Moment {
        self.due
    }

    pub(crate) fn fresh_until(&self) -> Moment {
        self.fresh_until
    }

    pub(crate) fn usable_until(&self) -> Moment {
        self.usable_until
    }

    pub(crate) fn version(&self) -> Version {
        self.extra.as_ref().map_or(Version::ZERO, |extra| extra.version)
    }

    /// When the truth has to be asked again; never where memory is the truth.
    pub(crate) fn checked_at(&self) -> Moment {
        self.extra.as_ref().map_or(Moment::NEVER, |extra| extra.recheck_at)
    }

    /// Who loads the next value; `None` if nobody had thought that there would be one.
    pub(crate) fn claim(&self) -> Option<&Claim> {
        self.extra.as_ref().map(|extra| &extra.claim)
    }

    /// How good it is for one who has these options.
    #[inline]
    pub(crate) fn state<K>(&self, now: Moment, options: &Options<K, V>) -> State {
        if now < self.due { State::Fresh } else { self.state_when_due(now, options.stale_for) }
    }

    // Out of line, so that a hit is small.
    #[inline(never)]
    fn state_when_due(&self, now: Moment, stale_for: Duration) -> State {
        // Both are NEVER at once only where a hit has answered.
        if now >= self.usable_until {
            State::Gone
        } else if now >= self.checked_at() {
            State::Overdue
        } else if now < self.fresh_until {
            State::Due
        } else if now < self.fresh_until.plus(stale_for) {
            State::Stale
        } else {
            State::Spare
        }
    }

    /// Says that it was read, where that prolongs its life.
    #[inline]
    pub(crate) fn used(&self, now: Moment) {
        if let Some(extra) = &self.extra {
            // Most reads find it said: one store a millisecond at most.
            if extra.used_at.0.load(Relaxed) != now.as_millis() {
                extra.used_at.0.store(now.as_millis(), Relaxed);
            }
        }
    }

    /// True if nobody has read it for as long as it may rest.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        let Some(extra) = &self.extra else { return false };
        let used_at = Moment::from_millis(extra.used_at.0.load(Relaxed));
        extra.idle_max.is_some_and(|idle_max| now >= used_at.plus(idle_max))
    }
}

/// Tells the engine what is dead.
#[derive(Debug)]
pub(crate) struct Expiry {
    pub(crate) clock: Clock,
    /// Whether entries may rest only so long.
    pub(crate) idles: bool,
}

impl<K, V: Send + Sync + 'static> Lifecycle<K, Resident<V>> for Expiry {
    const LISTENS: bool = false;
    const WEIGHS: bool = false;

    #[inline]
    fn is_dead(&self, _: &K, entry: &Resident<V>) -> bool {
        let ends = !entry.usable_until.is_never();
        if !ends && !self.idles {
            return false;
        }
        let now = self.clock.now();
        ends && now >= entry.usable_until || self.idles && entry.is_idle(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(ms: u64) -> Options<(), ()> {
        Options { stale_for: Duration::from_millis(ms), ..Options::default() }
    }

    #[test]
    fn states_change_exactly_at_their_moments() {
        let at = Moment::from_millis;
        let entry = || Resident::until((), at(10), at(20)).due_at(at(5));
        let expected = [
            (4, State::Fresh),
            (5, State::Due),
            (9, State::Due),
            (10, State::Stale),
            (13, State::Stale),
            (14, State::Spare),
            (19, State::Spare),
            (20, State::Gone),
        ];
        for (ms, state) in expected {
            assert_eq!(entry().state(at(ms), &patient(4)), state, "at {ms} ms");
        }
        let shared = entry().recheck_at(at(12));
        for (ms, state) in [(4, State::Fresh), (11, State::Stale), (12, State::Overdue), (20, State::Gone)] {
            assert_eq!(shared.state(at(ms), &patient(4)), state, "at {ms} ms");
        }
        let for_ever = Resident::until((), Moment::NEVER, Moment::NEVER);
        assert_eq!(for_ever.state(at(u64::MAX - 1), &patient(0)), State::Fresh);
        let for_ever = for_ever.recheck_at(at(15));
        assert_eq!(for_ever.state(at(14), &patient(0)), State::Fresh);
        assert_eq!(for_ever.state(at(15), &patient(0)), State::Overdue);
    }

    #[test]
    fn an_entry_rests_so_long_and_no_longer_and_a_read_begins_its_rest_anew() {
        let at = Moment::from_millis;
        let entry =
            Resident::until((), Moment::NEVER, Moment::NEVER).idle_after(Duration::from_millis(10), at(5));
        assert!(!entry.is_idle(at(14)) && entry.is_idle(at(15)));
        entry.used(at(14));
        assert!(!entry.is_idle(at(23)) && entry.is_idle(at(24)));
        assert!(!Resident::until((), at(1), at(1)).is_idle(at(100)), "it has no such limit");
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

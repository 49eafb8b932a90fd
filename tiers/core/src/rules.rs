//! Who wins. The rules by which every tier takes or refuses a write, in one place.
//!
//! A store that works under a lock or in a transaction calls [`judge`] with what it holds; a service that
//! decides on its own side (a script, a condition expression) writes the same rules in its own words and is
//! held to them by the conformance kit.
//!
//! What a store must keep for them: **the version of the last write to a path for at least the horizon after
//! it was taken**, be it a record (also an expired one) or a tombstone; and the version of the last clearing
//! of a namespace, for as long as the namespace is used. Then nothing held means nothing written within the
//! horizon.

use std::time::Duration;

use nanotier_clock::Timestamp;

use crate::entry::{Guard, Seen, Write, Wrote};
use crate::version::Version;

/// What a store knows about a path when it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Held {
    /// The version it holds for the path, record or tombstone, expired or not.
    pub version: Option<Version>,
    /// The version of the last clearing of the namespace.
    pub floor: Option<Version>,
}

impl Held {
    /// The newest write that counts for the path.
    #[must_use]
    pub fn newest(&self) -> Option<Version> {
        self.version.max(self.floor)
    }

    /// What a reader is shown, to come back with.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let mut bytes = [0_u8; 34];
        if let Some(version) = self.version {
            bytes[0] = 1;
            bytes[1..17].copy_from_slice(&version.to_bytes());
        }
        if let Some(floor) = self.floor {
            bytes[17] = 1;
            bytes[18..34].copy_from_slice(&floor.to_bytes());
        }
        Seen::new(&bytes).expect("34 bytes fit")
    }
}

/// Whether a store that holds `held` takes `write` at `now` (the store's own clock). [`Wrote::Done`] means:
/// take it.
///
/// `horizon` is how long the store keeps tombstones.
pub fn judge(held: Held, write: &Write<'_>, now: Timestamp, horizon: Duration) -> Wrote {
    if is_on(Rule::O4) && write.as_of < now.minus(horizon) {
        return Wrote::TooLate;
    }
    // The same write once more: a duplicate on the wire, or a copy that was vouched for again.
    if held.version == Some(write.version) && held.floor < Some(write.version) {
        return Wrote::Done;
    }
    match write.guard {
        Guard::Newer => newer(held, write.version),
        Guard::Unchanged(seen) => unchanged(held, seen, write.version),
    }
}

fn newer(held: Held, version: Version) -> Wrote {
    match held.newest() {
        Some(newest) if newest >= version && is_on(Rule::O1) => Wrote::Older(newest),
        _ => Wrote::Done,
    }
}

fn unchanged(held: Held, seen: Seen, version: Version) -> Wrote {
    if !is_on(Rule::O2) {
        return Wrote::Done;
    }
    let (then, today) = (seen, held.seen());
    let (then, today) = (then.as_bytes(), today.as_bytes());
    // What is no longer held had expired and was swept, and was not written within the horizon: that is no
    // change.
    let same_version = held.version.is_none() || then.get(..17) == today.get(..17);
    let same_floor = then.get(17..) == today.get(17..);
    if !same_version || !same_floor {
        return Wrote::Changed;
    }
    // The filler drew its version after it had seen what is held. If not, it cannot be ordered.
    if held.newest() >= Some(version) { Wrote::Changed } else { Wrote::Done }
}

/// The rules of order, by their numbers in `docs/CONSISTENCY.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(hidden)]
pub enum Rule {
    O1,
    O2,
    O3,
    O4,
    O5,
    O6,
    O7,
    O8,
    O10,
    /// Not a rule of order: a record is decoded before it is promoted.
    DecodeBeforePromote,
    /// Not a rule of order: a durable write is acknowledged after its commit.
    CommitBeforeAcknowledge,
    /// Not a rule of order: a load is driven by whoever waits for it, and finished by the cache if nobody
    /// does.
    FlightsOutliveLeaders,
}

/// Always true in a shipped build. The schedule explorer's build can switch a rule off, to see its test fail.
#[cfg(not(nanotier_schedules))]
#[doc(hidden)]
#[inline]
#[must_use]
pub const fn is_on(_: Rule) -> bool {
    true
}

#[cfg(nanotier_schedules)]
mod switches {
    use super::Rule;
    use std::cell::Cell;

    std::thread_local! {
        // All tasks of an explored schedule run on one thread.
        static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether the rule is in force on this thread.
    #[must_use]
    pub fn is_on(rule: Rule) -> bool {
        OFF.with(|off| off.get() != Some(rule))
    }

    /// Runs `f` with one rule switched off on this thread.
    pub fn without<R>(rule: Rule, f: impl FnOnce() -> R) -> R {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                OFF.with(|off| off.set(None));
            }
        }
        OFF.with(|off| off.set(Some(rule)));
        let _restore = Restore;
        f()
    }
}
#[cfg(nanotier_schedules)]
#[doc(hidden)]
pub use switches::{is_on, without};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Namespace, Path};

    const HORIZON: Duration = Duration::from_secs(600);

    fn version(n: u64) -> Version {
        Version::from_parts(n, 1)
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(10_000_000)
    }

    fn judged(held: Held, n: u64, guard: Guard, as_of: Timestamp) -> Wrote {
        let namespace = Namespace::new("test").unwrap();
        let path = Path::new(&namespace, &b"k"[..]);
        let write = Write { path, record: None, version: version(n), guard, as_of };
        judge(held, &write, now(), HORIZON)
    }

    fn held(version_held: Option<u64>, floor: Option<u64>) -> Held {
        Held { version: version_held.map(version), floor: floor.map(version) }
    }

    #[test]
    fn only_a_newer_write_is_taken_and_the_same_one_again() {
        let cases = [
            (held(None, None), 5, Wrote::Done),
            (held(Some(4), None), 5, Wrote::Done),
            (held(Some(5), None), 5, Wrote::Done),
            (held(Some(6), None), 5, Wrote::Older(version(6))),
            (held(None, Some(4)), 5, Wrote::Done),
            (held(None, Some(5)), 5, Wrote::Older(version(5))),
            (held(None, Some(6)), 5, Wrote::Older(version(6))),
            (held(Some(5), Some(6)), 5, Wrote::Older(version(6))),
            (held(Some(7), Some(6)), 5, Wrote::Older(version(7))),
        ];
        for (held, n, expected) in cases {
            assert_eq!(judged(held, n, Guard::Newer, now()), expected, "{held:?} against {n}");
        }
    }

    #[test]
    fn a_fill_is_taken_only_over_what_was_seen() {
        let cases = [
            (held(None, None), held(None, None), Wrote::Done),
            (held(Some(3), None), held(Some(3), None), Wrote::Done),
            // Expired and swept since: not a change.
            (held(Some(3), None), held(None, None), Wrote::Done),
            (held(None, None), held(Some(3), None), Wrote::Changed),
            (held(Some(3), None), held(Some(4), None), Wrote::Changed),
            // Cleared since: a change, also where nothing was.
            (held(None, None), held(None, Some(4)), Wrote::Changed),
            (held(Some(3), Some(1)), held(None, Some(4)), Wrote::Changed),
            (held(Some(3), Some(1)), held(Some(3), Some(1)), Wrote::Done),
        ];
        for (then, at_fill, expected) in cases {
            let answer = judged(at_fill, 9, Guard::Unchanged(then.seen()), now());
            assert_eq!(answer, expected, "seen {then:?}, found {at_fill:?}");
        }
    }

    #[test]
    fn a_fill_not_newer_than_what_it_saw_is_refused() {
        let seen = held(Some(9), None);
        assert_eq!(judged(seen, 8, Guard::Unchanged(seen.seen()), now()), Wrote::Changed);
    }

    #[test]
    fn what_a_foreign_tier_minted_equals_nothing_that_is_held() {
        let foreign = Seen::new(b"revision 7").unwrap();
        assert_eq!(judged(held(Some(3), None), 9, Guard::Unchanged(foreign), now()), Wrote::Changed);
        assert_eq!(judged(held(None, None), 9, Guard::Unchanged(foreign), now()), Wrote::Changed);
    }

    #[test]
    fn what_was_decided_before_the_horizon_is_too_late() {
        let edge = now().minus(HORIZON);
        let before = edge.minus(Duration::from_millis(1));
        assert_eq!(judged(held(None, None), 5, Guard::Newer, edge), Wrote::Done);
        assert_eq!(judged(held(None, None), 5, Guard::Newer, before), Wrote::TooLate);
        let seen = held(None, None).seen();
        assert_eq!(judged(held(None, None), 5, Guard::Unchanged(seen), before), Wrote::TooLate);
    }
}

//! Who loads the next value of an entry: one caller, and after a failure nobody for a while.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nanotier_tier::Moment;

/// The right to load the next value, in one word: the moment before which nobody may, in milliseconds, and below it how many
/// loads in a row have failed.
///
/// To see that it is taken costs one load, without a lock: that is what all who find a stale value do.
#[derive(Debug)]
pub(crate) struct Claim(AtomicU64);

const FAILURES_BITS: u32 = 8;
const FAILURES_MAX: u64 = (1 << FAILURES_BITS) - 1;

impl Claim {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// True for one caller, which then starts a load; for nobody else before `until`.
    pub(crate) fn take(&self, now: Moment, until: Moment) -> bool {
        let held = self.0.load(Relaxed);
        now.as_millis() >= held >> FAILURES_BITS
            && self.0.compare_exchange(held, word(until, held & FAILURES_MAX), Relaxed, Relaxed).is_ok()
    }

    /// True if a load has failed a moment ago, or is tried again after a failure.
    pub(crate) fn has_failed(&self, now: Moment) -> bool {
        let held = self.0.load(Relaxed);
        held & FAILURES_MAX > 0 && now.as_millis() < held >> FAILURES_BITS
    }

    /// The load has failed: the next one may begin after a pause.
    pub(crate) fn failed(&self, now: Moment, back_off: BackOff) {
        let failures = (self.0.load(Relaxed) & FAILURES_MAX).saturating_add(1).min(FAILURES_MAX);
        self.0.store(word(now.plus(back_off.after(failures)), failures), Relaxed);
    }

    /// The load has brought something, though not for this entry: the next one may begin.
    pub(crate) fn release(&self) {
        self.0.store(0, Relaxed);
    }
}

fn word(until: Moment, failures: u64) -> u64 {
    until.as_millis().min(u64::MAX >> FAILURES_BITS) << FAILURES_BITS | failures
}

/// A clone is another entry: what was claimed is claimed there, too.
impl Clone for Claim {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
}

/// How long to wait after a load has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl BackOff {
    /// Twice as long after each failure in a row.
    fn after(self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK_OFF: BackOff = BackOff { first: Duration::from_millis(10), max: Duration::from_millis(35) };

    #[test]
    fn of_all_who_come_one_gets_it_until_its_time_is_over() {
        let (claim, at) = (Claim::new(), Moment::from_millis);
        assert!(claim.take(at(5), at(20)));
        assert!(!claim.take(at(5), at(20)) && !claim.take(at(19), at(40)) && !claim.has_failed(at(19)));
        assert!(claim.take(at(20), at(40)), "whoever held it has had its time");
        claim.release();
        assert!(claim.take(at(21), at(40)));
        assert!(!claim.take(at(39), Moment::NEVER));
        assert!(
            claim.take(at(40), Moment::NEVER) && !claim.take(at(1 << 50), Moment::NEVER),
            "never is far off"
        );
    }

    #[test]
    fn pauses_double_up_to_their_limit_and_begin_anew_after_a_success() {
        let (claim, at) = (Claim::new(), Moment::from_millis);
        let mut now = 0;
        for pause in [10, 20, 35, 35] {
            assert!(claim.take(at(now), at(now + 1000)));
            claim.failed(at(now), BACK_OFF);
            assert!(claim.has_failed(at(now + pause - 1)) && !claim.has_failed(at(now + pause)), "{pause}");
            now += pause;
        }
        claim.release();
        claim.failed(at(now), BACK_OFF);
        assert!(!claim.has_failed(at(now + 10)));
        assert_eq!(BACK_OFF.after(300), BACK_OFF.max, "however many");
    }
}

//! When a tier is not asked any more, and when it is asked again. States and events without time, locks or tiers of their
//! own; `docs/CHAIN.md` has the table.

use std::hash::Hasher;
use std::time::Duration;

use nanotier_clock::Moment;
use siphasher::sip::SipHasher13;

/// What opens a breaker, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// So many failures in a row; 0 for never.
    pub(crate) in_a_row: u32,
    /// Or this share of failures, in percent, of the last so many calls; of 0 calls for never.
    pub(crate) share: (u32, u32),
    pub(crate) first_cool_down: Duration,
    pub(crate) longest_cool_down: Duration,
}

/// The most calls that a share is taken of: one bit for each.
pub(crate) const WINDOW_MAX: u32 = 64;

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// All of them.
    Closed,
    /// None, until the cool-down is over and somebody calls.
    Open,
    /// One at a time, to see how it goes.
    HalfOpen,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    /// Its caller left.
    Dropped,
}

/// Which calls an outcome counts with: those that were let through since the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(u64);

#[derive(Debug)]
pub(crate) struct Switch {
    rules: Rules,
    phase: Phase,
    period: u64,
    failures_in_a_row: u32,
    /// The last calls, one bit each, the youngest lowest: 1 for a failure.
    window: u64,
    window_len: u32,
    openings_in_a_row: u32,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Moment },
    HalfOpen { probed: bool },
}

impl Switch {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            phase: Phase::Closed,
            period: 0,
            failures_in_a_row: 0,
            window: 0,
            window_len: 0,
            openings_in_a_row: 0,
            seed: 0,
        }
    }

    /// What the jitter is drawn from.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(crate) fn state(&self) -> Breaker {
        match self.phase {
            Phase::Closed => Breaker::Closed,
            Phase::Open { .. } => Breaker::Open,
            Phase::HalfOpen { .. } => Breaker::HalfOpen,
        }
    }

    /// True if a call would be refused now.
    pub(crate) fn refuses(&self, now: Moment) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Open { until } => now < until,
            Phase::HalfOpen { probed } => probed,
        }
    }

    /// Lets a call through, and says whether that made a change; `None` if it does not.
    pub(crate) fn admit(&mut self, now: Moment) -> Option<(Period, bool)> {
        if self.refuses(now) {
            return None;
        }
        let was = self.state();
        if was != Breaker::Closed {
            self.phase = Phase::HalfOpen { probed: true };
            self.period += 1;
        }
        Some((Period(self.period), was == Breaker::Open))
    }

    /// Takes note of what a call came to, and says whether that made a change.
    pub(crate) fn settle(&mut self, period: Period, outcome: Outcome, now: Moment) -> bool {
        if period.0 != self.period {
            return false;
        }
        match (self.phase, outcome) {
            (Phase::Closed, Outcome::Success | Outcome::Failure) => self.count(outcome, now),
            (Phase::HalfOpen { .. }, Outcome::Success) => {
                self.phase = Phase::Closed;
                self.period += 1;
                (self.failures_in_a_row, self.window, self.window_len) = (0, 0, 0);
                self.openings_in_a_row = 0;
                true
            }
            (Phase::HalfOpen { .. }, Outcome::Failure) => {
                self.open(now);
                true
            }
            (Phase::HalfOpen { .. }, Outcome::Dropped) => {
                self.phase = Phase::HalfOpen { probed: false };
                false
            }
            (Phase::Closed, Outcome::Dropped) | (Phase::Open { .. }, _) => false,
        }
    }

    fn count(&mut self, outcome: Outcome, now: Moment) -> bool {
        let failed = outcome == Outcome::Failure;
        self.failures_in_a_row = if failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        let (percent, of_last) = self.rules.share;
        self.window = (self.window << 1) | u64::from(failed);
        self.window_len = (self.window_len + 1).min(of_last);
        let seen = self.window & (u64::MAX >> (WINDOW_MAX - of_last.clamp(1, WINDOW_MAX)));
        let too_many_in_a_row = self.rules.in_a_row > 0 && self.failures_in_a_row >= self.rules.in_a_row;
        let too_large_a_share =
            of_last > 0 && self.window_len == of_last && seen.count_ones() * 100 >= percent * of_last;
        if failed && (too_many_in_a_row || too_large_a_share) {
            self.open(now);
            return true;
        }
        false
    }

    fn open(&mut self, now: Moment) {
        let doubled = self.rules.first_cool_down.saturating_mul(1 << self.openings_in_a_row.min(20));
        let cool_down = doubled.min(self.rules.longest_cool_down);
        self.openings_in_a_row = self.openings_in_a_row.saturating_add(1);
        self.period += 1;
        let cool_down = jittered(cool_down, self.seed, self.period);
        self.phase = Phase::Open { until: now.plus(cool_down) };
    }
}

/// Between half of `time` and all of it, the same for the same seed and turn.
pub(crate) fn jittered(time: Duration, seed: u64, turn: u64) -> Duration {
    let mut hasher = SipHasher13::new_with_keys(seed, turn);
    hasher.write_u64(turn);
    // 1024 steps: fine enough to keep processes apart.
    let step = u32::try_from(hasher.finish() % 1024).unwrap_or(0);
    time / 2 + (time / 2048).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_half_away_and_is_the_same_for_the_same_seed() {
        let second = Duration::from_secs(1);
        let drawn: Vec<Duration> = (0..100).map(|turn| jittered(second, 7, turn)).collect();
        assert!(drawn.iter().all(|drawn| (second / 2..=second).contains(drawn)));
        assert!(drawn.iter().max() > drawn.iter().min());
        assert_eq!(drawn, (0..100).map(|turn| jittered(second, 7, turn)).collect::<Vec<_>>());
        assert_ne!(jittered(second, 7, 1), jittered(second, 8, 1));
        assert!(jittered(Duration::MAX, 7, 1) <= Duration::MAX);
    }
}

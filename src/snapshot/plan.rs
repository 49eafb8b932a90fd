//! When a value is loaded again, and how long a load may take.

use std::time::Duration;

use nanotier_tier::{Error, ErrorKind, Result};

use crate::dice::Dice;

/// The times of a refreshed value. Judged: nothing in it is zero, and no pause is longer than its maximum.
#[derive(Debug)]
pub(super) struct Plan {
    every: Duration,
    /// The share by which a pause may be shorter or longer; below 1.
    jitter: f64,
    back_off: (Duration, Duration),
    pub(super) deadline: Duration,
    dice: Dice,
}

/// What a plan is made of, as the user has said it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) every: Duration,
    pub(super) jitter: f64,
    /// The first pause and the longest; by default they follow from `every`.
    pub(super) back_off: Option<(Duration, Duration)>,
    pub(super) deadline: Duration,
}

/// The first pause after a failure, where loads are further apart than that.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// The longest pause after failures, where loads are not further apart anyway.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

impl Times {
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with a sentence that says what to change.
    pub(super) fn judged(self, seed: u64) -> Result<Plan> {
        let refuse = |why: &'static str| Err(Error::new(ErrorKind::Config, "cache", "keep").with_detail(why));
        let Self { every, jitter, back_off, deadline } = self;
        if every.is_zero() {
            return refuse("an interval of zero would load all the time: say how far loads are to be apart");
        }
        if !(0.0..1.0).contains(&jitter) {
            return refuse(
                "jitter is a share of each pause, at least 0 and below 1: 0.1 is a tenth more or less",
            );
        }
        if deadline.is_zero() {
            return refuse("a deadline of zero would end every load at once: leave it out for the default");
        }
        let (first, max) = back_off.unwrap_or((every.min(BACK_OFF_FIRST), every.max(BACK_OFF_MAX)));
        if first.is_zero() {
            return refuse("a back-off that begins with zero would load all the time while loads fail");
        }
        if first > max {
            return refuse("the first pause of the back-off is longer than its longest");
        }
        Ok(Plan { every, jitter, back_off: (first, max), deadline, dice: Dice::new(seed) })
    }
}

impl Plan {
    /// The pause after so many failures in a row; none after a success.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return self.jittered(self.every) };
        let (first, max) = self.back_off;
        let pause = first.saturating_mul(2_u32.saturating_pow(doublings));
        self.jittered(pause.min(max)).min(max)
    }

    /// How old a value gets at most while loads succeed: the longest pause, and the longest load.
    pub(super) fn promised(&self) -> Duration {
        scaled(self.every, 1.0 + self.jitter).saturating_add(self.deadline)
    }

    fn jittered(&self, pause: Duration) -> Duration {
        scaled(pause, 1.0 + self.jitter * (2.0 * self.dice.share() - 1.0))
    }
}

/// Exact for a factor of 1; what is too long for a `Duration` is the longest there is.
fn scaled(pause: Duration, factor: f64) -> Duration {
    if factor == 1.0 {
        return pause;
    }
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn times(every: Duration) -> Times {
        Times { every, jitter: 0.0, back_off: None, deadline: secs(20) }
    }

    #[test]
    fn pauses_stay_within_the_jitter_fill_it_and_repeat_by_seed() {
        let pauses = |seed| {
            let plan = Times { jitter: 0.2, ..times(secs(100)) }.judged(seed).unwrap();
            (0..1000).map(|_| plan.pause(0)).collect::<Vec<_>>()
        };
        let one = pauses(1);
        assert!(one.iter().all(|pause| (secs(80)..=secs(120)).contains(pause)));
        assert!(
            one.iter().min() < Some(&secs(81)) && one.iter().max() > Some(&secs(119)),
            "it uses all of it"
        );
        assert_eq!(one, pauses(1));
        assert_ne!(one, pauses(2));
        let none = times(secs(100)).judged(1).unwrap();
        assert_eq!(none.pause(0), secs(100));
    }

    #[test]
    fn back_off_doubles_up_to_its_longest_and_never_goes_beyond() {
        let plan = Times { back_off: Some((secs(1), secs(10))), ..times(secs(60)) }.judged(1).unwrap();
        let pauses: Vec<Duration> = (0..7).map(|failures| plan.pause(failures)).collect();
        assert_eq!(pauses, [60, 1, 2, 4, 8, 10, 10].map(secs));
        assert_eq!(plan.pause(u32::MAX), secs(10));
        let plan =
            Times { jitter: 0.5, back_off: Some((secs(1), secs(10))), ..times(secs(60)) }.judged(3).unwrap();
        assert!((1..1000).all(|failures| plan.pause(failures) <= secs(10)));
    }

    #[test]
    fn defaults_follow_from_the_interval() {
        let back_off = |every| times(every).judged(1).unwrap().back_off;
        assert_eq!(back_off(Duration::from_millis(100)), (Duration::from_millis(100), secs(30)));
        assert_eq!(back_off(secs(10)), (secs(1), secs(30)));
        assert_eq!(back_off(secs(3600)), (secs(1), secs(3600)));
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        let plan = Times { jitter: 0.9, deadline: Duration::MAX, ..times(Duration::MAX) }.judged(1).unwrap();
        assert_eq!(plan.promised(), Duration::MAX);
        assert!((0..100).all(|failures| plan.pause(failures) > Duration::ZERO));
    }
}

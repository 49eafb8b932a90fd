//! Points in time, as plain numbers that saturate.

use std::fmt;
use std::time::Duration;

/// Whole milliseconds of a duration, rounded up so that nothing ends early, and at most `u64::MAX - 1`.
fn millis(duration: Duration) -> u64 {
    let whole = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(whole).unwrap_or(u64::MAX).min(u64::MAX - 1)
}

macro_rules! point_in_time {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Zero: earlier than, or equal to, every other point.
            pub const ZERO: Self = Self(0);
            /// Later than every other point. Nothing is added to it or taken from it.
            pub const NEVER: Self = Self(u64::MAX);

            /// A point from its number of milliseconds; `u64::MAX` is [`NEVER`](Self::NEVER).
            #[inline]
            #[must_use]
            pub const fn from_millis(millis: u64) -> Self {
                Self(millis)
            }

            /// The number of milliseconds; `u64::MAX` for [`NEVER`](Self::NEVER).
            #[inline]
            #[must_use]
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// True for [`NEVER`](Self::NEVER) alone. Costs a compare: no clock is read.
            #[inline]
            #[must_use]
            pub const fn is_never(self) -> bool {
                self.0 == u64::MAX
            }

            /// This point, later by `duration` rounded up to a millisecond.
            ///
            /// A sum that does not fit stops one millisecond short of [`NEVER`](Self::NEVER): a finite
            /// lifetime stays finite. `NEVER` stays `NEVER`.
            #[must_use]
            pub fn plus(self, duration: Duration) -> Self {
                if self.is_never() {
                    return self;
                }
                Self(self.0.saturating_add(millis(duration)).min(u64::MAX - 1))
            }

            /// This point, earlier by `duration` rounded up to a millisecond, at the earliest [`ZERO`](Self::ZERO).
            /// `NEVER` stays `NEVER`.
            #[must_use]
            pub fn minus(self, duration: Duration) -> Self {
                if self.is_never() {
                    return self;
                }
                Self(self.0.saturating_sub(millis(duration)))
            }

            /// How long after `earlier` this is; zero if it is not after it, `Duration::MAX` for `NEVER`.
            #[must_use]
            pub fn since(self, earlier: Self) -> Duration {
                if self.is_never() {
                    return if earlier.is_never() { Duration::ZERO } else { Duration::MAX };
                }
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.is_never() {
                    return f.write_str(concat!(stringify!($name), "(never)"));
                }
                write!(f, concat!(stringify!($name), "({} ms)"), self.0)
            }
        }
    };
}

point_in_time! {
    /// Milliseconds since the Unix epoch, as records carry them. See the [crate](crate) for the two scales.
    Timestamp
}

point_in_time! {
    /// Milliseconds on the steady scale of one clock. Means nothing in another process.
    Moment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_one_short_of_never() {
        let late = Timestamp::from_millis(u64::MAX - 5);
        assert_eq!(late.plus(Duration::from_millis(2)).as_millis(), u64::MAX - 3);
        assert_eq!(late.plus(Duration::from_secs(1)).as_millis(), u64::MAX - 1);
        assert_eq!(late.plus(Duration::MAX).as_millis(), u64::MAX - 1);
        assert!(!late.plus(Duration::MAX).is_never());
        assert!(Timestamp::NEVER.plus(Duration::from_secs(1)).is_never());
        assert!(Timestamp::NEVER.minus(Duration::from_secs(1)).is_never());
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        assert_eq!(Moment::ZERO.plus(Duration::from_nanos(1)).as_millis(), 1);
        assert_eq!(Moment::ZERO.plus(Duration::from_micros(1500)).as_millis(), 2);
        assert_eq!(Moment::ZERO.plus(Duration::ZERO), Moment::ZERO);
    }

    #[test]
    fn differences_never_go_below_zero() {
        let (early, late) = (Moment::from_millis(3), Moment::from_millis(10));
        assert_eq!(late.since(early), Duration::from_millis(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Moment::NEVER.since(late), Duration::MAX);
        assert_eq!(Moment::NEVER.since(Moment::NEVER), Duration::ZERO);
        assert_eq!(early.minus(Duration::from_secs(1)), Moment::ZERO);
    }
}

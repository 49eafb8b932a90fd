//! The one place that is asked what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::manual::{Face, Hands};
use crate::{Moment, Timestamp, os, ticker};

/// Tells the time. Clones are cheap and tell the same time.
///
/// | kind | one reading | accuracy | thread |
/// |---|---|---|---|
/// | [`ticking`](Clock::ticking) | one relaxed load | 1 ms plus what the scheduler adds | one for the process |
/// | [`coarse`](Clock::coarse) | one call into the vDSO, about 11 cycles | the kernel's tick, 1 to 10 ms | none |
/// | [`manual`](Clock::manual) | one relaxed load | exact | none |
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Ticking(Arc<ticker::Share>),
    Coarse(Arc<Coarse>),
    Manual(Arc<Face>),
}

impl Clock {
    /// The process-wide ticking clock, the default: the first one starts a thread, the last one to go ends
    /// it.
    ///
    /// Time stands still between ticks. If the thread is gone (in a forked child) or starved,
    /// [`catch_up`](Clock::catch_up) mends the clock.
    #[must_use]
    pub fn ticking() -> Self {
        Self(Source::Ticking(ticker::share()))
    }

    /// The operating system's coarse clock: no thread, a few more cycles per reading.
    #[must_use]
    pub fn coarse() -> Self {
        Self(Source::Coarse(Arc::new(Coarse::new())))
    }

    /// A clock that stands still until its [`Hands`] move it.
    #[must_use]
    pub fn manual() -> (Self, Hands) {
        let hands = Hands::new();
        (Self(Source::Manual(hands.face())), hands)
    }

    /// The present moment on the steady scale. Never goes back; counts time spent suspended.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::from_millis(match &self.0 {
            Source::Ticking(beat) => beat.steady_ms(),
            Source::Coarse(coarse) => coarse.steady_ms(),
            Source::Manual(face) => face.steady_ms(),
        })
    }

    /// The present wall-clock time. Goes back when the wall clock is set back.
    #[inline]
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_millis(match &self.0 {
            Source::Ticking(beat) => beat.unix_ms(),
            Source::Coarse(_) => os::coarse_unix_ms(),
            Source::Manual(face) => face.unix_ms(),
        })
    }

    /// Brings a ticking clock that is more than a second behind up to date. For misses and writes; costs one
    /// precise reading (about 90 cycles). Does nothing for the other kinds.
    pub fn catch_up(&self) {
        if let Source::Ticking(beat) = &self.0 {
            beat.catch_up();
        }
    }

    /// When, on this clock's steady scale, the wall clock will show `at`. Past timestamps give past moments.
    #[must_use]
    pub fn moment_of(&self, at: Timestamp) -> Moment {
        if at.is_never() {
            return Moment::NEVER;
        }
        let (now, wall) = (self.now(), self.wall());
        if at >= wall { now.plus(at.since(wall)) } else { now.minus(wall.since(at)) }
    }

    /// What the wall clock will show at `at`, if nobody sets it. The inverse of
    /// [`moment_of`](Clock::moment_of).
    #[must_use]
    pub fn timestamp_of(&self, at: Moment) -> Timestamp {
        if at.is_never() {
            return Timestamp::NEVER;
        }
        let (now, wall) = (self.now(), self.wall());
        if at >= now { wall.plus(at.since(now)) } else { wall.minus(now.since(at)) }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::ticking()
    }
}

/// The kernel's coarse monotonic clock, plus the time spent suspended, which that clock leaves out.
///
/// The suspended time is looked up again once a second of awake time: after a resume, readings are behind for
/// at most that long.
#[derive(Debug)]
struct Coarse {
    /// Suspended milliseconds so far. Written by whoever finds `look_again_ms` passed; all write the same.
    suspended_ms: AtomicU64,
    /// On the coarse scale: when to look up `suspended_ms` again.
    look_again_ms: AtomicU64,
}

impl Coarse {
    fn new() -> Self {
        let coarse = Self { suspended_ms: AtomicU64::new(0), look_again_ms: AtomicU64::new(0) };
        coarse.steady_ms();
        coarse
    }

    #[inline]
    fn steady_ms(&self) -> u64 {
        let awake_ms = os::coarse_ms();
        if awake_ms >= self.look_again_ms.load(Relaxed) {
            self.look_up(awake_ms);
        }
        awake_ms + self.suspended_ms.load(Relaxed)
    }

    #[cold]
    fn look_up(&self, awake_ms: u64) {
        // The coarse clock lags by up to a tick: a difference that small is no suspend. Only growth counts,
        // so that time never goes back.
        let suspended_ms = os::steady_ms().saturating_sub(awake_ms).saturating_sub(20);
        self.suspended_ms.fetch_max(suspended_ms, Relaxed);
        self.look_again_ms.store(awake_ms + 1000, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wall_clock_set_back_does_not_move_the_steady_scale() {
        let (clock, hands) = Clock::manual();
        let (moment, wall) = (clock.now(), clock.wall());
        hands.set_wall(wall.minus(Duration::from_secs(3600)));
        assert_eq!(clock.now(), moment);
        assert_eq!(clock.wall(), wall.minus(Duration::from_secs(3600)));
        hands.advance(Duration::from_secs(1));
        assert_eq!(clock.now().since(moment), Duration::from_secs(1));
    }

    #[test]
    fn moments_and_timestamps_convert_both_ways() {
        let (clock, hands) = Clock::manual();
        hands.set_wall(Timestamp::from_millis(5_000));
        for ms in [0_u64, 4_999, 5_000, 60_000] {
            let at = Timestamp::from_millis(ms);
            assert_eq!(clock.timestamp_of(clock.moment_of(at)), at);
        }
        assert!(clock.moment_of(Timestamp::NEVER).is_never());
        assert!(clock.timestamp_of(Moment::NEVER).is_never());
    }

    #[test]
    fn real_clocks_move_and_never_go_back() {
        for clock in [Clock::ticking(), Clock::coarse()] {
            let start = clock.now();
            let mut last = start;
            // Real clocks need real time: bounded, and far above a tick.
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while last.since(start) < Duration::from_millis(30) {
                let now = clock.now();
                assert!(now >= last, "{clock:?} went back");
                last = now;
                assert!(std::time::Instant::now() < deadline, "{clock:?} stands still");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn ticking_clocks_share_one_thread_which_ends_with_the_last() {
        let (first, second) = (Clock::ticking(), Clock::ticking());
        let (Source::Ticking(a), Source::Ticking(b)) = (&first.0, &second.0) else {
            panic!("both were asked to tick");
        };
        assert!(Arc::ptr_eq(a, b));
    }
}

//! The one place that is asked what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::manual::{Face, Hands};
use crate::timer::Sleep;
use crate::{Moment, Timestamp, os, ticker};

/// Tells the time. Clones are cheap and tell the same time.
///
/// | kind | one reading | accuracy | thread |
/// |---|---|---|---|
/// | [`ticking`](Clock::ticking) | one relaxed load | 1 ms plus what the scheduler adds | one for the process |
/// | [`coarse`](Clock::coarse) | one call into the vDSO, about 11 cycles | the kernel's tick, 1 to 10 ms | none |
/// | [`manual`](Clock::manual) | one relaxed load | exact | none |
///
/// | what happens | ticking | coarse |
/// |---|---|---|
/// | the process forks | the child's clocks stand still until one of them is [caught up](Clock::catch_up), which starts a thread there; [`after_fork`](Clock::after_fork) does it at once | nothing |
/// | the machine was suspended | right at the next tick | right when caught up, else within a second |
/// | the thread gets no processor, or could not be started | stands still until caught up, by at most 100 ms more than the time between two slow paths | there is none |
/// | the wall clock is set | [`wall`](Clock::wall) follows, [`now`](Clock::now) does not | the same |
///
/// Catching up is for slow paths. A process that does nothing but hit would never take one; one that forks and
/// then only reads takes [`coarse`](Clock::coarse), or calls [`after_fork`](Clock::after_fork).
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Ticking(ticker::Share),
    Coarse(Arc<Coarse>),
    Manual(Arc<Face>),
}

impl Clock {
    /// The process-wide ticking clock, the default: the first one starts a thread, which ends within a
    /// millisecond after the last one has gone.
    ///
    /// Time stands still between ticks. If the thread is gone (in a forked child) or starved,
    /// [`catch_up`](Clock::catch_up) mends the clock.
    ///
    /// ```
    /// use nanotier_clock::Clock;
    ///
    /// let (one, other) = (Clock::ticking(), Clock::ticking());
    /// let earlier = one.now();
    /// assert!(other.now() >= earlier); // the same thread's time
    /// ```
    #[must_use]
    pub fn ticking() -> Self {
        Self(Source::Ticking(ticker::Share::new()))
    }

    /// The operating system's coarse clock: no thread, a few more cycles per reading. A forked child reads on.
    ///
    /// ```
    /// let clock = nanotier_clock::Clock::coarse();
    /// assert!(clock.now() <= clock.now());
    /// ```
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
    #[inline(always)]
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::Ticking(beat) => Moment::from_millis(beat.steady_ms()),
            _ => self.now_by_another(),
        }
    }

    // Out of line: a cache's hit has the ticking one in it, and should save no registers for the others.
    #[inline(never)]
    fn now_by_another(&self) -> Moment {
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

    /// How long ago a moment was that stays the same for as long as the process lives, to the nanosecond: the difference
    /// of two is how long something took. Never goes back. A manual clock's is that of its [`Hands`], in whole milliseconds.
    ///
    /// For what is measured, never for deadlines: it costs one precise reading (about 90 cycles), more than a cache's hit.
    ///
    /// ```
    /// use nanotier_clock::Clock;
    /// use std::time::Duration;
    ///
    /// let (clock, hands) = Clock::manual();
    /// let begun = clock.precise();
    /// hands.advance(Duration::from_millis(3));
    /// assert_eq!(clock.precise() - begun, Duration::from_millis(3));
    /// ```
    #[must_use]
    pub fn precise(&self) -> Duration {
        match &self.0 {
            Source::Ticking(_) | Source::Coarse(_) => os::precise(),
            Source::Manual(face) => Duration::from_millis(face.steady_ms()),
        }
    }

    /// Brings a ticking clock that is more than 100 ms behind up to date, and starts its thread if this process
    /// has none; tells a coarse clock of time spent suspended. Does nothing for a manual one.
    ///
    /// For misses and writes, which thus keep a clock that has stalled from making anything immortal. Costs one
    /// precise reading (about 90 cycles).
    ///
    /// ```
    /// let clock = nanotier_clock::Clock::ticking();
    /// std::thread::sleep(std::time::Duration::from_millis(5));
    /// clock.catch_up(); // nothing to do: the thread is at work
    /// ```
    pub fn catch_up(&self) {
        match &self.0 {
            Source::Ticking(beat) => beat.catch_up(),
            Source::Coarse(coarse) => coarse.look_up(Reading::now()),
            Source::Manual(_) => {}
        }
    }

    /// To be called in a child process that was forked, by one of its threads, once: all ticking clocks of the
    /// child tick again from then on. Without it they stand still until one of them is
    /// [caught up](Clock::catch_up). Costs the start of a thread; in a process that has one, two precise readings.
    /// Nothing to do for the other kinds.
    ///
    /// ```
    /// nanotier_clock::Clock::ticking().after_fork(); // in the parent it does no harm
    /// ```
    pub fn after_fork(&self) {
        if let Source::Ticking(beat) = &self.0 {
            beat.put_right();
        }
    }

    /// Waits until `at`, without a runtime: never ready before, and for [`Moment::NEVER`] never at all. Late by what the
    /// scheduler adds; after the machine was suspended, by up to a second.
    ///
    /// Under the operating system's time, one thread for the whole process wakes the sleepers. It is started by the
    /// first and ends a second or two after the last. If it cannot be started, a sleeper waits until another one comes
    /// and it can. In a forked child only sleepers that begin there are woken.
    ///
    /// ```
    /// use nanotier_clock::Clock;
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    /// use std::time::Duration;
    ///
    /// let (clock, hands) = Clock::manual();
    /// let mut sleep = pin!(clock.sleep_until(clock.now().plus(Duration::from_secs(1))));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(sleep.as_mut().poll(&mut context).is_pending());
    /// hands.advance(Duration::from_secs(1)); // wakes it
    /// assert!(sleep.as_mut().poll(&mut context).is_ready());
    /// ```
    pub fn sleep_until(&self, at: Moment) -> Sleep {
        match &self.0 {
            Source::Ticking(_) | Source::Coarse(_) => Sleep::of_process(at),
            Source::Manual(face) => Sleep::by_hand(face.clone(), at),
        }
    }

    /// Waits for `time` from now. As [`sleep_until`](Clock::sleep_until), on a clock that was [caught
    /// up](Clock::catch_up).
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.catch_up();
        self.sleep_until(self.now().plus(time))
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
/// The suspended time is looked up again once a second of awake time, and by who catches up: after a resume,
/// readings are behind for at most that long.
#[derive(Debug)]
struct Coarse {
    /// Suspended milliseconds so far.
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
        self.at(os::coarse_ms(), Reading::now)
    }

    /// What it shows when the coarse clock shows `awake_ms`; `reading` asks the precise one, too.
    #[inline]
    fn at(&self, awake_ms: u64, reading: impl FnOnce() -> Reading) -> u64 {
        if awake_ms >= self.look_again_ms.load(Relaxed) {
            self.look_up(reading());
        }
        awake_ms + self.suspended_ms.load(Relaxed)
    }

    #[cold]
    fn look_up(&self, reading: Reading) {
        // The coarse clock lags by up to a tick: a difference that small is no suspend. Only growth counts,
        // so that time never goes back.
        let suspended_ms = reading.steady_ms.saturating_sub(reading.awake_ms).saturating_sub(20);
        self.suspended_ms.fetch_max(suspended_ms, Relaxed);
        self.look_again_ms.store(reading.awake_ms + 1000, Relaxed);
    }
}

/// Of the two clocks whose difference is the time spent suspended.
#[derive(Debug, Clone, Copy)]
struct Reading {
    steady_ms: u64,
    awake_ms: u64,
}

impl Reading {
    /// The precise one first: a thread that is stopped between the two must not take its stop for a suspend, which
    /// would put the clock ahead for good. So it finds less than there was, and the rest at the next look.
    fn now() -> Self {
        let steady_ms = os::steady_ms();
        Self { steady_ms, awake_ms: os::coarse_ms() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_precise_reading_never_goes_back_and_is_finer_than_a_tick() {
        let clock = Clock::ticking();
        let begun = clock.precise();
        let readings: Vec<Duration> = (0..10_000).map(|_| clock.precise()).collect();
        assert!(readings.is_sorted() && readings[0] >= begun);
        assert!(
            readings.iter().any(|reading| reading.subsec_nanos() % 1_000_000 != 0),
            "whole milliseconds only"
        );
    }

    const fn reading(steady_ms: u64, awake_ms: u64) -> Reading {
        Reading { steady_ms, awake_ms }
    }

    #[test]
    fn a_coarse_clock_counts_time_spent_suspended_within_a_second_and_never_goes_back() {
        let coarse = Coarse { suspended_ms: AtomicU64::new(0), look_again_ms: AtomicU64::new(0) };
        assert_eq!(coarse.at(5_000, || reading(5_009, 5_000)), 5_000, "a tick's lag is no suspend");
        // An hour's sleep follows, which the coarse clock does not count.
        let asleep = || unreachable!("it is not asked on every reading");
        assert_eq!(coarse.at(5_999, asleep), 5_999);
        assert_eq!(coarse.at(6_000, || reading(3_606_020, 6_000)), 3_606_000);
        assert_eq!(coarse.at(6_001, asleep), 3_606_001);
        // A reading from before the sleep that is used only now.
        coarse.look_up(reading(5_900, 5_900));
        assert_eq!(coarse.at(6_002, asleep), 3_606_002, "it went back");
    }

    #[test]
    fn a_thread_stopped_while_it_asks_does_not_put_a_coarse_clock_ahead() {
        let coarse = Coarse { suspended_ms: AtomicU64::new(0), look_again_ms: AtomicU64::new(0) };
        assert_eq!(coarse.at(5_000, || reading(5_000, 7_500)), 5_000);
        assert_eq!(coarse.at(9_000, || reading(9_000, 9_000)), 9_000);
    }

    #[test]
    fn a_coarse_clock_that_is_caught_up_knows_of_a_suspend_at_once() {
        let coarse = Coarse { suspended_ms: AtomicU64::new(0), look_again_ms: AtomicU64::new(0) };
        assert_eq!(coarse.at(5_000, || reading(5_000, 5_000)), 5_000);
        coarse.look_up(reading(65_021, 5_001));
        assert_eq!(coarse.at(5_001, || unreachable!("it has just been asked")), 65_001);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_steady_scale_is_that_of_the_system_with_time_spent_suspended() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        for clock in [Clock::ticking(), Clock::coarse()] {
            let apart = (clock.now().since(Moment::ZERO).as_secs_f64() - seconds).abs();
            assert!(apart < 10.0, "{clock:?} is {apart} s off the time since boot");
        }
    }
}

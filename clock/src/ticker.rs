//! One thread for the whole process that writes the time down, so that readers need not ask for it.
//!
//! The first clock that needs it starts it; when the last one has gone, it ends within a [`TICK`]. Between two ticks
//! the time stands still: a reader is late by at most one of them plus what the scheduler adds.
//!
//! What can go wrong is answered on slow paths, by [`Beat::catch_up`], which asks the operating system:
//!
//! | what | then |
//! |---|---|
//! | the thread could not be started, or gets no processor | the hands are put right; if there is no thread, one is started |
//! | this is a forked child, which has a copy of everything but the thread | as above: the mark says which process the thread is of |
//! | the machine was suspended | nothing to do: the thread asks a clock that counts that time, first thing when it runs again |
//!
//! Nothing here is locked, ever: a child may be forked at any moment, and a lock that another thread holds at that
//! moment stays locked in the child.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use crate::sync::{
    AtomicU32, AtomicU64, AtomicUsize, const_fn, process_id, shared_static, sleep, spawn, steady_ms, unix_ms,
};

/// How often the time is written down.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// A clock that is further behind than this is put right by whoever notices: far above what a busy machine does to
/// the thread now and then, so that those who notice seldom write.
const BEHIND_MS: u64 = 100;

shared_static! {
    /// The process's ticker. Static, so that reading it is a load from a fixed address.
    static BEAT: Beat = Beat::new();
}

/// Names no process: the thread has ended, or has not been started.
const NOBODY: u32 = 0;

/// The time as last written, and who writes it.
#[derive(Debug)]
pub(crate) struct Beat {
    hands: Hands,
    /// The process in which the thread runs, or [`NOBODY`]. A forked child finds its parent here.
    process: AtomicU32,
    /// How many clocks need the thread.
    shares: AtomicUsize,
}

/// Read on every hit: on a line that nothing but a tick writes to.
#[repr(align(128))]
#[derive(Debug)]
struct Hands {
    /// Steady milliseconds since boot.
    steady_ms: AtomicU64,
    /// Wall clock, milliseconds since the Unix epoch.
    unix_ms: AtomicU64,
}

impl Beat {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                hands: Hands { steady_ms: AtomicU64::new(0), unix_ms: AtomicU64::new(0) },
                process: AtomicU32::new(NOBODY),
                shares: AtomicUsize::new(0),
            }
        }
    }

    pub(crate) fn join(&'static self) {
        self.shares.fetch_add(1, SeqCst);
        self.put_right();
    }

    pub(crate) fn leave(&self) {
        self.shares.fetch_sub(1, SeqCst);
    }

    #[inline]
    pub(crate) fn steady_ms(&self) -> u64 {
        self.hands.steady_ms.load(Relaxed)
    }

    /// Whether there is a thread.
    #[cfg(any(test, nanotier_loom))]
    pub(crate) fn is_ticking(&self) -> bool {
        self.process.load(SeqCst) != NOBODY
    }

    fn write_down(&self) {
        // Several may write at once: time does not go back for that.
        self.hands.steady_ms.fetch_max(steady_ms(), Relaxed);
        self.hands.unix_ms.store(unix_ms(), Relaxed);
    }

    fn catch_up(&'static self) {
        if steady_ms().saturating_sub(self.hands.steady_ms.load(Relaxed)) > BEHIND_MS {
            self.put_right();
        }
    }

    #[cold]
    pub(crate) fn put_right(&'static self) {
        self.write_down();
        self.start();
    }

    /// Starts the thread if this process has none. If that fails, slow paths try again.
    fn start(&'static self) {
        let here = process_id();
        let of = self.process.load(SeqCst);
        if of == here || self.process.compare_exchange(of, here, SeqCst, SeqCst).is_err() {
            return;
        }
        if !spawn("nanotier-ticker", move || self.tick(here)) {
            self.process.store(NOBODY, SeqCst);
        }
    }

    fn tick(&self, here: u32) {
        loop {
            while self.shares.load(SeqCst) > 0 {
                sleep(TICK);
                self.write_down();
            }
            self.process.store(NOBODY, SeqCst);
            // Who joined before that store has counted on this thread; who did after it starts another.
            if self.shares.load(SeqCst) == 0
                || self.process.compare_exchange(NOBODY, here, SeqCst, SeqCst).is_err()
            {
                return;
            }
        }
    }
}

/// A share in the process's ticker. The thread ends with the last share.
#[derive(Debug)]
pub(crate) struct Share(());

impl Share {
    /// Joins the running ticker, or starts one.
    pub(crate) fn new() -> Self {
        BEAT.join();
        Self(())
    }

    #[inline]
    #[expect(clippy::unused_self, reason = "who has a share knows that the hands are being moved")]
    pub(crate) fn steady_ms(&self) -> u64 {
        BEAT.steady_ms()
    }

    #[inline]
    #[expect(clippy::unused_self, reason = "as above")]
    pub(crate) fn unix_ms(&self) -> u64 {
        BEAT.hands.unix_ms.load(Relaxed)
    }

    /// Asks the operating system whether the hands are behind by more than [`BEHIND_MS`]; if so puts them right, and
    /// starts the thread if this process has none.
    #[expect(clippy::unused_self, reason = "as above")]
    pub(crate) fn catch_up(&self) {
        BEAT.catch_up();
    }

    /// As [`catch_up`](Self::catch_up), however little the hands are behind.
    #[expect(clippy::unused_self, reason = "as above")]
    pub(crate) fn put_right(&self) {
        BEAT.put_right();
    }
}

impl Clone for Share {
    fn clone(&self) -> Self {
        BEAT.shares.fetch_add(1, SeqCst);
        Self(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        BEAT.leave();
    }
}

#[cfg(all(test, not(nanotier_loom)))]
mod tests {
    use super::*;
    use std::time::Instant;
    use std::{process, thread};

    /// One of the test's own, which nobody else moves.
    fn beat() -> &'static Beat {
        Box::leak(Box::new(Beat::new()))
    }

    fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !what() {
            assert!(Instant::now() < deadline, "it has not come about for half a minute");
            thread::sleep(TICK);
        }
    }

    /// As a child finds it, or as a thread leaves it that gets no processor: hands behind, and nobody moves them.
    fn stalled(behind_ms: u64, process: u32) -> (&'static Beat, u64) {
        let beat = beat();
        let shows = steady_ms() - behind_ms;
        beat.hands.steady_ms.store(shows, Relaxed);
        beat.process.store(process, SeqCst);
        beat.shares.store(1, SeqCst);
        (beat, shows)
    }

    #[test]
    fn a_clock_whose_thread_is_starved_is_put_right_on_the_slow_path() {
        let (beat, shows) = stalled(5000, process::id());
        beat.catch_up();
        assert!(beat.steady_ms() >= shows + 5000, "the stalled clock did not move");
        assert!(unix_ms().abs_diff(beat.hands.unix_ms.load(Relaxed)) < 5000, "nor did its wall clock");
        // It has a thread, which will run again: no second one.
        let shows = beat.steady_ms();
        thread::sleep(20 * TICK);
        assert_eq!(beat.steady_ms(), shows);
    }

    #[test]
    fn a_clock_that_has_no_thread_in_this_process_gets_one_on_the_slow_path() {
        // That of a parent that was forked, and none that could be started.
        for process in [process::id() + 1, NOBODY] {
            let (beat, shows) = stalled(5000, process);
            beat.catch_up();
            until(|| beat.steady_ms() > shows + 5050);
            beat.leave();
        }
    }

    #[test]
    fn a_small_lag_is_left_to_the_thread() {
        let (beat, shows) = stalled(BEHIND_MS / 2, process::id());
        beat.catch_up();
        assert_eq!(beat.steady_ms(), shows);
    }

    #[test]
    fn the_thread_ends_with_the_last_share_and_starts_with_the_next() {
        let beat = beat();
        for _ in 0..3 {
            beat.join();
            beat.join();
            beat.leave();
            let shows = beat.steady_ms();
            until(|| beat.steady_ms() > shows);
            beat.leave();
            until(|| !beat.is_ticking());
            let shows = beat.steady_ms();
            thread::sleep(20 * TICK);
            assert_eq!(beat.steady_ms(), shows, "somebody still writes");
        }
    }

    #[test]
    fn shares_that_come_and_go_at_once_leave_a_thread_if_and_only_if_one_is_left() {
        let beat = beat();
        for _ in 0..20 {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            beat.join();
                            beat.leave();
                        }
                    });
                }
            });
            beat.join();
            let shows = beat.steady_ms();
            until(|| beat.steady_ms() > shows + 1);
            beat.leave();
        }
        until(|| !beat.is_ticking());
    }
}

//! One thread for the whole process that writes the time down, so that readers need not ask for it.
//!
//! The first clock that needs it starts it, the last one that goes ends it. Between two ticks the time stands
//! still: a reader is late by at most [`TICK`] plus what the scheduler adds. If the thread cannot be started,
//! or is gone (a forked child has no copy of it), [`Beat::catch_up`] brings the time up to date on slow
//! paths.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::os;

/// How often the time is written down.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// The time as last written. Written by the ticker thread alone; read by every clock that holds it.
#[derive(Debug)]
pub(crate) struct Beat {
    /// Steady milliseconds since boot.
    steady_ms: AtomicU64,
    /// Wall clock, milliseconds since the Unix epoch.
    unix_ms: AtomicU64,
    /// The process that ticks: a forked child sees another number in its own id.
    process: u32,
    /// Ends the thread: true once the last clock has gone.
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Beat {
    fn new() -> Self {
        Self {
            steady_ms: AtomicU64::new(os::steady_ms()),
            unix_ms: AtomicU64::new(os::unix_ms()),
            process: std::process::id(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    #[inline]
    pub(crate) fn steady_ms(&self) -> u64 {
        self.steady_ms.load(Relaxed)
    }

    #[inline]
    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Relaxed)
    }

    fn write_down(&self) {
        self.steady_ms.fetch_max(os::steady_ms(), Relaxed);
        self.unix_ms.store(os::unix_ms(), Relaxed);
    }

    /// Asks the operating system whether the ticker is behind by more than a second, and catches up if so.
    ///
    /// For slow paths: a miss or a write asks, a hit does not. It is what ends a frozen clock in a forked
    /// child, where the thread does not exist.
    pub(crate) fn catch_up(&self) {
        if os::steady_ms().saturating_sub(self.steady_ms()) > 1000 {
            self.write_down();
        }
    }
}

/// A share in the process's ticker. The thread ends with the last share.
#[derive(Debug)]
pub(crate) struct Share {
    beat: Arc<Beat>,
}

impl std::ops::Deref for Share {
    type Target = Beat;

    #[inline]
    fn deref(&self) -> &Beat {
        &self.beat
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.beat.stop.lock() = true;
        self.beat.stopped.notify_all();
    }
}

/// The share now in use, if any clock is alive.
static CURRENT: Mutex<Weak<Share>> = Mutex::new(Weak::new());

/// Joins the running ticker, or starts one.
pub(crate) fn share() -> Arc<Share> {
    let mut current = CURRENT.lock();
    if let Some(share) = current.upgrade() {
        // After a fork the thread exists in the parent only: the child starts its own.
        if share.process == std::process::id() {
            return share;
        }
    }
    let beat = Arc::new(Beat::new());
    let ticking = beat.clone();
    // Without a thread the clock still moves: slow paths catch it up.
    let _ = thread::Builder::new().name("nanotier-ticker".into()).spawn(move || tick(&ticking));
    let share = Arc::new(Share { beat });
    *current = Arc::downgrade(&share);
    share
}

fn tick(beat: &Beat) {
    let mut stop = beat.stop.lock();
    while !*stop {
        beat.stopped.wait_for(&mut stop, TICK);
        beat.write_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_or_a_stalled_thread_is_caught_up_on_the_slow_path() {
        let beat = Beat::new();
        beat.steady_ms.store(beat.steady_ms().saturating_sub(5000), Relaxed);
        let stalled = beat.steady_ms();
        beat.catch_up();
        assert!(beat.steady_ms() >= stalled + 4000, "the stalled clock did not move");
    }

    #[test]
    fn a_small_lag_is_left_to_the_thread() {
        let beat = Beat::new();
        let before = os::steady_ms().saturating_sub(500);
        beat.steady_ms.store(before, Relaxed);
        beat.catch_up();
        assert_eq!(beat.steady_ms(), before);
    }
}

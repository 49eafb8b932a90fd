//! A clock moved by hand, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use crate::timer::Sleepers;
use crate::{Moment, Timestamp};

/// Where a manual clock's time is kept: two independent words, so a test can step the wall clock alone.
#[derive(Debug)]
pub(crate) struct Face {
    steady_ms: AtomicU64,
    unix_ms: AtomicU64,
    pub(crate) sleepers: Mutex<Sleepers>,
}

impl Face {
    #[inline]
    pub(crate) fn steady_ms(&self) -> u64 {
        self.steady_ms.load(Relaxed)
    }

    #[inline]
    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Relaxed)
    }
}

/// The hands of a manual clock. Clones move the same clock.
#[derive(Clone, Debug)]
pub struct Hands(Arc<Face>);

impl Hands {
    /// Both scales start at this many milliseconds: 2001-09-09, a date that is easy to see in a failure.
    pub(crate) const START_MS: u64 = 1_000_000_000_000;

    pub(crate) fn new() -> Self {
        Self(Arc::new(Face {
            steady_ms: AtomicU64::new(Self::START_MS),
            unix_ms: AtomicU64::new(Self::START_MS),
            sleepers: Mutex::new(Sleepers::new()),
        }))
    }

    pub(crate) fn face(&self) -> Arc<Face> {
        self.0.clone()
    }

    /// Lets time pass, on both scales. Whole milliseconds count, rounded up. Who sleeps until then is woken before
    /// this returns.
    pub fn advance(&self, by: Duration) {
        let step = |word: &AtomicU64| {
            // Several threads may move the hands: each step must count.
            let _ =
                word.fetch_update(Relaxed, Relaxed, |ms| Some(Moment::from_millis(ms).plus(by).as_millis()));
        };
        step(&self.0.steady_ms);
        step(&self.0.unix_ms);
        let due = self.0.sleepers.lock().take_due(self.0.steady_ms());
        due.into_iter().for_each(Waker::wake);
    }

    /// Lets time pass until the first of those who sleep on this clock is due, wakes who is, and says how long that took;
    /// `None`, and nothing passes, if nobody sleeps. So a test need not guess how far to advance.
    ///
    /// A sleeper is known from its first poll until it is woken or dropped.
    ///
    /// ```
    /// use nanotier_clock::Clock;
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    /// use std::time::Duration;
    ///
    /// let (clock, hands) = Clock::manual();
    /// let mut sleep = pin!(clock.sleep(Duration::from_secs(3)));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(sleep.as_mut().poll(&mut context).is_pending());
    /// assert_eq!(hands.advance_to_next(), Some(Duration::from_secs(3)));
    /// assert!(sleep.as_mut().poll(&mut context).is_ready());
    /// assert_eq!(hands.advance_to_next(), None);
    /// ```
    pub fn advance_to_next(&self) -> Option<Duration> {
        let due_ms = self.0.sleepers.lock().first_ms()?;
        let left = Moment::from_millis(due_ms).since(Moment::from_millis(self.0.steady_ms()));
        self.advance(left);
        Some(left)
    }

    /// Sets the wall clock, forth or back, as an operator or NTP would. The steady scale stays.
    pub fn set_wall(&self, to: Timestamp) {
        self.0.unix_ms.store(to.as_millis(), Relaxed);
    }
}

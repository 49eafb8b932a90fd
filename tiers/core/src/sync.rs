//! The one switch between ordinary primitives and those that the schedule explorer can interleave.

#[cfg(not(nanotier_schedules))]
mod ordinary {
    pub use parking_lot::{Mutex, MutexGuard};
    pub use std::sync::atomic;
    pub use std::thread::yield_now;
    pub use std::thread_local;

    /// Where the schedule explorer may switch to another task. Nothing in an ordinary build.
    #[inline]
    pub const fn schedule_point() {}
}
#[cfg(not(nanotier_schedules))]
pub use ordinary::*;

#[cfg(nanotier_schedules)]
mod explored {
    use std::fmt;

    pub use shuttle::sync::{MutexGuard, atomic};
    pub use shuttle::thread::yield_now;
    pub use shuttle::thread_local;

    /// Where the schedule explorer may switch to another task. Not by yielding: that wakes the task that yields, and a wakeup that
    /// was lost in a poll with such a point in it would go unnoticed.
    pub fn schedule_point() {
        shuttle::thread::sleep(std::time::Duration::ZERO);
    }

    /// A mutex with the interface of the ordinary one: a panic in an explored schedule ends the schedule.
    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A mutex around `value`.
        pub const fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// The value, when the mutex is no longer needed.
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Mutex { .. }")
        }
    }
}
#[cfg(nanotier_schedules)]
pub use explored::*;

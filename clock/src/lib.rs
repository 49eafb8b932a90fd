//! Time as a cache needs it: cheap to read, steady, and in the hands of the test.
//!
//! Two scales, kept apart by type so that they cannot be mixed up:
//!
//! - [`Moment`]: milliseconds on a steady scale that never goes back and counts the time a machine was
//!   suspended. Deadlines in memory are moments: setting the wall clock neither kills nor immortalises them.
//! - [`Timestamp`]: milliseconds since the Unix epoch. What is written to disk or sent to a server carries
//!   timestamps, since other processes have to understand them.
//!
//! [`Clock`] tells both. [`Clock::ticking`] is the default: one thread for the whole process refreshes two
//! words, and reading the time is one relaxed load. [`Clock::coarse`] asks the operating system instead and
//! needs no thread. [`Clock::manual`] moves only when told to.
//!
//! ```
//! use nanotier_clock::Clock;
//! use std::time::Duration;
//!
//! let (clock, hands) = Clock::manual();
//! let start = clock.now();
//! hands.advance(Duration::from_secs(60));
//! assert_eq!(clock.now().since(start), Duration::from_secs(60));
//! ```
#![forbid(unsafe_code)]

mod clock;
mod manual;
#[cfg(nanotier_loom)]
#[doc(hidden)]
pub mod models;
mod os;
mod sync;
mod ticker;
mod time;
mod timer;

pub use clock::Clock;
pub use manual::Hands;
pub use time::{Moment, Timestamp};
pub use timer::Sleep;

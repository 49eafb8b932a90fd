//! Waiting for others who have the database locked: often and briefly at first, with a bound, and never in step with others.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rusqlite::Connection;

/// The longest pause between two tries. A transaction of another process takes less than that as a rule, and SQLite's own
/// pauses of up to 100 ms starve whoever makes them.
const PAUSE_MAX: Duration = Duration::from_micros(500);
const PAUSE_MIN: Duration = Duration::from_micros(20);
/// So often it only steps aside.
const YIELDS: i32 = 4;

/// How long a connection waits for others, in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Patience(Arc<AtomicU64>);

impl Patience {
    /// Has `connection` wait as long as this says.
    pub(crate) fn install(connection: &mut Connection, limit: Duration) -> rusqlite::Result<Self> {
        let patience = Self(Arc::default());
        patience.set(limit);
        let (shared, mut since) = (patience.0.clone(), Instant::now());
        connection.busy_handler(Some(move |tries: i32| {
            if tries == 0 {
                since = Instant::now();
            }
            if since.elapsed() >= Duration::from_micros(shared.load(Relaxed)) {
                return false;
            }
            pause(tries, since);
            true
        }))?;
        Ok(patience)
    }

    pub(crate) fn set(&self, limit: Duration) {
        self.0.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Before the next try. No two who wait since different moments keep step.
pub(crate) fn pause(tries: i32, since: Instant) {
    if tries < YIELDS {
        return std::thread::yield_now();
    }
    let doublings = u32::try_from(tries - YIELDS).unwrap_or(0).min(8);
    let longest = (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX);
    // Half of it to all of it.
    let spread = since.elapsed().subsec_nanos() % 512;
    std::thread::sleep(longest / 2 + longest / 2 * spread / 512);
}

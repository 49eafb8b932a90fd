//! The rows of `bench freshness`: get or compute, functions that remember, and values that are refreshed behind.

mod events;
mod hit;
mod memoize;
mod snapshot;
mod stale;
mod stampede;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Run;

pub(crate) const ROWS: &[(&str, Run)] = &[
    ("hit", hit::get),
    ("get-with-hit", hit::get_with),
    ("memoize-hit-1", memoize::one),
    ("memoize-hit-3", memoize::three),
    ("stampede-8", stampede::absent),
    ("stale-stampede", stale::stampede),
    ("keep-read", snapshot::keep),
    ("mirror-read", snapshot::mirror),
    ("refresh-overhead", hit::refresh_overhead),
    ("events-off", events::off),
    ("events-on", events::on),
];

/// How many ask at once.
const ASKERS: usize = 8;
const LOAD_TAKES: Duration = Duration::from_millis(5);

/// What loaders have done so far.
#[derive(Debug)]
struct Loads {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Loads {
    const fn none() -> Self {
        Self { count: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) }
    }

    /// Of a load that began then and ends now.
    fn add(&self, began: Instant) {
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How many since the last call, and how long each took on average, in nanoseconds.
    fn take(&self) -> (u64, f64) {
        let count = self.count.swap(0, Ordering::Relaxed);
        (count, self.nanoseconds.swap(0, Ordering::Relaxed) as f64 / count as f64)
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

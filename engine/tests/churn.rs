//! Everything changes for a minute on end: keys, weights, deadlines, the capacity, the threads. Memory stays flat, the
//! bound holds, and nothing is lost.
//!
//! Alone in its process, since the allocator counts for all threads. A run lasts for a moment;
//! `NANOTIER_CHURN_SECS` makes it longer. What a thread does follows from the numbers of its round and its own.
#![cfg(not(nanotier_epoch))]

#[path = "churn/traffic.rs"]
mod traffic;

use nanotier_counting::{CountingAllocator, bytes_in_use};
use nanotier_engine::Policy;
use std::time::{Duration, Instant};
use traffic::{POLICIES, Traffic, alive};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// How far the peak of the last third may be above that of the first: a quarter, and some pages. Tables grow to the most
/// that they ever had, which a short run comes upon late: half as much again there. What is lost grows without end.
const GROWTH: usize = 4;
const GROWTH_SHORT: usize = 2;
const SHORT: usize = 300;
const SLACK: usize = 32 * 1024;

/// Where somebody listens, up to a thousand departures may await a delivery in each of eight shards, each in a place of
/// some hundred bytes. The longer the run, the more shards that has happened to.
const SLACK_HEARD: usize = 8 * 1024 * 100;

/// So many rounds at least, however short the time is.
const ROUNDS_MIN: u64 = 12;
const ROUNDS_MAX: usize = 1 << 17;

/// Of one moment at rest.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    said: usize,
    allocated: usize,
}

fn peak(samples: &[Sample]) -> Sample {
    let most = |of: fn(&Sample) -> usize| samples.iter().map(of).max().unwrap_or(0);
    Sample { said: most(|sample| sample.said), allocated: most(|sample| sample.allocated) }
}

fn time_for_all() -> Duration {
    let seconds = std::env::var("NANOTIER_CHURN_SECS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_millis(seconds.map_or(3000, |seconds: u64| seconds * 1000))
}

#[test]
fn memory_is_flat_and_the_bound_holds_while_everything_changes() {
    let time = time_for_all() / 6;
    // Of threads and their records, of which there are as many as there ever were at once.
    Traffic::<true>::new(POLICIES[0]).round(2);
    // All of them before anything is weighed.
    let mut samples = Vec::with_capacity(ROUNDS_MAX);
    let mut operations = 0;
    for policy in POLICIES {
        operations += churn::<true>(policy, time, &mut samples);
        operations += churn::<false>(policy, time, &mut samples);
    }
    println!("COUNT churned-operations {operations}");
}

/// Says how many operations it was.
fn churn<const LISTENS: bool>(policy: Policy, time: Duration, samples: &mut Vec<Sample>) -> u64 {
    samples.clear();
    assert_eq!(alive(), 0, "what an engine had is dropped with it");
    let before = bytes_in_use();
    let traffic = Traffic::<LISTENS>::new(policy);
    let began = Instant::now();
    let (mut round, mut operations) = (0, 0);
    while (round < ROUNDS_MIN || began.elapsed() < time) && samples.len() < ROUNDS_MAX {
        operations += traffic.round(round);
        traffic.check_at_rest(round);
        traffic.check_nothing_is_lost(round);
        let allocated = usize::try_from(bytes_in_use() - before).expect("more is in use than before");
        samples.push(Sample { said: traffic.engine.memory_used(), allocated });
        round += 1;
    }
    let third = samples.len() / 3;
    let (first, last) = (peak(&samples[..third]), peak(&samples[samples.len() - third..]));
    let name = format!("{policy:?}, {}heard, {round} rounds", if LISTENS { "" } else { "un" });
    println!("{name}: from {first:?} to {last:?}");
    let growth = if samples.len() < SHORT { GROWTH_SHORT } else { GROWTH };
    let slack = if LISTENS { SLACK_HEARD } else { SLACK };
    let is_flat = |first: usize, last: usize| last <= first + first / growth + slack;
    assert!(is_flat(first.said, last.said), "{name}: memory_used grew: {first:?}, {last:?}");
    assert!(is_flat(first.allocated, last.allocated), "{name}: the heap grew: {first:?}, {last:?}");
    operations
}
